package replica

import (
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/wire"
)

// TestALeaderThatWorksShowsLife: whoever waits for a proposal is told that the log moves, and not that it does not.
func TestALeaderThatWorksShowsLife(t *testing.T) {
	b := newBank(t).boot()
	s := b.leader(1)
	b.tick(4)
	if n := len(b.replies[0]); n != 0 {
		t.Fatalf("%d signs of life, though nobody waits", n)
	}
	for _, other := range b.topology.Cluster(1).Servers {
		b.cut[other.ID] = other.ID != s
	}
	n := b.call(s, &wire.TransferRequest{Records: []ledger.Record{record(1, 1, 2, 1)}})
	b.settle()
	b.tick(4)
	if n := len(b.replies[0]); n != 0 {
		t.Fatalf("%d signs of life of a leader whose log stands still", n)
	}
	b.replicas[s].life.applied-- // as if an entry had been applied since the last look
	b.tick(lifeTicks)
	if rs := b.replies[0]; len(rs) != 1 || rs[0].Leader != s || rs[0].Status != wire.StatusOK {
		t.Fatalf("want one sign of life of leader %s, got %+v", s, rs)
	}
	clear(b.cut)
	b.tick(4)
	wantResult(t, b.one(n), "committed")
}

// TestWhoWaitsForASettlementIsToldSo: the leader does its work, another shard is slow.
func TestWhoWaitsForASettlementIsToldSo(t *testing.T) {
	b := newBank(t).boot()
	b.prepare(1, record(1, 3, 1003, 10))
	b.drop = func(l letter) bool { _, ok := l.m.(*wire.InquireRequest); return ok }
	n := b.call(b.leader(1), &wire.TransferRequest{Records: []ledger.Record{record(2, 3, 4, 1)}})
	b.settle()
	b.tick(3 * lifeTicks)
	if got := len(b.replies[0]); got < 2 {
		t.Errorf("%d signs of life in %d ticks", got, 3*lifeTicks)
	}
	if got := b.replies[n]; len(got) != 0 {
		t.Errorf("answered too early: %+v", got)
	}
}
