//go:build chaos && linux

package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// statement reads an account's statement from every replica of its cluster, from the history that its disk has kept
// through all the faults: all must tell the same lines, and their posted amounts must make the account's sums.
func (r *run) statement(a shard.Account, want linear.Sums) {
	s, _ := r.bank.Topology.ShardOf(a)
	var first []api.HistoryLine
	for i, n := range process.ServersOf(s) {
		var lines []api.HistoryLine
		// A replica hears of the newest commits with a later message, and a busy one says so.
		_, err := process.Await(settleBound, fmt.Sprintf("the statement of %s at server %d", a, n), func() (bool, string) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			h, err := r.bank.admin.History(ctx, a, client.HistoryOptions{
				ReadOptions: client.ReadOptions{Server: shard.ServerID(n)}, Limit: client.MaxHistoryLines})
			if err != nil || h.Error != nil {
				return false, fmt.Sprint(err, h.Error)
			}
			lines = h.Lines
			got, err := sumsOf(lines)
			return err == nil && got == want, fmt.Sprintf("%d lines make %s (%v); the committed transfers make %s", len(lines), got, err, want)
		})
		if err != nil {
			r.t.Error(err)
			return
		}
		if i == 0 {
			first = lines
		} else if !slices.Equal(lines, first) {
			r.t.Errorf("server %d tells another statement of account %s than its first replica:\n%+v\n%+v", n, a, lines, first)
		}
	}
}

// sumsOf adds up what a statement says is posted.
func sumsOf(lines []api.HistoryLine) (s linear.Sums, err error) {
	for i := range lines {
		l := &lines[i]
		if l.Result != api.LinePosted && l.Result != api.LineOpening {
			continue
		}
		text, out := strings.CutPrefix(l.Amount, "-")
		amount, err := ledger.ParseAmount(text)
		if err != nil {
			return s, fmt.Errorf("line %d: %w", i, err)
		}
		if out {
			s.Out, _ = s.Out.Add(amount)
		} else {
			s.In, _ = s.In.Add(amount)
		}
	}
	return s, nil
}

// look reads a statement strongly, while faults strike: it must hold every recent transfer of the account that anybody had
// been told to be committed before, and add up. And it asks for one of them by its id.
func (l *load) look(i int, a shard.Account) {
	committed := l.committedOn(a)
	ctx, cancel := context.WithTimeout(context.Background(), readBound)
	defer cancel()
	h, err := l.clients[i].History(ctx, a, client.HistoryOptions{Limit: client.MaxHistoryLines})
	if err != nil || h.Error != nil || h.Next != "" {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed++
		return
	}
	posted := map[string]bool{}
	for _, line := range h.Lines {
		posted[line.ID] = posted[line.ID] || line.Result == api.LinePosted
	}
	for _, id := range committed {
		if !posted[id.String()] {
			l.t.Errorf("a strong statement of %s at index %d by server %d lacks %s, which had been told to be committed: %+v", a, h.Applied, h.Server, id, h.Lines)
		}
	}
	if s, err := sumsOf(h.Lines); err != nil || s.In.Big().Sub(s.In.Big(), s.Out.Big()).String() != h.Lines[0].Balance {
		l.t.Errorf("a strong statement of %s says %s, its lines make %s (%v)", a, h.Lines[0].Balance, s, err)
	}
	if len(committed) > 0 {
		id := committed[len(committed)-1]
		v, err := l.clients[i].GetTransfer(ctx, id, client.ReadOptions{})
		if err == nil && v.Error == nil && v.Outcome != api.OutcomeCommitted {
			l.t.Errorf("get-transfer of %s, which had been told to be committed: %+v", id, v)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looks++
}

// committedOn lists the recent transfers of an account that somebody was told to be committed.
func (l *load) committedOn(a shard.Account) (ids []client.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.recent {
		if k := l.told[id]; k.settled == client.Committed && (k.transfer.From == a || k.transfer.To == a) {
			ids = append(ids, id)
		}
	}
	return ids
}
