package session

import (
	"fmt"
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// recordState is how one transfer of a group stands.
type recordState uint8

const (
	recordOpen  recordState = iota
	recordTold              // open, but its caller has gone
	recordAlone             // goes on as an operation of its own
	recordOver
)

// group is transfers within one shard that travel together: single ones that were begun in the same turn, or
// a part of a batch. The shard's log decides each of them at once, so they need no coordinator: the group
// follows the rule for silence for all of them (docs/PROTOCOL.md, section 5). A transfer that gets no vote, or
// is poisoned at its deadline, leaves the group.
type group struct {
	number  uint64
	shard   *shardState
	records []ledger.Record // shared with requests: one that was sent is never changed
	states  []recordState   // parallel to records
	ops     []OpID          // of single transfers, parallel to records
	batch   *op             // of a part of a batch
	// places are the positions in the batch, parallel to records; nil: they follow each other from first on.
	places []uint32
	first  uint32

	since uint64 // tick at which it was begun
	open  int    // records that are open or told
	// unrefused counts copies that left and were not surely refused. Each held all records that are open now.
	unrefused int
	alone     map[uint32]*loner // records that went on alone
	queued    bool              // stands in its shard's list
	admitted  bool
}

// loner is a record that has left its group. Answers to the group's requests still count for it.
type loner struct {
	item *item
	by   uint64 // request whose answer made it leave; 0: none did
	next uint64 // requests of the group from this number on do not hold it
}

// place returns a record's position in its batch.
func (g *group) place(i int) uint32 {
	if g.places != nil {
		return g.places[i]
	}
	return g.first + uint32(i)
}

// maxGroup bounds the transfers of a group: they fit a request.
func (e *Engine) maxGroup() int { return min(wire.MaxBatch, e.o.MaxInFlight) }

// gather begins a transfer within one shard, in the group of this turn.
func (e *Engine) gather(sh *shardState, r *ledger.Record) OpID {
	g := sh.gather
	if g == nil || g.since != e.now || len(g.records) >= e.gatherLimit(sh) || g.admitted && e.inFlight >= e.o.MaxInFlight {
		g = &group{shard: sh}
		sh.gather = g
		e.beginGroup(g)
	}
	id := OpID(e.ops.Add(opEntry{group: g, index: uint32(len(g.records))}))
	g.records = append(g.records, *r)
	g.states = append(g.states, recordOpen)
	g.ops = append(g.ops, id)
	g.open++
	if g.admitted {
		e.inFlight++
	}
	return id
}

// beginGroup numbers a group, arms its timers and admits it.
func (e *Engine) beginGroup(g *group) {
	g.since = e.now
	g.number = e.groups.Add(g)
	e.arm(e.o.DeadlineTicks, timerGroup, g.number)
	e.arm(e.o.BusyTicks, timerGroupBusy, g.number)
	if !g.shard.everUp {
		e.arm(reachTicks, timerGroupReach, g.number)
	}
	e.admitGroup(g)
}

// admitGroup lets a group be sent, or queues it if too many transfers are in flight.
func (e *Engine) admitGroup(g *group) {
	if e.inFlight >= e.o.MaxInFlight {
		e.waiting = append(e.waiting, pending{group: g})
		return
	}
	g.admitted = true
	e.inFlight += g.open
	e.queueGroup(g)
}

// queueGroup makes what is open of a group go out with the next flush to its shard.
func (e *Engine) queueGroup(g *group) {
	if !g.queued && g.admitted && e.groups.Get(g.number) == g {
		g.queued = true
		g.shard.groups = append(g.shard.groups, g)
	}
}

// sendGroups sends a shard's groups, a request each, and reports whether there were any.
func (e *Engine) sendGroups(sh *shardState, to *serverState) bool {
	n, newest := 0, e.newestFirst(sh)
	sh.full = false
	for ; n < len(sh.groups); n++ {
		g := sh.groups[n]
		if newest {
			g = sh.groups[len(sh.groups)-1-n]
		}
		if sh.full = g.open > 0 && (sh.flying+g.open > max(sh.window, 2*g.open) || newest && e.late(g) && sh.outnumbered(g)); sh.full {
			break
		}
		g.queued = false
		if g.open > 0 {
			e.sendGroup(g, to)
		}
	}
	sent := sh.groups[:n]
	if newest {
		sent = sh.groups[len(sh.groups)-n:]
	}
	clear(sent)
	sh.groups = slices.DeleteFunc(sh.groups, func(g *group) bool { return g == nil || g.open == 0 })
	sh.waiting = 0
	for _, g := range sh.groups {
		sh.waiting += g.open
	}
	for _, g := range sh.groups {
		e.shedGroup(g)
	}
	return n > 0
}

func (e *Engine) sendGroup(g *group, to *serverState) {
	if g.shard.gather == g {
		g.shard.gather = nil
	}
	r := &request{kind: itemTransfer, server: to, group: g, open: g.open, size: g.open, sent: e.now}
	g.shard.flying += r.size
	records := g.records[:len(g.records):len(g.records)]
	if g.open < len(g.records) {
		records = make([]ledger.Record, 0, g.open)
		r.index = make([]uint32, 0, g.open)
		for i := range g.records {
			if g.states[i] <= recordTold {
				records = append(records, g.records[i])
				r.index = append(r.index, uint32(i))
			}
		}
	}
	r.id = e.requests.Add(r)
	e.arm(e.o.AnswerTicks, timerRequest, r.id)
	again := g.unrefused > 0
	if planted.On(planted.RetryNewID) && again {
		records = append([]ledger.Record(nil), records...)
		for i := range records {
			records[i].ID[0] ^= byte(r.id)
		}
	}
	e.send(to, &wire.TransferRequest{Header: e.header(r.id, to.shard.id), Again: again, Records: records})
	g.unrefused++
	if e.o.Trace {
		for i := range g.ops {
			if g.states[i] == recordOpen {
				e.stepOf(g.ops[i], 0, "TRANSFER to "+g.shard.id.String()+" (server "+g.shard.leaderName(e)+")")
			}
		}
	}
}

// at returns which record of the group an item of the request is.
func (r *request) at(item uint32) (int, bool) {
	switch {
	case r.index == nil:
		return int(item), uint64(item) < uint64(len(r.group.records))
	case uint64(item) < uint64(len(r.index)):
		return int(r.index[item]), true
	}
	return 0, false
}

// onGroupReply takes the answers to a group's request.
func (e *Engine) onGroupReply(r *request, reply *wire.Reply) {
	for _, run := range reply.Committed {
		e.groupCommitted(r, run)
	}
	for i := range reply.Results {
		e.groupResult(r, &reply.Results[i])
	}
	if r.open <= 0 {
		e.pace(r.server.shard, e.now-r.sent)
		e.forget(r)
	}
}

// groupCommitted takes a run of items that committed.
func (e *Engine) groupCommitted(r *request, run wire.Run) {
	g := r.group
	res := wire.Result{Code: ledger.ResultState, State: ledger.Committed}
	from := -1 // of the records of a batch that end together
	last := -1
	for item := run.First; item-run.First < run.Count; item++ {
		i, ok := r.at(item)
		if !ok {
			break // nothing that was asked
		}
		r.open--
		if g.batch == nil || g.states[i] != recordOpen {
			e.groupAnswer(r, i, &res)
			continue
		}
		if from < 0 || i != last+1 {
			e.endRun(g, from, last)
			from = i
		}
		last = i
	}
	e.endRun(g, from, last)
}

// endRun ends records of a batch, from one to another, that committed together.
func (e *Engine) endRun(g *group, from, to int) {
	if from < 0 {
		return
	}
	n := to - from + 1
	for i := from; i <= to; i++ {
		g.states[i] = recordOver
	}
	c := Committed{Op: g.batch.id, First: g.place(from), Count: uint32(n)}
	if g.places != nil {
		c.Places = g.places[from : to+1]
	}
	e.out.Committed = append(e.out.Committed, c)
	e.closeRecords(g, n)
	e.batchEnds(g.batch, n)
	e.crashOnGroup(txn.DecidedCommitted)
}

// closeRecords counts records of a group that are over or go on alone.
func (e *Engine) closeRecords(g *group, n int) {
	if g.open -= n; g.open == 0 {
		e.groups.Remove(g.number)
		if g.shard.gather == g {
			g.shard.gather = nil
		}
	}
	if g.admitted {
		e.inFlight -= n
	}
}

func (e *Engine) groupResult(r *request, res *wire.Result) {
	if i, ok := r.at(res.Item); ok {
		r.open--
		e.groupAnswer(r, i, res)
	}
}

// groupAnswer takes the answer for one record.
func (e *Engine) groupAnswer(r *request, i int, res *wire.Result) {
	g := r.group
	switch g.states[i] {
	case recordOver:
		return // a copy's answer
	case recordAlone:
		if it := g.alone[uint32(i)].item; !it.op.over {
			e.onVote(it, res, &voteFinder{})
		}
		return
	case recordOpen, recordTold:
	}
	out := Result{Record: g.records[i]}
	switch {
	case res.Code == ledger.ResultConflict:
		out.Decision, out.Reason = txn.DecidedAborted, ledger.ReasonIDConflict
	case res.Code == ledger.ResultState && res.State == ledger.Committed:
		out.Decision = txn.DecidedCommitted
	case res.Code == ledger.ResultState && res.State == ledger.Aborted:
		out.Decision, out.Reason = txn.DecidedAborted, res.Reason
		out.Account, out.Available = res.Account, res.Available
	default:
		// No vote came of it: ask again, but not at once.
		o := e.leave(g, i, r.id)
		e.arm(max(g.since+e.o.DeadlineTicks, e.now+1)-e.now, timerOp, uint64(o.id))
		e.step(o, g.shard.id, answerText(txn.Answer{Code: res.Code, State: res.State}))
		e.retryLater(o.open[0], electionTicks)
		return
	}
	if e.o.Trace && g.ops != nil && g.states[i] == recordOpen {
		e.stepOf(g.ops[i], g.shard.id, answerText(txn.Answer{Code: res.Code, State: res.State, Reason: res.Reason}))
		e.stepOf(g.ops[i], 0, out.Decision.String())
	}
	e.crashOnGroup(out.Decision)
	e.endRecord(g, i, &out)
}

// endRecord ends one record of a group and tells its caller.
func (e *Engine) endRecord(g *group, i int, res *Result) {
	e.tell(g, i, res)
	g.states[i] = recordOver
	e.closeRecords(g, 1)
	if g.ops != nil {
		e.ops.Remove(uint64(g.ops[i]))
	}
}

// tell gives the caller of a record its result, unless it has one.
func (e *Engine) tell(g *group, i int, res *Result) {
	if g.states[i] != recordOpen {
		return
	}
	if g.ops != nil {
		e.out.Dones = append(e.out.Dones, Done{Op: g.ops[i], Result: *res})
		return
	}
	e.placeEnds(g.batch, g.place(i), res)
}

// leave lets a record go on as an operation of its own, with one item that is not queued. by is the request
// whose answer is the reason, or 0.
func (e *Engine) leave(g *group, i int, by uint64) *op {
	o := &op{kind: opTransfer, since: g.since, admitted: g.admitted, detached: g.states[i] == recordTold}
	o.coord = txn.NewCoordinator(g.records[i], []shard.ID{g.shard.id})
	for range g.unrefused {
		o.coord.Sent()
	}
	if g.ops != nil {
		o.id = g.ops[i]
		e.ops.Put(uint64(o.id), opEntry{op: o})
	} else {
		o.id = OpID(e.ops.Add(opEntry{op: o}))
		o.parent, o.place = g.batch, g.place(i)
		g.batch.batch.ops = append(g.batch.batch.ops, o)
	}
	it := &item{op: o, coord: o.coord, kind: itemTransfer, shard: g.shard}
	o.open = []*item{it}
	if g.alone == nil {
		g.alone = map[uint32]*loner{}
	}
	g.alone[uint32(i)] = &loner{item: it, by: by, next: e.requests.Next()}
	g.states[i] = recordAlone
	e.closeRecords(g, 1)
	if g.admitted {
		e.inFlight++ // it still is
	}
	return o
}

// groupRefused handles a status that holds for every record still open.
func (e *Engine) groupRefused(r *request, sure, final bool) {
	g := r.group
	if sure {
		g.unrefused--
		for _, l := range g.alone { // order does not show: each has a count of its own
			if l.by != r.id && r.id < l.next && l.item.coord.MayBeApplied() {
				l.item.coord.Refused()
			}
		}
	}
	if final {
		e.expireGroup(g)
		return
	}
	e.queueGroup(g)
	e.shedGroup(g)
}

// expireGroup ends the wait of what is open: poison it where a copy may be appended.
func (e *Engine) expireGroup(g *group) {
	if g.unrefused == 0 {
		e.failGroup(g)
		return
	}
	for i := range g.records {
		if g.states[i] <= recordTold {
			e.expire(e.leave(g, i, 0))
		}
	}
}

// failGroup ends what is open as surely not applied.
func (e *Engine) failGroup(g *group) {
	why := e.why(g.shard)
	switch {
	case !g.admitted:
		why = e.noRoom()
	case g.shard.full && !g.shard.busy && g.unrefused == 0 && e.target(g.shard) != nil:
		why = fmt.Sprintf("%s is slow, and %d transfers of this client wait for it", g.shard.id, g.shard.flying)
	}
	for i := range g.records {
		if g.states[i] <= recordTold {
			e.endRecord(g, i, &Result{
				Decision: txn.DecidedUnavailable, Record: g.records[i], Shard: g.shard.id, Detail: why,
			})
		}
	}
}

// unreachedGroup ends a group whose shard was never reached.
func (e *Engine) unreachedGroup(g *group) {
	if g.unrefused == 0 && !g.shard.everUp {
		e.failGroup(g)
	}
}

// abandonRecord answers a record at once with what is known; it goes on without its caller if it may have
// been applied.
func (e *Engine) abandonRecord(g *group, i int, why string) {
	if g.states[i] != recordOpen {
		return
	}
	res := Result{Decision: txn.DecidedUnavailable, Record: g.records[i], Shard: g.shard.id, Detail: why}
	if g.unrefused == 0 {
		e.endRecord(g, i, &res)
		return
	}
	res.Decision = txn.DecidedUnknown
	e.tell(g, i, &res)
	g.states[i] = recordTold
}
