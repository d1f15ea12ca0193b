//go:build e2e

package e2e

import (
	"context"
	"math/big"
	"syscall"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/wire"
)

// pauseFor is how long the leader stands still.
const pauseFor = 5 * time.Second

// TestItem5PausedLeader stops C1's leader with SIGSTOP while a read and a transfer wait in its
// sockets, lets the bank go on without it, and resumes it: it may not answer the read from its old
// state, and the transfer that was also sent to the new leader must not be applied twice.
func TestItem5PausedLeader(t *testing.T) {
	b := newRunningBank(t)
	const payer, payee = client.Account(1), client.Account(2)
	results := []client.Result{b.mustCommit(units(payer, payee, 1))}
	paused, _ := b.awaitLeader(1, 0)
	old := b.dial(paused)
	if reply := old.ask(old.strongRead(payer)); len(reply.Balances) != 1 {
		t.Fatalf("a strong read of the leader: %+v", reply)
	}

	b.servers[paused].signal(t, syscall.SIGSTOP)
	start := time.Now()
	// Sent to the stopped leader and, with the same id, to whoever leads then.
	twice := units(payer, 3, 2)
	twice.ID = client.NewID()
	old.send(&wire.TransferRequest{Header: old.header(), Records: []ledger.Record{record(twice)}})
	results = append(results, b.transfersMeanwhile(start, paused)...)
	results = append(results, b.mustCommit(twice))
	want := b.strongBalance(payer)
	if want.Cmp(big.NewInt(10-1-2-4)) != 0 {
		t.Errorf("strong read during the pause: %s, want 3", want)
	}
	old.send(old.strongRead(payer))
	b.servers[paused].signal(t, syscall.SIGCONT)
	t.Logf("leader %d stood still for %s", paused, round(time.Since(start)))

	b.mustNotBeStale(old, payer, want)
	t.Logf("the resumed server caught up after %s", round(b.awaitCaughtUp(paused)))
	b.awaitNothingPrepared()
	b.mustAgree(results)
	b.mustConserve()
}

// transfersMeanwhile makes transfers until the pause is over; the first four move one unit each from
// account 1, two of them to another shard.
func (b *bank) transfersMeanwhile(start time.Time, paused int) []client.Result {
	b.t.Helper()
	first := b.mustCommitWithin(units(1, 2, 1), leadBound)
	b.t.Logf("first transfer without the leader acknowledged %s after the pause", round(time.Since(start)))
	results := []client.Result{first, b.mustCommit(units(1, 1001, 1)), b.mustCommit(units(1, 2001, 1)), b.mustCommit(units(1, 4, 1))}
	if n, _ := b.awaitLeader(1, paused); n == paused {
		b.t.Errorf("server %d still leads", n)
	}
	for i := 0; time.Since(start) < pauseFor; i++ {
		results = append(results, b.mustCommit(units(client.Account(100+i%800), client.Account(101+i%800), 1)))
	}
	return results
}

// mustCommitWithin repeats a transfer under one id until it is committed.
func (b *bank) mustCommitWithin(tr client.Transfer, bound time.Duration) client.Result {
	b.t.Helper()
	tr.ID = client.NewID()
	var r client.Result
	await(b.t, bound, "a transfer is committed", func() (bool, string) {
		r = b.do(tr)
		return r.Outcome == client.Committed, outcomeText(r) + " " + r.Detail
	})
	return r
}

// strongBalance reads one account strongly.
func (b *bank) strongBalance(a client.Account) *big.Int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), leadBound)
	defer cancel()
	v, err := b.client.Balance(ctx, a)
	if err != nil {
		b.t.Fatalf("balance of %s: %v", a, err)
	}
	n, ok := new(big.Int).SetString(v.Balance, 10)
	if !ok {
		b.t.Fatalf("balance of %s: %+v", a, v)
	}
	return n
}

// mustNotBeStale takes the resumed server's answers: to what waited in its sockets, and to strong
// reads for two seconds more. Each is a refusal or the balance that was read before it resumed.
func (b *bank) mustNotBeStale(old *rawConn, account client.Account, want *big.Int) {
	b.t.Helper()
	statuses := map[wire.Status]int{}
	balances := 0
	take := func() (open bool) {
		reply := old.reply(leadBound)
		if reply == nil {
			return false
		}
		statuses[reply.Status]++
		for _, v := range reply.Balances {
			balances++
			if got := new(big.Int).Sub(v.CreditsPosted.Big(), v.DebitsPosted.Big()); got.Cmp(want) != 0 {
				b.t.Errorf("STALE: the resumed server reads %s, want %s: %+v", got, want, reply)
			}
		}
		return true
	}
	if !take() || !take() { // what waited
		b.t.Fatal("the resumed server closed the connection instead of answering")
	}
	start := time.Now()
	await(b.t, leadBound, "two seconds of strong reads", func() (bool, string) {
		old.send(old.strongRead(account))
		return !take() || time.Since(start) > 2*time.Second, ""
	})
	b.t.Logf("the resumed server's answers by status: %v, %d of them balances, none stale", statuses, balances)
}
