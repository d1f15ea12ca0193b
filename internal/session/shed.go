package session

import "fmt"

// Overload is answered early: a transfer that a busy server refuses, or that waits behind too many others, ends as
// surely not applied after BusyTicks. What is accepted is then not much older than what the servers hold, and
// a caller learns soon that there is too much.

//
// So that what is too much waits here, where it can be given up, and not in sockets, each shard has a window: how many
// transfers may be without an answer. It shrinks when answers take long and grows when they do not.

// Bounds of a window.
const (
	slowTicks   = 20  // answers that take longer shrink it: 200 ms
	busyTicks   = 10  // between two cuts because of BUSY
	leastFlying = 512 // it is never smaller
)

// pace adapts a shard's window to the time that an answer took.
func (e *Engine) pace(sh *shardState, took uint64) {
	switch {
	case took > slowTicks:
		e.shrink(sh, took)
	case sh.full:
		sh.window = min(sh.window+max(sh.window/8, leastFlying), e.o.MaxInFlight)
	}
}

// shrink makes a window smaller than what flies, once in so many ticks: what was sent before a cut says nothing of it.
func (e *Engine) shrink(sh *shardState, ticks uint64) {
	if e.now-sh.cutTick >= ticks {
		sh.cutTick = e.now
		sh.window = max(min(sh.window, sh.flying)*3/4, leastFlying)
	}
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
func (sh *shardState) overfull(g *group) bool {
	waiting := sh.waiting
	if g.batch != nil {
		waiting -= g.batch.batch.open
	}
	return sh.full && waiting > max(sh.window, 2*g.open)
}

// shed ends a transfer between shards likewise.
func (e *Engine) shed(o *op) {
	if o.over || o.kind != opTransfer || o.coord.MayBeApplied() || !e.overdue(o.since) {
		return
	}
	busy := false
	for _, p := range o.coord.Participants() {
		busy = busy || e.byShard[p].busy
	}
	if busy {
		e.expireForGood(o)
	}
}

// noRoom says why a transfer was never sent.
func (e *Engine) noRoom() string {
	return fmt.Sprintf("this client has %d transfers in flight, as many as it may", e.inFlight)
}
