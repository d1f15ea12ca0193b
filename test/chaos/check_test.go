//go:build chaos && linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// finalClient is the number of the client that reads every account at the end.
const finalClient = workers + 2

// check settles the bank and compares it with what everybody was told.
func (r *run) check(before map[int]map[string]uint64) {
	took, err := process.Await(settleBound, "nothing is prepared", r.nothingPrepared)
	if err != nil {
		r.t.Error(err)
	}
	r.slowest("all faults are over and nothing is prepared", "the bank", took)
	r.agree()
	r.sameEverywhere()
	r.balances()
	r.keepHistory()
	r.refusals()
	r.auditsHold()
	r.conserved()
	r.linearizable()
	r.bounded(before)
}

// What a server may have more at the end than after its start, when its clients are gone again. The links to the other
// clusters' servers, six out and six in, are opened only when an inquiry needs them.
const (
	moreGoroutines = 8 + 3*6
	moreFiles      = 24 + 2*6 // of the log, the history and the index
	moreMemory     = 256 << 20
)

// bounded: no goroutine, descriptor or memory has stayed behind on a server from connections, faults and transfers (invariant
// 18). before is what each had when it had just started.
func (r *run) bounded(before map[int]map[string]uint64) {
	r.load.close()
	took, err := process.Await(goneBound, "the servers have let go of what clients and faults needed", func() (bool, string) {
		now := r.figuresOf()
		for _, n := range allServers() {
			if text := grown(before[n], now[n]); text != "" {
				return false, fmt.Sprintf("server %d: %s", n, text)
			}
		}
		return true, ""
	})
	if err != nil {
		r.t.Error(err)
	}
	r.slowest("clients are gone and servers as small as before", "the bank", took)
}

// figuresOf returns every server's counters.
func (r *run) figuresOf() map[int]map[string]uint64 {
	m := map[int]map[string]uint64{}
	for _, sh := range r.bank.status().Shards {
		for i := range sh.Servers {
			m[sh.Servers[i].Server] = sh.Servers[i].Counters
		}
	}
	return m
}

// grown says what a server has too much of; "": nothing.
func grown(before, now map[string]uint64) string {
	for _, f := range []struct {
		name string
		more uint64
	}{{"goroutines", moreGoroutines}, {"open_files", moreFiles}, {"rss_bytes", moreMemory}} {
		was, is := before[f.name], now[f.name]
		if was == 0 || is == 0 {
			return "tells no " + f.name
		}
		if is > was+f.more {
			return fmt.Sprintf("%d %s, %d after its start", is, f.name, was)
		}
	}
	return ""
}

// TestGrown: what has grown too much is named, and so is a figure that is missing.
func TestGrown(t *testing.T) {
	before := map[string]uint64{"goroutines": 20, "open_files": 30, "rss_bytes": 40 << 20}
	for _, c := range []struct {
		name string
		is   uint64
		want string
	}{
		{"goroutines", 20 + moreGoroutines, ""},
		{"goroutines", 21 + moreGoroutines, "47 goroutines, 20 after its start"},
		{"open_files", 31 + moreFiles, "67 open_files, 30 after its start"},
		{"rss_bytes", 41<<20 + moreMemory, "311427072 rss_bytes, 41943040 after its start"},
		{"rss_bytes", 0, "tells no rss_bytes"},
	} {
		now := maps.Clone(before)
		now[c.name] = c.is
		if got := grown(before, now); got != c.want {
			t.Errorf("%s %d: %q, want %q", c.name, c.is, got, c.want)
		}
	}
}

func (r *run) nothingPrepared() (bool, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	v, err := r.bank.admin.InDoubt(ctx)
	switch {
	case err != nil:
		return false, err.Error()
	case v.Error != nil:
		return false, v.Error.Message
	case len(v.Transfers) > 0:
		return false, fmt.Sprintf("%d, first %s", len(v.Transfers), v.Transfers[0].ID)
	}
	return true, ""
}

// parallel calls f for every element, some at a time.
func parallel[T any](list []T, f func(T)) {
	next := make(chan T)
	var wait sync.WaitGroup
	for range 32 {
		wait.Go(func() {
			for v := range next {
				f(v)
			}
		})
	}
	for _, v := range list {
		next <- v
	}
	close(next)
	wait.Wait()
}

// sorted lists all transfers in a fixed order.
func (l *load) sorted() []*told {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*told
	for _, k := range l.told {
		list = append(list, k)
	}
	slices.SortFunc(list, func(x, y *told) int { return slices.Compare(x.transfer.ID[:], y.transfer.ID[:]) })
	return list
}

// agree asks for every transfer again: what was acknowledged is there, what was reported as failed is not, what was
// unknown has one outcome, whoever asks.
func (r *run) agree() {
	parallel(r.load.sorted(), func(k *told) {
		call := r.load.now()
		answer, err := r.load.ask(0, k.transfer.ID)
		first, id := answer.Outcome, k.transfer.ID
		switch {
		case err != nil:
			r.t.Errorf("transfer %s cannot be settled: %v", id, err)
			return
		case first != client.Committed && first != client.Aborted:
			r.t.Errorf("transfer %s, first reported as %s, does not settle: %s", id, k.outcome, first)
			return
		case k.outcome == client.Committed && first != client.Committed:
			r.t.Errorf("LOST: transfer %s was acknowledged and is %s", id, first)
		case (k.outcome == client.Aborted || k.outcome == client.Unavailable) && first == client.Committed:
			r.t.Errorf("APPLIED: transfer %s was reported as %s %s and is committed", id, k.outcome, k.reason)
		}
		text := k.outcome.String()
		if k.crashed {
			text = "client killed"
		}
		if k.outcome == client.Unknown {
			text += ", in the end " + first.String()
		}
		r.count("transfers " + text)
		r.load.settle(id, &answer, "the check at the end", call)
		if second, err := r.load.ask(1, id); err != nil || second.Outcome != first {
			r.t.Errorf("transfer %s is %s for one client, and %s %v for another", id, first, second.Outcome, err)
		}
	})
}

// maxExplained bounds of how many transfers every server is asked.
const maxExplained = 600

// sameEverywhere asks every server of both shards about transfers whose clients were not told, or were killed.
func (r *run) sameEverywhere() {
	var list []*told
	for _, k := range r.load.sorted() {
		if k.outcome == client.Unknown && len(list) < maxExplained {
			list = append(list, k)
		}
	}
	parallel(list, func(k *told) {
		states := map[string]int{}
		_, err := process.Await(endBound, "every server tells the same end", func() (bool, string) {
			clear(states)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			e, err := r.bank.admin.Explain(ctx, k.transfer.ID)
			if err != nil {
				return false, err.Error()
			}
			from, _ := r.bank.Topology.ShardOf(k.transfer.From)
			to, _ := r.bank.Topology.ShardOf(k.transfer.To)
			for _, s := range e.Servers {
				if s.Shard == int(from) || s.Shard == int(to) {
					states[s.State]++
				}
			}
			return len(states) == 1 && states["prepared"] == 0, fmt.Sprint(states)
		})
		if err != nil {
			r.t.Errorf("transfer %s: %v", k.transfer.ID, err)
			return
		}
		if (states["committed"] > 0) != (k.settled == client.Committed) {
			r.t.Errorf("transfer %s is %s, and the servers say %v", k.transfer.ID, k.settled, states)
		}
	})
	r.countMore("transfers of which every server was asked", len(list))
}

// balances reads every account that was used, and compares its sums with the transfers that are committed.
func (r *run) balances() {
	want := map[shard.Account]*linear.Sums{}
	round := map[shard.Account]int{}
	for g := range r.load.opened {
		for _, list := range groupOf(g) {
			for _, a := range list {
				want[a], round[a] = &linear.Sums{In: ledger.Units(r.bank.Topology.OpeningBalance)}, g
			}
		}
	}
	for _, k := range r.load.sorted() {
		if k.settled == client.Committed {
			t := k.transfer
			want[t.From].Out, _ = want[t.From].Out.Add(t.Amount)
			want[t.To].In, _ = want[t.To].In.Add(t.Amount)
		}
	}
	var accounts []shard.Account
	for a := range want {
		accounts = append(accounts, a)
	}
	slices.Sort(accounts)
	parallel(accounts, func(a shard.Account) {
		e := linear.Event{Kind: linear.KindRead, Round: round[a], Client: finalClient, Account: a.String(), CallUs: r.load.now()}
		ctx, cancel := context.WithTimeout(context.Background(), settleBound)
		defer cancel()
		b, err := r.bank.admin.Balance(ctx, a)
		if err != nil {
			r.t.Errorf("balance of %s: %v", a, err)
			return
		}
		e.ReturnUs, e.In, e.Out, e.Server = r.load.now(), b.In.String(), b.Out.String(), int(b.Server)
		if got := (linear.Sums{In: b.In, Out: b.Out}); got != *want[a] {
			r.t.Errorf("account %s has %s; its committed transfers make %s", a, got, *want[a])
			return // its statements would be waited for in vain
		}
		r.statement(a, *want[a])
		r.load.mu.Lock()
		defer r.load.mu.Unlock()
		r.load.events = append(r.load.events, e)
	})
	r.countMore("accounts compared with their transfers", len(accounts))
	r.countMore("strong statements under faults", r.load.looks)
	r.countMore("statements, of every replica, compared with them", 3*len(accounts))
}

// keepHistory writes the history beside the servers' logs.
func (r *run) keepHistory() {
	f, err := os.Create(r.historyPath())
	if err != nil {
		r.t.Error(err)
		return
	}
	if err := errors.Join(linear.WriteEvents(f, r.load.events), f.Close()); err != nil {
		r.t.Error(err)
	}
}

func (r *run) historyPath() string { return filepath.Join(r.bank.Dir, "history.jsonl") }

// command runs the program and decodes the JSON that it prints.
func command[T any](r *run, args ...string) (v T, o process.Output) {
	o, err := process.Command(program, "", 5*time.Minute, append(args, "-o", "json", "--config", r.bank.Config)...)
	if err != nil {
		r.t.Error(err)
		return v, o
	}
	if err := json.Unmarshal([]byte(o.Out), &v); err != nil {
		r.t.Errorf("%v: %s", err, o)
	}
	return v, o
}

// conserved runs check conservation, which has to be exact: the total, and equal hashes of all nine replicas.
func (r *run) conserved() {
	v, o := command[api.Check](r, "check", "conservation")
	if o.Code != 0 || v.OK == nil || !*v.OK || v.Total != r.bank.Topology.Total().String() || v.InFlight != 0 {
		r.t.Errorf("conservation: %s", o)
		return
	}
	for _, s := range v.Shards {
		if s.HashesOK == nil || !*s.HashesOK {
			r.t.Errorf("the hashes of %s are not equal: %s", s.Cluster, o)
		}
		for _, server := range s.Servers {
			if !server.Up || server.Negative != 0 || server.Prepared != 0 {
				r.t.Errorf("server %d: up %v, %d accounts below their floor, %d prepared", server.Server, server.Up, server.Negative, server.Prepared)
			}
		}
	}
}

// linearizable gives the kept history to check linearizability, as a person would.
func (r *run) linearizable() {
	v, o := command[api.Linearizability](r, "check", "linearizability", "--history", r.historyPath())
	if o.Code != 0 || v.OK == nil || !*v.OK {
		text, _ := process.Command(program, "", 5*time.Minute, "check", "linearizability", "-o", "plain", "--history", r.historyPath())
		r.t.Errorf("linearizability: exit %d\n%s", o.Code, text.Err)
	}
	left := 0
	for _, a := range v.Accounts {
		left += a.Left
	}
	if v.Reads == 0 || v.Outcomes["committed"] == 0 {
		r.t.Errorf("%d reads and %d committed transfers prove nothing", v.Reads, v.Outcomes["committed"])
	}
	r.t.Logf("linearizability: %d histories, %d reads (%d without an answer), %d transfers, %d sent again; %d operations beyond the bounds of the search",
		v.Histories, v.Reads, r.load.failed, v.Transfers, r.load.again, left)
}
