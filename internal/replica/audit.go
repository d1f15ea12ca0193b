package replica

import (
	"encoding/json"
	"fmt"

	"raftbank/internal/api"
	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// auditPatienceTicks is for how long a leader lets its shard withhold before it logs VOID: 500 ms.
const auditPatienceTicks = 10

// maxCollects bounds the audits whose transfers a leader settles at a time.
const maxCollects = 16

// maxCutRows bounds the rows that one answer about a cut reads: more, and the cut is too old.
const maxCutRows = 1 << 20

// patience is a leader's clock on the number for which its shard withholds.
type patience struct {
	number uint32
	since  uint64 // tick
}

// collecting is an audit whose contained transfers are being settled.
type collecting struct {
	call   call
	number uint32
}

// audit serves the steps of an audit (docs/PROTOCOL.md, section 9). What they are answered says nothing of
// any entry after a BARRIER, so these answers are never withheld.
func (r *Replica) audit(c call, m *wire.AuditRequest) {
	if !r.leading(c) || !r.room(c, 0) {
		return
	}
	kind := ledger.CommandKind(0)
	switch m.Step {
	case wire.AuditAllocate:
		if r.state.Withholding() != 0 {
			// Another audit runs; a higher number would void it.
			r.answers.audit(c, &ledger.Result{Code: ledger.ResultDefer})
			return
		}
		kind, m.Number = ledger.CmdAllocate, 0
	case wire.AuditBarrier:
		if why := r.badNumber(m); why != "" {
			r.answers.status(c, wire.StatusBadRequest, why)
			return
		}
		kind = ledger.CmdBarrier
	case wire.AuditRelease:
		kind = ledger.CmdRelease
	case wire.AuditVoid:
		kind = ledger.CmdVoid
	case wire.AuditConfirm, wire.AuditCollect:
		if planted.On(planted.AuditStaleConfirm) && m.Step == wire.AuditConfirm {
			r.readAuditStep(c, m)
			return
		}
		if r.roomToRead(c) {
			r.reads.add(&readOp{kind: readAudit, call: c, audit: m})
		}
		return
	default:
		r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("an audit has no step %d", m.Step))
		return
	}
	r.enqueue(ledger.Command{Kind: kind, Numbers: []uint32{m.Number}}, []waiter{one(c, 0)}, 64)
}

// badNumber says why a BARRIER's number was not given out; "": it was. A client could else push the
// shards' epochs to the end of the numbers, after which no audit were possible.
func (r *Replica) badNumber(m *wire.AuditRequest) string {
	for i := range m.Blocks {
		b := &m.Blocks[i]
		if b.Shard == ledger.FirstShard(&r.smap) && len(b.Votes) == 1 && b.Votes[0].Fact == ledger.FactNumber &&
			b.Votes[0].Epoch == m.Number && m.Number != 0 && r.options.Keys.Verify(b) == nil {
			return ""
		}
	}
	return fmt.Sprintf("no certificate of %s says that audit number %d was given out", ledger.FirstShard(&r.smap), m.Number)
}

// deliverAudit answers a step that went through the log.
func (r *Replica) deliverAudit(w waiter, res *ledger.Result) {
	r.answers.audit(w.call, res)
	if res.Code == ledger.ResultAllocated {
		r.answers.vote(w.call, nil, &txn.Vote{Fact: ledger.FactNumber, Epoch: res.Epoch})
	}
}

// readAuditStep serves CONFIRM and COLLECT at a read point that is applied.
func (r *Replica) readAuditStep(c call, m *wire.AuditRequest) {
	cut, known := r.state.Cut(m.Number)
	res := ledger.Result{Code: ledger.ResultVoid, Epoch: m.Number, Index: cut.Index, Term: cut.Term}
	switch {
	case m.Number > r.state.Epoch():
		res.Code = ledger.ResultNoEffect // no BARRIER yet
	case !known || r.state.RowCount()-cut.Rows > maxCutRows:
	case m.Step == wire.AuditCollect:
		r.collect(c, m.Number)
		return
	case cut.Stage == ledger.StageWithholding || planted.On(planted.AuditVoidIgnored):
		res.Code = ledger.ResultWithholding
	case cut.Stage == ledger.StageReleased:
		res.Code = ledger.ResultReleased
	}
	r.answers.audit(c, &res)
}

// collect answers with this shard's part of a snapshot, after it has settled the transfers that voted before
// the cut: those that are decided are finished here, and their commit epoch says whether they are contained.
// All shards are past their cuts by now, so one that has not voted will vote with this number or a higher one:
// the transfer is not contained, whatever becomes of it, and is not waited for.
func (r *Replica) collect(c call, number uint32) {
	ids := r.state.PreparedBefore(number)
	switch {
	case len(ids) == 0 || planted.On(planted.AuditUnsettled):
		r.answerSnapshot(c, number)
	case r.lead.part == nil:
		r.answers.status(c, wire.StatusNotLeader, "")
	case r.collects >= maxCollects:
		r.busy(c, "too many audits are being settled")
	default:
		invariant.Sometimes("replica: settled what an audit's cut found prepared")
		r.collects++
		r.settling[r.lead.part.Settle(ids)] = afterSettle{audit: &collecting{call: c, number: number}}
	}
}

func (r *Replica) answerSnapshot(c call, number uint32) {
	n, ok := r.state.Snapshot(number)
	if !ok {
		r.answers.audit(c, &ledger.Result{Code: ledger.ResultVoid, Epoch: number})
		return
	}
	v := api.ShardAudit{
		Shard: int(r.options.Shard), Cluster: r.options.Shard.String(), Server: int(r.options.Server),
		Accounts: n.Accounts, Posted: n.Posted.String(), In: n.In.String(), Out: n.Out.String(),
		Unfinished: n.Unfinished, Total: n.Total().String(), Opened: r.opened(), CutIndex: n.Cut.Index,
	}
	body, err := json.Marshal(&v)
	if err != nil {
		panic(fmt.Sprintf("replica: marshal %T: %v", v, err))
	}
	r.answers.audit(c, &ledger.Result{Code: ledger.ResultReleased, Epoch: number, Index: n.Cut.Index, Term: n.Cut.Term})
	r.answers.ok(c).Body = body
}

// opened returns the sum of the users' opening balances; "0" before GENESIS.
func (r *Replica) opened() string {
	g := r.state.Genesis()
	if g == nil {
		return "0"
	}
	own, _ := g.Map.Range(r.options.Shard)
	n := ledger.Units(g.OpeningBalance).Big()
	return n.Mul(n, ledger.Units(own.Len()).Big()).String()
}

// followAudit tells the log of an audit's course.
func (r *Replica) followAudit(index uint64, c *ledger.Command, results []ledger.Result) {
	for i := range results {
		res := &results[i]
		switch {
		case c.Kind == ledger.CmdBarrier && res.Code == ledger.ResultWithholding && res.Index == index:
			r.counters.barriers++
			r.event(LevelInfo, "audit: withholds", "number", res.Epoch, "index", index)
		case c.Kind == ledger.CmdVoid && res.Code == ledger.ResultVoid:
			r.counters.voids++
			r.event(LevelInfo, "audit: void", "number", res.Epoch, "index", index)
		case c.Kind == ledger.CmdRelease && res.Code == ledger.ResultReleased:
			r.event(LevelInfo, "audit: released", "number", res.Epoch, "index", index)
		}
	}
}

// losePatience logs VOID if this leader's shard has withheld for too long. Nothing is disclosed before it is
// applied: a leader that just gave up might be deposed, and the next one confirm what is no longer withheld.
func (r *Replica) losePatience() {
	number := r.state.Withholding()
	switch p := &r.lead.patience; {
	case planted.On(planted.AuditFollowerPatience) && r.lead.part == nil && r.now%auditPatienceTicks == 0:
		r.release()
	case r.lead.part == nil || number == 0 || planted.On(planted.AuditNoPatience):
	case p.number != number:
		*p = patience{number: number, since: r.now}
	case r.now-p.since >= auditPatienceTicks:
		p.since = r.now // once more if this one is lost
		r.giveUpAudit(number)
	}
}

func (r *Replica) giveUpAudit(number uint32) {
	invariant.Sometimes("replica: lost patience with an audit")
	if planted.On(planted.AuditVoidUnlogged) {
		r.release()
		return
	}
	r.enqueue(ledger.Command{Kind: ledger.CmdVoid, Numbers: []uint32{number}}, nobody(1), 64)
}

// withheld are the replies that may not leave before the shard's withholding ends, in their order.
type withheld struct {
	replies []withheldReply
	calls   map[call]bool
	bytes   int
	voided  uint32 // number of the audit that was given up because of the bytes
}

type withheldReply struct {
	call  call
	reply *wire.Reply
}

// tells reports whether a reply could depend on an entry: a refusal and a FINISH's "taken" do not.
func tells(m *wire.Reply) bool {
	return len(m.Committed)+len(m.Voted)+len(m.Results)+len(m.Blocks)+len(m.Balances)+len(m.Body) > 0
}

// withhold keeps a reply. A refusal of a request of which something is withheld waits behind it: it speaks of
// the items that are then still open.
func (r *Replica) withhold(c call, m *wire.Reply) bool {
	h := &r.withheld
	if r.plantedLeak(c, m) {
		return false
	}
	if !tells(m) && !h.calls[c] {
		return false
	}
	if h.calls == nil {
		h.calls = map[call]bool{}
	}
	h.calls[c] = true
	h.replies = append(h.replies, withheldReply{call: c, reply: m})
	h.bytes += replyBytes(m)
	r.counters.withheld++
	number := r.state.Withholding()
	if h.bytes > r.options.Limits.WithheldBytes && r.lead.part != nil && h.voided != number {
		h.voided = number
		r.giveUpAudit(number)
	}
	return true
}

// roomToWithhold answers BUSY if too much is withheld already. Nothing of the request has been taken then.
func (r *Replica) roomToWithhold(c call) bool {
	if r.withheld.bytes <= r.options.Limits.WithheldBytes {
		return true
	}
	r.busy(c, "too many answers wait for an audit to end")
	return false
}

// release sends what was withheld.
func (r *Replica) release() {
	leader := r.leaderServer()
	for _, w := range r.withheld.replies {
		w.reply.Leader = leader
		r.out.Sends = append(r.out.Sends, Send{Server: shard.ServerID(w.call.server), Conn: w.call.conn, Message: w.reply})
	}
	r.withheld = withheld{}
}

// close drops what a client that has gone waited for.
func (h *withheld) close(conn uint64) {
	kept := h.replies[:0]
	for _, w := range h.replies {
		if w.call.server == 0 && w.call.conn == conn {
			delete(h.calls, w.call)
			h.bytes -= replyBytes(w.reply)
			continue
		}
		kept = append(kept, w)
	}
	clear(h.replies[len(kept):])
	h.replies = kept
}

// Sizes in memory of what replies hold.
const (
	replySize   = 272 // with what it takes to keep it
	runSize     = 8
	resultSize  = 64
	contentSize = 104
	balanceSize = 96
	blockSize   = 80
	voteSize    = 56
)

// replyBytes is the memory of a reply: of what its lists have room for, not of what they hold.
func replyBytes(m *wire.Reply) int {
	n := replySize + runSize*(cap(m.Committed)+cap(m.Voted)) + resultSize*cap(m.Results) + balanceSize*cap(m.Balances) +
		len(m.Text) + cap(m.Body) + blockSize*cap(m.Blocks)
	for i := range m.Results {
		if m.Results[i].Content != nil {
			n += contentSize
		}
	}
	for i := range m.Blocks {
		n += voteSize * cap(m.Blocks[i].Votes)
	}
	return n
}
