package replica

import (
	"strings"
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

func inquiryOf(rec ledger.Record, parts ...shard.ID) wire.Inquiry {
	return wire.Inquiry{ID: rec.ID, Digest: ledger.DigestOf(rec), Participants: parts}
}

func TestBadPoisonRefusesTheWholeRequest(t *testing.T) {
	b := newBank(t).boot()
	good, bad := record(1, 3, 1003, 4), record(2, 1003, 2003, 4)
	n := b.call(b.leader(1), &wire.InquireRequest{Poison: true, Items: []wire.Inquiry{
		inquiryOf(good, 1, 2), inquiryOf(bad, 2, 3),
	}})
	b.settle()
	if r := b.one(n); r.Status != wire.StatusBadRequest {
		t.Fatalf("got %s, want BAD_REQUEST", resultText(r))
	}
	if _, known := b.replicas[b.leader(1)].state.Lookup(good.ID); known {
		t.Error("a refused request wrote a tombstone")
	}
}

// TestPoisonedInquiriesShareNoBlock checks that votes share a block, and its MAC, only with votes of the
// same participants.
func TestPoisonedInquiriesShareNoBlock(t *testing.T) {
	b := newBank(t).boot()
	r := b.ask(b.leader(1), &wire.InquireRequest{Poison: true, Items: []wire.Inquiry{
		inquiryOf(record(1, 3, 1003, 4), 1, 2), inquiryOf(record(2, 3, 2003, 4), 1, 3), inquiryOf(record(3, 5, 1005, 4), 1, 2),
	}})
	if len(r.Blocks) != 2 || len(r.Blocks[0].Votes) != 2 || len(r.Blocks[1].Votes) != 1 || r.Blocks[1].Votes[0].ID != id(2) {
		t.Errorf("want one block per participant set, got %+v", r.Blocks)
	}
}

func TestProbeSpeaksForItselfAlone(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	r := b.replicas[lead]
	follower, third := lead%3+1, (lead+1)%3+1
	b.tick(3)
	old := &wire.Probe{Shard: 1, Server: follower, Incarnation: 100 + uint32(follower), State: wire.ReplicaEmpty}
	r.StepPeer(follower, old)
	banned := RaftID(follower, 100+uint32(follower))
	if r.peers.out[banned] == nil {
		t.Fatal("an emptied directory is not refused")
	}
	r.StepPeer(third, old) // in another's name
	if r.peers.out[banned] == nil {
		t.Error("a probe in another server's name lifts the verdict on it")
	}
}

func TestFinishHasABound(t *testing.T) {
	b := newBank(t)
	b.limits.InflightBytes = 1 << 10
	b.boot()
	rec := record(1, 3, 1003, 4)
	v1, v2 := b.prepare(1, rec), b.prepare(2, rec)
	lead := b.replicas[b.leader(1)]
	lead.queue.bytes += 2<<10 + 1 // as if so much were on its way
	m := &wire.FinishRequest{Blocks: []txn.Block{v1.Blocks[0], v2.Blocks[0]}}
	if r := b.ask(b.leader(1), m); r.Status != wire.StatusBusy {
		t.Fatalf("got %s, want BUSY", resultText(r))
	}
	// Nobody sends it again: recovery ends the transfer, although the log is still as full.
	b.tick(int(txn.DefaultTiming.InquireTicks) + 5)
	b.wantBalances(map[shard.Account]string{3: "6", 1003: "14"})
}

func TestLostDataAlarmOutlivesItsLeader(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	late := lead%3 + 1
	b.kill(late)
	rec := record(1, 3, 1003, 4)
	yes := []txn.Vote{{ID: rec.ID, Digest: ledger.DigestOf(rec), Fact: ledger.FactYes}}
	b.ask(lead, &wire.FinishRequest{Blocks: []txn.Block{b.keys.Sign(1, yes), b.keys.Sign(2, yes)}})
	b.tick(1)
	b.kill(lead)
	b.start(late) // was down when the others were told
	b.waitLeaders(1)
	b.tick(alarmEveryTicks)
	for _, s := range b.topology.Cluster(1).Servers {
		if r := b.replicas[s.ID]; r != nil && !strings.Contains(r.serverStatus().Note, "lost data") {
			t.Errorf("server %d does not show the alarm", s.ID)
		}
	}
	if r := b.transfer(record(2, 1, 2, 1)); r.Status != wire.StatusNotReady || !strings.Contains(r.Text, "lost data") {
		t.Errorf("the next leader serves: status %d %q", r.Status, r.Text)
	}
	wantResult(t, b.transfer(record(3, 1001, 1002, 1)), "committed")
	// Another shard's server cannot stop this one.
	b.replicas[b.leader(2)].StepPeer(lead, &wire.Reply{Status: wire.StatusNotReady, Text: alarmPrefix + "not yours"})
	wantResult(t, b.transfer(record(4, 1001, 1002, 1)), "committed")
	// A process that is given what a former one was to keep serves nothing either.
	if b.alarms[late] == "" || b.alarms[late] != b.alarms[lead] {
		t.Errorf("to be kept on disk: %q at server %d, %q at server %d", b.alarms[lead], lead, b.alarms[late], late)
	}
	b.kill(late)
	b.start(late)
	if note := b.replicas[late].serverStatus().Note; !strings.Contains(note, "lost data") {
		t.Errorf("after a restart: %q", note)
	}
}
