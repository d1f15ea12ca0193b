//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
)

// decode reads the one JSON value that a command printed.
func decode[T any](t testing.TB, o output) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(o.Out))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, o)
	}
	if d.More() {
		t.Fatalf("more than one JSON value on stdout\n%s", o)
	}
	return v
}

// wantCode fails unless the command ended with the exit code.
func wantCode(t testing.TB, o output, code int) {
	t.Helper()
	if o.Code != code {
		t.Fatalf("exit %d, want %d\n%s", o.Code, code, o)
	}
}

// wantText fails unless the command printed the text, on either stream.
func wantText(t testing.TB, o output, text string) {
	t.Helper()
	if !strings.Contains(o.Out+o.Err, text) {
		t.Fatalf("does not say %q\n%s", text, o)
	}
}

// transfer runs the command transfer and returns its outcome and exit code.
func (b *bank) transfer(from, to, amount string, flags ...string) (api.Transfer, int) {
	b.t.Helper()
	o := b.run(append([]string{"transfer", from, to, amount, "-o", "json"}, flags...)...)
	return decode[api.Transfer](b.t, o), o.Code
}

// mustConserve runs check conservation: the total is what was opened, replicas are equal.
func (b *bank) mustConserve() api.Check {
	b.t.Helper()
	o := b.run("check", "conservation", "-o", "json")
	wantCode(b.t, o, 0)
	v := decode[api.Check](b.t, o)
	switch {
	case v.OK == nil || !*v.OK:
		b.t.Fatalf("check is not ok\n%s", o)
	case v.Total != v.Expected || v.Expected != b.Topology.Total().String():
		b.t.Fatalf("total %s, expected %s, opened %s\n%s", v.Total, v.Expected, b.Topology.Total(), o)
	case v.InFlight != 0:
		b.t.Fatalf("%d in flight\n%s", v.InFlight, o)
	}
	for _, s := range v.Shards {
		if s.HashesOK == nil || !*s.HashesOK {
			b.t.Fatalf("hashes of %s are not equal\n%s", s.Cluster, o)
		}
		for _, server := range s.Servers {
			if server.Up && server.Negative != 0 {
				b.t.Fatalf("server %d: %d accounts below their floor\n%s", server.Server, server.Negative, o)
			}
		}
	}
	b.t.Logf("check conservation: total %s of %s, hashes equal, after %s", v.Total, v.Expected, round(o.Took))
	return v
}

// awaitNothingPrepared waits until no shard holds an unfinished transfer.
func (b *bank) awaitNothingPrepared() time.Duration {
	b.t.Helper()
	return await(b.t, settle, "nothing is in doubt", func() (bool, string) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		v, err := b.client.InDoubt(ctx)
		switch {
		case err != nil:
			return false, err.Error()
		case v.Error != nil:
			return false, v.Error.Message
		case len(v.Transfers) > 0:
			return false, v.Transfers[0].ID
		}
		return true, ""
	})
}

// parallel runs f on 0 to n-1, some at a time.
func parallel(n int, f func(i int)) {
	const workers = 32
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(workers, n) {
		wait.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}

// balances reads every account strongly.
func (b *bank) balances() []*big.Int {
	b.t.Helper()
	const accounts = 3000
	all := make([]*big.Int, accounts+1)
	parallel(accounts, func(i int) {
		account := client.Account(i + 1)
		ctx, cancel := context.WithTimeout(context.Background(), settle)
		defer cancel()
		v, err := b.client.Balance(ctx, account)
		if err != nil {
			b.t.Errorf("balance of %s: %v", account, err)
			return
		}
		n, ok := new(big.Int).SetString(v.Balance, 10)
		if !ok || !v.Exists {
			b.t.Errorf("balance of %s: %+v", account, v)
			return
		}
		all[account] = n
	})
	if b.t.Failed() {
		b.t.FailNow()
	}
	return all
}

// opened is what every account has when the bank opens.
func (b *bank) opened() []*big.Int {
	all := make([]*big.Int, 3001)
	for i := range all[1:] {
		all[i+1] = new(big.Int).SetUint64(b.Topology.OpeningBalance)
	}
	return all
}

// move adds one committed transfer to balances.
func move(all []*big.Int, from, to client.Account, amount *big.Int) {
	all[from].Sub(all[from], amount)
	all[to].Add(all[to], amount)
}

// mustEqual compares balances account by account.
func mustEqual(t testing.TB, what string, got, want []*big.Int) {
	t.Helper()
	wrong := 0
	for i := 1; i < len(want); i++ {
		if got[i].Cmp(want[i]) != 0 {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: account %d has %s, want %s", what, i, got[i], want[i])
			}
		}
	}
	if wrong > 0 {
		t.Fatalf("%s: %d accounts are wrong", what, wrong)
	}
}

// mustAgree checks what clients were told against what the bank holds: every committed transfer is
// committed, every refused or unavailable one was not applied, every unknown one resolves; and the
// balances are exactly what the committed ones add up to. It returns how the unknown ones ended.
func (b *bank) mustAgree(results []client.Result) map[string]int {
	b.t.Helper()
	want := b.opened()
	resolved := map[string]int{}
	var mu sync.Mutex // guards want and resolved
	parallel(len(results), func(i int) {
		r := results[i]
		ctx, cancel := context.WithTimeout(context.Background(), settle)
		defer cancel()
		now, err := b.client.Resolve(ctx, r.Transfer.ID)
		if err != nil && !errors.Is(err, client.ErrNotFound) {
			b.t.Errorf("resolve %s (reported: %s): %v", r.Transfer.ID, outcomeText(r), err)
			return
		}
		applied := err == nil && now.Outcome == client.Committed
		switch {
		case err == nil && now.Outcome != client.Committed && now.Outcome != client.Aborted:
			b.t.Errorf("%s was reported %s and does not resolve: %s %s", r.Transfer.ID, outcomeText(r), outcomeText(now), now.Detail)
		case r.Outcome == client.Committed && !applied:
			b.t.Errorf("LOST: %s was acknowledged, now: %s %v", r.Transfer.ID, outcomeText(now), err)
		case (r.Outcome == client.Aborted || r.Outcome == client.Unavailable) && applied && r.Reason.String() != "id_conflict":
			b.t.Errorf("APPLIED: %s was reported %s %s, now: %s", r.Transfer.ID, outcomeText(r), r.Detail, outcomeText(now))
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Outcome == client.Unknown {
			if err != nil {
				resolved["not-found"]++
			} else {
				resolved[outcomeText(now)]++
			}
		}
		if applied {
			move(want, r.Transfer.From, r.Transfer.To, r.Transfer.Amount.Big())
		}
	})
	if b.t.Failed() {
		b.t.FailNow()
	}
	mustEqual(b.t, "balances against the reported outcomes", b.balances(), want)
	return resolved
}

// outcomeText names an outcome as the commands do, with the reason of an abort.
func outcomeText(r client.Result) string {
	switch r.Outcome {
	case client.Committed:
		return api.OutcomeCommitted
	case client.Aborted:
		return api.OutcomeAborted + "(" + r.Reason.String() + ")"
	case client.Unavailable:
		return api.OutcomeUnavailable
	case client.Unknown:
		return api.OutcomeUnknown
	}
	return "none"
}

// count adds up outcomes.
func count(results []client.Result) map[string]int {
	n := map[string]int{}
	for _, r := range results {
		n[outcomeText(r)]++
	}
	return n
}
