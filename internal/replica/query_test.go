package replica

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

func queried[T any](b *bank, s shard.ServerID, m *wire.QueryRequest) (v T) {
	b.t.Helper()
	m.Header = wire.Header{} // of this server's shard
	r := b.ask(s, m)
	if r.Status != wire.StatusOK {
		b.t.Fatalf("%+v: status %d: %s", m, r.Status, r.Text)
	}
	if err := json.Unmarshal(r.Body, &v); err != nil {
		b.t.Fatal(err)
	}
	return v
}

// pagesOf reads a statement in pages of n lines, each from the next of the servers given.
func (b *bank) pagesOf(a shard.Account, strong bool, n uint32, servers ...shard.ServerID) []api.HistoryLine {
	b.t.Helper()
	m := &wire.QueryRequest{Kind: wire.QueryStatement, Strong: strong, Account: a, Limit: n}
	var all []api.HistoryLine
	for i := 0; ; i++ {
		h := queried[api.History](b, servers[i%len(servers)], m)
		all = append(all, h.Lines...)
		if m.Cursor = h.Next; h.Next == "" {
			return all
		}
		if len(h.Lines) != int(n) {
			b.t.Fatalf("a page of %d lines, want %d", len(h.Lines), n)
		}
	}
}

func linesText(lines []api.HistoryLine) string {
	var s []string
	for _, l := range lines {
		s = append(s, fmt.Sprintf("%s %s %s = %s/%s", l.Result, l.Amount, l.Counterparty, l.Balance, l.Available))
	}
	return strings.Join(s, ", ")
}

// TestStatement reads one account's statement: strongly, from each replica, and in pages from all of them in turn.
func TestStatement(t *testing.T) {
	b := newBank(t).boot()
	b.transfer(record(1, 3, 4, 2))
	b.transfer(record(2, 4, 3, 5))
	b.transfer(record(3, 3, 4, 100)) // refused: not a line
	kept, given := record(4, 3, 1003, 6), record(5, 3, 2003, 1)
	for _, s := range []shard.ID{1, 2} {
		b.prepare(s, kept)
	}
	b.ask(b.leader(3), &wire.CancelRequest{IDs: []ledger.TransferID{given.ID}})
	b.prepare(1, given)
	b.tick(60) // the participants finish both
	in := record(6, 1003, 3, 9)
	b.prepare(1, in)
	b.tick(6)
	const want = "announced 9 1003 = 7/7, released -1 2003 = 7/7, posted -6 1003 = 7/6, reserved -1 2003 = 13/6, " +
		"reserved -6 1003 = 13/7, posted 5 4 = 13/13, posted -2 4 = 8/8, opening 10  = 10/10"
	servers := []shard.ServerID{1, 2, 3}
	for _, s := range servers {
		got := b.pagesOf(3, false, 100, s)
		// The two transfers may be finished in either order.
		if text := linesText(got); text != want && text != strings.Replace(want, "released -1 2003 = 7/7, posted -6 1003 = 7/6", "posted -6 1003 = 7/7, released -1 2003 = 13/7", 1) {
			t.Errorf("server %s:\n%s\nwant\n%s", s, text, want)
		}
		for n := uint32(1); n < 9; n++ {
			if pages := b.pagesOf(3, false, n, servers...); !slices.Equal(pages, got) {
				t.Errorf("in pages of %d: %s", n, linesText(pages))
			}
		}
		if strong := b.pagesOf(3, true, 3, b.leader(1)); !slices.Equal(strong[1:], got[1:]) {
			t.Errorf("strong: %s", linesText(strong))
		}
	}
	h := queried[api.History](b, 2, &wire.QueryRequest{Kind: wire.QueryStatement, Account: 3, Limit: 1})
	applied, _ := b.replicas[2].state.Applied()
	if h.Balance != "7" || h.PendingIn != "9" || h.Applied != applied || h.Server != 2 || h.Strong || h.Cluster != "C1" || h.Account != "3" {
		t.Errorf("%+v", h)
	}
}

// TestStrongStatementSettles: a transfer that its client knows to be committed is told as posted, though no
// participant has heard so yet.
func TestStrongStatementSettles(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	b.prepare(1, rec)
	b.prepare(2, rec)
	stale := queried[api.History](b, b.leader(1), &wire.QueryRequest{Kind: wire.QueryStatement, Account: 3})
	if got := linesText(stale.Lines); got != "reserved -4 1003 = 10/6, opening 10  = 10/10" || stale.PendingOut != "4" {
		t.Errorf("stale: %s", got)
	}
	n := b.call(b.leader(1), &wire.QueryRequest{Kind: wire.QueryStatement, Strong: true, Account: 3})
	b.tick(6)
	var strong api.History
	if err := json.Unmarshal(b.one(n).Body, &strong); err != nil {
		t.Fatal(err)
	}
	if got := linesText(strong.Lines); got != "posted -4 1003 = 6/6, reserved -4 1003 = 10/6, opening 10  = 10/10" || !strong.Strong {
		t.Errorf("strong: %s", got)
	}
	lead := b.replicas[b.leader(1)]
	if len(lead.settling) != 0 || lead.reads.waiting != 0 {
		t.Errorf("still held: %d settlements, %d reads", len(lead.settling), lead.reads.waiting)
	}
}

// TestShardTransfer asks for an id on every replica, before and after.
func TestShardTransfer(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	rec.UserData, rec.Code = 1<<63, 7
	ask := &wire.QueryRequest{Kind: wire.QueryTransfer, ID: rec.ID}
	if got := queried[api.ShardTransfer](b, 2, ask); got.State != "none" || len(got.Entries) != 0 || !got.Up || got.Applied == 0 {
		t.Errorf("before: %+v", got)
	}
	b.prepare(1, rec)
	b.prepare(2, rec)
	b.tick(60)
	for _, s := range b.servers() {
		got := queried[api.ShardTransfer](b, s, ask)
		if got.Shard == 3 {
			if got.State != "none" {
				t.Errorf("server %s, no participant: %+v", s, got)
			}
			continue
		}
		if got.State != "committed" || got.UserData != 1<<63 || got.Code != 7 || len(got.Digest) != 64 || len(got.Entries) != 2 ||
			got.Entries[0].Kind != "prepare" || got.Entries[1].Kind != "commit" || got.Entries[1].Amount != "4" {
			t.Errorf("server %s: %+v", s, got)
		}
	}
	strong := &wire.QueryRequest{Kind: wire.QueryTransfer, ID: rec.ID, Strong: true}
	if got := queried[api.ShardTransfer](b, b.leader(2), strong); got.State != "committed" || !got.Strong || got.Role != "leader" {
		t.Errorf("strong: %+v", got)
	}
}

// TestQueriesAreRefused puts questions that cannot be answered.
func TestQueriesAreRefused(t *testing.T) {
	b := newBank(t).boot()
	b.transfer(record(1, 3, 4, 2))
	lead := b.leader(1)
	follower := lead%3 + 1
	page := queried[api.History](b, lead, &wire.QueryRequest{Kind: wire.QueryStatement, Account: 3, Limit: 1})
	for _, c := range []struct {
		name   string
		server shard.ServerID
		m      wire.QueryRequest
		want   wire.Status
	}{
		{"an unknown kind", lead, wire.QueryRequest{Kind: 9}, wire.StatusBadRequest},
		{"another shard's account", lead, wire.QueryRequest{Kind: wire.QueryStatement, Account: 1003}, wire.StatusBadRequest},
		{"no cursor", lead, wire.QueryRequest{Kind: wire.QueryStatement, Account: 3, Cursor: "x"}, wire.StatusBadRequest},
		{"another account's cursor", lead, wire.QueryRequest{Kind: wire.QueryStatement, Account: 4, Cursor: page.Next}, wire.StatusBadRequest},
		{"strong, of a follower", follower, wire.QueryRequest{Kind: wire.QueryStatement, Account: 3, Strong: true}, wire.StatusNotLeader},
		{"a transfer, strong, of a follower", follower, wire.QueryRequest{Kind: wire.QueryTransfer, Strong: true}, wire.StatusNotLeader},
		{"another shard", lead, wire.QueryRequest{Header: wire.Header{Shard: 2}, Kind: wire.QueryTransfer}, wire.StatusWrongShard},
	} {
		if r := b.ask(c.server, &c.m); r.Status != c.want || len(r.Body) != 0 {
			t.Errorf("%s: status %d (%s), want %d", c.name, r.Status, r.Text, c.want)
		}
	}
}

// TestQueriesAreBounded: a page has its bound, and what is read in one turn too.
func TestQueriesAreBounded(t *testing.T) {
	b := newBank(t).boot()
	m := &wire.TransferRequest{}
	for i := range uint64(2 * MaxStatementLines) {
		r := record(0, 1+shard.Account(i%2), 2-shard.Account(i%2), 1)
		binary.BigEndian.PutUint64(r.ID[:], i+1)
		m.Records = append(m.Records, r)
	}
	b.ask(b.leader(1), m)
	b.tick(6) // a follower hears of the commit with a later message
	page := queried[api.History](b, 2, &wire.QueryRequest{Kind: wire.QueryStatement, Account: 1, Limit: 1 << 30})
	if len(page.Lines) != MaxStatementLines || page.Next == "" {
		t.Errorf("a page of %d lines, next %q", len(page.Lines), page.Next)
	}
	if all := b.pagesOf(1, true, 100, b.leader(1)); len(all) != 2*MaxStatementLines+1 || all[0].Balance != "10" {
		t.Errorf("%d lines, newest %+v", len(all), all[0])
	}
	const sent = 40
	var calls []uint64
	for range sent {
		calls = append(calls, b.call(2, &wire.QueryRequest{Kind: wire.QueryStatement, Account: 1}))
	}
	b.settle()
	answered, busy := 0, 0
	for _, n := range calls {
		switch r := b.one(n); r.Status {
		case wire.StatusOK:
			answered++
		case wire.StatusBusy:
			busy++
		default:
			t.Errorf("status %d: %s", r.Status, r.Text)
		}
	}
	if answered != maxQueriedRows/MaxStatementLines || busy != sent-answered {
		t.Errorf("%d pages answered in one turn, %d busy", answered, busy)
	}
	if r := b.ask(2, &wire.QueryRequest{Kind: wire.QueryStatement, Account: 1}); r.Status != wire.StatusOK {
		t.Errorf("in the next turn: status %d: %s", r.Status, r.Text)
	}
}
