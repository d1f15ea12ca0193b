package replica

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// forming is a set of Formers that exchange messages; nil entries are down.
type forming map[shard.ServerID]*Former

func former(s shard.ServerID, incarnation uint32, members []uint64, change func(*FormerOptions)) *Former {
	state := wire.ReplicaEmpty
	if members != nil {
		state = wire.ReplicaInitialised
	}
	o := FormerOptions{Self: wire.Probe{Shard: 1, Server: s, Incarnation: incarnation, State: state}, Members: members}
	for _, p := range []shard.ServerID{1, 2, 3} {
		if p != s {
			o.Peers = append(o.Peers, p)
		}
	}
	if change != nil {
		change(&o)
	}
	return NewFormer(o)
}

func (fs forming) tick(n int) {
	for range n {
		for s := shard.ServerID(1); s <= 3; s++ {
			if f := fs[s]; f != nil {
				f.Tick()
			}
		}
		fs.deliver()
	}
}

func (fs forming) deliver() {
	for moved := true; moved; {
		moved = false
		for s := shard.ServerID(1); s <= 3; s++ {
			if fs[s] == nil {
				continue
			}
			for _, m := range fs[s].Sends() {
				if to := fs[m.Server]; to != nil {
					to.Step(s, m.Message)
					moved = true
				}
			}
		}
	}
}

var founding = []uint64{RaftID(1, 11), RaftID(2, 12), RaftID(3, 13)}

func TestAllEmptyFormTheGroup(t *testing.T) {
	fs := forming{1: former(1, 11, nil, nil), 2: former(2, 12, nil, nil)}
	fs.tick(200)
	if _, ok := fs[1].Done(); ok {
		t.Fatal("formed without hearing server 3")
	}
	if w := fs[1].WaitingFor(); !slices.Equal(w, []shard.ServerID{3}) {
		t.Errorf("waits for %v, want 3", w)
	}
	fs[3] = former(3, 13, nil, nil)
	fs.tick(10)
	for s, f := range fs {
		if m, ok := f.Done(); !ok || !slices.Equal(m, founding) {
			t.Errorf("server %d: members %x %v", s, m, ok)
		}
	}
}

func TestEmptyFounderJoinsTheGroupFormedWithIt(t *testing.T) {
	fs := forming{1: former(1, 11, founding, nil), 2: former(2, 12, nil, nil)}
	fs.tick(5)
	if m, ok := fs[2].Done(); !ok || !slices.Equal(m, founding) {
		t.Errorf("members %x %v", m, ok)
	}
}

func TestEmptiedDirectoryIsRefused(t *testing.T) {
	fs := forming{1: former(1, 11, founding, nil), 2: former(2, 99, nil, nil), 3: former(3, 13, founding, nil)}
	fs.tick(5)
	if err := fs[2].Refused(); !errors.Is(err, ErrEmptied) {
		t.Errorf("got %v", err)
	}
	if _, ok := fs[2].Done(); ok {
		t.Error("an emptied directory takes part")
	}
}

func TestForceFormsWithThoseWhoAnswer(t *testing.T) {
	force := func(o *FormerOptions) { o.Force = true }
	fs := forming{1: former(1, 11, nil, force), 2: former(2, 12, nil, nil)}
	fs.tick(forceTicks - 1)
	if _, ok := fs[1].Done(); ok {
		t.Error("formed before the wait was over")
	}
	fs.tick(10)
	for _, s := range []shard.ServerID{1, 2} {
		if m, ok := fs[s].Done(); !ok || !slices.Equal(m, founding[:2]) {
			t.Errorf("server %d: members %x %v", s, m, ok)
		}
	}
}

func TestForceDoesNotOverrideAnExistingGroup(t *testing.T) {
	force := func(o *FormerOptions) { o.Force = true }
	fs := forming{1: former(1, 11, founding, nil), 2: former(2, 99, nil, force)}
	fs.tick(forceTicks + 10)
	if err := fs[2].Refused(); !errors.Is(err, ErrEmptied) {
		t.Errorf("got %v", err)
	}
}

func TestInitialisedWaitsForVerdictsThenStarts(t *testing.T) {
	f := former(1, 11, founding, nil)
	fs := forming{1: f}
	fs.tick(verdictTicks - 1)
	if _, ok := f.Done(); ok {
		t.Error("started before the wait for verdicts was over")
	}
	fs.tick(1)
	if m, ok := f.Done(); !ok || !slices.Equal(m, founding) {
		t.Errorf("members %x %v", m, ok)
	}
}

func TestWrongShardIsToldSo(t *testing.T) {
	fs := forming{
		1: former(1, 11, founding, nil),
		2: former(2, 12, nil, func(o *FormerOptions) { o.Self.Shard = 2 }),
	}
	fs.tick(5)
	if err := fs[2].Refused(); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v", err)
	}
}

func TestRolledBackDirectoryIsRefused(t *testing.T) {
	t.Run("a follower's, by the leader", func(t *testing.T) {
		b := newBank(t).boot()
		lead := b.leader(1)
		b.wantRolledBackRefused(lead%3+1, lead)
	})
	t.Run("the leader's, by a follower", func(t *testing.T) {
		b := newBank(t).boot()
		lead := b.leader(1)
		b.wantRolledBackRefused(lead, lead%3+1)
	})
}

// TestHeartbeatShowsRollBack: a leader that lets a replica commit more than it holds has its acknowledgement: the replica stops
// and says why.
func TestHeartbeatShowsRollBack(t *testing.T) {
	b := newBank(t).boot()
	leader := b.leader(1)
	back := leader%3 + 1
	r := b.replicas[back]
	last, err := r.options.Log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	term, from := r.Term(), b.replicas[leader].id
	beat := func(commit uint64) error {
		m := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: &from, To: &r.id, Term: &term, Commit: &commit}
		head, _ := encodeRaft(m)
		r.StepPeer(leader, &wire.Raft{Shard: 1, From: from, To: r.id, Messages: [][]byte{head}})
		return r.gather(Output{}).Fatal
	}
	if err := beat(last); err != nil {
		t.Fatalf("what it holds: %v", err)
	}
	if err := beat(last + 1); !errors.Is(err, ErrRolledBack) || !strings.Contains(err.Error(), fmt.Sprintf("index %d", last+1)) {
		t.Errorf("one more than it holds: %v", err)
	}
}

// wantRolledBackRefused lets a server come back with less than it acknowledged: the witness must know.
func (b *bank) wantRolledBackRefused(back, witness shard.ServerID) {
	t := b.t
	t.Helper()
	for n := byte(1); n < 10; n++ {
		b.transfer(record(n, 1, 2, 1))
	}
	b.tick(3)
	b.kill(back)
	probe := &wire.Probe{Shard: 1, Server: back, Incarnation: 100 + uint32(back), State: wire.ReplicaInitialised,
		Term: b.replicas[witness].rn.BasicStatus().GetTerm(), LastIndex: 5, Founding: b.members(1)}
	b.replicas[witness].StepPeer(back, probe)
	var reply *wire.ProbeReply
	for b.replicas[witness].HasWork() {
		out := b.replicas[witness].Turn(0)
		for _, s := range out.Sends {
			if m, ok := s.Message.(*wire.ProbeReply); ok {
				reply = m
			}
		}
		b.replicas[witness].Persisted()
	}
	if reply == nil || reply.Verdict != wire.VerdictRolledBack || reply.RememberedIndex <= 5 {
		t.Fatalf("got %+v, want the verdict that the directory was rolled back", reply)
	}
	f := NewFormer(FormerOptions{Self: *probe, Members: b.members(1), Peers: []shard.ServerID{witness}})
	f.Step(witness, reply)
	if err := f.Refused(); !errors.Is(err, ErrRolledBack) {
		t.Errorf("got %v", err)
	}
}

func TestStaleProbeDoesNotBanAHealthyPeer(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	follower := lead%3 + 1
	for n := byte(1); n < 10; n++ {
		b.transfer(record(n, 1, 2, 1))
	}
	b.tick(3)
	// A copy of a probe from before those transfers arrives late.
	b.replicas[lead].StepPeer(follower, &wire.Probe{Shard: 1, Server: follower, Incarnation: 100 + uint32(follower),
		State: wire.ReplicaInitialised, Term: 1, LastIndex: 1, Founding: b.members(1)})
	b.tick(5)
	if b.fatal[follower] != nil {
		t.Fatalf("a healthy server stopped: %v", b.fatal[follower])
	}
	wantResult(t, b.transfer(record(20, 1, 2, 1)), "committed")
	b.tick(3)
	b.wantBalances(map[shard.Account]string{1: "0", 2: "20"})
}
