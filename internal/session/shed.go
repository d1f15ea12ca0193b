package session

import "fmt"

// Overload is answered early: a transfer that a busy server refuses, or that waits behind too many others, ends as
// surely not applied after BusyTicks. What is accepted is then not much older than what the servers hold, and
// a caller learns soon that there is too much.
//
// So that what is too much waits here, where it can be given up, and not in sockets, each shard has a window: how many
// transfers may be without an answer. It shrinks when answers take long and grows when they do not. Answers that take
// very long, or BUSY, make the shard crowded. As long as it is, the window is kept so small that answers take little
// longer than they usually do, and if the oldest transfer has waited for long, the newest go first: not all can be
// served in time, and those that have waited already are the ones to give up.

// Bounds of a window.
const (
	slowTicks   = 20  // answers that take longer make a shard crowded: 200 ms
	busyTicks   = 10  // between two cuts because of BUSY
	leastFlying = 512 // the window is never smaller
	leastCrowd  = 256 // of a crowded shard: enough to keep it busy, if answers take long for another reason than a queue
	calmTicks   = 50  // a shard for which nothing waits is not crowded any more: 500 ms
	lateTicks   = 10  // if the oldest has waited for longer in a crowd, the newest goes first: 100 ms

	stretchTicks   = 10   // over which the time of answers is averaged, at least
	stretchAnswers = 8    // likewise
	goalTimes      = 2    // in a crowd answers may take so many times as long as the quickest
	quickTicks     = 1000 // for how long at least the quickest answer is remembered: 10 s
)

// Times of pacing are in 1/256 ticks: the mean of many answers tells more than a tick.
const (
	tickParts = 256
	leastGoal = 2 * tickParts // 20 ms: shorter ones are mostly waits for a processor
	mostGoal  = slowTicks * tickParts
)

// pacing watches how long the answers of a shard take.
type pacing struct {
	begun   uint64 // tick at which the present stretch began
	ticks   uint64 // that its answers took
	answers uint64
	// The quickest answers of the present stretch of quickTicks and of the one before it, in ticks; quickest of all
	// answers, it shows what the way and the disk take, even if most wait in a queue.
	quick, quickBefore, quickBegun uint64
	crowded                        bool
	fullTick                       uint64 // when groups were left for the window's sake last
}

// mean ends a stretch that is long enough and returns its mean time in 1/256 ticks.
func (p *pacing) mean(now, took uint64) (uint64, bool) {
	p.ticks += took
	p.answers++
	if now < p.begun+stretchTicks || p.answers < stretchAnswers {
		return 0, false
	}
	mean := p.ticks * tickParts / p.answers
	p.begun, p.ticks, p.answers = now, 0, 0
	return mean, true
}

// note takes the time of one answer into the quickest ones.
func (p *pacing) note(now, took uint64) {
	switch {
	case p.quickBegun == 0:
		p.quick, p.quickBefore, p.quickBegun = took, took, now
	case now >= p.quickBegun+quickTicks:
		p.quick, p.quickBefore, p.quickBegun = took, p.quick, now
	default:
		p.quick = min(p.quick, took)
	}
}

// goal is how long an answer may take in a crowd, in 1/256 ticks. A time in whole ticks is on average half a tick more.
func (p *pacing) goal() uint64 {
	return min(max(goalTimes*(min(p.quick, p.quickBefore)*tickParts+tickParts/2), leastGoal), mostGoal)
}

// pace adapts a shard's window to the time that an answer took.
func (e *Engine) pace(sh *shardState, took uint64) {
	p := &sh.pacing
	if sh.full {
		p.fullTick = e.now
	}
	p.crowded = p.crowded && e.now < p.fullTick+calmTicks
	if took > slowTicks {
		e.shrink(sh, took)
	}
	p.note(e.now, took)
	mean, ok := p.mean(e.now, took)
	switch {
	case !p.crowded && sh.full && took <= slowTicks:
		sh.window = min(sh.window+max(sh.window/8, leastFlying), e.o.MaxInFlight)
	case ok && p.crowded:
		e.steer(sh, mean)
	}
}

// steer moves the window of a crowded shard towards that with which answers take as long as they may.
func (e *Engine) steer(sh *shardState, mean uint64) {
	goal := sh.pacing.goal()
	switch {
	case mean > goal:
		sh.window = max(sh.window*int(max(goal, mean/2))/int(mean), leastCrowd)
	case sh.full:
		sh.window = min(sh.window+max(sh.window/16, 1), e.o.MaxInFlight)
	}
}

// shrink makes a window smaller than what flies, once in so many ticks: what was sent before a cut says nothing of it.
func (e *Engine) shrink(sh *shardState, ticks uint64) {
	least := leastFlying
	if sh.pacing.crowded {
		least = leastCrowd
	}
	if e.now-sh.cutTick >= ticks {
		sh.cutTick = e.now
		sh.window = max(min(sh.window, sh.flying)*3/4, least)
	}
	sh.pacing.crowded, sh.pacing.fullTick = true, e.now
}

// newestFirst reports whether what has waited for long gives way.
func (e *Engine) newestFirst(sh *shardState) bool {
	return sh.pacing.crowded && len(sh.groups) > 0 && e.late(sh.groups[0])
}

// late reports whether a group has waited for so long that in a crowd others are served in its place.
func (e *Engine) late(g *group) bool { return e.now-g.since > lateTicks }

// gatherLimit bounds the single transfers of a group: a window holds several, so that they can take turns.
func (e *Engine) gatherLimit(sh *shardState) int {
	if sh.pacing.crowded {
		return min(sh.window/4, e.maxGroup())
	}
	return e.maxGroup()
}

// lands takes a request out of its shard's window.
func (r *request) lands() {
	r.server.shard.flying -= r.size
	r.size = 0
}

// overdue reports whether something begun at a tick has waited long enough for a busy server.
func (e *Engine) overdue(since uint64) bool { return e.now-since >= e.o.BusyTicks }

// shedGroup ends a group that has waited for too long, if nothing of it can have been appended.
func (e *Engine) shedGroup(g *group) {
	if g.unrefused == 0 && e.overdue(g.since) && (g.shard.busy || g.shard.overfull(g)) {
		e.failGroup(g)
	}
}

// overfull reports whether more waits for a shard's window than it holds, the group's own batch not counted: not only
// that large groups take turns.
func (sh *shardState) overfull(g *group) bool { return sh.full && sh.outnumbered(g) }

// outnumbered is overfull by what the last flush left.
func (sh *shardState) outnumbered(g *group) bool {
	waiting := sh.waiting
	if g.batch != nil {
		waiting -= g.batch.batch.open
	}
	return waiting > max(sh.window, 2*g.open)
}

// shed ends a transfer between shards likewise.
func (e *Engine) shed(o *op) {
	if o.over || o.kind != opTransfer || o.coord.MayBeApplied() || !e.overdue(o.since) {
		return
	}
	busy := false
	for _, p := range o.coord.Participants() {
		busy = busy || e.shardBy(p).busy
	}
	if busy {
		e.expireForGood(o)
	}
}

// noRoom says why a transfer was never sent.
func (e *Engine) noRoom() string {
	return fmt.Sprintf("this client has %d transfers in flight, as many as it may", e.inFlight)
}
