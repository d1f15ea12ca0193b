package session

import (
	"fmt"
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// auditPhase is where an audit stands.
type auditPhase uint8

const (
	auditAllocate auditPhase = iota // the first shard gives out a number
	auditReady                      // is every shard able to serve? Before anybody withholds
	auditBarrier                    // every shard cuts its log and withholds
	auditConfirm                    // every shard still withholds: the snapshot is proven
	auditRelease                    // nobody need withhold any more
	auditCollect                    // every shard's part
	auditVoid                       // not proven: nobody need withhold any more
)

// auditSteps are the messages of the phases. The first CONFIRM of a number, before any BARRIER, is a
// linearizable question that says nothing but that the shard serves.
var auditSteps = [...]wire.AuditStep{
	auditAllocate: wire.AuditAllocate, auditReady: wire.AuditConfirm, auditBarrier: wire.AuditBarrier,
	auditConfirm: wire.AuditConfirm, auditRelease: wire.AuditRelease, auditCollect: wire.AuditCollect,
	auditVoid: wire.AuditVoid,
}

// auditNames are the phases in a timeline.
var auditNames = [...]string{
	auditAllocate: "ALLOCATE", auditReady: "CONFIRM, before the barrier,", auditBarrier: "BARRIER", auditConfirm: "CONFIRM",
	auditRelease: "RELEASE", auditCollect: "COLLECT", auditVoid: "VOID",
}

// Pauses between two numbers, in ticks.
const (
	auditPause    = 2  // doubled with every number that proved nothing
	maxAuditPause = 50 // 500 ms
)

// Audit is how an audit ended that was proven.
type Audit struct {
	Number  uint32
	Retries int      // numbers before it that proved nothing
	Parts   [][]byte // api.ShardAudit as JSON, one per shard in the order of their ids
}

// audit is one audit under way (docs/PROTOCOL.md, section 9). It is proven once every shard has answered
// BARRIER, and then every shard has confirmed that it withholds still: at the instant of the last BARRIER
// nobody had been told of anything beyond the cut.
type audit struct {
	phase   auditPhase
	number  uint32
	blocks  []txn.Block // the number's certificate
	retries int
	waiting bool          // pauses before the next number
	open    []*shardState // whose answer in this phase is missing
	parts   map[shard.ID][]byte
	why     string // the last number proved nothing
}

// Audit takes the total of the whole bank at one cut.
func (e *Engine) Audit() OpID {
	o := e.newOp(opAudit)
	o.audit = &audit{parts: map[shard.ID][]byte{}}
	e.arm(e.o.AuditTicks, timerOp, uint64(o.id))
	for _, sh := range e.shards {
		e.armReach(o, sh.id)
	}
	e.admit(o)
	return o.id
}

// askAudit begins a phase: answers of earlier ones no longer count.
func (e *Engine) askAudit(o *op, phase auditPhase) {
	a := o.audit
	for _, it := range o.open {
		it.closed = true
	}
	o.open = nil
	a.phase, a.waiting = phase, false
	a.open = slices.Clone(e.shards)
	if phase == auditAllocate {
		a.open = []*shardState{e.shards[0]}
	}
	for _, sh := range a.open {
		e.enqueue(&item{op: o, kind: itemAudit, shard: sh})
	}
	e.step(o, 0, fmt.Sprintf("%s to %s", auditNames[phase], shardNames(a.open)))
}

func shardNames(shards []*shardState) string {
	var s string
	for i, sh := range shards {
		if i > 0 {
			s += ", "
		}
		s += sh.id.String()
	}
	return s
}

// auditRequest builds the message of the present phase.
func (a *audit) request(h wire.Header) wire.Message {
	m := &wire.AuditRequest{Header: h, Step: auditSteps[a.phase], Number: a.number}
	if a.phase == auditBarrier {
		m.Blocks = a.blocks
	}
	return m
}

// onAudit takes a shard's answer to the present phase.
func (e *Engine) onAudit(it *item, reply *wire.Reply) {
	o := it.op
	if o.over || it.closed {
		return // a copy, or an answer to an earlier phase
	}
	if len(reply.Results) != 1 {
		e.retryLater(it, electionTicks)
		return
	}
	it.closed = true
	a := o.audit
	res := &reply.Results[0]
	e.step(o, it.shard.id, res.Code.String())
	if !e.auditAnswer(o, it.shard, res, reply) {
		return
	}
	a.open = slices.DeleteFunc(a.open, func(sh *shardState) bool { return sh == it.shard })
	if len(a.open) > 0 {
		return
	}
	switch a.phase {
	case auditCollect:
		e.audited(o)
	case auditVoid:
		e.nextNumber(o)
	default:
		if planted.On(planted.AuditEarlyConfirm) && a.phase == auditBarrier {
			a.phase = auditConfirm
		}
		e.askAudit(o, a.phase+1)
	}
}

// auditAnswer reports whether the answer lets the phase go on; if not, another has begun.
func (e *Engine) auditAnswer(o *op, from *shardState, res *wire.Result, reply *wire.Reply) bool {
	a := o.audit
	want := ledger.ResultWithholding
	switch a.phase {
	case auditAllocate:
		if res.Code != ledger.ResultAllocated || len(reply.Blocks) == 0 {
			a.why = fmt.Sprintf("another audit keeps %s withholding", from.id)
			e.nextNumber(o)
			return false
		}
		a.number, a.blocks = res.Epoch, reply.Blocks
		return true
	case auditReady:
		want = ledger.ResultNoEffect
	case auditCollect:
		if len(reply.Body) > 0 {
			a.parts[from.id] = reply.Body
			return true
		}
	case auditRelease, auditVoid:
		return true // proven or not, nothing hangs on how the withholding ended
	case auditBarrier, auditConfirm:
	}
	if res.Code == want {
		return true
	}
	invariant.Sometimes("session: an audit's number proved nothing")
	a.why = fmt.Sprintf("%s did not withhold for number %d until all clusters did (%s)", from.id, a.number, res.Code)
	a.retries++
	if a.phase == auditBarrier || a.phase == auditConfirm {
		e.askAudit(o, auditVoid)
	} else {
		e.nextNumber(o)
	}
	return false
}

// nextNumber begins again, after a pause.
func (e *Engine) nextNumber(o *op) {
	o.audit.waiting, o.audit.number = true, 0
	for _, it := range o.open {
		it.closed = true
	}
	clear(o.audit.parts)
	e.arm(uint64(min(auditPause<<min(o.audit.retries, 8), maxAuditPause)), timerAudit, uint64(o.id))
}

// resumeAudit ends the pause.
func (e *Engine) resumeAudit(o *op) {
	if o.audit != nil && o.audit.waiting {
		e.askAudit(o, auditAllocate)
	}
}

// audited completes an audit.
func (e *Engine) audited(o *op) {
	a := o.audit
	res := &Audit{Number: a.number, Retries: a.retries}
	for _, sh := range e.shards {
		res.Parts = append(res.Parts, a.parts[sh.id])
	}
	e.complete(o, Result{Audit: res})
}

// blameAudit says what kept an audit from ending.
func (e *Engine) blameAudit(a *audit) (shard.ID, string) {
	if a.waiting || a.phase == auditVoid {
		return 0, a.why
	}
	s, why := e.blameAny(a.open)
	if a.phase == auditCollect {
		why += ", or could not settle what was prepared at the cut"
	}
	return s, why
}
