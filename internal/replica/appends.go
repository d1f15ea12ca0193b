package replica

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// A leader whose commit index advances tells every follower at once, in an append without entries: a message, a turn
// and an answer of each, for something that the next append says too. Such an append waits for that, until the next
// tick at the latest. To hold one back is to delay it, which a network may do to any message; an append that takes
// its place says everything that it said.

// heldAppend is an append without entries that waits.
type heldAppend struct {
	message *raftpb.Message
	tick    uint64 // since when
}

// holds takes an append that tells a follower nothing but the commit index: there is no entry behind those that
// it was sent. Any other append to the same follower takes the place of one that waits.
func (r *Replica) holds(m *raftpb.Message) bool {
	if m.GetType() != raftpb.MsgApp {
		return false
	}
	r.held = slices.DeleteFunc(r.held, func(h heldAppend) bool { return h.message.GetTo() == m.GetTo() })
	last, err := r.options.Log.LastIndex()
	if err != nil || len(m.GetEntries()) > 0 || m.GetIndex() != last || m.GetTerm() != r.lead.term {
		return false
	}
	r.held = append(r.held, heldAppend{message: m, tick: r.now})
	return true
}

// heldDue reports whether an append has waited long enough.
func (r *Replica) heldDue() bool { return len(r.held) > 0 && r.held[0].tick < r.now }

// releaseHeld returns the appends that have waited long enough.
func (r *Replica) releaseHeld() []*raftpb.Message {
	var due []*raftpb.Message
	for r.heldDue() {
		due = append(due, r.held[0].message)
		r.held = r.held[1:]
	}
	return due
}
