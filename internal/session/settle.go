package session

import (
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// patienceTicks is how long a settlement waits for shards that do not answer, once another has
// shown it the transfer.
const patienceTicks = 100

// maxSettleRounds bounds how often a settlement starts over because the transfer moved meanwhile.
const maxSettleRounds = 3

// settlement is a Resolve or Cancel (docs/PROTOCOL.md, section 3): first STATUS on every shard; what
// is known is then settled by a recovery coordinator per content, and what is known nowhere is
// answered as not found, or written off with a wildcard tombstone on every shard.
type settlement struct {
	id       ledger.TransferID
	cancel   bool
	round    int
	answered []bool        // by position in Engine.shards
	results  []wire.Result // parallel, if answered
	coords   []*txn.Coordinator
	tombs    int // wildcard tombstones confirmed
	wildcard bool
	reason   ledger.Reason // of the tombstones
}

func newSettlement(id ledger.TransferID, cancel bool, shards int) *settlement {
	return &settlement{id: id, cancel: cancel, answered: make([]bool, shards), results: make([]wire.Result, shards)}
}

// silent lists the shards whose answer is missing.
func (s *settlement) silent(shards []*shardState) []*shardState {
	var out []*shardState
	for _, c := range s.coords {
		if p, ok := c.Silent(); ok {
			i := slices.IndexFunc(shards, func(sh *shardState) bool { return sh.id == p })
			return append(out, shards[i])
		}
	}
	for i, ok := range s.answered {
		if !ok {
			out = append(out, shards[i])
		}
	}
	return out
}

// askStatus asks every shard what it holds under the id.
func (e *Engine) askStatus(o *op) {
	s := o.settle
	clear(s.answered)
	s.round++
	for _, sh := range e.shards {
		e.enqueue(&item{op: o, kind: itemStatus, shard: sh})
	}
	e.step(o, 0, "STATUS to every cluster")
	e.arm(patienceTicks, timerPatience, uint64(o.id))
}

func (e *Engine) onStatus(it *item, res *wire.Result) {
	s := it.op.settle
	i := slices.Index(e.shards, it.shard)
	if s.answered[i] || s.coords != nil || s.wildcard {
		return // late, or a copy of an answer
	}
	s.answered[i], s.results[i] = true, *res
	e.step(it.op, it.shard.id, res.State.String())
	if !slices.Contains(s.answered, false) {
		e.settle(it.op)
	}
}

// impatient goes on without the shards that are silent, if another one knows the transfer.
func (e *Engine) impatient(o *op) {
	s := o.settle
	if s != nil && !s.cancel && planted.On(planted.SomeAnswers) {
		e.plantedSomeAnswers(o)
	}
	if s == nil || o.over || s.coords != nil || s.wildcard || len(s.contents()) == 0 {
		return
	}
	e.settle(o)
}

// contents lists the distinct records that shards hold under the id. There is more than one only if
// somebody used the id twice.
func (s *settlement) contents() []ledger.Record {
	var out []ledger.Record
	for i := range s.results {
		if known := s.results[i].Content; s.answered[i] && known != nil && known.HasRecord && !slices.Contains(out, known.Record) {
			out = append(out, known.Record)
		}
	}
	return out
}

// settle acts on the answers to STATUS.
func (e *Engine) settle(o *op) {
	s := o.settle
	records := s.contents()
	if len(records) == 0 {
		e.settleUnseen(o)
		return
	}
	reason := ledger.ReasonTimedOut
	if s.cancel {
		reason = ledger.ReasonCancelled
	}
	for i := range records {
		if parts := e.participants(&records[i]); parts != nil {
			s.coords = append(s.coords, txn.NewRecovery(records[i], parts, reason))
		}
	}
	if len(s.coords) > 1 {
		invariant.Sometimes("session: settled two contents of one id")
	}
	if len(s.coords) == 0 {
		e.settlementTimeout(o) // the servers' map disagrees with ours
		return
	}
	var room [txn.MaxActions]txn.Action
	for _, c := range slices.Clone(s.coords) {
		if o.over {
			return
		}
		if !c.Cross() {
			a := s.answerOf(e.shards, c)
			e.act(o, c, c.OnAnswer(room[:0], c.Participants()[0], &a))
			continue
		}
		e.act(o, c, c.Start(room[:0]))
	}
}

// answerOf returns the one participant's STATUS: its log has decided already.
func (s *settlement) answerOf(shards []*shardState, c *txn.Coordinator) txn.Answer {
	for i := range s.results {
		r := &s.results[i]
		if known := r.Content; s.answered[i] && known != nil && known.HasRecord && known.Record == *c.Record() && shards[i].id == c.Participants()[0] {
			return txn.Answer{Code: r.Code, State: r.State, Reason: r.Reason, Account: r.Account, Available: r.Available}
		}
	}
	return txn.Answer{}
}

func (e *Engine) participants(r *ledger.Record) []shard.ID {
	a, okA := e.routes.Shard(r.Debit)
	b, okB := e.routes.Shard(r.Credit)
	switch {
	case !okA || !okB:
		return nil
	case a == b:
		return []shard.ID{a}
	}
	return []shard.ID{min(a, b), max(a, b)}
}

// settleUnseen handles an id of which every shard answered and none holds the records.
func (e *Engine) settleUnseen(o *op) {
	s := o.settle
	tombs := 0
	s.reason = ledger.ReasonCancelled
	for i := range s.results {
		if s.results[i].State != ledger.Aborted {
			continue
		}
		tombs++
		// A wildcard has no digest.
		if known := s.results[i].Content; known != nil && known.Digest != (ledger.Digest{}) && !s.cancel {
			s.reason = s.results[i].Reason
		}
	}
	switch {
	case tombs == len(s.results),
		planted.On(planted.AnyTombstone) && s.cancel && tombs > 0,
		planted.On(planted.LoneTombstone) && !s.cancel && tombs > 0,
		planted.On(planted.StatusOnly) && s.cancel:
		e.complete(o, Result{Decision: txn.DecidedAborted, Reason: s.reason, Record: ledger.Record{ID: s.id}})
	case s.cancel || tombs > 0:
		// A tombstone binds its shard alone. Its content is not known, and so not whether the shard is a
		// participant at all: a stranger may have had it written at a bystander. So a tombstone, or a
		// cancel that stopped half-way, is completed on every shard by whoever finds it.
		s.wildcard, s.tombs = true, 0
		if planted.On(planted.TombstoneTwice) {
			s.tombs = tombs
		}
		for _, sh := range e.shards {
			e.enqueue(&item{op: o, kind: itemCancel, shard: sh})
		}
		e.step(o, 0, "CANCEL to every cluster")
	default:
		e.complete(o, Result{Decision: txn.DecidedUnavailable, NotFound: true, Record: ledger.Record{ID: s.id}})
	}
}

// onCancelled takes a shard's answer to CANCEL. If a PREPARE came first, the settlement starts over.
func (e *Engine) onCancelled(it *item, res *wire.Result) {
	o := it.op
	s := o.settle
	if !s.wildcard {
		return
	}
	e.step(o, it.shard.id, res.State.String())
	if res.State == ledger.Aborted {
		if s.tombs++; s.tombs == len(e.shards) || planted.On(planted.SomeShards) {
			e.complete(o, Result{
				Decision: txn.DecidedAborted, Reason: s.reason, Record: ledger.Record{ID: s.id},
			})
		}
		return
	}
	if s.round >= maxSettleRounds {
		e.settlementTimeout(o)
		return
	}
	s.wildcard = false
	invariant.Sometimes("session: a transfer came between status and cancel")
	for _, open := range o.open {
		open.closed = true
	}
	e.askStatus(o)
}

// settled ends the settlement once every content has its outcome: what committed counts, for at most
// one content of an id can move a given account's money and the other one is an abort.
func (e *Engine) settled(o *op) {
	best := (*txn.Coordinator)(nil)
	for _, c := range o.settle.coords {
		d, _ := c.Decision()
		if d == txn.Undecided {
			return
		}
		if best == nil || d == txn.DecidedCommitted {
			best = c
		}
	}
	d, reason := best.Decision()
	account, available := best.Explanation()
	e.step(o, 0, d.String())
	res := Result{
		Decision: d, Reason: reason, Account: account, Available: available,
		Record: *best.Record(), Cross: best.Cross(),
	}
	if d == txn.DecidedUnknown || d == txn.DecidedUnavailable {
		res.Shard, res.Detail = e.blame(o)
	}
	e.complete(o, res)
}

// settlementTimeout ends a settlement with what is known. It never claims that a transfer was not
// applied: it did not see it begin.
func (e *Engine) settlementTimeout(o *op) {
	s := o.settle
	var room [txn.MaxActions]txn.Action
	for _, c := range s.coords {
		e.act(o, c, c.GiveUp(room[:0]))
		if o.over {
			return
		}
	}
	res := Result{Decision: txn.DecidedUnknown, Record: ledger.Record{ID: s.id}}
	res.Shard, res.Detail = e.blame(o)
	e.complete(o, res)
}

// plantedSomeAnswers ends a resolve by what the shards show that have answered.
func (e *Engine) plantedSomeAnswers(o *op) {
	s, tombs, answers := o.settle, 0, 0
	for i, ok := range s.answered {
		if ok {
			answers++
		}
		if ok && s.results[i].State == ledger.Aborted {
			tombs++
		}
	}
	switch {
	case o.over || s.coords != nil || s.wildcard || len(s.contents()) > 0 || answers == 0:
	case tombs == answers:
		e.complete(o, Result{Decision: txn.DecidedAborted, Reason: ledger.ReasonCancelled, Record: ledger.Record{ID: s.id}})
	case tombs == 0:
		e.complete(o, Result{Decision: txn.DecidedUnavailable, NotFound: true, Record: ledger.Record{ID: s.id}})
	}
}
