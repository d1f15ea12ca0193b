package session

import (
	"slices"

	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// Crash points of docs/PROTOCOL.md, section 11. Point 9, a client that lies, is no crash.
const (
	crashBeforeSend   = 1
	crashAfterFirst   = 2 // one PREPARE has arrived
	crashAfterAll     = 3 // every PREPARE has arrived, no reply is read
	crashBeforeFinish = 4 // all votes are in
	crashAfterFinish  = 5 // one FINISH has arrived
	crashAfterNo      = 6 // one NO is in
	crashLateCopy     = 7 // like 2; a copy of the other PREPARE comes later
	crashIncarnation  = 8 // like 3; another incarnation runs the same id
)

// crashPatienceTicks ends the wait for the sign that a message has arrived.
const crashPatienceTicks = 100

// crash makes a client die at one point of its first transfer. A message counts as arrived when its
// answer is here, unread: the process may die before its buffers reach the network, and the point
// would then be another one.
type crash struct {
	point   int
	now     bool
	parts   []shard.ID // of the transfer whose PREPAREs left
	arrived []shard.ID
	since   uint64 // tick of the first unread answer; 0: none
	decided bool   // committed, and FINISH goes to one participant alone
	kept    *shardState
}

// holdsSends reports whether nothing more may leave.
func (c *crash) holdsSends() bool { return c.now }

func (e *Engine) crashOnSubmit() {
	e.crash.point = e.o.CrashPoint
	if e.crash.point == crashBeforeSend {
		e.crash.now = true
	}
}

// holdsItem keeps every PREPARE but the first participant's back.
func (c *crash) holdsItem(it *item) bool {
	if c.point != crashAfterFirst && c.point != crashLateCopy {
		return false
	}
	return it.kind == itemPrepare && it.shard.id != it.coord.Participants()[0]
}

func (c *crash) prepareSent(it *item) {
	if c.parts == nil {
		c.parts = it.coord.Participants()
		if c.point == crashAfterFirst || c.point == crashLateCopy {
			c.parts = c.parts[:1]
		}
	}
}

// holdsReply leaves an answer unread that shows that a PREPARE has arrived.
func (c *crash) holdsReply(e *Engine, r *request, reply *wire.Reply) bool {
	switch c.point {
	case crashAfterFirst, crashAfterAll, crashLateCopy, crashIncarnation:
	default:
		return c.now
	}
	if reply.Status != wire.StatusOK || (r.kind != itemPrepare && r.kind != itemTransfer) {
		return c.now
	}
	if c.since == 0 {
		c.since = e.now
	}
	if s := r.server.shard.id; !slices.Contains(c.arrived, s) {
		c.arrived = append(c.arrived, s)
	}
	if len(c.arrived) >= len(c.parts) {
		c.now = true
	}
	return true
}

// crashTick gives up waiting for the other PREPAREs to arrive.
func (e *Engine) crashTick() {
	if e.crash.since != 0 && e.now-e.crash.since >= crashPatienceTicks {
		e.crash.now = true
	}
}

func (e *Engine) crashOnDecision(t *txn.Coordinator, d txn.Decision) {
	c := &e.crash
	switch {
	case c.point == crashBeforeFinish && d == txn.DecidedCommitted,
		c.point == crashAfterNo && d == txn.DecidedAborted,
		c.point == crashAfterFinish && d == txn.DecidedCommitted && !t.Cross():
		c.now = true
	case c.point == crashAfterFinish && d == txn.DecidedCommitted:
		c.decided, e.draining = true, true
	}
}

// crashOnGroup is crashOnDecision for a transfer within one shard.
func (e *Engine) crashOnGroup(d txn.Decision) {
	switch p := e.crash.point; {
	case d == txn.DecidedCommitted && (p == crashBeforeFinish || p == crashAfterFinish), d == txn.DecidedAborted && p == crashAfterNo:
		e.crash.now = true
	}
}

// dropsFinish keeps FINISH from the shards that must not see one.
func (c *crash) dropsFinish(sh *shardState) bool {
	if !c.decided {
		return c.now
	}
	if c.kept == nil {
		c.kept = sh
	}
	return sh != c.kept
}

func (c *crash) finishAnswered() {
	if c.decided {
		c.now = true
	}
}
