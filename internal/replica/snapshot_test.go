package replica

import (
	"slices"
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// fakeSource offers a checkpoint whose parts are single bytes.
type fakeSource struct {
	manifest wire.Manifest
	holds    int
}

func (s *fakeSource) Hold() (wire.Manifest, bool, error) {
	s.holds++
	return s.manifest, true, nil
}

func (s *fakeSource) Part(kind wire.PartKind, position uint64, _ int) ([]byte, bool, error) {
	if kind != wire.PartHead || position >= s.manifest.HeadBytes {
		return nil, false, nil
	}
	return []byte{byte(position)}, true, nil
}

func (s *fakeSource) Release() error { return nil }

// fakeIntake takes a head alone.
type fakeIntake struct {
	target wire.Manifest
	head   []byte
	drops  int
}

func (i *fakeIntake) Aim(m wire.Manifest) (bool, error) {
	if m != i.target {
		i.target, i.head = m, nil
	}
	return true, nil
}

func (i *fakeIntake) Work(int) error { return nil }

func (i *fakeIntake) Wants() (wire.PartKind, uint64) {
	if i.Complete() {
		return wire.PartNone, 0
	}
	return wire.PartHead, uint64(len(i.head))
}

func (i *fakeIntake) Take(p *wire.SnapshotPart) (bool, error) {
	if p.Position != uint64(len(i.head)) || wire.SumPart(p.Data) != p.Sum {
		return false, nil
	}
	i.head = append(i.head, p.Data...)
	return true, nil
}

func (i *fakeIntake) Complete() bool         { return uint64(len(i.head)) == i.target.HeadBytes }
func (i *fakeIntake) Done() (uint64, uint64) { return uint64(len(i.head)), i.target.HeadBytes }

func (i *fakeIntake) Drop() error {
	i.drops++
	return nil
}

// behind returns a bank whose first shard's leader has cut its log beyond a follower that comes back.
func behind(t *testing.T) (b *bank, leader, follower shard.ServerID, source *fakeSource, intake *fakeIntake) {
	b = newBank(t).boot()
	leader = b.leader(1)
	follower = leader%3 + 1
	b.kill(follower)
	for i := range 20 {
		b.call(leader, &wire.TransferRequest{Records: []ledger.Record{record(byte(i+1), 1, 2, 1)}})
		b.settle()
	}
	r := b.replicas[leader]
	index, term := r.State().Applied()
	source = &fakeSource{manifest: wire.Manifest{Index: index, Term: term, HeadBytes: 5}}
	r.options.Source = source
	if err := b.logs[leader].Compact(index); err != nil {
		t.Fatal(err)
	}
	intake = &fakeIntake{}
	b.start(follower)
	b.replicas[follower].options.Intake = intake
	return b, leader, follower, source, intake
}

// TestFetchesByParts: a follower whose next entry is gone asks for one part after the other, and says so when it has all;
// copies and damaged parts change nothing. The leader cuts no further meanwhile.
func TestFetchesByParts(t *testing.T) {
	b, leader, follower, source, intake := behind(t)
	copies, damaged := 0, false
	b.drop = func(l letter) bool {
		m, ok := l.m.(*wire.SnapshotPart)
		if !ok {
			return false
		}
		if copies < 3 {
			copies++
			b.bus = append(b.bus, l)
		}
		if m.Position == 2 && !damaged {
			damaged = true
			m.Sum++
		}
		return false
	}
	b.replicas[leader].Checkpointed(source.manifest.Index+100, source.manifest.Term)
	for range 200 {
		b.tick(1)
		if r := b.replicas[leader]; r.feeding.holding {
			if all, live := r.Needless(); all > source.manifest.Index || live > source.manifest.Index {
				t.Fatalf("the log may be cut up to %d, %d; the checkpoint that is fetched ends at %d", all, live, source.manifest.Index)
			}
		}
	}
	if !slices.Equal(b.installs, []shard.ServerID{follower}) || !slices.Equal(intake.head, []byte{0, 1, 2, 3, 4}) || !damaged {
		t.Fatalf("installed by %v, with %v", b.installs, intake.head)
	}
	if b.replicas[leader].counters.partsSent == 0 || b.replicas[follower].counters.partsTaken != 5 {
		t.Errorf("parts taken: %d", b.replicas[follower].counters.partsTaken)
	}
}

// TestSnapshotMessageLost: nobody asks, so raft sends its message again.
func TestSnapshotMessageLost(t *testing.T) {
	b, _, _, _, intake := behind(t)
	asks := 0
	b.drop = func(l letter) bool {
		if _, ok := l.m.(*wire.SnapshotAsk); ok {
			asks++
			return true
		}
		return false
	}
	b.tick(30)
	first := asks
	if first == 0 {
		t.Fatal("nothing was asked for")
	}
	b.tick(400)
	if asks < first+20 {
		t.Errorf("asked %d times in 20 s after %d times", asks-first, first)
	}
	b.drop = nil
	b.tick(60)
	if !intake.Complete() {
		t.Error("not fetched when questions arrive again")
	}
}

// TestSilentMemberDoesNotCount: the log may be cut without a member that has told nothing for Limits.SilentTicks, and not
// before.
func TestSilentMemberDoesNotCount(t *testing.T) {
	b := newBank(t)
	b.limits.SilentTicks = 50
	b.boot()
	leader := b.leader(1)
	silent := leader%3 + 1
	for _, s := range b.topology.Cluster(1).Servers {
		b.replicas[s.ID].Checkpointed(uint64(10+s.ID), 1)
	}
	b.tick(1)
	least := 11
	if all, live := b.replicas[leader].Needless(); all != uint64(least) || live != uint64(least) {
		t.Fatalf("%d, %d; want %d", all, live, least)
	}
	b.kill(silent)
	for _, s := range b.topology.Cluster(1).Servers {
		if s.ID != silent {
			b.replicas[s.ID].Checkpointed(100, 1)
		}
	}
	b.tick(45)
	if _, live := b.replicas[leader].Needless(); live != uint64(10+silent) {
		t.Errorf("%d after 45 ticks; want %d", live, 10+silent)
	}
	b.tick(10)
	if all, live := b.replicas[leader].Needless(); all != uint64(10+silent) || live != 100 {
		t.Errorf("%d, %d after 55 ticks; want %d, 100", all, live, 10+silent)
	}
}

// TestCheckpointOfAnotherTerm: a leader that was deposed and does not know it hears how far a member's checkpoint reaches. It
// holds another entry there, which that checkpoint does not acknowledge; where the entries are the same, it does.
func TestCheckpointOfAnotherTerm(t *testing.T) {
	for _, same := range []bool{false, true} {
		b := newBank(t).boot()
		old := b.leader(1)
		other := old%3 + 1
		b.cut[old] = true
		n := b.call(old, &wire.TransferRequest{Records: []ledger.Record{record(1, 1, 2, 3)}})
		b.settle()
		last, err := b.logs[old].LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		term, _ := b.logs[old].Term(last)
		if !same {
			term++
		}
		b.replicas[old].StepPeer(other, &wire.Checkpoint{
			Shard: 1, From: RaftID(other, 100+uint32(other)), Index: last, Term: term,
		})
		b.settle()
		if commit := b.replicas[old].rn.BasicStatus().GetCommit(); (commit == last) != same || (len(b.replies[n]) == 1) != same {
			t.Errorf("same entry: %t; entry %d, commit %d, replies %v", same, last, commit, b.replies[n])
		}
	}
}
