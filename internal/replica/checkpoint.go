package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// checkpointEveryTicks is how often a replica tells the others how far its checkpoint reaches: 2 s.
const checkpointEveryTicks = 40

// checkpoints is how far the durable checkpoints of the members reach, as far as this process has heard. What
// all of them hold is needed from nobody's log.
type checkpoints struct {
	reach map[uint64]uint64 // by raft id
	term  uint64            // of the entry that the own one reaches to
	heard map[uint64]uint64 // tick at which the member told it last
}

func (c *checkpoints) init() { c.reach, c.heard = map[uint64]uint64{}, map[uint64]uint64{} }

// Checkpointed tells the replica that its own checkpoint up to an index is durable. term is that entry's.
func (r *Replica) Checkpointed(index, term uint64) {
	r.checkpoints.reach[r.id], r.checkpoints.term = index, term
	r.tellCheckpoint()
}

// Needless returns the highest index that every member's checkpoint holds: entries up to it may be cut from
// the log. It is 0 until all members were heard of. live is the same without the members that have told nothing for
// Limits.SilentTicks: if the log up to it is cut, those fetch a checkpoint when they come back. While a checkpoint is being
// fetched from this replica, both stop at it, so that whoever fetches it can go on from there.
func (r *Replica) Needless() (all, live uint64) {
	all = r.checkpoints.reach[r.id]
	if r.feeding.holding {
		all = min(all, r.feeding.held.Index)
	}
	live = all
	for _, id := range r.conf.all {
		reach := r.checkpoints.reach[id]
		all = min(all, reach)
		if id == r.id || r.now-r.checkpoints.heard[id] <= uint64(r.options.Limits.SilentTicks) {
			live = min(live, reach)
		}
	}
	return all, live
}

func (r *Replica) tellCheckpoint() {
	index := r.checkpoints.reach[r.id]
	if index == 0 {
		return
	}
	for _, id := range r.conf.all {
		if id != r.id {
			r.out.Sends = append(r.out.Sends, Send{Server: ServerOf(id),
				Message: &wire.Checkpoint{Shard: r.options.Shard, From: r.id, Index: index, Term: r.checkpoints.term}})
		}
	}
}

// stepCheckpoint takes note of another member's checkpoint. Of a directory that was rolled back it is not believed.
func (r *Replica) stepCheckpoint(from shard.ServerID, m *wire.Checkpoint) {
	if m.Shard != r.options.Shard || ServerOf(m.From) != from || !r.isMember(m.From) {
		r.counters.wrongIncarnation++
		return
	}
	if r.refuses(m.From) {
		return
	}
	r.checkpoints.reach[m.From] = m.Index
	r.checkpoints.heard[m.From] = r.now
	// What a checkpoint holds was committed, and was durable in its log.
	a := r.peers.seen[m.From]
	a.index = max(a.index, m.Index)
	r.peers.seen[m.From] = a
	r.acknowledge(m)
}

// acknowledge tells raft what a member's checkpoint says. The acknowledgements of its entries may have been lost, or a
// rejection of long ago may have come late: a leader that believed it would look for entries that are cut by now,
// for ever. That a checkpoint holds an entry means that the member's log held it, durably, with all before it. It is this
// leader's entry only if the terms agree: a leader that was deposed and does not know it may hold another one at the
// index, which nobody has acknowledged.
func (r *Replica) acknowledge(m *wire.Checkpoint) {
	last, err := r.options.Log.LastIndex()
	if err != nil || m.Index > last || !r.IsLeader() {
		return
	}
	behind := false
	r.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		behind = behind || id == m.From && p.Match < m.Index
	})
	if !behind {
		return
	}
	if term, err := r.options.Log.Term(m.Index); err != nil || term != m.Term && !planted.On(planted.CheckpointTermUnchecked) {
		return
	}
	// Step's errors concern unknown senders, which isMember has excluded.
	_ = r.rn.Step(&raftpb.Message{
		Type: raftpb.MsgAppResp.Enum(), From: &m.From, To: &r.id, Term: new(r.Term()), Index: &m.Index,
	})
}
