package sim

import (
	"fmt"
	"slices"

	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

const clientTickUs = 10 * millisecond

// clientProc is one client: an engine, its connections, and a journal that survives its death.
type clientProc struct {
	w          *world
	id         int // from 1
	rng        random
	up         bool
	generation uint64
	engine     *session.Engine
	conns      map[shard.ServerID]*conn
	waiting    map[session.OpID]*submission
	batches    map[session.OpID][]*submission // by place; nil: answered
	flushDue   bool
	busy       int   // operations of the workload in flight
	readsAt    int64 // a slow reader: when it reads again
	readsDue   bool  // no answer has waited for it yet
	crashPoint int   // of this incarnation, 0: none
	// Method values, made once: they are planned all the time.
	doTick, doFlush func()
}

func newClientProc(w *world, id int) *clientProc {
	c := &clientProc{w: w, id: id, rng: newRandom(w.o.Seed, fmt.Sprintf("client %d", id))}
	c.doTick, c.doFlush = c.tick, c.flush
	return c
}

func (c *clientProc) name() string { return fmt.Sprintf("client %d", c.id) }

func (c *clientProc) alive(generation uint64) bool { return c.up && c.generation == generation }

// after plans something for this incarnation alone.
func (c *clientProc) after(us int64, do func()) {
	c.w.plant(us, event{do: do, client: c, generation: c.generation})
}

// start begins an incarnation; crashPoint is 0, or where it is to die (docs/PROTOCOL.md, section 11).
func (c *clientProc) start(crashPoint int) {
	if c.up {
		return
	}
	if c.w.calm {
		crashPoint = 0
	}
	c.generation++
	c.up, c.crashPoint = true, crashPoint
	c.engine = session.New(session.Options{Topology: c.w.topology, CrashPoint: crashPoint, Trace: c.w.story != nil})
	c.conns = map[shard.ServerID]*conn{}
	c.waiting = map[session.OpID]*submission{}
	c.batches = map[session.OpID][]*submission{}
	c.flushDue, c.busy = false, 0
	c.w.say(c.name(), "starts, crash point %d", crashPoint)
	c.after(c.rng.between(0, clientTickUs), c.doTick)
	c.w.load.begin(c)
}

func (c *clientProc) tick() {
	c.after(clientTickUs, c.doTick)
	c.engine.Tick()
	c.flush()
}

// soon plans a Flush: what happens until then is taken together.
func (c *clientProc) soon() {
	if !c.flushDue {
		c.flushDue = true
		c.after(c.rng.between(0, 50), c.doFlush)
	}
}

// flush carries out the engine's effects, in the order that package session asks for.
func (c *clientProc) flush() {
	c.flushDue = false
	out := c.engine.Flush()
	for _, id := range out.Connects {
		c.w.net.dial(c, id)
	}
	for _, s := range out.Sends {
		if k := c.conns[s.Server]; k != nil {
			for _, m := range s.Messages {
				c.w.net.request(k, m)
			}
		}
	}
	for _, st := range out.Steps {
		if sub := c.waiting[st.Op]; sub != nil {
			c.w.say(c.name(), "%s: %s %s", sub.name(), actorName(st.Actor), st.Text)
		}
	}
	for i := range out.Committed {
		r := &out.Committed[i]
		for n := range r.Count {
			place := r.First + n
			if r.Places != nil {
				place = r.Places[n]
			}
			c.ended(r.Op, place, &session.Result{Decision: txn.DecidedCommitted})
		}
	}
	for i := range out.Dones {
		d := &out.Dones[i]
		if c.batches[d.Op] != nil {
			c.ended(d.Op, d.Place, &d.Result)
		} else if sub := c.waiting[d.Op]; sub != nil {
			delete(c.waiting, d.Op)
			c.busy--
			c.w.load.done(c, sub, &d.Result)
		}
	}
	if out.Crash {
		c.w.struck(faultCrashPoint)
		c.w.recovery("client died at a crash point")
		c.die("at its crash point")
	}
}

// ended takes the outcome of one transfer of a batch: there is one for each.
func (c *clientProc) ended(op session.OpID, place uint32, r *session.Result) {
	batch := c.batches[op]
	if batch == nil || batch[place] == nil {
		c.w.fail(CheckAgreement, "%s was told of transfer %d of batch %d, which has ended", c.name(), place, op)
		return
	}
	sub := batch[place]
	batch[place] = nil
	if !slices.ContainsFunc(batch, func(s *submission) bool { return s != nil }) {
		delete(c.batches, op)
		c.busy--
	}
	c.w.load.done(c, sub, r)
}

func actorName(s shard.ID) string {
	if s == 0 {
		return ""
	}
	return s.String()
}

// readLater lets the client read no answers for a while.
func (c *clientProc) readLater(us int64) {
	c.readsDue = true
	c.readsAt = c.w.healedBy(c.w.now + us)
	c.w.say(c.name(), "does not read until %d ms", c.readsAt/millisecond)
}

// die ends the incarnation: its answers are never known, and its journal remains.
// It reports whether there was one.
func (c *clientProc) die(how string) bool {
	if !c.up {
		return false
	}
	c.up = false
	c.generation++
	c.w.say(c.name(), "dies %s", how)
	c.w.net.clientDied(c)
	wait := c.rng.between(0, 8*second)
	if c.w.calm {
		wait = 0
	}
	c.w.after(wait, func() { c.start(0) })
	return true
}

func (c *clientProc) connected(to shard.ServerID, k *conn) {
	c.conns[to] = k
	c.engine.ConnUp(to)
	c.soon()
}

// down tells the engine that a connection ended, or was not made (k is nil).
func (c *clientProc) down(to shard.ServerID, k *conn, why string) {
	if k != nil && c.conns[to] != k {
		return
	}
	delete(c.conns, to)
	c.engine.ConnDown(to, why)
	c.soon()
}

func (c *clientProc) receive(from shard.ServerID, k *conn, m wire.Message) {
	if c.conns[from] != k {
		return
	}
	c.engine.StepReply(from, m)
	c.soon()
}
