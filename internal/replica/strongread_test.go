package replica

import (
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// noInquiries keeps every settlement waiting, except with the shards given.
func (b *bank) noInquiries(but ...shard.ID) {
	b.drop = func(l letter) bool {
		m, ok := l.m.(*wire.InquireRequest)
		for _, s := range but {
			if ok && m.Shard == s {
				return false
			}
		}
		return ok
	}
}

func (b *bank) startRead(accounts ...shard.Account) uint64 {
	b.t.Helper()
	n := b.call(b.leader(1), &wire.BalanceRequest{Strong: true, Accounts: accounts})
	b.settle()
	if len(b.replies[n]) != 0 {
		b.t.Fatalf("the read did not wait: %+v", b.replies[n][0])
	}
	return n
}

// wantRead checks the posted and pending sums of a reply's first balance: credits, debits, pending credits, pending debits.
func wantRead(t *testing.T, r *wire.Reply, in, out, pendingIn, pendingOut uint64) {
	t.Helper()
	if len(r.Balances) == 0 {
		t.Fatalf("no balance: %+v", r)
	}
	g := r.Balances[0]
	want := [4]ledger.Amount{ledger.Units(in), ledger.Units(out), ledger.Units(pendingIn), ledger.Units(pendingOut)}
	if got := [4]ledger.Amount{g.CreditsPosted, g.DebitsPosted, g.CreditsPending, g.DebitsPending}; got != want {
		t.Errorf("account %d: credits, debits, pending credits, pending debits %v, want %v", g.Account, got, want)
	}
}

// A transfer that was acknowledged during the read is still prepared when a later one, which knows of it, is
// posted: a read that showed all that is posted would show the later one alone.
func TestStrongReadShowsItsReadPoint(t *testing.T) {
	for _, decided := range []bool{false, true} {
		b := newBank(t).boot()
		first := record(1, 3, 1003, 1)
		b.prepare(1, first)
		b.noInquiries()
		n := b.startRead(3)
		point, _ := b.replicas[b.leader(1)].state.Applied()

		acknowledged := record(2, 2003, 3, 5)
		b.prepare(3, acknowledged)
		b.prepare(1, acknowledged)
		b.transfer(record(3, 3, 4, 2))
		if decided {
			b.prepare(2, first)
		}
		b.drop = nil
		b.tick(6)

		r := b.one(n)
		if r.Applied != point {
			t.Errorf("decided %v: read at index %d, want the read point %d", decided, r.Applied, point)
		}
		if decided {
			wantRead(t, r, 10, 1, 0, 0)
		} else {
			wantRead(t, r, 10, 0, 0, 1)
		}
	}
}

// What a read has found undecided it does not show, though it is posted before the read ends: a later read
// has been answered without it.
func TestStrongReadKeepsWhatItFoundUndecided(t *testing.T) {
	b := newBank(t).boot()
	undecided, other := record(1, 3, 1003, 1), record(2, 5, 2005, 1)
	b.prepare(1, undecided)
	b.prepare(1, other)
	b.noInquiries(2)
	n := b.startRead(3, 5)

	b.transfer(record(3, 3, 4, 2))
	later := b.ask(b.leader(1), &wire.BalanceRequest{Strong: true, Accounts: []shard.Account{3}})
	wantRead(t, later, 10, 2, 0, 1)

	b.prepare(2, undecided)
	b.tick(25) // t1: the participants finish it
	b.wantBalances(map[shard.Account]string{3: "7"})
	if len(b.replies[n]) != 0 {
		t.Fatalf("the read did not wait for the other account: %+v", b.replies[n][0])
	}
	b.drop = nil
	b.tick(6)
	wantRead(t, b.one(n), 10, 0, 0, 1)
}

func TestStrongReadIsGivenUp(t *testing.T) {
	b := newBank(t).boot()
	b.prepare(1, record(1, 3, 1003, 1))
	b.noInquiries()
	n := b.startRead(3)
	b.tick(2 * settleReadTicks)
	if r := b.one(n); r.Status != wire.StatusBusy {
		t.Errorf("status %d (%s), want BUSY", r.Status, r.Text)
	}
	lead := b.replicas[b.leader(1)]
	if len(lead.settling) != 0 || lead.reads.waiting != 0 {
		t.Errorf("still held: %d settlements, %d reads", len(lead.settling), lead.reads.waiting)
	}
	b.drop = nil
	b.tick(30)
	if len(b.replies[n]) != 1 {
		t.Errorf("answered again: %+v", b.replies[n][1:])
	}
}

// Whoever names the account of the other side too, which this shard does not hold, gets an answer all the same.
func TestStrongReadOfBothSides(t *testing.T) {
	b := newBank(t).boot()
	first := record(1, 3, 1003, 1)
	b.prepare(1, first)
	b.noInquiries()
	n := b.startRead(3, 1003)
	b.prepare(2, first)
	b.drop = nil
	b.tick(6)
	r := b.one(n)
	wantRead(t, r, 10, 1, 0, 0)
	if len(r.Balances) != 2 || r.Balances[1].Exists {
		t.Errorf("an account of another shard: %+v", r.Balances)
	}
}
