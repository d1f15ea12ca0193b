package replica

import (
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// wantNoSureRefusal: a status holds for every open item, so none that means "surely not appended"
// may be sent while the leader still holds another item of the request.
func wantNoSureRefusal(t *testing.T, replies []*wire.Reply) {
	t.Helper()
	for _, r := range replies {
		if r.Status != wire.StatusOK && r.Status != wire.StatusLost {
			t.Errorf("status %d refuses every open item, but one of them is still to be proposed", r.Status)
		}
	}
}

func TestBusyForOneDeferredItemDoesNotRefuseTheOthers(t *testing.T) {
	b := newBank(t)
	b.limits.Deferred = 1
	b.boot()
	b.prepare(1, record(1, 3, 1003, 10))
	b.drop = func(l letter) bool { _, ok := l.m.(*wire.InquireRequest); return ok }
	n := b.call(b.leader(1), &wire.TransferRequest{Records: []ledger.Record{record(2, 3, 4, 1), record(3, 3, 5, 1)}})
	b.settle()
	wantNoSureRefusal(t, b.replies[n])
	b.drop = nil
	b.tick(6)
	if _, known := b.replicas[b.leader(1)].state.Lookup(id(2)); !known {
		t.Error("the deferred item was not proposed again")
	}
	wantNoSureRefusal(t, b.replies[n])
}

func TestDroppedReproposalDoesNotRefuseTheOthers(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	b.prepare(1, record(1, 3, 1003, 10))
	b.prepare(1, record(2, 7, 2007, 10))
	b.drop = func(l letter) bool { _, ok := l.m.(*wire.InquireRequest); return ok }
	n := b.call(lead, &wire.TransferRequest{Records: []ledger.Record{record(3, 3, 4, 1), record(4, 7, 8, 1)}})
	b.settle()
	// The first item's settlement ends while leadership is being handed over; the second's goes on.
	b.drop = func(l letter) bool {
		_, isRaft := l.m.(*wire.Raft)
		return (isRaft && l.from <= 3) || (l.to >= 7 && l.from == lead)
	}
	b.replicas[lead].TransferLeadership()
	b.tick(5)
	if len(b.replies[n]) == 0 {
		t.Fatal("the dropped proposal was not answered")
	}
	if len(b.replicas[lead].settling) == 0 {
		t.Fatal("the second item no longer waits")
	}
	wantNoSureRefusal(t, b.replies[n])
}

func TestStrongReadOfOneAccountManyTimes(t *testing.T) {
	b := newBank(t).boot()
	b.prepare(1, record(1, 3, 1003, 1))
	b.drop = func(l letter) bool { _, ok := l.m.(*wire.InquireRequest); return ok }
	b.call(b.leader(1), &wire.BalanceRequest{Strong: true, Accounts: []shard.Account{3, 3, 3}})
	b.settle()
	b.drop = nil
	b.tick(6)
	if r := b.one(b.nextCall); len(r.Balances) != 3 || r.Balances[2].Account != 3 {
		t.Errorf("want three balances, got %+v", r)
	}
}

// After its settlement a deferred transfer has the money; another debit, aborted elsewhere before it came, then takes the
// reservation. Nobody else ever had a claim on the money, so the transfer must not be refused (models/justify.pml, BUG_ONCE).
func TestAbortedDebitThatCameMeanwhileJustifiesNoRefusal(t *testing.T) {
	b := newBank(t).boot()
	lead := b.leader(1)
	first, second := record(1, 3, 1003, 10), record(2, 3, 1004, 10)
	b.prepare(1, first)
	b.ask(b.leader(2), &wire.CancelRequest{IDs: []ledger.TransferID{first.ID}})
	b.ask(b.leader(2), &wire.CancelRequest{IDs: []ledger.TransferID{second.ID}})
	b.noInquiries()
	n := b.call(lead, &wire.TransferRequest{Records: []ledger.Record{record(3, 3, 4, 10)}})
	b.settle()
	if len(b.replies[n]) != 0 {
		t.Fatalf("not deferred: %s", resultText(b.replies[n][0]))
	}
	// While the first debit's FINISH is on its way to the followers, the second one comes: it stands in the log
	// before the transfer that is proposed again.
	no, _ := voteOf(first.ID, ledger.DigestOf(first), &ledger.Result{Code: ledger.ResultState, State: ledger.Aborted})
	b.call(lead, &wire.FinishRequest{Blocks: []txn.Block{b.keys.Sign(2, []txn.Vote{no})}})
	inquiries, came := b.drop, false
	b.drop = func(l letter) bool {
		if _, isRaft := l.m.(*wire.Raft); isRaft && l.from == lead && !came {
			came = true
			b.call(lead, prepareOf(second))
		}
		return inquiries(l)
	}
	b.settle()
	if len(b.replies[n]) != 0 {
		t.Fatalf("answered while the second debit holds the money: %s", resultText(b.replies[n][0]))
	}
	b.drop = nil
	b.tick(6)
	wantResult(t, b.one(n), "committed")
}

func TestDeferralsOfOneRequestAreBounded(t *testing.T) {
	b := newBank(t).boot()
	b.prepare(1, record(1, 3, 1003, 10))
	lead := b.replicas[b.leader(1)]
	rec := record(2, 3, 4, 1)
	n := uint64(99)
	lead.deferItem(&deferral{kind: ledger.CmdTransfer, record: rec, waiter: waiter{call: call{conn: 1, request: n}, some: true, deferrals: maxDeferrals}})
	b.settle()
	if r := b.one(n); len(r.Results) != 1 || r.Results[0].Code != ledger.ResultDefer {
		t.Errorf("got %+v, want: not voted", r)
	}
}
