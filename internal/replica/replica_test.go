package replica

import (
	"slices"
	"strings"
	"testing"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

func TestTransferInsideAShard(t *testing.T) {
	b := newBank(t).boot()
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
	wantResult(t, b.transfer(record(2, 1, 2, 8)), "aborted(insufficient_funds)")
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
	wantResult(t, b.transfer(record(2, 1, 2, 8)), "aborted(insufficient_funds)")
	wantResult(t, b.transfer(record(1, 1, 2, 4)), "conflict")
	b.tick(2)
	b.wantBalances(map[shard.Account]string{1: "7", 2: "13"})
	b.wantWhole()
}

func TestRefusalsBeforeTheLog(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	before, _ := b.replicas[lead].state.Applied()
	for name, c := range map[string]struct {
		m    wire.Message
		want wire.Status
	}{
		"another shard":    {&wire.TransferRequest{Records: []ledger.Record{record(1, 1001, 1002, 1)}}, wire.StatusWrongShard},
		"cross as intra":   {&wire.TransferRequest{Records: []ledger.Record{record(1, 1, 1002, 1)}}, wire.StatusWrongShard},
		"intra as cross":   {prepareOf(record(1, 1, 2, 1)), wire.StatusWrongShard},
		"zero":             {&wire.TransferRequest{Records: []ledger.Record{record(1, 1, 2, 0)}}, wire.StatusBadRequest},
		"no such account":  {&wire.TransferRequest{Records: []ledger.Record{record(1, 1, 9999, 1)}}, wire.StatusBadRequest},
		"the bank's own":   {&wire.TransferRequest{Records: []ledger.Record{record(1, shard.ID(1).Equity(), 1, 1)}}, wire.StatusBadRequest},
		"forged digest":    {&wire.PrepareRequest{Records: []ledger.Record{record(1, 1, 1001, 1)}, Digests: []ledger.Digest{{1}}}, wire.StatusBadRequest},
		"bystander poison": {&wire.InquireRequest{Poison: true, Items: []wire.Inquiry{{ID: id(1), Participants: []shard.ID{2, 3}}}}, wire.StatusBadRequest},
		"other map":        {&wire.TransferRequest{Header: wire.Header{Shard: 2}, Records: []ledger.Record{record(1, 1, 2, 1)}}, wire.StatusWrongShard},
	} {
		if r := b.ask(lead, c.m); r.Status != c.want {
			t.Errorf("%s: status %d %s, want %d", name, r.Status, r.Text, c.want)
		}
	}
	after, _ := b.replicas[lead].state.Applied()
	if after != before {
		t.Errorf("refusals before the log left %d entries", after-before)
	}
}

func TestFollowerSendsToTheLeader(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	follower := lead%3 + 1
	r := b.ask(follower, &wire.TransferRequest{Records: []ledger.Record{record(1, 1, 2, 3)}})
	if r.Status != wire.StatusNotLeader || r.Leader != lead {
		t.Errorf("status %d leader %d, want NOT_LEADER naming %d", r.Status, r.Leader, lead)
	}
}

func TestCrossShardCommit(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	v1, v2 := b.prepare(1, rec), b.prepare(2, rec)
	wantResult(t, v1, "prepared")
	wantResult(t, v2, "prepared")
	b.tick(1)
	b.wantBalances(map[shard.Account]string{3: "10 out 4", 1003: "10 in 4"})
	blocks := append(v1.Blocks, v2.Blocks...)
	if len(blocks) != 2 || b.keys.Verify(&blocks[0]) != nil || b.keys.Verify(&blocks[1]) != nil {
		t.Fatalf("want one valid certificate from each shard, got %+v", blocks)
	}
	for s := shard.ID(1); s <= 2; s++ {
		b.ask(b.leader(s), &wire.FinishRequest{Blocks: blocks})
	}
	b.tick(1)
	b.wantBalances(map[shard.Account]string{3: "6", 1003: "14"})
	wantResult(t, b.prepare(1, rec), "committed")
	b.wantWhole()
}

func TestRefusalOfOneShardUndoesTheOther(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 11)
	v2 := b.prepare(2, rec)
	v1 := b.prepare(1, rec)
	wantResult(t, v2, "prepared")
	wantResult(t, v1, "aborted(insufficient_funds)")
	if v1.Results[0].Available != ledger.Units(10) || v1.Results[0].Account != 3 {
		t.Errorf("refusal explains account %d with %s", v1.Results[0].Account, v1.Results[0].Available)
	}
	b.ask(b.leader(2), &wire.FinishRequest{Blocks: v1.Blocks})
	b.tick(1)
	b.wantBalances(map[shard.Account]string{3: "10", 1003: "10"})
	wantResult(t, b.prepare(2, rec), "aborted(insufficient_funds)")
}

func TestForgedAndForeignCertificatesChangeNothing(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	v1 := b.prepare(1, rec)
	d := ledger.DigestOf(rec)
	stranger := &txn.KeyRing{Bank: b.keys.Bank, Keys: []txn.Key{{ID: 1, Secret: [32]byte{9}}}}
	yes := []txn.Vote{{ID: rec.ID, Digest: d, Fact: ledger.FactYes}}
	no := []txn.Vote{{ID: rec.ID, Digest: d, Fact: ledger.FactAborted, Reason: ledger.ReasonCancelled}}
	otherContent := []txn.Vote{{ID: rec.ID, Digest: ledger.Digest{1}, Fact: ledger.FactAborted}}
	lies := []txn.Block{
		stranger.Sign(2, yes), stranger.Sign(2, no),
		b.keys.Sign(3, no),           // a bystander
		b.keys.Sign(2, otherContent), // about other content
		v1.Blocks[0],                 // this shard's own vote is no other's
	}
	for i := range lies {
		b.ask(b.leader(1), &wire.FinishRequest{Blocks: lies[i : i+1]})
	}
	b.tick(2)
	b.wantBalances(map[shard.Account]string{3: "10 out 4", 1003: "10"})
}

func TestRecoveryCommitsWhenAllVoted(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	b.prepare(1, rec)
	b.prepare(2, rec)
	b.tick(int(txn.DefaultTiming.InquireTicks) + 5)
	b.wantBalances(map[shard.Account]string{3: "6", 1003: "14"})
	b.wantWhole()
}

func TestRecoveryAbortsWhenAShardNeverVoted(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	b.prepare(1, rec)
	b.tick(int(txn.DefaultTiming.PoisonTicks) - 10)
	b.wantBalances(map[shard.Account]string{3: "10 out 4"})
	b.tick(int(txn.DefaultTiming.InquireTicks) + 15)
	b.wantBalances(map[shard.Account]string{3: "10", 1003: "10"})
	// The late copy of PREPARE meets the tombstone.
	wantResult(t, b.prepare(2, rec), "aborted(timed_out)")
	b.wantWhole()
}

func TestRecoverySurvivesLeaderChangesOfBoth(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	b.prepare(1, rec)
	b.prepare(2, rec)
	b.kill(b.leader(1))
	b.kill(b.leader(2))
	b.waitLeaders(1, 2)
	b.tick(30)
	b.wantBalances(map[shard.Account]string{3: "6", 1003: "14"})
	b.wantWhole()
}

func TestInquiry(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	q := wire.Inquiry{ID: rec.ID, Digest: ledger.DigestOf(rec), Participants: []shard.ID{1, 2}}
	wantResult(t, b.ask(b.leader(1), &wire.InquireRequest{Items: []wire.Inquiry{q}}), "none")
	b.prepare(1, rec)
	b.tick(1)
	for _, s := range []shard.ServerID{1, 2, 3} { // any replica may answer what is permanent
		r := b.ask(s, &wire.InquireRequest{Items: []wire.Inquiry{q}})
		wantResult(t, r, "prepared")
		if len(r.Blocks) != 1 || r.Blocks[0].Votes[0].Fact != ledger.FactYes {
			t.Errorf("server %d: no certificate", s)
		}
	}
	follower := b.leader(2)%3 + 4
	if r := b.ask(follower, &wire.InquireRequest{Items: []wire.Inquiry{q}}); r.Status != wire.StatusNotLeader {
		t.Errorf("a follower answered NONE: %s", resultText(r))
	}
	other := q
	other.Digest = ledger.Digest{5}
	r := b.ask(b.leader(1), &wire.InquireRequest{Items: []wire.Inquiry{other}})
	wantResult(t, r, "conflict")
	if r.Blocks[0].Votes[0].Fact != ledger.FactAborted || r.Blocks[0].Votes[0].Digest != other.Digest {
		t.Errorf("a conflict must certify ABORTED for the asked content, got %+v", r.Blocks[0].Votes[0])
	}
}

func TestCancelIsForEveryContent(t *testing.T) {
	b := newBank(t).boot()
	for s := shard.ID(1); s <= 3; s++ {
		wantResult(t, b.ask(b.leader(s), &wire.CancelRequest{IDs: []ledger.TransferID{id(1)}}), "aborted(cancelled)")
	}
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "aborted(cancelled)")
	wantResult(t, b.prepare(2, record(1, 1, 1002, 3)), "aborted(cancelled)")
}

func TestStrongReadWaitsForWhatIsDecided(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	b.prepare(1, rec)
	b.prepare(2, rec)
	// Every vote is YES: the transfer is committed, and a read must see it at once.
	r := b.ask(b.leader(2), &wire.BalanceRequest{Strong: true, Accounts: []shard.Account{1003}})
	if got := r.Balances[0]; got.CreditsPosted != ledger.Units(14) || !got.CreditsPending.IsZero() {
		t.Errorf("credits posted %s pending %s, want 14 and 0", got.CreditsPosted, got.CreditsPending)
	}
}

// Found by the simulator (raftbank sim --seed 1035): an abort of other content under the same id, proposed
// before the vote was applied, made the leader forget the vote, and with it recovery and the read rule.
func TestFinishOfOtherContentDoesNotForgetTheVote(t *testing.T) {
	b := newBank(t).boot()
	rec, other := record(1, 3, 1003, 4), record(1, 1005, 5, 2)
	no := b.keys.Sign(2, []txn.Vote{{ID: rec.ID, Digest: ledger.DigestOf(other), Fact: ledger.FactAborted, Reason: ledger.ReasonIDConflict}})
	b.call(b.leader(1), prepareOf(rec))
	b.call(b.leader(1), &wire.FinishRequest{Blocks: []txn.Block{no}})
	b.settle()
	b.prepare(2, rec)
	r := b.ask(b.leader(1), &wire.BalanceRequest{Strong: true, Accounts: []shard.Account{3}})
	if got := r.Balances[0]; got.DebitsPosted != ledger.Units(4) || !got.DebitsPending.IsZero() {
		t.Errorf("debits posted %s pending %s, want 4 and 0", got.DebitsPosted, got.DebitsPending)
	}
}

// Found by the simulator (raftbank sim --seed 59): raft answers a ReadIndex in a group of one before the
// leader has committed in its own term, and the commit index on disk may be older than what was acknowledged.
func TestNoStaleReadAfterARestartAlone(t *testing.T) {
	b := newBank(t)
	b.topology.Clusters[0].Servers = b.topology.Clusters[0].Servers[:1]
	b.boot()
	before := b.replicas[1].startCommit
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
	b.kill(1)
	hs, _, err := b.logs[1].InitialState()
	if err != nil || hs.GetCommit() <= before {
		t.Fatalf("commit %d: %v", hs.GetCommit(), err)
	}
	// The commit index was written without a sync, and is lost.
	commit := hs.GetCommit() - 1
	hs.Commit = &commit
	if err := b.logs[1].SetHardState(hs); err != nil {
		t.Fatal(err)
	}
	b.start(1)
	r := b.replicas[1]
	asked := uint64(0)
	for range 100 {
		r.Tick()
		for r.HasWork() {
			out := r.Turn(0)
			b.take(1, out)
			if err := b.logs[1].Append(out.HardState, out.Entries, out.Sync); err != nil {
				t.Fatal(err)
			}
			if r.IsLeader() && asked == 0 {
				asked = b.call(1, &wire.BalanceRequest{Strong: true, Accounts: []shard.Account{2}})
			}
			b.take(1, r.Persisted())
			if r.IsLeader() && asked == 0 {
				asked = b.call(1, &wire.BalanceRequest{Strong: true, Accounts: []shard.Account{2}})
			}
		}
	}
	if got := b.one(asked).Balances[0]; got.CreditsPosted != ledger.Units(13) {
		t.Errorf("credits posted %s, want 13", got.CreditsPosted)
	}
}

// Found by the simulator (raftbank sim --seed 1006).
func TestNoBalanceBeforeTheBankIsOpen(t *testing.T) {
	b := newBank(t)
	for _, s := range b.topology.Cluster(1).Servers {
		b.logs[s.ID] = newMemoryLog(b.members(1))
		b.start(s.ID)
	}
	if r := b.ask(1, &wire.BalanceRequest{Accounts: []shard.Account{3}}); r.Status != wire.StatusNotReady {
		t.Errorf("status %d with %+v, want not ready", r.Status, r.Balances)
	}
}

func TestStrongReadDoesNotWaitForTheUndecided(t *testing.T) {
	b := newBank(t).boot()
	b.prepare(1, record(1, 3, 1003, 4))
	r := b.ask(b.leader(1), &wire.BalanceRequest{Strong: true, Accounts: []shard.Account{3}})
	if got := r.Balances[0]; got.DebitsPosted != ledger.Units(0) || got.DebitsPending != ledger.Units(4) {
		t.Errorf("debits posted %s pending %s, want 0 and 4", got.DebitsPosted, got.DebitsPending)
	}
}

func TestDeferredRefusalCountsAcknowledgedCredits(t *testing.T) {
	b := newBank(t).boot()
	credit := record(1, 1003, 3, 5)
	b.prepare(1, credit)
	b.prepare(2, credit) // committed by now, though not finished anywhere
	wantResult(t, b.transfer(record(2, 3, 4, 15)), "committed")
	b.tick(1)
	b.wantBalances(map[shard.Account]string{3: "0", 4: "25"})
}

func TestDeferredRefusalFreesAbortedReservations(t *testing.T) {
	b := newBank(t).boot()
	debit := record(1, 3, 1003, 10)
	b.prepare(1, debit)
	b.ask(b.leader(2), &wire.CancelRequest{IDs: []ledger.TransferID{debit.ID}}) // aborted, 3 still holds the reservation
	wantResult(t, b.transfer(record(2, 3, 4, 10)), "committed")
	wantResult(t, b.transfer(record(3, 3, 4, 1)), "aborted(insufficient_funds)")
}

func TestUndecidedReservationJustifiesARefusal(t *testing.T) {
	b := newBank(t).boot()
	b.prepare(1, record(1, 3, 1003, 10))
	wantResult(t, b.transfer(record(2, 3, 4, 1)), "aborted(insufficient_funds)")
}

func TestDeferredItemLeavesItsBatch(t *testing.T) {
	b := newBank(t).boot()
	b.prepare(1, record(1, 3, 1003, 10))
	b.drop = func(l letter) bool { _, ok := l.m.(*wire.InquireRequest); return ok }
	n := b.call(b.leader(1), &wire.TransferRequest{Records: []ledger.Record{record(2, 3, 4, 1), record(3, 5, 6, 1)}})
	b.settle()
	if r := b.one(n); len(r.Results) != 0 || !slices.Equal(r.Committed, []wire.Run{{First: 1, Count: 1}}) {
		t.Fatalf("want only item 1 answered, got %+v", r)
	}
	b.drop = nil
	b.tick(6)
	if rs := b.replies[n]; len(rs) != 2 || rs[1].Results[0].Item != 0 {
		t.Fatalf("want item 0 answered later, got %+v", rs)
	}
}

func TestLostLeadershipLeavesTheOutcomeOpen(t *testing.T) {
	b := newBank(t).boot()
	old := b.leader(1)
	b.cut[old] = true
	n := b.call(old, &wire.TransferRequest{Records: []ledger.Record{record(1, 1, 2, 3)}})
	b.settle()
	gathered := b.call(old, &wire.TransferRequest{Records: []ledger.Record{record(2, 1, 2, 1)}})
	b.settle()
	b.tick(2 * ElectionTicks)
	if r := b.one(n); r.Status != wire.StatusLost {
		t.Errorf("status %d, want LOST: the entry may survive", r.Status)
	}
	if r := b.one(gathered); r.Status != wire.StatusNotLeader {
		t.Errorf("status %d of what waited for that entry, want NOT_LEADER: it was never proposed", r.Status)
	}
	b.waitLeaders(1)
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
	delete(b.cut, old)
	b.tick(10)
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
	b.wantBalances(map[shard.Account]string{1: "7", 2: "13"})
	b.wantWhole()
}

func TestNoStaleReadFromADeposedLeader(t *testing.T) {
	b := newBank(t).boot()
	old := b.leader(1)
	b.cut[old] = true
	n := b.call(old, &wire.BalanceRequest{Strong: true, Accounts: []shard.Account{1}})
	b.settle()
	b.waitLeaders(1)
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
	b.tick(2)
	for _, r := range b.replies[n] {
		if r.Status == wire.StatusOK {
			t.Errorf("a cut-off leader answered a strong read: %+v", r.Balances)
		}
	}
}

func TestRestartReplaysTheLog(t *testing.T) {
	b := newBank(t).boot()
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
	b.prepare(1, record(2, 3, 1003, 4))
	b.tick(2)
	hash := b.replicas[1].state.Hash()
	for s := shard.ServerID(1); s <= 9; s++ {
		b.kill(s)
	}
	for s := shard.ServerID(1); s <= 9; s++ {
		b.start(s)
	}
	b.waitLeaders()
	for s := shard.ServerID(1); s <= 3; s++ {
		if got := b.replicas[s].state.Hash(); got != hash {
			t.Errorf("server %d: hash %x, want %x", s, got, hash)
		}
	}
	wantResult(t, b.transfer(record(1, 1, 2, 3)), "committed")
	b.tick(130)
	b.wantBalances(map[shard.Account]string{1: "7", 2: "13", 3: "10"})
	b.wantWhole()
}

func TestOtherConfigurationIsRefused(t *testing.T) {
	b := newBank(t).boot()
	b.kill(1)
	b.topology.OpeningBalance = 20
	b.start(1)
	b.tick(5)
	if err := b.fatal[1]; err == nil || !strings.Contains(err.Error(), "opening balance 20") || !strings.Contains(err.Error(), "opened with 10") {
		t.Errorf("got %v", err)
	}
}

func TestBusyTakesNothing(t *testing.T) {
	b := newBank(t)
	b.limits.Prepared = 2
	b.boot()
	b.prepare(1, record(1, 1, 1001, 1))
	b.prepare(1, record(2, 2, 1002, 1))
	if r := b.prepare(1, record(3, 3, 1003, 1)); r.Status != wire.StatusBusy {
		t.Errorf("got %s, want BUSY", resultText(r))
	}
	if _, known := b.replicas[b.leader(1)].state.Lookup(id(3)); known {
		t.Error("BUSY left a trace")
	}
}

func TestLostDataRaisesTheAlarm(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	d := ledger.DigestOf(rec)
	yes := []txn.Vote{{ID: rec.ID, Digest: d, Fact: ledger.FactYes}}
	// Certificates of both shards, as if shard 1 had voted and then lost its log.
	b.ask(b.leader(1), &wire.FinishRequest{Blocks: []txn.Block{b.keys.Sign(1, yes), b.keys.Sign(2, yes)}})
	b.tick(1)
	r := b.transfer(record(2, 1, 2, 1))
	if r.Status != wire.StatusNotReady || !strings.Contains(r.Text, "lost data") {
		t.Errorf("got status %d %q, want a shard that serves nothing more", r.Status, r.Text)
	}
	if b.leader(2) == 0 {
		t.Error("the other shards must go on")
	}
	wantResult(t, b.transfer(record(3, 1001, 1002, 1)), "committed")
}

func TestLeaderTransfer(t *testing.T) {
	b := newBank(t).boot()
	old := b.leader(1)
	b.replicas[old].TransferLeadership()
	b.settle()
	b.tick(1)
	if now := b.leader(1); now == old || now == 0 {
		t.Errorf("leader %d after the transfer, was %d", now, old)
	}
}

func TestAdmin(t *testing.T) {
	b := newBank(t).boot()
	b.transfer(record(1, 1, 2, 3))
	b.transfer(record(2, 1, 2, 99))
	b.prepare(1, record(3, 3, 1003, 4))
	b.tick(1)
	var d api.ServerDatastore
	b.admin(1, wire.AdminDatastore, api.DatastoreQuery{Limit: 2}, &d)
	if d.Total != 4 || d.Truncated != 2 || len(d.Entries) != 2 || d.Entries[1].Kind != "prepare" || d.Entries[1].Outcome != "yes" ||
		d.Entries[0].Outcome != "aborted" || d.Entries[0].Reason != "insufficient_funds" {
		t.Errorf("datastore: %+v", d)
	}
	b.admin(1, wire.AdminDatastore, api.DatastoreQuery{Account: "2"}, &d)
	if d.Total != 2 {
		t.Errorf("datastore of account 2: %+v", d)
	}
	var doubt api.ServerInDoubt
	b.admin(b.leader(1), wire.AdminInDoubt, nil, &doubt)
	if len(doubt.Transfers) != 1 || doubt.Transfers[0].ID != id(3).String() || len(doubt.Transfers[0].Participants) != 2 {
		t.Errorf("in doubt: %+v", doubt)
	}
	var ex api.ServerExplain
	b.admin(2, wire.AdminExplain, api.ExplainQuery{ID: id(3).String()}, &ex)
	if ex.State != "prepared" || len(ex.Entries) != 1 {
		t.Errorf("explain: %+v", ex)
	}
	var check api.ServerCheck
	b.admin(1, wire.AdminCheck, nil, &check)
	if check.Total != "10000" || check.Expected != "10000" || check.Prepared != 1 {
		t.Errorf("check: %+v", check)
	}
	var st api.ServerStatus
	b.admin(1, wire.AdminStatus, nil, &st)
	if st.Leader == nil || *st.Leader != int(b.leader(1)) || st.Applied == 0 {
		t.Errorf("status: %+v", st)
	}
}
