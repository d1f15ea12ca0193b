package replica

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// TestRemovedMemberStops: a server that is removed while it runs stops and says why, also if it was cut off when it was
// removed; what it sends counts no more, and it does not start again.
func TestRemovedMemberStops(t *testing.T) {
	for _, cut := range []bool{false, true} {
		b := newBank(t).boot()
		leader := b.leader(1)
		gone := leader%3 + 1
		b.cut[gone] = cut
		r := b.replicas[leader]
		id, voter := r.memberOf(gone)
		if !voter {
			t.Fatalf("server %s is no voter", gone)
		}
		if err := r.change(raftpb.ConfChangeRemoveNode, id); err != nil {
			t.Fatal(err)
		}
		b.tick(3)
		if r.conf.Has(id) || !slices.Contains(r.conf.Removed, id) {
			t.Fatalf("members %v, removed %v", r.conf.all, r.conf.Removed)
		}
		b.cut[gone] = false
		b.tick(40)
		if !errors.Is(b.fatal[gone], ErrReplaced) {
			t.Errorf("cut off %v: the removed server ended with %v", cut, b.fatal[gone])
		}
		f := NewFormer(FormerOptions{Self: *b.asProbe(gone), Peers: []shard.ServerID{leader}, Members: b.members(1)})
		for _, s := range f.Sends() {
			r.StepPeer(gone, s.Message)
		}
		for _, s := range r.gather(Output{}).Sends {
			if s.Server == gone {
				f.Step(leader, s.Message)
			}
		}
		if !errors.Is(f.Refused(), ErrReplaced) {
			t.Errorf("a removed server is let in: %v", f.Refused())
		}
	}
}

func (b *bank) asProbe(s shard.ServerID) *wire.Probe {
	return &wire.Probe{Shard: 1, Server: s, Incarnation: 100 + uint32(s), State: wire.ReplicaInitialised, Term: 1 << 20, LastIndex: 1 << 20}
}

// TestReplaceNeedsAMajority: nothing is removed if those that remain alive would be no majority, nor a server that speaks.
func TestReplaceNeedsAMajority(t *testing.T) {
	b := newBank(t).boot()
	leader := b.leader(1)
	lost, other := leader%3+1, (leader+1)%3+1
	r := b.replicas[leader]
	b.tick(2)
	id, _ := r.memberOf(lost)
	if err := r.keepsQuorum(id); err != nil {
		t.Errorf("with both others alive: %v", err)
	}
	otherID, _ := r.memberOf(other)
	delete(r.conf.heard, otherID)
	if err := r.keepsQuorum(id); err == nil || !strings.Contains(err.Error(), "no majority") {
		t.Errorf("with nobody else alive: %v", err)
	}
	b.tick(2)
	// A process that waits, while the member speaks: two say that they are this server.
	b.kill(lost)
	join := b.asProbe(lost)
	join.State, join.Incarnation = wire.ReplicaJoining, 7
	b.start(lost)
	var refused error
	for range 60 {
		r.StepPeer(lost, join)
		var reply api.ReplaceReply
		if refused = r.replaceStep(asked{server: lost}, false, &reply); refused != nil {
			break
		}
		b.tick(1)
	}
	if refused == nil || !strings.Contains(refused.Error(), "two processes") {
		t.Errorf("a server that speaks: %v", refused)
	}
	if _, voter := r.memberOf(lost); !voter {
		t.Error("it was removed")
	}
	b.kill(lost)
	for range 60 {
		r.StepPeer(lost, join)
		var reply api.ReplaceReply
		if err := r.replaceStep(asked{server: lost}, false, &reply); err != nil && !strings.Contains(err.Error(), "two processes") {
			t.Fatal(err)
		}
		b.tick(1)
	}
	if got, voter := r.memberOf(lost); got != RaftID(lost, 7) || voter {
		t.Errorf("member %x, voter %v; want the new incarnation as a learner", got, voter)
	}
}

// TestReplacedAndLostAgain: the answer that a replacement is done stands for the member that was made a voter. A new attempt,
// begun when that one has just died, hears nothing of done, however late the dead one's messages come.
func TestReplacedAndLostAgain(t *testing.T) {
	for _, late := range []bool{false, true} {
		b := newBank(t).boot()
		leader := b.leader(1)
		lost := leader%3 + 1
		r := b.replicas[leader]
		r.options.Members = nil // as if none were a founding member: all have been replaced before
		ask := func(attempt uint64) string {
			var reply api.ReplaceReply
			if err := r.replaceStep(asked{server: lost, attempt: attempt}, false, &reply); err != nil {
				t.Fatal(err)
			}
			return reply.Phase
		}
		for i := 0; ask(1) != api.ReplacePromoted; i++ {
			if i > 3*aliveTicks {
				t.Fatalf("server %s takes part, and counts as %q", lost, ask(1))
			}
			b.tick(1)
		}
		var said []wire.Message
		b.drop = func(l letter) bool {
			if l.from == lost && l.to == leader {
				said = append(said, l.m)
			}
			return false
		}
		wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
		b.drop = nil
		if b.kill(lost); len(said) == 0 {
			t.Fatal("nothing was heard of the server")
		}
		for range 2 * aliveTicks {
			if late {
				r.StepPeer(lost, b.copied(said[len(said)-1]))
			}
			if ask(1); ask(2) == api.ReplacePromoted {
				t.Fatal("a server that died after its replacement counts as replaced once more")
			}
			b.tick(1)
		}
		if late {
			continue
		}
		for _, attempt := range []uint64{1, 2} {
			if got := ask(attempt); got != api.ReplaceWaiting {
				t.Errorf("attempt %d, of a server that has been silent for long: %q; want %q", attempt, got, api.ReplaceWaiting)
			}
		}
	}
}

// TestAttemptsAreForgotten: attempts that nobody goes on with are not kept.
func TestAttemptsAreForgotten(t *testing.T) {
	b := newBank(t).boot()
	r := b.replicas[b.leader(1)]
	for n := range uint64(100) {
		r.conf.asks(asked{server: 2, attempt: n}, n*joinerTicks)
	}
	if n := len(r.conf.questions); n > 2 {
		t.Errorf("%d attempts are kept", n)
	}
}
