//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand"
	"slices"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/test/process"
)

// historyAccounts are few, so that each has a long statement: two of every cluster.
var historyAccounts = []client.Account{1, 2, 1001, 1002, 2001, 2002}

// TestHistoryOverLeaderDeath reads statements while transfers run and C1's leader is killed. Then every replica must
// tell the statement that what the clients were told makes, to the last running balance.
func TestHistoryOverLeaderDeath(t *testing.T) {
	b := newRunningBank(t)
	l := b.startLoad(8, func(r *rand.Rand) client.Transfer {
		from := r.Intn(len(historyAccounts))
		to := (from + 1 + r.Intn(len(historyAccounts)-1)) % len(historyAccounts)
		return units(historyAccounts[from], historyAccounts[to], uint64(1+r.Intn(4)))
	})
	l.awaitAck(t, 1)
	// A statement that is begun before the death and read to its end after it.
	begun := b.page(1, client.HistoryOptions{Limit: 1})
	killed, _ := b.awaitLeader(1, 0)
	b.kill(killed)
	l.awaitAck(t, 1)
	for from := begun; from.Next != ""; {
		from = b.page(1, client.HistoryOptions{Limit: 2, Cursor: from.Next})
		begun.Lines = append(begun.Lines, from.Lines...)
	}
	mustAddUp(t, begun)
	stale := b.page(1, client.HistoryOptions{ReadOptions: client.ReadOptions{Stale: true}, Limit: client.MaxHistoryLines})
	if stale.Strong || stale.Server == killed || stale.Heard != 2 {
		t.Errorf("a stale statement with a server dead: %+v", stale)
	}
	mustAddUp(t, stale)
	b.restart(killed)
	l.awaitAck(t, 1)
	results := l.stop()
	b.awaitNothingPrepared()
	b.mustAgree(results)

	for _, a := range historyAccounts {
		whole := b.page(a, client.HistoryOptions{Limit: client.MaxHistoryLines})
		mustAddUp(t, whole)
		if want := b.strongBalance(a); whole.Lines[0].Balance != want.String() || whole.Balance != want.String() {
			t.Errorf("account %s: the newest line says %s, the statement %s, a strong read %s", a, whole.Lines[0].Balance, whole.Balance, want)
		}
		b.mustTellAll(whole, results)
		if a == 1 && !slices.Equal(begun.Lines, whole.Lines[len(whole.Lines)-len(begun.Lines):]) {
			t.Errorf("the statement that was read over the leader's death is no part of the whole")
		}
		id, _ := b.Topology.ShardOf(a)
		for _, n := range process.ServersOf(id) {
			b.awaitCaughtUp(n)
			var pages []api.HistoryLine
			args := []string{"history", a.String(), "--server", fmt.Sprint(n), "--limit", "100", "-o", "json"}
			for cursor := ""; ; {
				out := b.run(append(args, "--cursor", cursor)...)
				var h api.History
				if err := json.Unmarshal([]byte(out.Out), &h); err != nil || out.Code != 0 || h.Server != n {
					t.Fatalf("history of %s at server %d: exit %d, %v\n%s\n%s", a, n, out.Code, err, out.Out, out.Err)
				}
				pages = append(pages, h.Lines...)
				if cursor = h.Next; cursor == "" {
					break
				}
			}
			if !slices.Equal(pages, whole.Lines) {
				t.Errorf("server %d tells another statement of account %s: %d lines, not %d", n, a, len(pages), len(whole.Lines))
			}
		}
		t.Logf("account %s: %d lines, the same on three replicas", a, len(whole.Lines))
	}
	b.mustTellOutcomes(results)
	b.mustConserve()
}

// page reads a page of a statement.
func (b *bank) page(a client.Account, o client.HistoryOptions) api.History {
	b.t.Helper()
	var h api.History
	await(b.t, leadBound, "a page of the statement of "+a.String(), func() (bool, string) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var err error
		h, err = b.client.History(ctx, a, o)
		return err == nil && h.Error == nil, fmt.Sprint(err, h.Error)
	})
	return h
}

// mustAddUp checks every running balance against the line before it.
func mustAddUp(t *testing.T, h api.History) {
	t.Helper()
	balance := new(big.Int)
	for i := len(h.Lines) - 1; i >= 0; i-- {
		l := &h.Lines[i]
		if (l.Result == api.LineOpening) != (i == len(h.Lines)-1) {
			t.Fatalf("account %s, line %d of %d: %+v", h.Account, i, len(h.Lines), l)
		}
		if l.Result == api.LinePosted || l.Result == api.LineOpening {
			amount, _ := new(big.Int).SetString(l.Amount, 10)
			balance.Add(balance, amount)
		}
		if l.Balance != balance.String() {
			t.Fatalf("account %s, line %d: %+v, the lines before it make %s", h.Account, i, l, balance)
		}
	}
	if balance.String() != h.Balance {
		t.Fatalf("account %s: the lines make %s, the balance is %s", h.Account, balance, h.Balance)
	}
}

// mustTellAll checks that the posted lines of an account are the transfers that were told to be committed, and at most
// such of which nothing was told.
func (b *bank) mustTellAll(h api.History, results []client.Result) {
	b.t.Helper()
	posted := map[string]string{}
	for i := range h.Lines {
		if l := &h.Lines[i]; l.Result == api.LinePosted {
			if posted[l.ID] != "" {
				b.t.Errorf("account %s: %s is posted twice", h.Account, l.ID)
			}
			posted[l.ID] = l.Counterparty + " " + l.Amount
		}
	}
	for i := range results {
		r := &results[i].Transfer
		want := ""
		switch h.Account {
		case r.From.String():
			want = r.To.String() + " -" + r.Amount.String()
		case r.To.String():
			want = r.From.String() + " " + r.Amount.String()
		default:
			continue
		}
		got := posted[r.ID.String()]
		delete(posted, r.ID.String())
		if results[i].Outcome == client.Unknown && got == "" {
			continue
		}
		if committed := results[i].Outcome == client.Committed || results[i].Outcome == client.Unknown; committed && got != want || !committed && got != "" {
			b.t.Errorf("account %s, transfer %s, which is %s: the statement has %q, want %q", h.Account, r.ID, results[i].Outcome, got, want)
		}
	}
	if len(posted) > 0 {
		b.t.Errorf("account %s: lines of transfers that nobody made: %v", h.Account, posted)
	}
}

// mustTellOutcomes asks for some transfers by id, with the program and with the client.
func (b *bank) mustTellOutcomes(results []client.Result) {
	b.t.Helper()
	told := map[client.Outcome]int{}
	for i := range results {
		r := &results[i]
		if told[r.Outcome]++; told[r.Outcome] > 10 || r.Outcome != client.Committed && r.Reason != ledger.ReasonInsufficientFunds {
			continue
		}
		out := b.run("get-transfer", r.Transfer.ID.String(), "-o", "json")
		var v api.TransferRecord
		if err := json.Unmarshal([]byte(out.Out), &v); err != nil || out.Code != 0 || v.Outcome != r.Outcome.String() ||
			v.From != r.Transfer.From.String() || v.Amount != r.Transfer.Amount.String() {
			b.t.Errorf("get-transfer of %s: exit %d, %v\n%s\n%s", outcomeText(*r), out.Code, err, out.Out, out.Err)
		}
	}
	if out := b.run("get-transfer", client.NewID().String()); out.Code != 3 {
		b.t.Errorf("get-transfer of an id that nobody used: exit %d\n%s", out.Code, out.Err)
	}
}
