//go:build e2e

package e2e

import (
	"context"
	"fmt"
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
	askers := b.dialMany(paused, askersCount)
	if reply := old.ask(old.strongRead(payer)); len(reply.Balances) != 1 {
		t.Fatalf("a strong read of the leader: %+v", reply)
	}

	signal(t, b.servers[paused], syscall.SIGSTOP)
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
	askAll(askers, payer)
	signal(t, b.servers[paused], syscall.SIGCONT)
	t.Logf("leader %d stood still for %s", paused, round(time.Since(start)))

	seen := readAnswers{}
	for _, a := range askers {
		seen.take(a, want)
	}
	if reply := old.reply(leadBound); reply != nil {
		t.Logf("the transfer that waited in the leader's socket: status %d, %d results", reply.Status, len(reply.Results))
	}
	asked := time.Now()
	await(t, leadBound, "two seconds of strong reads", func() (bool, string) {
		old.send(old.strongRead(payer))
		seen.take(old, want)
		return time.Since(asked) > 2*time.Second, ""
	})
	t.Logf("the resumed server's answers to strong reads: %s", seen)
	t.Logf("the resumed server caught up after %s", round(b.awaitCaughtUp(paused)))
	b.awaitNothingPrepared()
	b.mustAgree(results)
	b.mustConserve()
}

// ringFirst and ringSize are the accounts of transfersMeanwhile: in a ring of transfers every account gets
// back what it gave, so that none runs dry however many transfers there is time for.
const ringFirst, ringSize = 100, 800

// transfersMeanwhile makes transfers until the pause is over; the first four move one unit each from
// account 1, two of them to another shard, the rest go round a ring.
func (b *bank) transfersMeanwhile(start time.Time, paused int) []client.Result {
	b.t.Helper()
	first := b.mustCommitWithin(units(1, 2, 1), leadBound)
	b.t.Logf("first transfer without the leader acknowledged %s after the pause", round(time.Since(start)))
	results := []client.Result{first, b.mustCommit(units(1, 1001, 1)), b.mustCommit(units(1, 2001, 1)), b.mustCommit(units(1, 4, 1))}
	if n, _ := b.awaitLeader(1, paused); n == paused {
		b.t.Errorf("server %d still leads", n)
	}
	for i := 0; time.Since(start) < pauseFor; i++ {
		results = append(results, b.mustCommit(units(client.Account(ringFirst+i%ringSize), client.Account(ringFirst+(i+1)%ringSize), 1)))
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

// askersCount is how many connections wait with a read for a leader that stands still. Which of its
// connections a resumed process reads first is chance: with many, some read comes before the news of
// the other leader.
const askersCount = 16

// dialMany opens connections to one server.
func (b *bank) dialMany(server, n int) []*rawConn {
	b.t.Helper()
	conns := make([]*rawConn, n)
	for i := range conns {
		conns[i] = b.dial(server)
	}
	return conns
}

// askAll sends one strong read on every connection.
func askAll(conns []*rawConn, account client.Account) {
	for _, c := range conns {
		c.send(c.strongRead(account))
	}
}

// readAnswers counts the answers to strong reads by what they were.
type readAnswers struct {
	refused, fresh, closed int
}

// String shows the counts.
func (r readAnswers) String() string {
	return fmt.Sprintf("%d refused, %d fresh balances, %d connections closed, none stale", r.refused, r.fresh, r.closed)
}

// take waits for the answer to one strong read, which must be a refusal or the wanted balance.
func (r *readAnswers) take(c *rawConn, want *big.Int) {
	c.t.Helper()
	reply := c.reply(leadBound)
	switch {
	case reply == nil:
		r.closed++
	case len(reply.Balances) == 0:
		r.refused++
	default:
		v := reply.Balances[0]
		if got := new(big.Int).Sub(v.CreditsPosted.Big(), v.DebitsPosted.Big()); got.Cmp(want) != 0 {
			c.t.Errorf("STALE: the resumed server reads %s, want %s: %+v", got, want, reply)
		}
		r.fresh++
	}
}

// TestItem5ManyPauses stops whoever leads C1 again and again, just long enough for another leader to
// acknowledge a transfer, with reads waiting in its sockets.
func TestItem5ManyPauses(t *testing.T) {
	b := newRunningBank(t)
	const payer = client.Account(1)
	results := []client.Result{b.mustCommit(units(2, payer, 8))}
	seen := readAnswers{}
	for i := range 8 {
		paused, _ := b.awaitLeader(1, 0)
		askers := b.dialMany(paused, askersCount)
		signal(t, b.servers[paused], syscall.SIGSTOP)
		results = append(results, b.mustCommitWithin(units(payer, client.Account(10+i), 1), leadBound))
		want := b.strongBalance(payer)
		askAll(askers, payer)
		signal(t, b.servers[paused], syscall.SIGCONT)
		for _, a := range askers {
			seen.take(a, want)
			_ = a.conn.Close()
		}
		b.awaitCaughtUp(paused)
	}
	t.Logf("answers to strong reads of leaders resumed after short pauses: %s", seen)
	b.mustAgree(results)
	b.mustConserve()
}
