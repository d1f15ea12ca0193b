package replica

import (
	"fmt"
	"maps"
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
	// questions are what operators have asked lately.
	questions map[asked]*question
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

// asked is one attempt of an operator to replace a server.
type asked struct {
	server  shard.ServerID
	attempt uint64
}

// question is how long an attempt has been going on.
type question struct {
	since, heard uint64 // ticks of its first and last request
	// Entries after index after were first sent after the question, by the leader of term.
	term, after uint64
}

func (m *membership) init(founding []uint64, s *ledger.State) {
	m.heard, m.met, m.joiners = map[uint64]uint64{}, map[uint64]bool{}, map[shard.ServerID]joiner{}
	m.asked, m.questions = map[shard.ServerID]bool{}, map[asked]*question{}
	members, ok := s.Members()
	if !ok {
		members = ledger.Members{Voters: slices.Clone(founding)}
	}
	m.set(members)
}

func (m *membership) set(members ledger.Members) { m.Members, m.all = members, members.All() }

// joins notes that a server waits to take an earlier incarnation's place.
func (m *membership) joins(s shard.ServerID, id, now uint64) {
	j, ok := m.joiners[s]
	if !ok || j.id != id || now-j.heard > joinerTicks {
		j = joiner{id: id, since: now}
	}
	j.heard = now
	m.joiners[s] = j
}

// asks notes that an attempt to replace a server goes on, or begins.
func (m *membership) asks(a asked, now uint64) *question {
	q, ok := m.questions[a]
	if !ok || now-q.heard > joinerTicks {
		// order does not show: entries are only deleted
		maps.DeleteFunc(m.questions, func(_ asked, old *question) bool { return now-old.heard > joinerTicks })
		q = &question{since: now}
		m.questions[a] = q
	}
	q.heard = now
	return q
}

func (m *membership) confState() *raftpb.ConfState {
	return &raftpb.ConfState{Voters: slices.Clone(m.Voters), Learners: slices.Clone(m.Learners)}
}

// isMember reports whether messages of a raft id are taken.
func (r *Replica) isMember(id uint64) bool {
	if r.conf.Has(id) {
		return true
	}
	return r.conf.met[id] && !r.wasRemoved(id)
}

// wasRemoved reports whether a raft id was a member and is none any more. It never becomes one again.
func (r *Replica) wasRemoved(id uint64) bool {
	return slices.Contains(r.conf.Removed, id) && !planted.On(planted.RemovedReadmitted)
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
	case r.wasRemoved(id):
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
	err := r.replaceStep(asked{server: s, attempt: q.Attempt}, q.Force, &reply)
	return reply, err
}

func (r *Replica) replaceStep(a asked, force bool, reply *api.ReplaceReply) error {
	s, q := a.server, r.conf.asks(a, r.now)
	old, voter := r.memberOf(s)
	j := r.conf.joiners[s]
	there := j.id != 0 && r.now-j.heard <= joinerTicks && j.id != old
	if old != 0 && !there && !voter {
		return r.promote(old, reply)
	}
	founder := slices.Contains(r.options.Members, old)
	if old != 0 && !there && r.takesPart(old, q) && r.alive(old) {
		if founder {
			return fmt.Errorf("server %s is alive and takes part: there is nothing to replace", s)
		}
		reply.Phase, reply.Percent = api.ReplaceLearner, 100
		if r.settle() {
			reply.Phase = api.ReplacePromoted
		}
		return nil
	}
	alive, sure := r.lives(old, q)
	if !there || !sure {
		reply.Phase = api.ReplaceWaiting
		switch {
		case old == 0:
			reply.Phase = api.ReplaceRemoved
		case !there && !founder && r.alive(old):
			reply.Phase, reply.Percent = api.ReplaceLearner, 100 // made a voter a moment ago
		}
		return nil
	}
	if other, ok := r.underWay(s); ok {
		return fmt.Errorf("server %s is being replaced: finish that first, with: raftbank replace %s", other, other)
	}
	if old == 0 {
		reply.Phase = api.ReplaceRemoved
		if r.wasRemoved(j.id) {
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
// moment before: sure is false until that is known. A message that was on its way for long may pass for a sign of life:
// that only makes the operator wait.
func (r *Replica) lives(id uint64, q *question) (alive, sure bool) {
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

// takesPart reports whether a member has acknowledged an entry that did not exist when the operator began to ask: then
// it did not die before, however late its messages come.
func (r *Replica) takesPart(id uint64, q *question) bool {
	if id == r.id {
		return true
	}
	if q.term != r.lead.term {
		last, err := r.options.Log.LastIndex()
		if err != nil || r.rn.Propose(nil) != nil {
			return false // it is asked for again
		}
		if r.ready != nil {
			last += uint64(len(r.ready.Entries)) // sent, and not in the log yet
		}
		q.term, q.after = r.lead.term, last
	}
	return r.progressOf(id).Match > q.after
}

func (r *Replica) progressOf(id uint64) (pr tracker.Progress) {
	r.rn.WithProgress(func(member uint64, _ raft.ProgressType, p tracker.Progress) {
		if member == id {
			pr = p
		}
	})
	return pr
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
	pr := r.progressOf(id)
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
	if planted.On(planted.ReplacedEarly) {
		reply.Phase = api.ReplacePromoted
	}
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
