package session

import (
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// timerKind tells timers apart.
type timerKind uint8

const (
	timerOp         timerKind = 1 + iota // an operation's deadline or grace
	timerRequest                         // a request without an answer
	timerReach                           // an operation needs a shard that was never reached
	timerPatience                        // a settlement goes on with the shards that answered
	timerAudit                           // an audit tries its next number
	timerGroup                           // a group's deadline
	timerGroupBusy                       // a group has waited for long, perhaps for a busy server
	timerOpBusy                          // a transfer between shards likewise
	timerGroupReach                      // a group needs a shard that was never reached
)

// timer names what it is for by number, so that it keeps nothing alive that is over: count of a kind, whose numbers
// follow each other from id on.
type timer struct {
	kind  timerKind
	count uint32
	id    uint64
}

// delayed is an item that goes out again later.
type delayed struct {
	tick uint64
	item *item
}

func (e *Engine) arm(ticks uint64, kind timerKind, id uint64) { e.armRun(ticks, kind, id, 1) }

// armRun arms a timer for each of count numbers from id on.
func (e *Engine) armRun(ticks uint64, kind timerKind, id uint64, count int) {
	at := e.now + max(ticks, 1)
	e.timers[at] = append(e.timers[at], timer{kind: kind, id: id, count: uint32(count)})
}

func (e *Engine) fire(kind timerKind, id uint64) {
	switch kind {
	case timerOp:
		if o := e.opOf(id); o != nil {
			e.expire(o)
		}
	case timerRequest:
		if r := e.requests.Get(id); r != nil {
			e.unanswered(r)
		}
	case timerReach:
		if o := e.opOf(id); o != nil {
			e.unreached(o)
		}
	case timerPatience:
		if o := e.opOf(id); o != nil {
			e.impatient(o)
		}
	case timerAudit:
		if o := e.opOf(id); o != nil {
			e.resumeAudit(o)
		}
	case timerGroup:
		if g := e.groups.Get(id); g != nil {
			e.expireGroup(g)
		}
	case timerGroupBusy:
		if g := e.groups.Get(id); g != nil {
			e.shedGroup(g)
		}
	case timerOpBusy:
		if o := e.opOf(id); o != nil {
			e.shed(o)
		}
	case timerGroupReach:
		if g := e.groups.Get(id); g != nil {
			e.unreachedGroup(g)
		}
	default:
		panic("unreachable: timer kind")
	}
}

// expire ends an operation's wait. A transfer that may have been applied is poisoned first.
func (e *Engine) expire(o *op) {
	if o.kind != opTransfer {
		e.expireForGood(o)
		return
	}
	if o.coord.Settling() && e.now < o.endTick {
		return // a refusal began the settling before the deadline
	}
	if o.coord.MayBeApplied() && !o.coord.Settling() {
		e.step(o, 0, "asking with poison")
		invariant.Sometimes("session: poisoned a transfer at its deadline")
		o.endTick = e.now + e.o.GraceTicks
		e.arm(e.o.GraceTicks, timerOp, uint64(o.id))
	}
	var room [txn.MaxActions]txn.Action
	e.act(o, o.coord, o.coord.Expire(room[:0]))
}

// reachTicks is how long an operation waits for a shard that this client has never reached. A shard
// that it has reached may be electing a leader, which is worth the whole deadline.
const reachTicks = 100

// armReach arms the timer if one of the shards was never reached.
func (e *Engine) armReach(o *op, shards ...shard.ID) {
	for _, s := range shards {
		if sh := e.shardBy(s); sh != nil && !sh.everUp {
			e.arm(reachTicks, timerReach, uint64(o.id))
			return
		}
	}
}

// unreached ends an operation that still cannot be sent.
func (e *Engine) unreached(o *op) {
	var needs []shard.ID
	switch {
	case o.kind == opTransfer && !o.coord.MayBeApplied():
		needs = o.coord.Participants()
	case o.kind == opCall:
		needs = []shard.ID{o.call.Shard}
	case o.kind == opAudit:
		for _, sh := range e.shards {
			needs = append(needs, sh.id)
		}
	}
	for _, s := range needs {
		if sh := e.shardBy(s); sh != nil && !sh.everUp {
			e.expireForGood(o)
			return
		}
	}
}

// expireForGood ends an operation with what is known.
func (e *Engine) expireForGood(o *op) {
	switch o.kind {
	case opTransfer:
		var room [txn.MaxActions]txn.Action
		e.act(o, o.coord, o.coord.GiveUp(room[:0]))
	case opSettle:
		e.settlementTimeout(o)
	case opCall, opAudit:
		e.complete(o, e.endResult(o, txn.DecidedUnavailable))
	default:
		panic("unreachable: op kind")
	}
}

// retryLater sends an item again after some ticks.
func (e *Engine) retryLater(it *item, ticks uint64) {
	e.delayed = append(e.delayed, delayed{tick: e.now + ticks, item: it})
}

func (e *Engine) tickDelayed() {
	e.delayed = slices.DeleteFunc(e.delayed, func(d delayed) bool {
		if d.tick > e.now {
			return false
		}
		e.requeue(d.item)
		return true
	})
}

// unanswered handles a request that has waited for AnswerTicks. As long as its server shows life it gets more
// time: it is only slow, and a copy would come on top of what it is slow with. If it is silent, another replica is
// asked who leads. The request stays open: a late answer counts.
func (e *Engine) unanswered(r *request) {
	if !r.alive() {
		e.forget(r)
		return
	}
	srv := r.server
	e.arm(e.o.AnswerTicks, timerRequest, r.id)
	if r.kind == itemCall && r.items[0].server != nil {
		return // one server was asked for: nobody else can answer
	}
	if r.copied || srv.heard+e.o.AnswerTicks > e.now {
		return
	}
	if !r.silent {
		r.silent = true
		srv.suspectUntil = e.now + 2*e.o.AnswerTicks
		if srv.shard.leader == srv {
			srv.shard.lookElsewhere()
			srv.shard.doubtful = true
		}
	}
	if r.kind != itemTransfer && r.kind != itemPrepare {
		e.resend(r) // a question, or a FINISH, of which nobody waits for the answer
		return
	}
	if l := srv.shard.leader; l != nil && l != srv && !srv.shard.doubtful {
		e.copy(r)
		return
	}
	if !slices.Contains(srv.shard.silent, r) {
		srv.shard.silent = append(srv.shard.silent, r)
	}
	e.probe(srv.shard)
}

// copy sends what is open of a request to the leader, once: the copy has a timer of its own.
func (e *Engine) copy(r *request) {
	r.copied = true
	r.lands()
	e.resend(r)
}

// quiet reports whether a shard's requests wait for a silent server: until it is known who leads, nothing large
// is sent to anybody else.
func (e *Engine) quiet(sh *shardState) bool {
	sh.silent = slices.DeleteFunc(sh.silent, func(r *request) bool { return e.requests.Get(r.id) != r || !r.alive() })
	return len(sh.silent) > 0
}

// awake takes a sign of life: who sent it may answer yet.
func (e *Engine) awake(s *serverState) {
	s.heard, s.suspectUntil, s.failures = e.now, 0, 0
	s.shard.silent = slices.DeleteFunc(s.shard.silent, func(r *request) bool {
		if r.server == s {
			r.silent = false
		}
		return r.server == s
	})
}

// served notes that a shard's leader does its work. What is open at servers that are silent goes to it too.
func (e *Engine) served(by *serverState) {
	sh := by.shard
	sh.leader = by
	sh.hops, sh.refusals = 0, 0
	sh.doubtful, sh.busy, sh.text = false, false, ""
	silent := sh.silent
	sh.silent = nil
	for _, r := range silent {
		if e.requests.Get(r.id) == r {
			e.copy(r)
		}
	}
}
