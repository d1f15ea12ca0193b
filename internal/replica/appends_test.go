package replica

import (
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// TestCommitIndexRidesWithTheNextAppend wants one message to each follower for a transfer, and followers that learn
// of its commit with the next one, or at the next tick.
func TestCommitIndexRidesWithTheNextAppend(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	appends := 0
	b.drop = func(l letter) bool {
		if _, isRaft := l.m.(*wire.Raft); isRaft && l.from == lead {
			appends++
		}
		return false
	}
	wantApplied := func(behind uint64) {
		t.Helper()
		at, _ := b.replicas[lead].state.Applied()
		for _, s := range b.topology.Cluster(1).Servers {
			if got, _ := b.replicas[s.ID].state.Applied(); s.ID != lead && got != at-behind {
				t.Errorf("server %d applied %d, want %d", s.ID, got, at-behind)
			}
		}
	}
	for i := range 3 {
		wantResult(t, b.transfer(record(byte(i+1), 1, 2, 1)), "committed")
		wantApplied(1)
	}
	if appends != 3*2 {
		t.Errorf("the leader sent %d messages for 3 transfers, want 6", appends)
	}
	b.tick(1)
	wantApplied(0)
	b.wantWhole()
}

// TestHeldAppendsEndWithLeadership lets a leader lose its place while an append waits.
func TestHeldAppendsEndWithLeadership(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	wantResult(t, b.transfer(record(1, 1, 2, 1)), "committed")
	r := b.replicas[lead]
	if len(r.held) != 2 {
		t.Fatalf("%d appends wait, want 2", len(r.held))
	}
	b.cut[lead] = true
	for range 5 * ElectionTicks {
		b.tick(1)
	}
	if r.IsLeader() || len(r.held) != 0 {
		t.Errorf("leads %t, %d appends wait", r.IsLeader(), len(r.held))
	}
	b.cut[lead] = false
	b.waitLeaders(1)
	wantResult(t, b.transfer(record(2, 1, 2, 1)), "committed")
	b.tick(1)
	b.wantBalances(map[shard.Account]string{1: "8", 2: "12"})
}

// TestSmallProposalsWaitForTheOneBefore wants one entry for everything that comes while an entry is on its way, and
// no wait for a proposal that is large.
func TestSmallProposalsWaitForTheOneBefore(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	r := b.replicas[lead]
	turn := func() {
		for r.HasWork() {
			out := r.Turn(0)
			b.take(lead, out)
			if err := b.logs[lead].Append(out.HardState, out.Entries, out.Sync); err != nil {
				t.Fatal(err)
			}
			b.take(lead, r.Persisted())
		}
	}
	entries := func() uint64 { last, _ := b.logs[lead].LastIndex(); return last }
	request := func(n, count int) uint64 {
		q := &wire.TransferRequest{}
		for i := range count {
			rec := record(byte(n), 1, 2, 1)
			rec.ID[0], rec.ID[1] = byte(i), byte(i>>8)
			q.Records = append(q.Records, rec)
		}
		return b.call(lead, q)
	}
	before := entries()
	calls := []uint64{request(1, 1)}
	turn()
	for n := range 3 {
		calls = append(calls, request(n+2, 1))
		turn()
	}
	if got := entries() - before; got != 1 {
		t.Fatalf("%d entries while one is on its way, want 1", got)
	}
	calls = append(calls, request(9, fullBytes/ledger.RecordSize+1))
	turn()
	if got := entries() - before; got != 2 {
		t.Fatalf("%d entries with a large proposal, want 2", got)
	}
	b.settle()
	for _, n := range calls {
		if b.one(n).Status != wire.StatusOK {
			t.Errorf("call %d: %s", n, resultText(b.one(n)))
		}
	}
}
