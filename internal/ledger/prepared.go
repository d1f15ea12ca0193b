package ledger

import "raftbank/internal/invariant"

// ref names a node of the prepared set; 0 is none.
type ref int32

// list is the two ends of a doubly linked list of nodes, oldest first.
type list struct {
	head, tail ref
}

// links are a node's neighbours in one list.
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

// nodeLinks are a node's places: all links the set in vote order, held the account's part of it. They lie apart from
// the nodes, close together: to take a node out touches its neighbours, which are anywhere.
type nodeLinks struct {
	all, held links
}

// preparedSet is every transfer in P, in vote order, as a whole and by account. Nodes lie in one
// slice and are reused, so that a million of them are nothing to the garbage collector.
type preparedSet struct {
	byID  IDTable     // of refs
	nodes []node      // nodes[0] is unused
	links []nodeLinks // parallel to nodes
	free  []ref
	all   list
}

func newPreparedSet() preparedSet {
	return preparedSet{byID: NewIDTable(), nodes: make([]node, 1), links: make([]nodeLinks, 1)}
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
		p.links = append(p.links, nodeLinks{})
	}
	twice := p.byID.Put(n.record.ID, int32(at))
	invariant.Check(twice == 0, "a transfer is prepared twice")
	p.link(at, &p.all, allLinks)
	p.link(at, held, heldLinks)
}

// remove takes a node out of the set and of its account's list.
func (p *preparedSet) remove(at ref, held *list) {
	p.unlink(at, &p.all, allLinks)
	p.unlink(at, held, heldLinks)
	p.byID.Delete(p.nodes[at].record.ID)
	p.free = append(p.free, at)
}

func allLinks(n *nodeLinks) *links  { return &n.all }
func heldLinks(n *nodeLinks) *links { return &n.held }

func (p *preparedSet) link(at ref, l *list, of func(*nodeLinks) *links) {
	*of(&p.links[at]) = links{prev: l.tail}
	if l.tail == 0 {
		l.head = at
	} else {
		of(&p.links[l.tail]).next = at
	}
	l.tail = at
}

func (p *preparedSet) unlink(at ref, l *list, of func(*nodeLinks) *links) {
	n := *of(&p.links[at])
	if n.prev == 0 {
		l.head = n.next
	} else {
		of(&p.links[n.prev]).next = n.next
	}
	if n.next == 0 {
		l.tail = n.prev
	} else {
		of(&p.links[n.next]).prev = n.prev
	}
}

// ids returns the ids of a list, oldest vote first.
func (p *preparedSet) ids(l list, of func(*nodeLinks) *links) []TransferID {
	var out []TransferID
	for at := l.head; at != 0; at = of(&p.links[at]).next {
		out = append(out, p.nodes[at].record.ID)
	}
	return out
}
