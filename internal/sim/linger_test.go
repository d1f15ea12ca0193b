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
