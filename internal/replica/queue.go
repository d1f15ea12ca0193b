package replica

import (
	"go.etcd.io/raft/v3"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// call names a request of a caller.
type call struct {
	server  uint32 // asking server; 0: a client
	conn    uint64
	request uint64
}

// waiter is who waits for items of a proposal that follow each other, as they do in the request. A zero call
// is nobody's.
type waiter struct {
	call  call
	item  uint32 // of the request, the first one
	count uint32
	some  bool
	// parts are the participants that an inquiry named: votes of one block share them.
	parts []shard.ID
	// deferrals is how often the item has been deferred.
	deferrals uint8
}

// proposal is an entry in the making or on its way through the log.
type proposal struct {
	commands []ledger.Command
	waiters  []waiter // of all items, in the entry's order
	bytes    int
	prepares int
	since    uint64 // tick at which it was given to raft
	sinceNs  int64  // likewise, by the clock: a turn that takes long has no ticks
}

// slot identifies a proposed entry: one leader per term, one number per entry.
type slot struct {
	term, seq uint64
}

// queue holds proposals before and after they are given to raft.
type queue struct {
	open     []*proposal // the last one still grows
	proposed map[slot]*proposal
	order    []slot // of proposed, oldest first; may hold slots already applied
	seq      uint64
	bytes    int // of proposed
	prepares int // items of PREPARE in open and proposed
}

func (q *queue) init() { q.proposed = map[slot]*proposal{} }

// fullBytes is the size from which an open proposal does not wait for the one before it.
const fullBytes = 64 << 10

// waitingToPropose reports whether something is to be proposed now. While an entry is on its way through the log, a
// small proposal waits and grows: it then shares one write with what comes meanwhile, and who waits for the entry has
// mostly asked again by then.
func (q *queue) waitingToPropose() bool {
	return len(q.open) > 1 || len(q.open) == 1 && (len(q.proposed) == 0 || q.open[0].bytes >= fullBytes)
}

// maxJoined bounds the items of a command that others have joined: a large one is not worth the copy.
const maxJoined = 256

// nobody waits for n items.
func nobody(n int) []waiter { return []waiter{{count: uint32(n)}} }

// one waits for one item.
func one(c call, item uint32) waiter { return waiter{call: c, item: item, count: 1, some: true} }

// add appends a command; waiters are those of its items, bytes estimates its size. Small commands of
// one kind that follow each other become one; a proposal is closed at limit bytes.
func (q *queue) add(c ledger.Command, waiters []waiter, bytes, limit int) {
	waited := 0
	for i := range waiters {
		waited += int(waiters[i].count)
	}
	if waited != c.Items() {
		panic("replica: a waiter for each item")
	}
	if len(q.open) == 0 || q.open[len(q.open)-1].bytes+bytes > limit {
		q.open = append(q.open, &proposal{})
	}
	p := q.open[len(q.open)-1]
	p.bytes += bytes
	p.waiters = append(p.waiters, waiters...)
	if c.Kind == ledger.CmdPrepare {
		p.prepares += len(c.Records)
		q.prepares += len(c.Records)
	}
	if n := len(p.commands); n > 0 && p.commands[n-1].Kind == c.Kind && p.commands[n-1].Settled == c.Settled &&
		c.Kind != ledger.CmdGenesis && p.commands[n-1].Items()+waited <= maxJoined {
		last := &p.commands[n-1]
		last.Records = append(last.Records, c.Records...)
		last.Digests = append(last.Digests, c.Digests...)
		last.Finishes = append(last.Finishes, c.Finishes...)
		last.Votes = append(last.Votes, c.Votes...)
		last.Poisons = append(last.Poisons, c.Poisons...)
		last.Cancels = append(last.Cancels, c.Cancels...)
		last.Numbers = append(last.Numbers, c.Numbers...)
		return
	}
	p.commands = append(p.commands, c)
}

// take removes an applied proposal; nil if it is none of this leadership's.
func (q *queue) take(s slot) *proposal {
	p, ok := q.proposed[s]
	if !ok {
		return nil
	}
	delete(q.proposed, s)
	q.bytes -= p.bytes
	q.prepares -= p.prepares
	for len(q.order) > 0 && q.proposed[q.order[0]] == nil {
		q.order = q.order[1:]
	}
	return p
}

// dropProposed forgets everything on its way through the log and returns who waits for it.
func (q *queue) dropProposed() []waiter {
	var ws []waiter
	for len(q.order) > 0 {
		ws = append(ws, q.take(q.order[0]).waiters...)
	}
	return waitersOf(ws)
}

// dropUnproposed forgets everything not yet given to raft and returns who waits for it.
func (q *queue) dropUnproposed() []waiter {
	var ws []waiter
	for _, p := range q.open {
		ws = append(ws, p.waiters...)
		q.prepares -= p.prepares
	}
	q.open = nil
	return waitersOf(ws)
}

// waitersFor takes those of n items off the front of ws. A waiter's items are of one command.
func waitersFor(ws *[]waiter, n int) []waiter {
	k := 0
	for rest := n; rest > 0; k++ {
		rest -= int((*ws)[k].count)
	}
	out := (*ws)[:k]
	*ws = (*ws)[k:]
	return out
}

func waitersOf(ws []waiter) []waiter {
	kept := ws[:0]
	for _, w := range ws {
		if w.some {
			kept = append(kept, w)
		}
	}
	return kept
}

// propose gives the open proposals to raft.
func (r *Replica) propose() {
	if r.lead.part == nil {
		for _, w := range r.queue.dropUnproposed() {
			r.answers.status(w.call, wire.StatusNotLeader, "")
		}
		return
	}
	if !r.queue.waitingToPropose() {
		return
	}
	open := r.queue.open
	r.queue.open = nil
	for _, p := range open {
		r.queue.seq++
		s := slot{term: r.lead.term, seq: r.queue.seq}
		// raft copies what is proposed.
		data := ledger.AppendEntry(r.scratch.encoded[:0], &ledger.Entry{
			Proposer: r.id, Seq: s.seq, TimeNs: r.timeNs, Commands: p.commands,
		})
		r.scratch.encoded = data
		if err := r.rn.Propose(data); err != nil {
			r.notTaken(p, err)
			continue
		}
		r.counters.proposals++
		p.bytes, p.since, p.sinceNs = len(data), r.now, r.timeNs
		r.queue.proposed[s] = p
		r.queue.order = append(r.queue.order, s)
		r.queue.bytes += p.bytes
	}
}

// notTaken answers the waiters of a proposal that raft refused: surely not appended. But a status
// speaks of every open item of its request, and a deferred one comes alone: of its siblings nothing
// is sure.
func (r *Replica) notTaken(p *proposal, err error) {
	r.queue.prepares -= p.prepares
	status := wire.StatusBusy
	if err != raft.ErrProposalDropped || r.rn.BasicStatus().LeadTransferee != 0 {
		status = wire.StatusNotLeader
	}
	ws := p.waiters
	for i := range p.commands {
		c := &p.commands[i]
		said := status
		if c.Settled {
			said = wire.StatusLost
		}
		for _, w := range waitersFor(&ws, c.Items()) {
			if w.some {
				r.answers.status(w.call, said, "")
			}
		}
		for j := range c.Finishes {
			r.lead.part.Withdrawn(c.Finishes[j].ID)
		}
		for j := range c.Votes {
			r.lead.part.WithdrawnVotes(&c.Votes[j])
		}
	}
}
