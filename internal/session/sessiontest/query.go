package sessiontest

import (
	"encoding/json"
	"fmt"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// query answers a question about the history. Of a statement's lines only what tests of clients look at is told.
func (b *Bank) query(to shard.ServerID, s shard.ID, m *wire.QueryRequest, reply *wire.Reply) {
	st := b.states[s]
	fresh := api.Freshness{Server: int(to), Role: "follower", Strong: m.Strong, Term: 1}
	if b.Leaders[s] == to {
		fresh.Role = "leader"
	}
	fresh.Applied, _ = st.Applied()
	if m.Kind == wire.QueryTransfer {
		o, _ := st.Lookup(m.ID)
		t := api.ShardTransfer{Shard: int(s), Cluster: s.String(), Up: true, Freshness: fresh, State: o.State.String(), Entries: entries(st, m.ID)}
		if o.Reason != ledger.ReasonNone {
			t.Reason = o.Reason.String()
		}
		reply.Body = encode(&t)
		return
	}
	if m.Strong && m.Cursor == "" {
		b.settle(s, m.Account)
	}
	h, err := statement(st, m)
	if err != nil {
		reply.Status, reply.Text = wire.StatusBadRequest, err.Error()
		return
	}
	h.Shard, h.Cluster, h.Freshness = int(s), s.String(), fresh
	reply.Body = encode(h)
}

// pageLines is what a page of a statement has at most.
const pageLines = 4

func statement(st *ledger.State, m *wire.QueryRequest) (*api.History, error) {
	var from *ledger.Cursor
	if m.Cursor != "" {
		var err error
		if from, err = ledger.ParseCursor(m.Cursor); err != nil {
			return nil, err
		}
	}
	n := pageLines
	if m.Limit > 0 {
		n = min(n, int(m.Limit))
	}
	lines, next, err := st.Statement(m.Account, from, n)
	if err != nil {
		return nil, err
	}
	now, ok := st.Account(m.Account)
	if !ok {
		return nil, fmt.Errorf("%s does not hold account %s", st.Shard(), m.Account)
	}
	h := &api.History{Account: m.Account.String(), Balance: now.Balance().String(), Available: now.Spendable().String(),
		PendingIn: now.CreditsPending.String(), PendingOut: now.DebitsPending.String(), Lines: []api.HistoryLine{}}
	for i := range lines {
		l := &lines[i]
		h.Lines = append(h.Lines, api.HistoryLine{ID: l.Row.Record.ID.String(), Amount: l.Row.Record.Amount.String(),
			Result: l.Row.Kind.String(), Balance: l.After.Balance().String(), Row: l.Row.Position})
	}
	if next != nil {
		h.Next = next.String()
	}
	return h, nil
}

func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic("sessiontest: " + err.Error())
	}
	return body
}

// entries are the rows of a transfer, oldest first.
func entries(st *ledger.State, id ledger.TransferID) []api.Entry {
	out := []api.Entry{}
	for _, r := range st.RowsOf(id) {
		e := api.Entry{Row: r.Position, Index: r.Index, Term: r.Term, Kind: r.Kind.String(), ID: id.String(), Outcome: r.State.String()}
		if r.Kind != ledger.RowTombstone {
			e.From, e.To, e.Amount = r.Record.Debit.String(), r.Record.Credit.String(), r.Record.Amount.String()
		}
		out = append(out, e)
	}
	return out
}
