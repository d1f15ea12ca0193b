package replica

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/wire"
)

// Bounds of the work for questions about the history: it is done in the server's loop, between transfers, and
// every row may be a block that must be read from the disk. Who wants more asks again with the cursor.
const (
	// MaxStatementLines is how many lines a page of a statement has at most.
	MaxStatementLines = 256
	// maxQueriedRows is how many rows may be read for questions in one turn; above: BUSY.
	maxQueriedRows = 4096
)

// query answers a question about the history, at once from what is applied, or linearizably.
func (r *Replica) query(c call, m *wire.QueryRequest) {
	if r.state.Genesis() == nil {
		// Its accounts exist by the map: they must not be reported as missing.
		r.answers.status(c, wire.StatusNotReady, r.options.Shard.String()+" is not open yet")
		return
	}
	if m.Kind != wire.QueryStatement && m.Kind != wire.QueryTransfer {
		r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("server %s knows no question of kind %d", r.options.Server, m.Kind))
		return
	}
	if !m.Strong {
		r.answerQuery(c, m)
		return
	}
	if r.leading(c) && r.roomToRead(c) {
		r.reads.add(&readOp{kind: readQuery, call: c, query: m})
	}
}

// readQueried answers a question whose read point is applied. The newest page of a statement first settles what is
// pending on the account there, as a strong read of its balance does (docs/PROTOCOL.md, section 7): a transfer that
// was answered before must be told as posted, not as reserved. An outcome needs no settling: the votes of all
// participants are one. Nor does a page behind a cursor, whose rows are what they are.
func (r *Replica) readQueried(op *readOp) {
	if op.query.Kind != wire.QueryStatement || op.query.Cursor != "" {
		r.answerQuery(op.call, op.query)
		return
	}
	pending := r.state.PreparedOn(op.query.Account)
	slices.SortFunc(pending, func(a, b ledger.TransferID) int { return bytes.Compare(a[:], b[:]) })
	switch {
	case len(pending) == 0:
		r.answerQuery(op.call, op.query)
	case r.lead.part == nil:
		r.answers.status(op.call, wire.StatusNotLeader, "")
	default:
		s := &settlingRead{op: op, since: r.now}
		r.reads.waiting++
		s.token = r.lead.part.Settle(pending)
		r.settling[s.token] = afterSettle{read: s}
	}
}

// answerQuery answers from the applied state of this replica.
func (r *Replica) answerQuery(c call, m *wire.QueryRequest) {
	cost := 4 // rows of one transfer
	if m.Kind == wire.QueryStatement {
		cost = statementLimit(m)
	}
	if r.queried += cost; r.queried > maxQueriedRows {
		r.busy(c, "too many questions about the history at once")
		return
	}
	var v any
	var err error
	if m.Kind == wire.QueryStatement {
		v, err = r.statement(m)
	} else {
		v = r.shardTransfer(m)
	}
	if err != nil {
		r.answers.status(c, wire.StatusBadRequest, err.Error())
		return
	}
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("replica: marshal %T: %v", v, err))
	}
	r.answers.ok(c).Body = body
}

func statementLimit(m *wire.QueryRequest) int {
	if m.Limit == 0 || m.Limit > MaxStatementLines {
		return MaxStatementLines
	}
	return int(m.Limit)
}

func (r *Replica) freshness(strong bool) api.Freshness {
	st := r.rn.BasicStatus()
	applied, _ := r.state.Applied()
	return api.Freshness{
		Server: int(r.options.Server), Role: RoleText(st.RaftState), Strong: strong, Term: st.GetTerm(), Applied: applied,
	}
}

func (r *Replica) statement(m *wire.QueryRequest) (*api.History, error) {
	now, ok := r.state.Account(m.Account)
	if !ok {
		return nil, fmt.Errorf("%s does not hold account %s", r.options.Shard, m.Account)
	}
	var from *ledger.Cursor
	if m.Cursor != "" {
		var err error
		if from, err = ledger.ParseCursor(m.Cursor); err != nil {
			return nil, err
		}
	}
	lines, next, err := r.state.Statement(m.Account, from, statementLimit(m))
	if err != nil {
		return nil, err
	}
	h := &api.History{
		Account: m.Account.String(), Shard: int(r.options.Shard), Cluster: r.options.Shard.String(), Freshness: r.freshness(m.Strong),
		Balance: now.Balance().String(), Available: now.Spendable().String(),
		PendingIn: now.CreditsPending.String(), PendingOut: now.DebitsPending.String(),
		Lines: make([]api.HistoryLine, len(lines)),
	}
	for i := range lines {
		h.Lines[i] = historyLine(&lines[i])
	}
	if next != nil {
		h.Next = next.String()
	}
	return h, nil
}

func historyLine(l *ledger.StatementLine) api.HistoryLine {
	row := &l.Row
	out := api.HistoryLine{
		TimeNs: row.TimeNs, Index: row.Index, Term: row.Term, Row: row.Position,
		Balance: l.After.Balance().String(), Available: l.After.Spendable().String(),
	}
	if l.Opening {
		out.Result, out.Amount = api.LineOpening, l.After.Balance().String()
		return out
	}
	out.ID, out.Amount, out.Counterparty = row.Record.ID.String(), row.Record.Amount.String(), row.Record.Debit.String()
	if l.Debit {
		out.Amount, out.Counterparty = "-"+out.Amount, row.Record.Credit.String()
	}
	switch {
	case row.Kind == ledger.RowAbort:
		out.Result, out.Reason = api.LineReleased, row.Reason.String()
	case row.Kind != ledger.RowPrepare:
		out.Result = api.LinePosted
	case l.Debit:
		out.Result = api.LineReserved
	default:
		out.Result = api.LineAnnounced
	}
	return out
}

// shardTransfer tells what this shard holds under an id.
func (r *Replica) shardTransfer(m *wire.QueryRequest) *api.ShardTransfer {
	t := &api.ShardTransfer{
		Shard: int(r.options.Shard), Cluster: r.options.Shard.String(), Up: true, Freshness: r.freshness(m.Strong),
		State: ledger.None.String(), Entries: []api.Entry{},
	}
	o, ok := r.state.Lookup(m.ID)
	if !ok {
		return t
	}
	t.State = o.State.String()
	if o.Reason != ledger.ReasonNone {
		t.Reason = o.Reason.String()
	}
	if o.HasRecord {
		t.UserData, t.Code = o.Record.UserData, o.Record.Code
	}
	if o.Digest != (ledger.Digest{}) {
		t.Digest = hex.EncodeToString(o.Digest[:])
	}
	rows := r.state.RowsOf(m.ID)
	for i := range rows {
		t.Entries = append(t.Entries, entryOf(&rows[i]))
	}
	return t
}
