package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"raftbank/internal/api"
	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// A server that has lost its directory is replaced in three entries of raft, each of one member: the old incarnation is
// removed, the new one added as a learner, and made a voter once it has caught up. Nothing but the membership says how far
// that is. So an operator's command that dies, or a leader that does, leaves nothing to mend: the next question
// takes the next step.

const (
	// aliveTicks after its last message a member counts as alive: 2 s.
	aliveTicks = 40
	// onTheWayTicks is how long a message of a member that has died may still be on its way: 250 ms.
	onTheWayTicks = 5
	// joinerTicks after its last probe a joining server is there: 3 s.
	joinerTicks = 60
	// changeTicks is how long a change of the membership that was proposed is waited for: 2 s.
	changeTicks = 40
	// caughtUp is how many entries a learner may lack when it is made a voter.
	caughtUp = 16
)

// membership is who takes part in the group, as of the last applied entry.
type membership struct {
	ledger.Members
	all []uint64 // voters and learners
	// heard is the tick of a member's last raft message.
	heard map[uint64]uint64
	// met are raft ids that this replica does not know as members, and that have shown that they are of this group: it
	// may be behind.
	met   map[uint64]bool
	metAt uint64
	// asked are servers whose raft id this replica did not know and asked about: their verdict on it is not asked for.
	asked map[shard.ServerID]bool
	// joiners are servers that wait to take an earlier incarnation's place.
	joiners map[shard.ServerID]joiner
	// questions are when an operator asked to replace a server: first and last tick.
	questions map[shard.ServerID]joiner
	// changeAt is the tick at which this replica, as leader, proposed a change that is not applied yet.
	changeAt uint64
	pending  bool
	// settleTerm is the term in which this replica, as leader, proposed an empty entry after it had applied the last change,
	// and settleAfter is what its log ended with; settled is the entry's index, once it is applied.
	settleTerm, settleAfter, settled uint64
}

type joiner struct {
	id           uint64
	since, heard uint64 // ticks of its first and last probe
}

func (m *membership) init(founding []uint64, s *ledger.State) {
	m.heard, m.met, m.joiners = map[uint64]uint64{}, map[uint64]bool{}, map[shard.ServerID]joiner{}
	m.asked, m.questions = map[shard.ServerID]bool{}, map[shard.ServerID]joiner{}
	members, ok := s.Members()
	if !ok {
		members = ledger.Members{Voters: slices.Clone(founding)}
	}
	m.set(members)
}

func (m *membership) set(members ledger.Members) { m.Members, m.all = members, members.All() }

// joins notes that a server waits to take an earlier incarnation's place.
func (m *membership) joins(s shard.ServerID, id, now uint64) { follow(m.joiners, s, id, now) }

// follow notes that something comes again and again, or for the first time in a while.
func follow(seen map[shard.ServerID]joiner, s shard.ServerID, id, now uint64) joiner {
	j, ok := seen[s]
	if !ok || j.id != id || now-j.heard > joinerTicks {
		j = joiner{id: id, since: now}
	}
	j.heard = now
	seen[s] = j
	return j
}

func (m *membership) confState() *raftpb.ConfState {
	return &raftpb.ConfState{Voters: slices.Clone(m.Voters), Learners: slices.Clone(m.Learners)}
}

// isMember reports whether messages of a raft id are taken.
func (r *Replica) isMember(id uint64) bool {
	if r.conf.Has(id) {
		return true
	}
	return r.conf.met[id] && !slices.Contains(r.conf.Removed, id)
}

// meet asks a sender whom this replica does not know what it is, or tells it that it was removed; once a tick.
func (r *Replica) meet(id uint64) {
	if r.conf.metAt == r.now {
		return
	}
	r.conf.metAt = r.now
	last, err := r.options.Log.LastIndex()
	switch {
	case err != nil:
	case slices.Contains(r.conf.Removed, id):
		r.out.Sends = append(r.out.Sends, Send{Server: ServerOf(id), Message: &wire.ProbeReply{
			Shard: r.options.Shard, Server: r.options.Server, Incarnation: r.options.Incarnation, State: wire.ReplicaInitialised,
			Term: r.Term(), LastIndex: last, Members: r.conf.all, Founding: r.options.Members, About: id, Verdict: wire.VerdictReplaced,
		}})
	default:
		r.conf.asked[ServerOf(id)] = true
		r.out.Sends = append(r.out.Sends, Send{Server: ServerOf(id), Message: r.probe(last)})
	}
}

// applyMembers applies an entry that changes the membership.
func (r *Replica) applyMembers(e *raftpb.Entry) {
	index, term := e.GetIndex(), e.GetTerm()
	var cc raftpb.ConfChange
	if err := proto.Unmarshal(e.GetData(), &cc); err != nil {
		r.fatal(fmt.Errorf("server %s: entry %d of %s is no change of the membership: %w", r.options.Server, index, r.options.Shard, err))
		return
	}
	cs := r.rn.ApplyConfChange(&cc)
	m := ledger.Members{Voters: slices.Sorted(slices.Values(cs.GetVoters())), Learners: slices.Sorted(slices.Values(cs.GetLearners())),
		Removed: slices.Clone(r.conf.Removed)}
	if id := cc.GetNodeId(); cc.GetType() == raftpb.ConfChangeRemoveNode && !slices.Contains(m.Removed, id) {
		m.Removed = append(m.Removed, id)
	}
	r.conf.set(m)
	r.conf.pending, r.conf.settleTerm, r.conf.settled = false, 0, 0
	r.state.ChangeMembers(index, term, m)
	r.event(LevelInfo, "membership changed", "index", index, "change", cc.GetType().String(), "server", uint64(ServerOf(cc.GetNodeId())),
		"voters", len(m.Voters), "learners", len(m.Learners))
	if slices.Contains(m.Removed, r.id) {
		r.fatal(replacedError(r.options.Server))
	}
}

// replace takes the next step of replacing a server, and says how far that is. Only the leader does.
func (r *Replica) replace(q *api.ReplaceRequest) (api.ReplaceReply, error) {
	reply := api.ReplaceReply{Server: q.Server, Leader: int(r.leaderServer())}
	s := shard.ServerID(q.Server)
	if _, c, ok := r.options.Topology.Server(s); !ok || c.Shard != r.options.Shard {
		return reply, fmt.Errorf("%s has no server %d", r.options.Shard, q.Server)
	}
	if !r.IsLeader() || !r.ownTermApplied() || r.alarm != "" {
		reply.Leader = 0
		if !r.IsLeader() {
			reply.Leader = int(r.leaderServer())
		}
		return reply, nil
	}
	err := r.replaceStep(s, q.Force, &reply)
	return reply, err
}

func (r *Replica) replaceStep(s shard.ServerID, force bool, reply *api.ReplaceReply) error {
	old, voter := r.memberOf(s)
	j := r.conf.joiners[s]
	there := j.id != 0 && r.now-j.heard <= joinerTicks && j.id != old
	if old != 0 && !there && !voter {
		return r.promote(old, reply)
	}
	alive, sure := r.lives(old, s)
	switch {
	case old != 0 && !there && alive && slices.Contains(r.options.Members, old):
		return fmt.Errorf("server %s is alive and takes part: there is nothing to replace", s)
	case old != 0 && !there && alive:
		reply.Phase, reply.Percent = api.ReplaceLearner, 100
		if r.settle() {
			reply.Phase = api.ReplacePromoted
			delete(r.conf.questions, s) // who asks again may mean another replacement: the member may have died since
		}
		return nil
	case !there || !sure:
		reply.Phase = api.ReplaceWaiting
		switch {
		case old == 0:
			reply.Phase = api.ReplaceRemoved
		case !there && !sure && !slices.Contains(r.options.Members, old):
			reply.Phase, reply.Percent = api.ReplaceLearner, 100 // made a voter a moment ago
		}
		return nil
	}
	if other, ok := r.underWay(s); ok {
		return fmt.Errorf("server %s is being replaced: finish that first, with: raftbank replace %s", other, other)
	}
	if old == 0 {
		reply.Phase = api.ReplaceRemoved
		if slices.Contains(r.conf.Removed, j.id) {
			return replacedError(s)
		}
		return r.change(raftpb.ConfChangeAddLearnerNode, j.id)
	}
	reply.Phase = api.ReplaceWaiting
	if alive && !force {
		return fmt.Errorf("server %s is alive: two processes say that they are this server. "+
			"Stop the one that takes part, or replace it with --force", s)
	}
	if voter {
		if err := r.keepsQuorum(old); err != nil {
			return err
		}
	}
	return r.change(raftpb.ConfChangeRemoveNode, old)
}

// memberOf returns the raft id of a server's member, 0 if there is none.
func (r *Replica) memberOf(s shard.ServerID) (id uint64, voter bool) {
	for _, id := range r.conf.all {
		if ServerOf(id) == s {
			return id, slices.Contains(r.conf.Voters, id)
		}
	}
	return 0, false
}

// alive reports whether a member was heard of in the last 2 s.
func (r *Replica) alive(id uint64) bool {
	heard, ok := r.conf.heard[id]
	return id == r.id || ok && r.now-heard <= aliveTicks
}

// lives reports whether a member goes on to speak after an operator has asked to replace its server. It may have died a
// moment before: sure is false until that is known.
func (r *Replica) lives(id uint64, s shard.ServerID) (alive, sure bool) {
	q := follow(r.conf.questions, s, id, r.now)
	switch {
	case id == 0:
		return false, true
	case !r.alive(id):
		return false, true // whatever came late of it: it has been silent since
	case id == r.id || r.conf.heard[id] > q.since+onTheWayTicks:
		return true, true
	}
	return false, false
}

// underWay returns another server whose replacement has begun and not ended.
func (r *Replica) underWay(s shard.ServerID) (shard.ServerID, bool) {
	for _, other := range r.options.Topology.Cluster(r.options.Shard).Servers {
		if _, voter := r.memberOf(other.ID); other.ID != s && !voter && r.founded(other.ID) {
			return other.ID, true
		}
	}
	return 0, false
}

// founded reports whether a server was a founding member: a group that was formed by force may lack some.
func (r *Replica) founded(s shard.ServerID) bool {
	return slices.ContainsFunc(r.options.Members, func(id uint64) bool { return ServerOf(id) == s })
}

// keepsQuorum refuses to remove a voter if the others that are alive are no majority, with it or without it.
func (r *Replica) keepsQuorum(old uint64) error {
	alive := 0
	for _, id := range r.conf.Voters {
		if id != old && r.alive(id) {
			alive++
		}
	}
	if n := len(r.conf.Voters); alive < n/2+1 || alive < (n-1)/2+1 {
		return fmt.Errorf("only %d of the other %d servers of %s are alive: without server %s they would be no majority. Start them first",
			alive, n-1, r.options.Shard, ServerOf(old))
	}
	return nil
}

// change proposes a change of the membership, one at a time.
func (r *Replica) change(typ raftpb.ConfChangeType, id uint64) error {
	if r.conf.pending && r.now-r.conf.changeAt <= changeTicks {
		return nil
	}
	r.conf.pending, r.conf.changeAt = true, r.now
	if err := r.rn.ProposeConfChange(&raftpb.ConfChange{Type: &typ, NodeId: &id}); err != nil {
		r.conf.pending = false // it is asked for again
	}
	return nil
}

// promote makes a learner a voter once it has caught up, and says how far it is.
func (r *Replica) promote(id uint64, reply *api.ReplaceReply) error {
	reply.Phase = api.ReplaceLearner
	var pr tracker.Progress
	r.rn.WithProgress(func(member uint64, _ raft.ProgressType, p tracker.Progress) {
		if member == id {
			pr = p
		}
	})
	commit := r.rn.BasicStatus().GetCommit()
	if f := &r.feeding; pr.State == tracker.StateSnapshot {
		reply.Phase, reply.Percent = api.ReplaceStreaming, f.percent[id]
		if !planted.On(planted.LearnerPromotedEarly) {
			return nil
		}
	}
	if commit > 0 {
		reply.Percent = int(100 * min(pr.Match, commit) / commit)
	}
	if !planted.On(planted.LearnerPromotedEarly) && (pr.State != tracker.StateReplicate || pr.Match+caughtUp < commit || !r.alive(id)) {
		return nil
	}
	invariant.Sometimes("replica: made a learner a voter")
	return r.change(raftpb.ConfChangeAddNode, id)
}

// settle makes sure that the others know of the last change, and not only hold it in their logs: a member that has not
// applied it counts by the membership before it, of which a server less may be one too many. An empty
// entry that follows the change bears, wherever it arrives, the news that the change is committed.
func (r *Replica) settle() bool {
	m := &r.conf
	if m.settleTerm != r.lead.term {
		m.settleTerm, m.settled = r.lead.term, 0
		m.settleAfter, _ = r.options.Log.LastIndex() // it has answered since the start, or the process has ended
		if err := r.rn.Propose(nil); err != nil {
			m.settleTerm = 0 // it is asked for again
		}
	}
	if m.settled == 0 {
		return false
	}
	alive, behind := 0, 0
	r.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		if !p.IsLearner && r.alive(id) {
			alive++
			if p.Match < m.settled {
				behind++
			}
		}
	})
	return behind == 0 && alive > len(m.Voters)/2
}

// percentOf returns how far whoever asks for a part is.
func percentOf(m *wire.Manifest, ask *wire.SnapshotAsk) int {
	const page, row = 6 << 10, 128
	of := m.Rows*row + uint64(m.Pages)*page + m.HeadBytes
	var have uint64
	switch ask.Kind {
	case wire.PartRows:
		have = ask.Position * row
	case wire.PartPages:
		have = m.Rows*row + ask.Position*page
	case wire.PartHead:
		have = m.Rows*row + uint64(m.Pages)*page + ask.Position
	case wire.PartNone:
	}
	return int(100 * min(have, of) / max(1, of))
}
