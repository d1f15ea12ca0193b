package sim

import "testing"

// TestLateLeaderExcusesItsShardAlone, and only one that has led late does.
func TestLateLeaderExcusesItsShardAlone(t *testing.T) {
	late := &server{shard: 2, trouble: troubleSlow, ledLate: true}
	n := &nemesis{w: &world{servers: []*server{{shard: 1}, late, {shard: 3, trouble: troubleFlap}, {shard: 4, trouble: troubleCut, ledLate: true}}}}
	if !n.lateLeader() || !n.lateLeader(2) || !n.lateLeader(1, 2) {
		t.Error("a late leader excuses nothing")
	}
	if n.lateLeader(1) || n.lateLeader(1, 3, 4) {
		t.Error("a late leader excuses other shards")
	}
	if late.ledLate = false; n.lateLeader() {
		t.Error("one that has not led excuses something")
	}
}

// TestSlowSourceHasLongerForAPart, and no other has: not a slow server that sends nothing, nor a source in other trouble.
func TestSlowSourceHasLongerForAPart(t *testing.T) {
	to, slow, flapping := &server{}, &server{trouble: troubleSlow}, &server{trouble: troubleFlap}
	for from, want := range map[*server]int64{nil: tickUs + millisecond, slow: latePartUs, flapping: tickUs + millisecond} {
		if to.partFrom = from; to.partUs() != want {
			t.Errorf("%+v: %d us", from, to.partUs())
		}
	}
}

// TestQuestionsToASlowLeaderHaveTheirRounds has a bound that grows with what is open alone.
func TestQuestionsToASlowLeaderHaveTheirRounds(t *testing.T) {
	for open, rounds := range map[int]int64{0: 0, 1: 1, 64: 1, 65: 2, 6400: 100} {
		if got := (&workload{open: open}).slowResolveUs(); got != slowResolveUs+rounds*lateRoundUs {
			t.Errorf("%d open: %d us", open, got)
		}
	}
}
