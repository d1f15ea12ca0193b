package replica

import (
	"encoding/json"
	"fmt"
	"math/big"
	"testing"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// auditStep asks a shard's leader for a step of an audit; the answer comes at once, whatever is withheld.
func (b *bank) auditStep(s shard.ID, step wire.AuditStep, number uint32, blocks ...txn.Block) *wire.Reply {
	b.t.Helper()
	return b.ask(b.leader(s), &wire.AuditRequest{Step: step, Number: number, Blocks: blocks})
}

func (b *bank) wantAudit(r *wire.Reply, want ledger.ResultCode) {
	b.t.Helper()
	if r.Status != wire.StatusOK || len(r.Results) != 1 || r.Results[0].Code != want {
		b.t.Fatalf("got status %d %s %+v, want %s", r.Status, r.Text, r.Results, want)
	}
}

// allocate gets a number with its certificate.
func (b *bank) allocate() (uint32, txn.Block) {
	b.t.Helper()
	r := b.auditStep(1, wire.AuditAllocate, 0)
	b.wantAudit(r, ledger.ResultAllocated)
	return r.Results[0].Epoch, r.Blocks[0]
}

// barrier withholds on shards for a new number.
func (b *bank) barrier(shards ...shard.ID) uint32 {
	b.t.Helper()
	number, cert := b.allocate()
	for _, s := range shards {
		b.wantAudit(b.auditStep(s, wire.AuditBarrier, number, cert), ledger.ResultWithholding)
	}
	return number
}

// collect gathers the shards' parts of a snapshot.
func (b *bank) collect(number uint32, shards ...shard.ID) map[shard.ID]api.ShardAudit {
	b.t.Helper()
	parts := map[shard.ID]api.ShardAudit{}
	for _, s := range shards {
		r := b.auditStep(s, wire.AuditCollect, number)
		b.wantAudit(r, ledger.ResultReleased)
		var v api.ShardAudit
		if err := json.Unmarshal(r.Body, &v); err != nil {
			b.t.Fatal(err)
		}
		parts[s] = v
	}
	return parts
}

func (b *bank) wantTotal(parts map[shard.ID]api.ShardAudit) {
	b.t.Helper()
	sum := new(big.Int)
	for _, p := range parts {
		n, _ := new(big.Int).SetString(p.Total, 10)
		sum.Add(sum, n)
	}
	if want := b.topology.Total(); sum.Cmp(want) != 0 {
		b.t.Errorf("the audit's total is %s, want %s: %+v", sum, want, parts)
	}
}

func (b *bank) finish(s shard.ID, blocks ...txn.Block) {
	b.t.Helper()
	b.ask(b.leader(s), &wire.FinishRequest{Blocks: blocks})
}

// wantSilence checks that a request has no answer yet.
func (b *bank) wantSilence(what string, n uint64) {
	b.t.Helper()
	if len(b.replies[n]) != 0 {
		b.t.Errorf("%s was answered: %+v", what, b.replies[n][0])
	}
}

func (b *bank) send(s shard.ServerID, m wire.Message) uint64 {
	b.t.Helper()
	n := b.call(s, m)
	b.settle()
	return n
}

var all = []shard.ID{1, 2, 3}

// TestAuditWithHalfFinishedTransfers has a transfer in every state at the cut.
func TestAuditWithHalfFinishedTransfers(t *testing.T) {
	b := newBank(t).boot()
	votes := func(n byte, from, to shard.Account) []txn.Block {
		rec := record(n, from, to, uint64(n))
		f, _ := b.topology.ShardOf(from)
		g, _ := b.topology.ShardOf(to)
		return append(b.prepare(f, rec).Blocks, b.prepare(g, rec).Blocks...)
	}
	b.finish(1, votes(1, 1, 1001)...)    // finished where the debit is
	b.finish(3, votes(2, 1002, 2001)...) // finished where the credit is
	votes(3, 2003, 3)                    // both voted, nobody finished
	half := record(4, 4, 1004, 4)        // one side's vote comes after its cut
	b.prepare(1, half)
	b.prepare(1, record(5, 5, 1005, 5)) // one side never votes
	refused := record(6, 2006, 6, 11)   // the other side refuses
	b.prepare(1, refused)
	b.prepare(3, refused)

	number := b.barrier(1, 2)
	late := b.send(b.leader(2), prepareOf(half))
	later := record(7, 1007, 2007, 7)
	b.send(b.leader(2), prepareOf(later))
	b.wantAudit(b.auditStep(1, wire.AuditConfirm, number), ledger.ResultWithholding)
	_, cert := b.allocateFrom(number)
	b.wantAudit(b.auditStep(3, wire.AuditBarrier, number, cert), ledger.ResultWithholding)
	b.wantSilence("a vote from beyond the cut", late)
	for _, s := range all {
		b.wantAudit(b.auditStep(s, wire.AuditConfirm, number), ledger.ResultWithholding)
	}
	for _, s := range all {
		b.wantAudit(b.auditStep(s, wire.AuditRelease, number), ledger.ResultReleased)
	}
	wantResult(t, b.one(late), "prepared")
	parts := b.collect(number, all...)
	b.wantTotal(parts)
	for s, want := range map[shard.ID]string{1: "9999 +3 -0, 1 of 1000", 2: "10000 +1 -2, 2 of 1000", 3: "10002 +0 -3, 1 of 1000"} {
		p := parts[s]
		got := fmt.Sprintf("%s +%s -%s, %d of %d", p.Posted, p.In, p.Out, p.Unfinished, p.Accounts)
		if got != want || p.Opened != "10000" {
			t.Errorf("%s: %s, opened %s, want %s", s, got, p.Opened, want)
		}
	}
	// The late vote's transfer commits after all, and is in nobody's part.
	b.tick(int(txn.DefaultTiming.InquireTicks) + 5)
	b.wantBalances(map[shard.Account]string{4: "6", 1004: "14"})
	b.wantTotal(b.collect(number, all...))
	b.tick(int(txn.DefaultTiming.PoisonTicks) + 50)
	b.wantTotal(b.collect(number, all...))
	b.wantWhole()
}

// allocateFrom makes the certificate of a number that was given out before.
func (b *bank) allocateFrom(number uint32) (uint32, txn.Block) {
	return number, b.keys.Sign(1, []txn.Vote{{Fact: ledger.FactNumber, Epoch: number}})
}

// TestWithholding checks that nothing about a later entry, and no read, leaves any replica between
// BARRIER and RELEASE, and that all of it leaves then, in order.
func TestWithholding(t *testing.T) {
	for name, end := range map[string]wire.AuditStep{"release": wire.AuditRelease, "void": wire.AuditVoid} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t).boot()
			before := record(1, 3, 1003, 1)
			b.prepare(1, before)
			b.tick(1)
			number := b.barrier(1)
			b.tick(1)
			lead := b.leader(1)
			follower := lead%3 + 1
			rec, cross := record(2, 1, 2, 3), record(3, 4, 1004, 1)
			balance := func(strong bool) wire.Message {
				return &wire.BalanceRequest{Strong: strong, Accounts: []shard.Account{1}}
			}
			inquire := func(rec ledger.Record, poison bool) wire.Message {
				return &wire.InquireRequest{Poison: poison, Items: []wire.Inquiry{inquiryOf(rec, 1, 2)}}
			}
			asked := []struct {
				what string
				n    uint64
			}{
				{"a transfer", b.send(lead, &wire.TransferRequest{Records: []ledger.Record{rec}})},
				{"a transfer that is known", b.send(lead, &wire.TransferRequest{Records: []ledger.Record{rec}})},
				{"a vote", b.send(lead, prepareOf(cross))},
				{"a refusal", b.send(lead, &wire.TransferRequest{Records: []ledger.Record{record(4, 5, 6, 11)}})},
				{"a strong read", b.send(lead, balance(true))},
				{"a stale read of the leader", b.send(lead, balance(false))},
				{"a stale read of a follower", b.send(follower, balance(false))},
				{"a status", b.send(lead, &wire.StatusRequest{IDs: []ledger.TransferID{rec.ID}})},
				{"an inquiry", b.send(lead, inquire(cross, false))},
				{"an inquiry at a follower", b.send(follower, inquire(cross, false))},
				{"an inquiry for none", b.send(lead, inquire(record(9, 4, 1004, 1), false))},
				{"a poisoned inquiry", b.send(lead, inquire(record(8, 4, 1004, 1), true))},
				{"a cancel", b.send(lead, &wire.CancelRequest{IDs: []ledger.TransferID{id(7)}})},
				{"the history", b.send(follower, &wire.AdminRequest{Kind: wire.AdminDatastore, Body: []byte("{}")})},
			}
			// Another shard's leader asks a follower.
			other := b.leader(2)
			b.replicas[follower].StepPeer(other, b.copied(&wire.InquireRequest{
				Header: wire.Header{Request: 77, Shard: 1, Epoch: 1}, Items: []wire.Inquiry{inquiryOf(cross, 1, 2)},
			}))
			peerAnswers := 0
			b.drop = func(l letter) bool {
				if m, ok := l.m.(*wire.Reply); ok && m.Request == 77 {
					peerAnswers++
				}
				return false
			}
			b.tick(1)
			for _, a := range asked {
				b.wantSilence(a.what, a.n)
			}
			if peerAnswers != 0 {
				t.Error("a follower answered another shard's inquiry")
			}
			// What says nothing about entries is answered, and the log goes on.
			if r := b.ask(follower, &wire.TransferRequest{Records: []ledger.Record{rec}}); r.Status != wire.StatusNotLeader {
				t.Errorf("status %d, want NOT_LEADER", r.Status)
			}
			yes := b.prepare(2, before)
			b.finish(1, yes.Blocks...)
			b.tick(1)
			b.wantBalances(map[shard.Account]string{1: "7", 3: "9", 4: "10 out 1"})

			want := ledger.ResultReleased
			if end == wire.AuditVoid {
				want = ledger.ResultVoid
			}
			b.wantAudit(b.auditStep(1, end, number), want)
			b.tick(1)
			for _, a := range asked {
				if len(b.replies[a.n]) != 1 || b.replies[a.n][0].Status != wire.StatusOK {
					t.Errorf("%s: %+v after the end", a.what, b.replies[a.n])
				}
			}
			if peerAnswers != 1 {
				t.Errorf("%d answers of the follower to the other shard, want 1", peerAnswers)
			}
			b.wantAudit(b.auditStep(1, wire.AuditConfirm, number), want)
		})
	}
}

// TestRefusalWaitsBehindWithheldResults: a status speaks of the items of a request that are then still open, so
// it must not overtake results of the same request.
func TestRefusalWaitsBehindWithheldResults(t *testing.T) {
	b := newBank(t).boot()
	b.prepare(1, record(1, 3, 1003, 10))
	b.barrier(1)
	b.drop = func(l letter) bool { _, is := l.m.(*wire.InquireRequest); return is }
	old := b.leader(1)
	n := b.send(old, &wire.TransferRequest{Records: []ledger.Record{record(2, 1, 2, 1), record(3, 3, 4, 5)}})
	b.cut[old] = true
	for b.leader(1) == 0 {
		b.tick(1)
	}
	b.cut[old] = false
	b.tick(3)
	b.wantSilence("a request of which results are withheld", n)
	if b.replicas[old].IsLeader() {
		t.Fatal("the old leader still leads")
	}
	b.tick(auditPatienceTicks + 3)
	if r := b.replies[n]; len(r) != 2 || resultText(r[0]) != "committed " || r[1].Status != wire.StatusNotLeader {
		t.Errorf("replies %+v, want the committed one, then NOT_LEADER for the other", r)
	}
}

func TestAuditIsVoidAfterPatience(t *testing.T) {
	b := newBank(t).boot()
	number := b.barrier(1, 2)
	n := b.send(b.leader(1), &wire.TransferRequest{Records: []ledger.Record{record(1, 1, 2, 3)}})
	b.tick(auditPatienceTicks - 1)
	b.wantSilence("a transfer", n)
	b.wantAudit(b.auditStep(1, wire.AuditConfirm, number), ledger.ResultWithholding)
	b.tick(3)
	wantResult(t, b.one(n), "committed")
	b.wantAudit(b.auditStep(1, wire.AuditConfirm, number), ledger.ResultVoid)
	_, cert := b.allocateFrom(number)
	b.wantAudit(b.auditStep(1, wire.AuditBarrier, number, cert), ledger.ResultVoid)
	b.wantAudit(b.auditStep(1, wire.AuditRelease, number), ledger.ResultVoid)
	wantResult(t, b.transfer(record(2, 1, 2, 3)), "committed")
	// The next number proves something.
	number = b.barrier(all...)
	for _, s := range all {
		b.wantAudit(b.auditStep(s, wire.AuditConfirm, number), ledger.ResultWithholding)
		b.wantAudit(b.auditStep(s, wire.AuditRelease, number), ledger.ResultReleased)
	}
	b.wantTotal(b.collect(number, all...))
}

// TestCutOffLeaderKeepsWithholding: a leader's patience ends with a log entry or not at all.
func TestCutOffLeaderKeepsWithholding(t *testing.T) {
	b := newBank(t).boot()
	number := b.barrier(1)
	old := b.leader(1)
	rec := record(1, 1, 2, 3)
	n := b.send(old, &wire.TransferRequest{Records: []ledger.Record{rec}})
	b.cut[old] = true
	stale := b.send(old, &wire.BalanceRequest{Accounts: []shard.Account{1}})
	// The next leader withholds too, from its election on with patience of its own.
	for b.leader(1) == 0 {
		b.tick(1)
	}
	b.tick(1)
	b.wantAudit(b.auditStep(1, wire.AuditConfirm, number), ledger.ResultWithholding)
	again := b.send(b.leader(1), &wire.TransferRequest{Records: []ledger.Record{rec}})
	b.wantSilence("a transfer at the next leader", again)
	b.tick(auditPatienceTicks + 3)
	wantResult(t, b.one(again), "committed")
	b.wantAudit(b.auditStep(1, wire.AuditConfirm, number), ledger.ResultVoid)
	b.wantSilence("a transfer at the leader that was cut off", n)
	b.wantSilence("a stale read of the leader that was cut off", stale)
	b.cut[old] = false
	b.tick(20)
	wantResult(t, b.one(n), "committed")
	b.one(stale)
	b.wantWhole()
}

// TestAuditSurvivesALeaderChange: numbers, cuts and withholding are in the log, so the next leader goes on.
func TestAuditSurvivesALeaderChange(t *testing.T) {
	b := newBank(t).boot()
	rec := record(1, 3, 1003, 4)
	b.prepare(1, rec)
	b.prepare(2, rec)
	number := b.barrier(all...)
	b.kill(b.leader(1))
	for b.leader(1) == 0 {
		b.tick(1)
		for _, s := range []shard.ID{2, 3} { // their own patience is not what is tested
			b.replicas[b.leader(s)].lead.patience = patience{}
		}
	}
	b.tick(1)
	for _, s := range all {
		b.wantAudit(b.auditStep(s, wire.AuditConfirm, number), ledger.ResultWithholding)
	}
	for _, s := range all {
		b.wantAudit(b.auditStep(s, wire.AuditRelease, number), ledger.ResultReleased)
	}
	parts := b.collect(number, all...)
	b.wantTotal(parts)
	if parts[1].Out != "4" || parts[2].In != "4" || parts[1].Unfinished != 1 {
		t.Errorf("money under way is missing: %+v", parts)
	}
}

// TestRestartedReplicasWithhold: a replica that replays BARRIER withholds as before.
func TestRestartedReplicasWithhold(t *testing.T) {
	b := newBank(t).boot()
	number := b.barrier(1)
	rec := record(1, 1, 2, 3)
	b.send(b.leader(1), &wire.TransferRequest{Records: []ledger.Record{rec}})
	b.tick(1)
	for s := shard.ServerID(1); s <= 3; s++ {
		b.kill(s)
		b.start(s)
	}
	b.settle()
	var stale []uint64
	for s := shard.ServerID(1); s <= 3; s++ {
		if b.replicas[s].Replaying() || b.replicas[s].state.Withholding() != number {
			t.Fatalf("server %d: replaying %t, withholding %d", s, b.replicas[s].Replaying(), b.replicas[s].state.Withholding())
		}
		stale = append(stale, b.send(s, &wire.BalanceRequest{Accounts: []shard.Account{1}}))
		b.wantSilence("a stale read", stale[s-1])
	}
	b.waitLeaders(1)
	b.tick(auditPatienceTicks + 3)
	for _, n := range stale {
		b.one(n)
	}
	b.wantBalances(map[shard.Account]string{1: "7"})
}

// TestFinishAdvancesTheEpoch: after a void, certificates from beyond a cut reach a shard that has not cut.
func TestFinishAdvancesTheEpoch(t *testing.T) {
	b := newBank(t).boot()
	number := b.barrier(1)
	rec := record(1, 3, 1003, 4)
	n := b.send(b.leader(1), prepareOf(rec))
	v2 := b.prepare(2, rec)
	b.tick(auditPatienceTicks + 2)
	v1 := b.one(n)
	if v1.Blocks[0].Votes[0].Epoch != number || v2.Blocks[0].Votes[0].Epoch != 0 {
		t.Fatalf("votes %+v and %+v, want epochs %d and 0", v1.Blocks[0].Votes, v2.Blocks[0].Votes, number)
	}
	for _, s := range []shard.ID{1, 2} {
		b.finish(s, v1.Blocks[0], v2.Blocks[0])
	}
	b.tick(1)
	b.wantBalances(map[shard.Account]string{3: "6", 1003: "14"})
	if e := b.replicas[b.leader(2)].state.Epoch(); e != number {
		t.Errorf("epoch %d after a FINISH with %d", e, number)
	}
	_, cert := b.allocateFrom(number)
	b.wantAudit(b.auditStep(2, wire.AuditBarrier, number, cert), ledger.ResultVoid)
	b.wantAudit(b.auditStep(2, wire.AuditConfirm, number), ledger.ResultVoid)
	if got := b.collect(number, 2)[2]; got.Total != "10000" {
		t.Errorf("the cut is not before the FINISH: %+v", got)
	}
	b.wantWhole()
}

func TestAuditRefusals(t *testing.T) {
	b := newBank(t).boot()
	number, cert := b.allocate()
	other := b.keys.Sign(2, []txn.Vote{{Fact: ledger.FactNumber, Epoch: number}})
	vote := b.keys.Sign(1, []txn.Vote{{Fact: ledger.FactYes, Epoch: number}})
	forged := cert
	forged.MAC[0]++
	for name, blocks := range map[string][]txn.Block{
		"no certificate": nil, "another shard's": {other}, "a vote": {vote}, "a forged one": {forged},
	} {
		if r := b.auditStep(2, wire.AuditBarrier, number, blocks...); r.Status != wire.StatusBadRequest {
			t.Errorf("%s: status %d, want BAD_REQUEST", name, r.Status)
		}
	}
	if r := b.auditStep(2, wire.AuditBarrier, number+1, cert); r.Status != wire.StatusBadRequest {
		t.Errorf("another number: status %d, want BAD_REQUEST", r.Status)
	}
	if r := b.auditStep(1, 99, number); r.Status != wire.StatusBadRequest {
		t.Errorf("no step: status %d, want BAD_REQUEST", r.Status)
	}
	b.wantAudit(b.auditStep(2, wire.AuditAllocate, 0), ledger.ResultNoEffect)
	b.wantAudit(b.auditStep(1, wire.AuditConfirm, number), ledger.ResultNoEffect)
	b.wantAudit(b.auditStep(1, wire.AuditCollect, number), ledger.ResultNoEffect)
	// While one audit runs, no number is given out that would void it.
	b.wantAudit(b.auditStep(1, wire.AuditBarrier, number, cert), ledger.ResultWithholding)
	b.wantAudit(b.auditStep(1, wire.AuditAllocate, 0), ledger.ResultDefer)
	b.wantAudit(b.auditStep(1, wire.AuditVoid, number), ledger.ResultVoid)
	if next, _ := b.allocate(); next != number+1 {
		t.Errorf("number %d after %d", next, number)
	}
}

// TestWithheldRepliesHaveABound: over it the leader gives the audit up, and takes nothing new until then.
func TestWithheldRepliesHaveABound(t *testing.T) {
	b := newBank(t)
	b.limits.WithheldBytes = 2000
	b.boot()
	number := b.barrier(1)
	lead := b.leader(1)
	var asked []uint64
	for i := range byte(8) {
		asked = append(asked, b.call(lead, &wire.TransferRequest{Records: []ledger.Record{record(i+1, 1, 2, 1)}}))
	}
	b.settle()
	for _, n := range asked {
		wantResult(t, b.one(n), "committed")
	}
	b.wantAudit(b.auditStep(1, wire.AuditConfirm, number), ledger.ResultVoid)

	// A follower cannot give up: it refuses what is new.
	b.barrier(1)
	follower := lead%3 + 1
	b.tick(1)
	stale := &wire.BalanceRequest{Accounts: []shard.Account{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}}
	first := b.send(follower, stale)
	b.wantSilence("a stale read", first)
	if r := b.ask(follower, stale); r.Status != wire.StatusBusy {
		t.Errorf("status %d over the bound, want BUSY", r.Status)
	}
	if r := b.ask(follower, &wire.AdminRequest{Kind: wire.AdminStatus}); r.Status != wire.StatusBusy {
		t.Errorf("status %d for a question over the bound, want BUSY", r.Status)
	}
	// A client that goes takes along what it waited for.
	b.replicas[follower].CloseConn(1)
	if h := &b.replicas[follower].withheld; h.bytes != 0 || len(h.replies) != 0 || len(h.calls) != 0 {
		t.Errorf("after its client went: %+v", h)
	}
	b.tick(auditPatienceTicks + 3)
	b.wantSilence("a client that has gone", first)
}
