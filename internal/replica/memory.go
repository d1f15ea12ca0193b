package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/invariant"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// peerMemory is what this process remembers that others have acknowledged. A directory that holds
// less than its replica once acknowledged was rolled back and must not vote again.
type peerMemory struct {
	seen map[uint64]acknowledged
	// out holds the verdict on raft ids judged rolled back, until a probe shows otherwise.
	out map[uint64]*refusedPeer
}

type refusedPeer struct {
	verdict *wire.ProbeReply
	toldAt  uint64 // tick
}

// acknowledged is the most that a replica ever stated to this one.
type acknowledged struct {
	term  uint64 // of a message that it sent after writing
	index uint64 // acknowledged and committed: no later leader can have removed it
}

func (m *peerMemory) init() {
	m.seen = map[uint64]acknowledged{}
	m.out = map[uint64]*refusedPeer{}
}

// refuses drops the messages of a peer whose directory was rolled back, and tells it so once a
// tick. A peer that was judged by a probe of long ago answers with a new one.
func (r *Replica) refuses(id uint64) bool {
	p := r.peers.out[id]
	if p == nil {
		return false
	}
	if p.toldAt != r.now {
		p.toldAt = r.now
		r.out.Sends = append(r.out.Sends, Send{Server: ServerOf(id), Message: p.verdict})
	}
	return true
}

// remember notes what a raft message proves about its sender's disk. Pre-votes prove nothing: they
// carry a term that is not written.
func (r *Replica) remember(m *raftpb.Message) {
	a := r.peers.seen[m.GetFrom()]
	switch m.GetType() {
	case raftpb.MsgPreVote, raftpb.MsgPreVoteResp:
		return
	case raftpb.MsgAppResp:
		if !m.GetReject() {
			a.index = max(a.index, min(m.GetIndex(), r.rn.BasicStatus().GetCommit()))
		}
	case raftpb.MsgApp, raftpb.MsgHeartbeat:
		// A leader writes and syncs what it appends before it takes the next message, so it holds durably whatever
		// its followers have let it commit: its own acknowledgement goes to nobody else.
		a.index = max(a.index, m.GetCommit())
	}
	a.term = max(a.term, m.GetTerm())
	r.peers.seen[m.GetFrom()] = a
}

// stepProbe tells a starting replica what this one is and what it makes of the asker.
func (r *Replica) stepProbe(from shard.ServerID, m *wire.Probe) {
	last, err := r.options.Log.LastIndex()
	if err != nil {
		r.fatal(fmt.Errorf("read the log's last index: %w", err))
		return
	}
	asker := RaftID(m.Server, m.Incarnation)
	known := r.peers.seen[asker]
	reply := &wire.ProbeReply{
		Shard: r.options.Shard, Server: r.options.Server, Incarnation: r.options.Incarnation,
		State: wire.ReplicaInitialised, Term: r.rn.BasicStatus().GetTerm(), LastIndex: last,
		Members: r.conf.all, Founding: r.options.Members, About: asker, Verdict: wire.VerdictOK,
		RememberedTerm: known.term, RememberedIndex: known.index,
	}
	if m.Server == from {
		delete(r.peers.out, asker) // a server speaks for itself alone
	}
	switch {
	case m.Shard != r.options.Shard || m.Server != from:
		reply.Verdict = wire.VerdictForeign
	case r.wasRemoved(asker):
		invariant.Sometimes("replica: refused a member that was removed")
		reply.Verdict = wire.VerdictReplaced
	case m.State == wire.ReplicaJoining:
		r.conf.joins(from, asker, r.now)
	case m.State == wire.ReplicaInitialised && !slices.Equal(m.Founding, r.options.Members),
		m.State == wire.ReplicaEmpty && !r.isMember(asker):
		reply.Verdict = wire.VerdictStranger
	case m.State == wire.ReplicaInitialised && (m.Term < known.term || m.LastIndex < known.index),
		m.State == wire.ReplicaEmpty && known != acknowledged{}:
		if planted.On(planted.RolledBackAccepted) || planted.On(planted.EmptiedAccepted) {
			break
		}
		reply.Verdict = wire.VerdictRolledBack
		r.peers.out[asker] = &refusedPeer{verdict: reply, toldAt: r.now}
		r.event(LevelError, "peer's directory was rolled back: its messages are refused", "server", uint64(from),
			"term", m.Term, "remembered_term", known.term, "last_index", m.LastIndex, "remembered_index", known.index)
	}
	r.out.Sends = append(r.out.Sends, Send{Server: from, Message: reply})
}

// probe is what this replica says of itself.
func (r *Replica) probe(last uint64) *wire.Probe {
	return &wire.Probe{
		Shard: r.options.Shard, Server: r.options.Server, Incarnation: r.options.Incarnation,
		State: wire.ReplicaInitialised, Term: r.rn.BasicStatus().GetTerm(), LastIndex: last, Founding: r.options.Members,
	}
}

// stepProbeReply takes a late verdict: this replica has started before a peer could answer.
func (r *Replica) stepProbeReply(from shard.ServerID, m *wire.ProbeReply) {
	if m.Shard != r.options.Shard || m.Server != from || m.About != r.id {
		return
	}
	last, err := r.options.Log.LastIndex()
	if err != nil {
		r.fatal(fmt.Errorf("read the log's last index: %w", err))
		return
	}
	self := r.probe(last)
	if m.State == wire.ReplicaInitialised && slices.Equal(m.Founding, r.options.Members) {
		r.conf.met[RaftID(m.Server, m.Incarnation)] = true
	}
	if m.Verdict == wire.VerdictStranger && r.conf.asked[from] {
		return // two groups have met; this one goes on
	}
	if err := verdictError(self, m); err != nil {
		r.fatal(err)
		return
	}
	if m.Verdict == wire.VerdictRolledBack {
		// The verdict is about an old probe: show what this directory holds now.
		r.out.Sends = append(r.out.Sends, Send{Server: from, Message: self})
	}
}
