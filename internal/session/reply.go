package session

import (
	"math"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// StepReply takes a message from a server. What answers no open request is ignored.
func (e *Engine) StepReply(from shard.ServerID, m wire.Message) {
	s := e.server(from)
	reply, ok := m.(*wire.Reply)
	if s == nil || !ok {
		return
	}
	e.awake(s)
	if reply.Request == 0 && reply.Leader == s.id && s.shard.leader == nil {
		s.shard.leader = s // slow, but it leads
	}
	r := e.requests.Get(reply.Request)
	if r == nil || r.server != s || e.crash.holdsReply(e, r, reply) {
		return
	}
	if reply.Status != wire.StatusOK {
		e.onRefusal(r, reply)
		return
	}
	switch r.kind {
	case itemFinish:
		e.forget(r)
		e.crash.finishAnswered()
	case itemCall:
		e.onCallReply(r, reply)
	case itemAudit:
		e.forget(r)
		e.served(s)
		e.onAudit(r.items[0], reply)
	case itemInquire, itemInquireCancel:
		e.onAnswers(r, reply) // any replica may answer: says nothing of who leads
	default:
		e.served(s)
		e.onAnswers(r, reply)
	}
}

func (e *Engine) onCallReply(r *request, reply *wire.Reply) {
	e.forget(r)
	it := r.items[0]
	if it.server == nil {
		e.served(r.server)
	}
	if !it.op.over {
		e.complete(it.op, Result{Reply: reply, Server: r.server.id})
	}
}

// onAnswers hands the results of a reply to the items they answer.
func (e *Engine) onAnswers(r *request, reply *wire.Reply) {
	if r.group != nil {
		e.onGroupReply(r, reply)
		return
	}
	votes := voteFinder{blocks: reply.Blocks}
	for _, run := range reply.Committed {
		e.itemsDone(r, itemTransfer, ledger.Committed, run, &votes)
	}
	for _, run := range reply.Voted {
		e.itemsDone(r, itemPrepare, ledger.Prepared, run, &votes)
	}
	for i := range reply.Results {
		res := &reply.Results[i]
		if int(res.Item) >= len(r.items) || r.items[res.Item] == nil {
			continue // a duplicate, or nothing that was asked
		}
		it := r.items[res.Item]
		r.items[res.Item] = nil
		r.open--
		if it.op.over {
			continue
		}
		switch r.kind {
		case itemStatus:
			it.closed = true
			e.onStatus(it, res)
		case itemCancel:
			// Copies of one question count once: tombstones are counted by shard.
			if it.closed {
				invariant.Sometimes("session: a shard answered a CANCEL twice")
			}
			if !it.closed || planted.On(planted.TombstoneTwice) {
				it.closed = true
				e.onCancelled(it, res)
			}
		default:
			e.onVote(it, res, &votes)
		}
	}
	if r.open == 0 {
		e.forget(r)
	}
}

// itemsDone hands a run of transfers that committed, or were voted YES on, to their coordinators.
func (e *Engine) itemsDone(r *request, kind itemKind, state ledger.TransferState, run wire.Run, votes *voteFinder) {
	res := wire.Result{Code: ledger.ResultState, State: state}
	for n := run.First; n-run.First < run.Count && int(n) < len(r.items); n++ {
		it := r.items[n]
		if it == nil || r.kind != kind {
			continue
		}
		r.items[n] = nil
		r.open--
		if !it.op.over {
			e.onVote(it, &res, votes)
		}
	}
}

// onVote hands a shard's answer to the transfer's coordinator.
func (e *Engine) onVote(it *item, res *wire.Result, votes *voteFinder) {
	c := it.coord
	a := txn.Answer{
		Code: res.Code, State: res.State, Reason: res.Reason,
		Account: res.Account, Available: res.Available,
	}
	if c.Cross() {
		a.Vote, a.Block = votes.find(it.shard.id, c.Record().ID, c.Digest())
	}
	if e.o.Trace {
		e.step(it.op, it.shard.id, answerText(a))
	}
	var room [txn.MaxActions]txn.Action
	e.act(it.op, c, c.OnAnswer(room[:0], it.shard.id, &a))
	if it.op.over {
		return
	}
	if d, _ := c.Decision(); d != txn.Undecided {
		it.closed = true
		return
	}
	if c.Cross() && a.Vote == nil || res.State == ledger.None && res.Code != ledger.ResultConflict {
		// No vote came of it: ask again, but not at once.
		e.retryLater(it, electionTicks)
		return
	}
	it.closed = true
}

// answerText says what a shard answered, for the timeline.
func answerText(a txn.Answer) string {
	switch {
	case a.Code == ledger.ResultConflict:
		return "refused: " + ledger.ReasonIDConflict.String()
	case a.Code != ledger.ResultState || a.State == ledger.None:
		return "no vote"
	case a.State == ledger.Prepared:
		return "voted YES"
	case a.State == ledger.Aborted:
		return "voted NO: " + a.Reason.String()
	}
	return a.State.String()
}

// onRefusal handles a status that holds for every item still open.
func (e *Engine) onRefusal(r *request, reply *wire.Reply) {
	e.forget(r)
	e.refusedBy(r.server, reply)
	if r.kind == itemFinish {
		e.refinish(r.server.shard, r.chunk)
		return
	}
	sure := reply.Status != wire.StatusLost && reply.Status <= wire.StatusLost
	final := reply.Status == wire.StatusWrongShard || reply.Status == wire.StatusBadRequest
	if r.group != nil {
		e.groupRefused(r, sure, final)
		return
	}
	for _, it := range r.items {
		if it == nil || it.op.over {
			continue
		}
		if sure && (it.kind == itemTransfer || it.kind == itemPrepare) {
			it.coord.Refused()
		}
		switch {
		case it.kind == itemCall && it.server != nil:
			e.complete(it.op, Result{Reply: reply, Server: r.server.id})
		case final:
			e.refusedForGood(it, reply)
		default:
			e.requeue(it)
			e.shed(it.op)
		}
	}
}

// refusedForGood ends what asking again cannot mend: the server's configuration or version
// disagrees with the client's.
func (e *Engine) refusedForGood(it *item, reply *wire.Reply) {
	it.closed = true
	switch it.op.kind {
	case opTransfer:
		switch {
		case !it.coord.Settling():
			e.expire(it.op)
		case !it.coord.MayBeApplied():
			e.expireForGood(it.op)
		}
	case opSettle:
		// The other shards' answers may suffice; if not, the deadline ends it.
	case opCall:
		e.complete(it.op, Result{Reply: reply, Server: it.shard.servers[0].id})
	case opAudit:
		e.expireForGood(it.op)
	default:
		panic("unreachable: op kind")
	}
}

// forget drops a request.
func (e *Engine) forget(r *request) {
	if e.requests.Remove(r.id) && r.kind == itemFinish {
		e.finishing--
	}
	r.lands()
}

// resend queues the open items of a request again. They may be appended by now: a copy is safe
// because of the ids.
func (e *Engine) resend(r *request) {
	if r.kind == itemFinish {
		e.forget(r)
		e.refinish(r.server.shard, r.chunk)
		return
	}
	if r.group != nil {
		e.queueGroup(r.group)
	}
	for _, it := range r.items {
		if it != nil {
			e.requeue(it)
		}
	}
}

// voteFinder finds votes in the blocks of a reply. Each block has the order of the items, so if all say YES the next
// vote of some block is the one wanted. Else a table finds it: to search would take the square of the votes' number.
type voteFinder struct {
	blocks []txn.Block
	next   []int          // by block
	byID   ledger.IDTable // of the votes, counted through all blocks from 1 on, once made
	made   bool
}

func (f *voteFinder) find(s shard.ID, id ledger.TransferID, d ledger.Digest) (*txn.Vote, *txn.Block) {
	if f.next == nil {
		f.next = make([]int, len(f.blocks))
	}
	for i := range f.blocks {
		if v := f.at(i, f.next[i], s, &id, &d); v != nil {
			f.next[i]++
			return v, &f.blocks[i]
		}
	}
	n := f.place(id)
	for i := range f.blocks {
		if n >= len(f.blocks[i].Votes) {
			n -= len(f.blocks[i].Votes)
			continue
		}
		if v := f.at(i, n, s, &id, &d); v != nil {
			f.next[i] = n + 1
			return v, &f.blocks[i]
		}
		break
	}
	return nil, nil
}

// at returns the n-th vote of a block if it is the one wanted.
func (f *voteFinder) at(i, n int, s shard.ID, id *ledger.TransferID, d *ledger.Digest) *txn.Vote {
	b := &f.blocks[i]
	if b.Shard != s || n >= len(b.Votes) || b.Votes[n].ID != *id || b.Votes[n].Digest != *d {
		return nil
	}
	return &b.Votes[n]
}

// place returns where an id's vote stands, counted through all blocks; if it has none, behind them. Of several votes of one id,
// which no sound server sends, it is the first.
func (f *voteFinder) place(id ledger.TransferID) int {
	if !f.made {
		f.byID, f.made = ledger.NewIDTable(), true
		n := int32(0)
		for i := range f.blocks {
			for k := range f.blocks[i].Votes {
				n++
				f.byID.PutNew(f.blocks[i].Votes[k].ID, n)
			}
		}
	}
	if n := f.byID.Get(id); n > 0 {
		return int(n) - 1
	}
	return math.MaxInt
}
