package txn

import (
	"raftbank/internal/ledger"
)

// pending is one prepared transfer.
type pending struct {
	inquiry  Inquiry
	position uint64 // of its vote's row
	since    uint64 // tick at which this leader learnt of it
	askedAt  uint64 // tick of the last inquiry; 0: never
	facts    []ledger.ShardFact
	first    [1]ledger.ShardFact // room for facts: mostly there is one other shard
	reason   ledger.Reason
	proposed bool // a FINISH is on its way through the log
	settlers []*settlement
}

// pendingChunk is how many transfers are allocated together.
const pendingChunk = 256

// pendingSet is the prepared transfers by id. They lie in chunks, do not move, and are used again, so that a
// million of them are little to the garbage collector.
type pendingSet struct {
	byID   ledger.IDTable // numbers of chunks, 1 and up
	chunks [][]pending
	free   []int32
}

func newPendingSet() pendingSet { return pendingSet{byID: ledger.NewIDTable()} }

// get returns a transfer, nil if it is not there. It is good until the transfer is removed.
func (s *pendingSet) get(id ledger.TransferID) *pending {
	n := s.byID.Get(id)
	if n == 0 {
		return nil
	}
	return s.at(n)
}

func (s *pendingSet) at(n int32) *pending { return &s.chunks[(n-1)/pendingChunk][(n-1)%pendingChunk] }

// add returns a new transfer for an id, nil if it is there.
func (s *pendingSet) add(id ledger.TransferID) *pending {
	if len(s.free) == 0 {
		first := int32(len(s.chunks)*pendingChunk) + 1
		s.chunks = append(s.chunks, make([]pending, pendingChunk))
		for n := first + pendingChunk - 1; n >= first; n-- {
			s.free = append(s.free, n)
		}
	}
	last := len(s.free) - 1
	n := s.free[last]
	if !s.byID.PutNew(id, n) {
		return nil
	}
	s.free = s.free[:last]
	t := s.at(n)
	t.facts = t.first[:0]
	return t
}

// remove forgets a transfer, if it is there, and returns the settlements that wait for it.
func (s *pendingSet) remove(id ledger.TransferID) []*settlement {
	n := s.byID.Delete(id)
	if n == 0 {
		return nil
	}
	t := s.at(n)
	settlers := t.settlers
	*t = pending{}
	s.free = append(s.free, n)
	return settlers
}

// factsChunk is how many facts of proposed FINISHes are allocated together.
const factsChunk = 1024

// keepFacts returns a copy of facts that nobody changes.
func (p *Participant) keepFacts(facts []ledger.ShardFact) []ledger.ShardFact {
	if cap(p.kept)-len(p.kept) < len(facts) {
		p.kept = make([]ledger.ShardFact, 0, max(factsChunk, len(facts)))
	}
	from := len(p.kept)
	p.kept = append(p.kept, facts...)
	return p.kept[from:len(p.kept):len(p.kept)]
}

// dueQueue is a queue that stays where it is in memory.
type dueQueue struct {
	list []due
	head int // those before it are gone
}

func (q *dueQueue) push(d due) {
	if q.head > len(q.list)/2 && len(q.list) == cap(q.list) {
		q.list = q.list[:copy(q.list, q.list[q.head:])]
		q.head = 0
	}
	q.list = append(q.list, d)
}

// first returns the one whose turn is next; nil: there is none.
func (q *dueQueue) first() *due {
	if q.head == len(q.list) {
		return nil
	}
	return &q.list[q.head]
}

func (q *dueQueue) pop() { q.head++ }
