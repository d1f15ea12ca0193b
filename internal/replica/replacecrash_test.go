package replica

import (
	"fmt"
	"slices"
	"testing"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// replacing is a server of the first shard that is replaced in a bank whose processes die: who says that it waits, until
// it is a member, and how often an operator has asked.
type replacing struct {
	*bank
	server      shard.ServerID
	incarnation uint32
	next        byte // of the transfers
}

// newReplacing returns a bank of which a follower has lost its directory, and is gone.
func newReplacing(t *testing.T) *replacing {
	b := newBank(t).boot()
	r := &replacing{bank: b, server: b.leader(1)%3 + 1, incarnation: 7}
	b.kill(r.server)
	for range 20 {
		r.transfer()
	}
	return r
}

func (r *replacing) id() uint64 { return RaftID(r.server, r.incarnation) }

// transfer is one that must commit.
func (r *replacing) transfer() {
	r.t.Helper()
	r.next++
	from := shard.Account(1 + r.next%2)
	wantResult(r.t, r.bank.transfer(record(r.next, from, 3-from, 1)), "committed")
}

// startNew starts the new incarnation, whose log is its own; it knows the group by those who founded it.
func (r *replacing) startNew() {
	r.t.Helper()
	if r.logs[r.server].voters[0] != 0 {
		r.logs[r.server] = newMemoryLog([]uint64{0})
	}
	m, err := New(Options{
		Server: r.server, Shard: 1, Incarnation: r.incarnation, Members: r.members(1),
		Topology: r.topology, Keys: r.keys, Log: r.logs[r.server],
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.replicas[r.server] = m
}

// ask is an operator's question to whoever leads, and a tick. The new process says that it waits until it is a member; then it runs.
func (r *replacing) ask() (phase string) {
	r.t.Helper()
	if r.replicas[r.server] == nil {
		for _, s := range r.servers() {
			if _, c, _ := r.topology.Server(s); c.Shard == 1 {
				r.replicas[s].StepPeer(r.server, &wire.Probe{Shard: 1, Server: r.server, Incarnation: r.incarnation, State: wire.ReplicaJoining})
			}
		}
		r.settle()
	}
	if l := r.replicas[r.leader(1)]; l != nil {
		var reply api.ReplaceReply
		reply, err := l.replace(&api.ReplaceRequest{Server: int(r.server), Attempt: 1})
		if err != nil {
			r.t.Fatal(err)
		}
		phase = reply.Phase
		r.settle()
		if r.replicas[r.server] == nil && slices.Contains(l.conf.all, r.id()) {
			r.startNew()
		}
	}
	r.tick(1)
	return phase
}

// finish asks until the replacement is done.
func (r *replacing) finish() {
	r.t.Helper()
	for range 600 {
		if r.ask() == api.ReplacePromoted {
			return
		}
	}
	r.t.Fatalf("not done after 600 questions: leader %d, members %v", r.leader(1), r.conf())
}

func (r *replacing) conf() []ledger.Members {
	var all []ledger.Members
	for _, s := range r.servers() {
		if _, c, _ := r.topology.Server(s); c.Shard == 1 {
			all = append(all, r.replicas[s].conf.Members)
		}
	}
	return all
}

// restart starts a member of the first shard that was killed.
func (r *replacing) restart(s shard.ServerID) {
	if s == r.server {
		r.startNew()
		return
	}
	r.start(s)
}

// victim returns the server that plays a part now; 0: none does.
func (r *replacing) victim(part string) shard.ServerID {
	leader := r.leader(1)
	switch part {
	case "leader":
		return leader
	case "new":
		if r.replicas[r.server] != nil {
			return r.server
		}
		return 0
	}
	for _, s := range r.topology.Cluster(1).Servers {
		if s.ID != leader && s.ID != r.server && r.replicas[s.ID] != nil {
			return s.ID
		}
	}
	return 0
}

// TestKillAtEveryStepOfAReplacement kills the leader, the new server or the other one after each question of a replacement, for a while
// or for long: the replacement comes to its end, the bank with it, and what was committed is there.
func TestKillAtEveryStepOfAReplacement(t *testing.T) {
	plain := newReplacing(t)
	// How far it was after each question; most of them are waiting for the old incarnation's silence.
	var was []string
	for len(was) == 0 || was[len(was)-1] != api.ReplacePromoted {
		if was = append(was, plain.ask()); len(was) > 200 {
			t.Fatalf("it is not done after 200 steps: %v", plain.conf())
		}
	}
	phases := map[string]bool{}
	for _, part := range []string{"leader", "new", "other"} {
		for _, away := range []int{2, 60} {
			for at := range was {
				if at%10 != 0 && was[at] == api.ReplaceWaiting && was[at+1] == api.ReplaceWaiting {
					continue
				}
				t.Run(fmt.Sprintf("%s after step %d for %d ticks", part, at, away), func(t *testing.T) {
					phases[killAndFinish(t, part, at, away)] = true
				})
			}
		}
	}
	for _, p := range []string{api.ReplaceWaiting, api.ReplaceRemoved, api.ReplaceLearner} {
		if !phases[p] {
			t.Errorf("nobody was killed in phase %q: %v", p, phases)
		}
	}
}

// killAndFinish returns in which phase it has killed.
func killAndFinish(t *testing.T, part string, at, away int) (phase string) {
	r := newReplacing(t)
	for range at {
		phase = r.ask()
	}
	victim := r.victim(part)
	if victim == 0 {
		return ""
	}
	r.kill(victim)
	for range away {
		r.ask()
	}
	if r.replicas[victim] == nil {
		r.restart(victim)
	}
	r.finish()
	want := append(slices.DeleteFunc(r.members(1), func(id uint64) bool { return ServerOf(id) == r.server }), r.id())
	slices.Sort(want)
	r.waitLeaders(1)
	for range 5 {
		r.transfer()
	}
	r.tick(5)
	for _, m := range r.conf() {
		if !slices.Equal(m.Voters, want) || len(m.Learners) > 0 {
			t.Errorf("voters %x, learners %x; want voters %x alone", m.Voters, m.Learners, want)
		}
	}
	r.wantWhole()
	// The new voter counts: with it, and without the other one, the cluster goes on.
	other := r.victim("other")
	r.kill(other)
	r.waitLeaders(1)
	r.transfer()
	return phase
}

// TestDoneOnceTheOthersKnow keeps from one of the others, for a while, that the last change of a replacement is committed: until they
// know it, nobody is told that it is done, since without the leader they would count by the membership before it.
func TestDoneOnceTheOthersKnow(t *testing.T) {
	r := newReplacing(t)
	deaf := 0
	knows := func(s shard.ServerID) bool { return slices.Contains(r.replicas[s].conf.Voters, r.id()) }
	other := r.victim("other")
	r.drop = func(l letter) bool { return deaf < 5 && l.to == other && knows(l.from) }
	for range 600 {
		phase := r.ask()
		if knows(r.leader(1)) {
			deaf++
		}
		if phase != api.ReplacePromoted {
			continue
		}
		for _, s := range r.topology.Cluster(1).Servers {
			if !knows(s.ID) {
				t.Errorf("it is done, and server %s does not know of it", s.ID)
			}
		}
		if deaf < 5 {
			t.Error("it was done before the other one heard anything")
		}
		return
	}
	t.Fatal("it is never done")
}
