package session

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// chaos runs two incarnations of a client, with the same ids, over a network that loses, delays,
// reorders and repeats messages, breaks connections and moves leaderships.
type chaos struct {
	rt       *rapid.T
	w        *world
	engines  []*Engine
	sent     []chaosMessage
	replies  []chaosReply
	outcomes map[ledger.TransferID][]Result
	owner    []map[OpID]ledger.TransferID
	batches  []map[OpID][]ledger.Record
	begun    int // transfers in batches
	ended    int
	begunOps []begunOp
}

// begunOp is a transfer or a batch that a caller may leave.
type begunOp struct {
	client int
	op     OpID
}

type chaosMessage struct {
	client int
	to     shard.ServerID
	m      wire.Message
}

type chaosReply struct {
	client int
	from   shard.ServerID
	r      *wire.Reply
}

// TestRandomOrders checks what a caller may rely on, whatever the network does: no two different
// definite outcomes of an id, no success that the bank does not hold, nothing applied that was
// reported as aborted or unavailable, and no money lost.
func TestRandomOrders(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, Options{})
		c := &chaos{rt: rt, w: w, outcomes: map[ledger.TransferID][]Result{}}
		for range 2 {
			c.engines = append(c.engines, New(Options{Topology: w.bank.Topology, DeadlineTicks: 30, GraceTicks: 20, AnswerTicks: 5}))
			c.owner = append(c.owner, map[OpID]ledger.TransferID{})
			c.batches = append(c.batches, map[OpID][]ledger.Record{})
		}
		for range rapid.IntRange(20, 120).Draw(rt, "steps") {
			c.step()
		}
		for range 400 { // every deadline passes
			c.tick()
			c.deliverAll()
		}
		w.bank.Recover()
		w.bank.Recover()
		c.check()
	})
}

func (c *chaos) step() {
	client := rapid.IntRange(0, 1).Draw(c.rt, "client")
	e := c.engines[client]
	server := shard.ServerID(rapid.IntRange(1, 6).Draw(c.rt, "server"))
	switch rapid.IntRange(0, 10).Draw(c.rt, "what") {
	case 0:
		ids := rapid.SliceOfN(rapid.Uint64Range(1, 4), 1, 5).Draw(c.rt, "ids")
		batch := make([]ledger.Record, len(ids))
		for i, n := range ids {
			batch[i] = record(nameID(fmt.Sprint(n)), n, 10*(n%2)+n+4, 4)
		}
		c.begun += len(batch)
		op := e.TransferBatch(batch)
		c.batches[client][op] = batch
		c.begunOps = append(c.begunOps, begunOp{client, op})
	case 1, 2:
		n := rapid.Uint64Range(1, 4).Draw(c.rt, "id")
		r := record(nameID(fmt.Sprint(n)), n, 10*(n%2)+n+4, 4) // odd ones are cross-shard
		op := e.Transfer(r)
		c.owner[client][op] = r.ID
		c.begunOps = append(c.begunOps, begunOp{client, op})
	case 3:
		e.ConnUp(server)
	case 4:
		e.ConnDown(server, "broken")
		c.dropReplies(client, server)
	case 5:
		s := shard.ID((server + 2) / 3)
		c.w.bank.Leaders[s] = server
	case 6:
		c.tick()
	case 7:
		c.loseOne()
	case 8:
		id := nameID(fmt.Sprint(rapid.Uint64Range(1, 4).Draw(c.rt, "id")))
		if rapid.Bool().Draw(c.rt, "cancel") {
			c.owner[client][e.Cancel(id)] = id
		} else {
			c.owner[client][e.Resolve(id)] = id
		}
	case 9:
		if n := len(c.begunOps); n > 0 {
			b := c.begunOps[rapid.IntRange(0, n-1).Draw(c.rt, "abandoned")]
			c.engines[b.client].Abandon(b.op)
		}
	default:
		c.deliverOne()
	}
	c.flush()
}

func (c *chaos) tick() {
	for _, e := range c.engines {
		e.Tick()
	}
	c.flush()
}

func (c *chaos) flush() {
	for i, e := range c.engines {
		out := e.Flush()
		for _, s := range out.Sends {
			for _, m := range s.Messages {
				c.sent = append(c.sent, chaosMessage{i, s.Server, m})
			}
		}
		for _, r := range out.Committed {
			for n := range r.Count {
				at := r.First + n
				if r.Places != nil {
					at = r.Places[n]
				}
				c.ends(c.batches[i][r.Op][at].ID, Result{Decision: txn.DecidedCommitted})
				c.ended++
			}
		}
		for _, d := range out.Dones {
			if batch := c.batches[i][d.Op]; batch != nil {
				c.ends(batch[d.Place].ID, d.Result)
				c.ended++
				continue
			}
			c.ends(c.owner[i][d.Op], d.Result)
		}
		for _, s := range out.Connects {
			e.ConnUp(s)
		}
	}
}

func (c *chaos) ends(id ledger.TransferID, r Result) { c.outcomes[id] = append(c.outcomes[id], r) }

func (c *chaos) deliverOne() {
	if n := len(c.sent); n > 0 && rapid.Bool().Draw(c.rt, "request") {
		c.deliver(rapid.IntRange(0, n-1).Draw(c.rt, "which"))
		return
	}
	if n := len(c.replies); n > 0 {
		i := rapid.IntRange(0, n-1).Draw(c.rt, "which")
		r := c.replies[i]
		if !rapid.Bool().Draw(c.rt, "twice") {
			c.replies = append(c.replies[:i:i], c.replies[i+1:]...)
		}
		c.engines[r.client].StepReply(r.from, r.r)
	}
}

func (c *chaos) deliver(i int) {
	f := c.sent[i]
	if !rapid.Bool().Draw(c.rt, "twice") {
		c.sent = append(c.sent[:i:i], c.sent[i+1:]...)
	}
	r := c.w.bank.Handle(f.to, f.m)
	if r.Status == wire.StatusOK && len(r.Results) > 1 && rapid.Bool().Draw(c.rt, "partial") {
		rest := *r
		rest.Results = r.Results[1:]
		r.Results = r.Results[:1]
		c.replies = append(c.replies, chaosReply{f.client, f.to, &rest})
	}
	if n := len(r.Voted); n > 1 && rapid.Bool().Draw(c.rt, "partial votes") {
		rest := *r
		rest.Voted, rest.Results = r.Voted[1:], nil
		r.Voted = r.Voted[:1]
		c.replies = append(c.replies, chaosReply{f.client, f.to, &rest})
	}
	if n := len(r.Committed); n > 1 && rapid.Bool().Draw(c.rt, "partial run") {
		rest := *r
		rest.Committed, rest.Results = r.Committed[1:], nil
		r.Committed = r.Committed[:1]
		c.replies = append(c.replies, chaosReply{f.client, f.to, &rest})
	}
	c.replies = append(c.replies, chaosReply{f.client, f.to, r})
}

func (c *chaos) deliverAll() {
	sent := c.sent
	c.sent = nil
	for _, f := range sent {
		c.replies = append(c.replies, chaosReply{f.client, f.to, c.w.bank.Handle(f.to, f.m)})
	}
	replies := c.replies
	c.replies = nil
	for _, r := range replies {
		c.engines[r.client].StepReply(r.from, r.r)
	}
	c.flush()
}

func (c *chaos) loseOne() {
	if n := len(c.sent); n > 0 {
		i := rapid.IntRange(0, n-1).Draw(c.rt, "lost")
		c.sent = append(c.sent[:i:i], c.sent[i+1:]...)
	}
}

func (c *chaos) dropReplies(client int, s shard.ServerID) {
	kept := c.replies[:0]
	for _, r := range c.replies {
		if r.client != client || r.from != s {
			kept = append(kept, r)
		}
	}
	c.replies = kept
}

func (c *chaos) check() {
	for _, e := range c.engines {
		if e.InFlight() != 0 {
			c.rt.Fatalf("%d operations never ended", e.InFlight())
		}
	}
	if c.ended != c.begun {
		c.rt.Fatalf("%d of %d transfers in batches ended", c.ended, c.begun)
	}
	for n := 1; n <= 4; n++ {
		id := nameID(fmt.Sprint(n))
		held := ledger.None
		for s := shard.ID(1); s <= 2; s++ {
			if o, ok := c.w.bank.State(s).Lookup(id); ok && (o.State == ledger.Committed || held == ledger.None) {
				held = o.State
			}
		}
		committed := false
		for _, r := range c.outcomes[id] {
			committed = committed || r.Decision == txn.DecidedCommitted
			switch {
			case r.Decision == txn.DecidedCommitted && held != ledger.Committed:
				c.rt.Fatalf("%d was reported committed, the bank holds %s", n, held)
			case r.Decision == txn.DecidedAborted && held == ledger.Committed:
				c.rt.Fatalf("%d was reported aborted (%s), the bank holds %s", n, r.Reason, held)
			case r.Decision == txn.Undecided:
				c.rt.Fatalf("%d ended undecided", n)
			}
		}
		unavailableOnly := len(c.outcomes[id]) > 0
		for _, r := range c.outcomes[id] {
			unavailableOnly = unavailableOnly && r.Decision == txn.DecidedUnavailable
		}
		if unavailableOnly && held == ledger.Committed {
			c.rt.Fatalf("%d was reported surely not applied by everyone, the bank holds it", n)
		}
	}
	if p := c.w.bank.Prepared(); p != 0 {
		c.rt.Fatalf("%d transfers stay prepared", p)
	}
	if total, expected := c.w.bank.Total(); total != expected {
		c.rt.Fatalf("total is %s, want %s", total, expected)
	}
}
