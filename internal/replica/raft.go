package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// early reports whether a raft message may leave before this turn's write: it promises nothing
// that the write could lose. Everything else waits, above all votes and acknowledgements.
func early(t raftpb.MessageType) bool {
	return t == raftpb.MsgApp || t == raftpb.MsgHeartbeat || planted.On(planted.AckBeforeSync)
}

// sendEarly sends what may leave before the write, but for appends that wait for the next one.
func (r *Replica) sendEarly(ms []*raftpb.Message) {
	r.sendRaft(ms, func(m *raftpb.Message) bool { return early(m.GetType()) && !r.holds(m) })
}

func (r *Replica) sendLate(ms []*raftpb.Message) {
	r.sendRaft(ms, func(m *raftpb.Message) bool { return !early(m.GetType()) })
}

// sendRaft groups the chosen messages by receiver, in their order.
func (r *Replica) sendRaft(ms []*raftpb.Message, chosen func(*raftpb.Message) bool) {
	var groups []*wire.Raft // few: one for each other member at most
	for _, m := range ms {
		if !chosen(m) {
			continue
		}
		i := slices.IndexFunc(groups, func(g *wire.Raft) bool { return g.To == m.GetTo() })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &wire.Raft{Shard: r.options.Shard, From: r.id, To: m.GetTo()})
			r.out.Sends = append(r.out.Sends, Send{Server: ServerOf(m.GetTo()), Message: groups[i]})
		}
		head, data := encodeRaft(m)
		groups[i].Messages = append(groups[i].Messages, head)
		groups[i].Data = append(groups[i].Data, data)
	}
}

// stepRaft takes raft messages of a peer. Those for or from another incarnation are refused.
func (r *Replica) stepRaft(from shard.ServerID, m *wire.Raft) {
	if m.Shard != r.options.Shard || m.To != r.id || ServerOf(m.From) != from {
		r.counters.wrongIncarnation++
		return
	}
	if !r.isMember(m.From) {
		r.counters.wrongIncarnation++
		r.meet(m.From)
		return
	}
	if r.refuses(m.From) {
		return
	}
	r.conf.heard[m.From] = r.now
	for _, data := range m.Messages {
		msg, err := decodeRaft(data, m.From, m.To)
		if err != nil || raft.IsLocalMsg(msg.GetType()) || !peerMaySend(msg) {
			r.counters.badMessages++
			continue
		}
		if planted.On(planted.RefusedVoteCounts) && (msg.GetType() == raftpb.MsgVoteResp || msg.GetType() == raftpb.MsgPreVoteResp) {
			msg.Reject = nil
		}
		if msg.GetType() == raftpb.MsgSnap && r.offered(msg) {
			continue
		}
		if msg.GetType() == raftpb.MsgHeartbeat && r.lacks(from, msg.GetTerm(), msg.GetCommit()) {
			return
		}
		// Step's errors concern unknown senders of responses, which isMember has excluded.
		_ = r.rn.Step(msg)
		r.remember(msg)
	}
}

// lacks reports whether the log ends before what a leader lets this replica commit by a heartbeat. That is never more than
// this replica has acknowledged to it: the directory was rolled back, and the leader is the first to tell. It ends the process.
func (r *Replica) lacks(leader shard.ServerID, term, commit uint64) bool {
	last, err := r.options.Log.LastIndex()
	if err != nil || commit <= last {
		return false
	}
	r.fatal(rolledBackError(r.options.Server, leader, term, commit))
	return true
}

// peerMaySend keeps out message types that replicas of this program never send each other, and
// contexts that the library would read without checking their length.
func peerMaySend(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote,
		raftpb.MsgPreVoteResp, raftpb.MsgTimeoutNow:
		return true
	case raftpb.MsgSnap:
		_, ok := manifestOf(m)
		return ok
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp:
		return len(m.GetContext()) == 0 || len(m.GetContext()) == 8
	}
	return false
}

// leaderServer returns the server that this replica believes to lead, 0 if none.
func (r *Replica) leaderServer() shard.ServerID {
	return ServerOf(r.rn.BasicStatus().Lead)
}

func (r *Replica) leadershipChanged() bool {
	st := r.rn.BasicStatus()
	leads := st.RaftState == raft.StateLeader
	return leads != (r.lead.part != nil) || (leads && st.GetTerm() != r.lead.term)
}

// followLeadership makes the leader's volatile part appear and vanish with leadership.
func (r *Replica) followLeadership() {
	if !r.leadershipChanged() {
		return
	}
	st := r.rn.BasicStatus()
	if r.lead.part != nil {
		r.stepDown(st.GetTerm())
	}
	if st.RaftState == raft.StateLeader {
		r.becomeLeader(st.GetTerm())
	}
}

func (r *Replica) becomeLeader(term uint64) {
	r.counters.elections++
	r.lead = leadership{
		term: term,
		part: txn.NewParticipant(txn.ParticipantOptions{
			Shard: r.options.Shard, Term: term, Keys: r.options.Keys, State: r.state, Timing: r.options.Timing,
		}),
	}
	r.event(LevelInfo, "elected leader", "term", term,
		"prepared", r.state.PreparedCount())
	if r.state.Genesis() == nil {
		r.enqueue(ledger.Command{Kind: ledger.CmdGenesis, Genesis: r.genesis()}, nobody(1), 256)
	}
}

// stepDown answers everybody who waits: what was proposed may still be committed (LOST), the rest
// surely was not (NOT_LEADER).
func (r *Replica) stepDown(term uint64) {
	r.event(LevelInfo, "lost leadership", "term", r.lead.term, "new_term", term)
	r.lead, r.held = leadership{}, nil
	for _, w := range r.queue.dropProposed() {
		invariant.Sometimes("replica: lost leadership with a caller's proposal in the log")
		r.answers.status(w.call, plantedLost(), "")
	}
	for _, w := range r.queue.dropUnproposed() {
		r.answers.status(w.call, wire.StatusNotLeader, "")
	}
	for _, op := range r.reads.drop() {
		r.answers.status(op.call, wire.StatusNotLeader, "")
	}
	r.dropSettling()
}

// tellRole lets the log follow elections; becoming leader is told by becomeLeader.
func (r *Replica) tellRole(soft *raft.SoftState) {
	if soft == nil {
		return
	}
	term := r.rn.BasicStatus().GetTerm()
	switch soft.RaftState {
	case raft.StatePreCandidate, raft.StateCandidate:
		r.event(LevelInfo, "asks for votes", "term", term, "pre_vote", soft.RaftState == raft.StatePreCandidate)
	case raft.StateFollower:
		if soft.Lead != raft.None {
			r.event(LevelInfo, "follows leader", "leader", uint64(ServerOf(soft.Lead)), "term", term)
		}
	case raft.StateLeader:
	}
}

// genesis is what the first leader proposes.
func (r *Replica) genesis() *ledger.Genesis {
	return &ledger.Genesis{
		Bank:           r.options.Keys.Bank,
		Shard:          r.options.Shard,
		Map:            r.smap,
		Members:        r.options.Members,
		OpeningBalance: r.options.Topology.OpeningBalance,
	}
}

// checkGenesis compares the bank that was opened with this server's configuration.
func (r *Replica) checkGenesis(g *ledger.Genesis) {
	const remedy = "start it with the configuration with which the bank was opened, or with another data directory"
	say := func(what string, config, opened any) {
		r.fatal(fmt.Errorf("server %s: the configuration says %s %v, but %s was opened with %v: %s",
			r.options.Server, what, config, r.options.Shard, opened, remedy))
	}
	want := r.genesis()
	switch {
	case g.Bank != want.Bank:
		say("bank", fmt.Sprintf("%x", want.Bank), fmt.Sprintf("%x", g.Bank))
	case g.Shard != want.Shard:
		say("shard", want.Shard, g.Shard)
	case !g.Map.Equal(want.Map):
		say("shard map", want.Map, g.Map)
	case g.OpeningBalance != want.OpeningBalance:
		say("opening balance", want.OpeningBalance, g.OpeningBalance)
	}
}

// TransferLeadership asks the most advanced healthy follower to take over, if this replica leads.
func (r *Replica) TransferLeadership() {
	if !r.IsLeader() {
		return
	}
	var best, match uint64
	r.rn.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		if id != r.id && typ == raft.ProgressTypePeer && pr.RecentActive && (best == 0 || pr.Match > match) {
			best, match = id, pr.Match
		}
	})
	if best != 0 {
		r.rn.TransferLeader(best)
	}
}

// quietLogger drops the raft library's log; the replica's events tell what matters. Its panics stay.
type quietLogger struct{}

func (quietLogger) Debug(...any)            {}
func (quietLogger) Debugf(string, ...any)   {}
func (quietLogger) Error(...any)            {}
func (quietLogger) Errorf(string, ...any)   {}
func (quietLogger) Info(...any)             {}
func (quietLogger) Infof(string, ...any)    {}
func (quietLogger) Warning(...any)          {}
func (quietLogger) Warningf(string, ...any) {}
func (quietLogger) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (quietLogger) Fatalf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
func (quietLogger) Panic(v ...any) { panic(fmt.Sprint(v...)) }
func (quietLogger) Panicf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
