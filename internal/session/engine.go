package session

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// OpID names one operation of an engine.
type OpID uint64

// Options configure an Engine. The zero value of a field takes its default. A tick is 10 ms.
type Options struct {
	Topology      *shard.Topology // required, valid
	DeadlineTicks uint64          // of a transfer, then it is poisoned: default 300 (3 s)
	GraceTicks    uint64          // how long poison may take: default 100 (1 s)
	AnswerTicks   uint64          // silence after which another replica is asked: default 50 (500 ms)
	BusyTicks     uint64          // how long a transfer waits for a server that has too much: default 25 (250 ms)
	AuditTicks    uint64          // how long an audit may try: default 1000 (10 s)
	MaxInFlight   int             // operations in flight; more wait in a queue: default 65536
	Trace         bool            // emit steps
	CrashPoint    int             // docs/PROTOCOL.md, section 11: 1 to 8; 0: never
}

func (o Options) withDefaults() Options {
	set := func(v *uint64, n uint64) {
		if *v == 0 {
			*v = n
		}
	}
	set(&o.DeadlineTicks, 300)
	set(&o.GraceTicks, 100)
	set(&o.AnswerTicks, 50)
	set(&o.BusyTicks, 25)
	set(&o.AuditTicks, 1000)
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 65536
	}
	return o
}

// Effects is what Flush wants done. Its slices are valid until the next Flush.
type Effects struct {
	Connects  []shard.ServerID // dial these; answer with ConnUp or ConnDown
	Sends     []Send
	Steps     []Step
	Committed []Committed // of batches
	Dones     []Done
	Crash     bool // end the process, after everything else
}

// Send hands messages to one server's connection, in order.
type Send struct {
	Server   shard.ServerID
	Messages []wire.Message
}

// Step is one part of an operation's course; the shell stamps it. Actor 0 is the client.
type Step struct {
	Op    OpID
	Actor shard.ID
	Text  string
}

// Done completes an operation, or of a batch the transfer at Place.
type Done struct {
	Op     OpID
	Place  uint32
	Result Result
}

// Result is how an operation ended.
type Result struct {
	Decision  txn.Decision // of a call: DecidedUnavailable if Reply is nil
	Reason    ledger.Reason
	Account   shard.Account // that a refusal names
	Available ledger.Amount // what it could spend
	Shard     shard.ID      // with unavailable and unknown: which cluster did not answer
	Detail    string        // with unavailable and unknown: what was seen
	NotFound  bool          // Resolve: every shard answered and none knows the id
	Record    ledger.Record // the transfer; zero ids and accounts if it never became known
	Cross     bool
	Reply     *wire.Reply // of a call
	Audit     *Audit      // of an audit; nil: it came to nothing, Shard and Detail say why
	Server    shard.ServerID
}

// Call is one request whose reply the caller wants as it is.
type Call struct {
	Shard  shard.ID       // whose leader is asked, if Server is 0
	Server shard.ServerID // asked alone, whatever it is
	Ticks  uint64         // how long to wait: default DeadlineTicks
	// Build returns the request under the header that it is given. It may be called again.
	Build func(wire.Header) wire.Message
}

// Engine is a client's engine. It is not safe for concurrent use.
type Engine struct {
	o       Options
	routes  shard.Map
	shards  []*shardState  // sorted by id
	servers []*serverState // sorted by id
	byShard map[shard.ID]*shardState

	near *shardState // that the last account looked for is of

	now      uint64
	ops      Table[opEntry]
	groups   Table[*group]
	inFlight int
	waiting  []pending // over MaxInFlight, oldest first

	requests  Table[*request]
	timers    map[uint64][]timer
	delayed   []delayed
	direct    []*item // calls to one server, not sent yet
	finishing int     // FINISH requests without an answer
	draining  bool

	crash crash
	out   Effects
	given Effects // that the last Flush returned
}

// opEntry is what is behind an OpID: an operation, or a record of a group.
type opEntry struct {
	op    *op
	group *group
	index uint32
}

// pending is an operation or a group that waits for room.
type pending struct {
	op    *op
	group *group
}

// opKind tells operations apart.
type opKind uint8

const (
	opTransfer opKind = 1 + iota
	opSettle
	opCall
	opAudit
	opBatch
)

// op is one operation in the engine.
type op struct {
	id       OpID
	place    uint32 // in parent
	kind     opKind
	admitted bool
	detached bool // the caller has its answer; only the protocol goes on
	over     bool
	parent   *op              // the batch of a transfer, whose caller has the answer at place
	coord    *txn.Coordinator // opTransfer
	settle   *settlement      // opSettle
	call     *Call            // opCall
	audit    *audit           // opAudit
	batch    *batch           // opBatch
	since    uint64           // tick at which it was begun
	endTick  uint64           // opTransfer: when its grace ends, once it has one
	probes   *shardState      // a call of the engine's own, to see whether the shard serves
	open     []*item          // items that may still be sent or answered
	spare    []item           // memory of items to come
}

// New returns an engine without connections.
func New(o Options) *Engine {
	e := &Engine{
		o: o.withDefaults(), routes: o.Topology.Map(),
		byShard: map[shard.ID]*shardState{},
		timers:  map[uint64][]timer{},
		now:     1,
	}
	for i := range o.Topology.Clusters {
		c := &o.Topology.Clusters[i]
		sh := &shardState{id: c.Shard, accounts: c.Range, window: e.o.MaxInFlight, doubtful: true}
		for _, s := range c.Servers {
			srv := &serverState{id: s.ID, addr: s.Addr, shard: sh}
			sh.servers = append(sh.servers, srv)
			e.servers = append(e.servers, srv)
		}
		e.shards = append(e.shards, sh)
		e.byShard[c.Shard] = sh
	}
	slices.SortFunc(e.shards, func(a, b *shardState) int { return int(a.id) - int(b.id) })
	slices.SortFunc(e.servers, func(a, b *serverState) int { return int(a.id) - int(b.id) })
	return e
}

// Transfer begins a transfer. What needs no shard to refuse is refused here and leaves no trace.
func (e *Engine) Transfer(r ledger.Record) OpID {
	way := e.wayOf(&r)
	if way.reason == ledger.ReasonNone && way.other == nil {
		e.crashOnSubmit()
		return e.gather(way.shard, &r)
	}
	if way.reason != ledger.ReasonNone {
		o := e.newOp(opTransfer)
		e.complete(o, Result{Decision: txn.DecidedAborted, Record: r, Reason: way.reason, Account: way.account})
		return o.id
	}
	e.crashOnSubmit()
	own := r // here, so that a transfer within a shard needs no memory for it
	o := e.beginCross(&crossing{}, &own, way)
	e.armCross(o.id, 1)
	return o.id
}

// Resolve finds out what became of a transfer and settles it, by poison where it must.
func (e *Engine) Resolve(id ledger.TransferID) OpID { return e.settleOp(id, false) }

// Cancel makes sure that a transfer is not applied, unless it already is.
func (e *Engine) Cancel(id ledger.TransferID) OpID { return e.settleOp(id, true) }

func (e *Engine) settleOp(id ledger.TransferID, cancel bool) OpID {
	o := e.newOp(opSettle)
	o.settle = newSettlement(id, cancel, len(e.shards))
	e.arm(e.o.DeadlineTicks+e.o.GraceTicks, timerOp, uint64(o.id))
	e.admit(o)
	return o.id
}

// Call sends one request to a shard's leader or to one server.
func (e *Engine) Call(c Call) OpID {
	o := e.newOp(opCall)
	o.call = &c
	ticks := c.Ticks
	if ticks == 0 {
		ticks = e.o.DeadlineTicks
	}
	e.arm(ticks, timerOp, uint64(o.id))
	e.armReach(o, c.Shard)
	e.admit(o)
	return o.id
}

// Abandon answers an operation at once with what is known. A transfer that may have been applied
// goes on without its caller, so that it is finished and not left to recovery.
func (e *Engine) Abandon(id OpID) {
	switch entry := e.ops.Get(uint64(id)); {
	case entry.group != nil:
		e.abandonRecord(entry.group, int(entry.index), e.why(entry.group.shard))
	case entry.op == nil:
	case entry.op.kind == opBatch:
		e.abandonBatch(entry.op)
	default:
		e.abandon(entry.op)
	}
}

func (e *Engine) abandon(o *op) {
	if o.detached || o.over {
		return
	}
	if o.kind == opTransfer && o.coord.MayBeApplied() {
		r := e.endResult(o, txn.DecidedUnknown)
		e.answer(o, &r)
		o.detached = true
		return
	}
	e.expireForGood(o)
}

// answer tells an operation's caller its result.
func (e *Engine) answer(o *op, r *Result) {
	switch {
	case o.detached:
	case o.parent != nil:
		e.placeEnds(o.parent, o.place, r)
	default:
		e.out.Dones = append(e.out.Dones, Done{Op: o.id, Result: *r})
	}
}

// Tick advances the engine's clock by 10 ms.
func (e *Engine) Tick() {
	e.now++
	due := e.timers[e.now]
	delete(e.timers, e.now)
	for _, t := range due {
		for n := range uint64(t.count) {
			e.fire(t.kind, t.id+n)
		}
	}
	e.tickDelayed()
	e.crashTick()
}

// Drain makes every following Flush send buffered FINISH messages at once.
func (e *Engine) Drain() { e.draining = true }

// Finishing returns how many FINISH messages are buffered or not yet answered.
func (e *Engine) Finishing() int {
	n := e.finishing
	for _, sh := range e.shards {
		n += len(sh.finishes)
	}
	return n
}

// InFlight returns the number of operations that are not over, queued ones and the engine's own
// included.
func (e *Engine) InFlight() int { return e.ops.Len() }

func (e *Engine) newOp(kind opKind) *op {
	o := &op{kind: kind}
	e.addOp(o)
	return o
}

// addOp numbers an operation that begins.
func (e *Engine) addOp(o *op) {
	o.since = e.now
	o.id = OpID(e.ops.Add(opEntry{op: o}))
}

// opOf returns the operation of an id, nil if it is over or none.
func (e *Engine) opOf(id uint64) *op { return e.ops.Get(id).op }

// admit starts an operation, or queues it if too many are in flight.
func (e *Engine) admit(o *op) {
	if e.inFlight >= e.o.MaxInFlight {
		e.waiting = append(e.waiting, pending{op: o})
		return
	}
	o.admitted = true
	e.inFlight++
	switch o.kind {
	case opTransfer:
		var room [txn.MaxActions]txn.Action
		e.act(o, o.coord, o.coord.Start(room[:0]))
	case opSettle:
		e.askStatus(o)
	case opCall:
		e.startCall(o)
	case opAudit:
		e.askAudit(o, auditAllocate)
	default:
		panic("unreachable: op kind")
	}
}

func (e *Engine) admitWaiting() {
	for len(e.waiting) > 0 && e.inFlight < e.o.MaxInFlight {
		p := e.waiting[0]
		e.waiting = e.waiting[1:]
		switch {
		case p.op == nil && p.group.open > 0:
			e.admitGroup(p.group)
		case p.op != nil && !p.op.over:
			e.admit(p.op)
		}
	}
}

// complete ends an operation and tells its caller, unless the caller has gone.
func (e *Engine) complete(o *op, r Result) { e.end(o, &r) }

// end is complete without a copy of the result, which is large.
func (e *Engine) end(o *op, r *Result) {
	o.over = true
	o.open = nil
	if o.probes != nil {
		o.probes.probing = false
	}
	e.ops.Remove(uint64(o.id))
	if o.admitted {
		e.inFlight--
	}
	e.answer(o, r)
}

// act carries out what a coordinator wants.
func (e *Engine) act(o *op, c *txn.Coordinator, actions []txn.Action) {
	for i := range actions {
		a := &actions[i]
		switch a.Kind {
		case txn.ActTransfer:
			e.ask(item{op: o, coord: c, kind: itemTransfer, shard: e.shardBy(a.Shard)})
		case txn.ActPrepare:
			e.ask(item{op: o, coord: c, kind: itemPrepare, shard: e.shardBy(a.Shard)})
		case txn.ActInquire:
			e.closeItems(o, c, a.Shard)
			e.ask(item{op: o, coord: c, kind: itemInquire, reason: a.Reason, shard: e.shardBy(a.Shard)})
		case txn.ActFinish:
			e.finish(e.shardBy(a.Shard), a.Blocks)
		case txn.ActDone:
			e.decided(o, c)
		default:
			panic("unreachable: action kind")
		}
	}
}

// closeItems stops sending what was asked of a shard before. Answers to it still count.
func (e *Engine) closeItems(o *op, c *txn.Coordinator, s shard.ID) {
	for _, it := range o.open {
		if it.coord == c && it.shard.id == s {
			it.closed = true
		}
	}
}

// ask enqueues an item, in memory that came with its operation if there is any left.
func (e *Engine) ask(it item) {
	if len(it.op.spare) == 0 {
		it.op.spare = make([]item, 1)
	}
	room := &it.op.spare[0]
	if it.op.spare = it.op.spare[1:]; len(it.op.spare) == 0 {
		it.op.spare = nil // the collector has one pointer less to follow
	}
	*room = it
	e.enqueue(room)
}

func (e *Engine) enqueue(it *item) {
	it.op.open = append(it.op.open, it)
	e.requeue(it)
}

// requeue makes an item go out with the next flush to its shard.
func (e *Engine) requeue(it *item) {
	if it.queued || it.closed || it.op.over {
		return
	}
	it.queued = true
	if it.server != nil {
		e.direct = append(e.direct, it)
		return
	}
	it.shard.ready = append(it.shard.ready, it)
}

// decided takes a coordinator's decision.
func (e *Engine) decided(o *op, c *txn.Coordinator) {
	d, reason := c.Decision()
	if o.kind == opSettle {
		e.settled(o)
		return
	}
	res := e.endResult(o, d)
	if d == txn.DecidedCommitted || d == txn.DecidedAborted {
		res.Shard, res.Detail = 0, ""
		res.Reason = reason
		res.Account, res.Available = c.Explanation()
		e.step(o, 0, d.String())
	}
	e.crashOnDecision(c, d)
	e.end(o, &res)
}

// endResult describes a transfer, or another operation, that ends without a definite outcome.
func (e *Engine) endResult(o *op, d txn.Decision) Result {
	res := Result{Decision: d}
	if o.coord != nil {
		res.Record, res.Cross = *o.coord.Record(), o.coord.Cross()
	}
	if d == txn.DecidedCommitted || d == txn.DecidedAborted {
		return res
	}
	res.Shard, res.Detail = e.blame(o)
	return res
}

// step records a part of an operation's course.
func (e *Engine) step(o *op, actor shard.ID, text string) {
	if e.o.Trace && !o.detached && o.parent == nil {
		e.stepOf(o.id, actor, text)
	}
}

func (e *Engine) stepOf(id OpID, actor shard.ID, text string) {
	e.out.Steps = append(e.out.Steps, Step{Op: id, Actor: actor, Text: text})
}
