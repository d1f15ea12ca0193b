package ledger

import (
	"cmp"
	"slices"

	"raftbank/internal/invariant"
)

// ref names a node of the prepared set; 0 is none.
type ref int32

// list is the two ends of an account's doubly linked list of nodes, oldest first.
type list struct {
	head, tail ref
}

// links are a node's neighbours in its account's list.
type links struct {
	prev, next ref
}

// node is one transfer in P. A record that crosses shards has exactly one side here.
type node struct {
	record   Record
	digest   Digest
	epoch    uint32 // of the vote
	position uint64 // of the vote's row
	slot     int32  // the local account
	debit    bool   // the local side is the debit
}

// vote is a place in the order of votes.
type vote struct {
	position uint64 // of its row
	at       ref    // 0: its transfer has left P
}

// preparedSet is every transfer in P, in vote order, and by account. Nodes lie in one slice and are reused, so that a
// million of them are nothing to the garbage collector.
type preparedSet struct {
	byID  IDTable // of refs
	nodes []node  // nodes[0] is unused
	held  []links // a node's place among those of its account. Apart from the nodes and close together: to take a node out touches its neighbours
	free  []ref
	votes []vote // by position
	left  int    // how many of votes have left P
}

func newPreparedSet() preparedSet {
	return preparedSet{byID: NewIDTable(), nodes: make([]node, 1), held: make([]links, 1)}
}

// find returns the position of the vote of a transfer in P.
func (p *preparedSet) find(id TransferID) (position uint64, ok bool) {
	at := p.at(id)
	return p.nodes[at].position, at != 0
}

// at returns the node of a transfer in P; 0: it is not there.
func (p *preparedSet) at(id TransferID) ref { return ref(p.byID.Get(id)) }

// add puts n at the end of the set and of its account's list.
func (p *preparedSet) add(n node, held *list) {
	var at ref
	if last := len(p.free) - 1; last >= 0 {
		at, p.free = p.free[last], p.free[:last]
		p.nodes[at] = n
	} else {
		at = ref(len(p.nodes))
		p.nodes = append(p.nodes, n)
		p.held = append(p.held, links{})
	}
	twice := p.byID.Put(n.record.ID, int32(at))
	invariant.Check(twice == 0, "a transfer is prepared twice")
	p.link(at, held)
	if last := len(p.votes) - 1; last >= 0 {
		invariant.Check(p.votes[last].position < n.position, "votes stand in history in their order")
	}
	if p.left > len(p.votes)/2 {
		p.votes = slices.DeleteFunc(p.votes, func(v vote) bool { return v.at == 0 })
		p.left = 0
	}
	p.votes = append(p.votes, vote{position: n.position, at: at})
}

// search returns where in votes the first one from a position on stands.
func (p *preparedSet) search(position uint64) int {
	i, _ := slices.BinarySearchFunc(p.votes, position, func(v vote, position uint64) int { return cmp.Compare(v.position, position) })
	return i
}

// remove takes a node out of the set and of its account's list. vote is its place in votes, negative: it is to be found.
func (p *preparedSet) remove(at ref, vote int, held *list) {
	p.unlink(at, held)
	n := &p.nodes[at]
	p.byID.Delete(n.record.ID)
	p.free = append(p.free, at)
	if vote < 0 {
		vote = p.search(n.position)
	}
	p.votes[vote].at = 0
	p.left++
}

func (p *preparedSet) link(at ref, l *list) {
	p.held[at] = links{prev: l.tail}
	if l.tail == 0 {
		l.head = at
	} else {
		p.held[l.tail].next = at
	}
	l.tail = at
}

func (p *preparedSet) unlink(at ref, l *list) {
	n := p.held[at]
	if n.prev == 0 {
		l.head = n.next
	} else {
		p.held[n.prev].next = n.next
	}
	if n.next == 0 {
		l.tail = n.prev
	} else {
		p.held[n.next].prev = n.prev
	}
}

// all yields the nodes in vote order.
func (p *preparedSet) all(yield func(*node) bool) {
	for _, v := range p.votes {
		if v.at != 0 && !yield(&p.nodes[v.at]) {
			return
		}
	}
}

// ids returns the ids of an account's list, oldest vote first.
func (p *preparedSet) ids(l list) []TransferID {
	var out []TransferID
	for at := l.head; at != 0; at = p.held[at].next {
		out = append(out, p.nodes[at].record.ID)
	}
	return out
}
