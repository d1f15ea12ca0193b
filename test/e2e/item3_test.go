//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// crashCase is one crash point of docs/PROTOCOL.md, section 11, and what has to come of it.
type crashCase struct {
	point    int
	name     string
	amount   uint64
	flags    []string // instead of --crash-point
	outcome  string   // of Explain once all is settled
	transfer client.Transfer
}

// TestItem3ClientDiesAtEveryCrashPoint kills a coordinating client at each crash point, all at once
// on different accounts: nothing may stay prepared, and both shards must agree.
func TestItem3ClientDiesAtEveryCrashPoint(t *testing.T) {
	b := newRunningBank(t)
	cases := []*crashCase{
		{point: 1, amount: 1, outcome: "not-found", name: "before sending"},
		{point: 2, amount: 1, outcome: "aborted", name: "after some PREPAREs"},
		{point: 3, amount: 1, outcome: "committed", name: "after all PREPAREs, no reply seen"},
		{point: 4, amount: 1, outcome: "committed", name: "after all votes, before any FINISH"},
		{point: 5, amount: 1, outcome: "committed", name: "after some FINISH"},
		{point: 6, amount: 1000, outcome: "aborted", name: "after one NO"},
		{point: 7, amount: 1, outcome: "aborted", name: "a PREPARE copy arrives much later", flags: []string{"--late-prepare"}},
		{point: 8, amount: 1, outcome: "committed", name: "a second incarnation runs concurrently"},
	}
	start := time.Now()
	parallel(len(cases), func(i int) { b.crash(cases[i], i) })
	if t.Failed() {
		t.FailNow()
	}
	b.awaitCases(cases, start)
	b.awaitNothingPrepared()
	t.Logf("nothing prepared %s after the start (aim: under 10 s)", round(time.Since(start)))

	b.latePrepare(cases[6].transfer)
	want := b.opened()
	for _, c := range cases {
		if c.outcome == "committed" {
			move(want, c.transfer.From, c.transfer.To, c.transfer.Amount.Big())
		}
	}
	mustEqual(t, "balances", b.balances(), want)
	b.mustConserve()
}

// crash runs one transfer in a client that dies at the case's point.
func (b *bank) crash(c *crashCase, i int) {
	c.transfer = units(client.Account(50+i), client.Account(2050+i), c.amount)
	c.transfer.ID = client.NewID()
	flags := c.flags
	if flags == nil {
		flags = []string{"--crash-point", fmt.Sprint(c.point)}
	}
	args := []string{"transfer", c.transfer.From.String(), c.transfer.To.String(), c.transfer.Amount.String(),
		"--id", c.transfer.ID.String(), "-o", "json", "--config", b.Config}
	second := make(chan error, 1)
	if c.point == 8 {
		go func() {
			o, err := tryCommand("", args...)
			if err == nil && o.Code != 0 {
				err = fmt.Errorf("the second incarnation: %s", o)
			}
			second <- err
		}()
	} else {
		second <- nil
	}
	o, err := tryCommand("", append(args, flags...)...)
	switch {
	case err != nil:
		b.t.Error(err)
	case o.Code != -1:
		b.t.Errorf("point %d: the client did not die by a signal\n%s", c.point, o)
	}
	if err := <-second; err != nil {
		b.t.Error(err)
	}
}

// awaitCases waits until every case has ended as it must, and logs when each had.
func (b *bank) awaitCases(cases []*crashCase, start time.Time) {
	b.t.Helper()
	open := cases
	await(b.t, settle, "every crash point's transfer is settled", func() (bool, string) {
		var still []*crashCase
		sees := ""
		for _, c := range open {
			ok, text := b.ended(c.transfer, c.outcome)
			if !ok {
				still = append(still, c)
				sees += fmt.Sprintf("\npoint %d, want %s: %s", c.point, c.outcome, text)
				continue
			}
			b.t.Logf("point %d, %s: %s at both shards %s after the start", c.point, c.name, c.outcome, round(time.Since(start)))
		}
		open = still
		return len(open) == 0, sees
	})
}

// awaitSettled waits until a transfer has ended as it must.
func (b *bank) awaitSettled(tr client.Transfer, outcome string) time.Duration {
	b.t.Helper()
	return await(b.t, settle, fmt.Sprintf("%s ends as %s", tr.ID, outcome), func() (bool, string) { return b.ended(tr, outcome) })
}

// ended reports whether every server of both shards that answers tells the same end of a transfer.
func (b *bank) ended(tr client.Transfer, outcome string) (bool, string) {
	from, _ := b.Topology.ShardOf(tr.From)
	to, _ := b.Topology.ShardOf(tr.To)
	state := outcome
	if outcome == "not-found" {
		state = "none"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	e, err := b.client.Explain(ctx, tr.ID)
	if err != nil {
		return false, err.Error()
	}
	sees := "outcome " + e.Outcome
	ok := e.Outcome == outcome
	for _, s := range e.Servers {
		if !s.Up || (s.Shard != int(from) && s.Shard != int(to)) {
			continue
		}
		sees += fmt.Sprintf(", server %d %s", s.Server, s.State)
		ok = ok && s.State == state
	}
	return ok, sees
}

// latePrepare sends both PREPAREs of a transfer that recovery has aborted: the recorded outcome or
// the tombstone answers.
func (b *bank) latePrepare(tr client.Transfer) {
	b.t.Helper()
	for _, account := range []client.Account{tr.From, tr.To} {
		id, _ := b.Topology.ShardOf(account)
		n, _ := b.awaitLeader(id, 0)
		reply := b.dial(n).prepare(tr)
		if reply.Status != wire.StatusOK || len(reply.Results) != 1 || reply.Results[0].State != ledger.Aborted {
			b.t.Errorf("a late PREPARE at %s: %+v; want the recorded abort", id, reply)
			continue
		}
		b.t.Logf("a late PREPARE at %s is answered: aborted(%s)", id, reply.Results[0].Reason)
	}
	b.awaitSettled(tr, "aborted")
}

// TestItem3ClientLies is crash point 9: forged certificates have no effect, and two contents under
// one id both abort where they meet.
func TestItem3ClientLies(t *testing.T) {
	b := newRunningBank(t)
	leaders := map[shard.ID]*rawConn{}
	for id := shard.ID(1); id <= 3; id++ {
		n, _ := b.awaitLeader(id, 0)
		leaders[id] = b.dial(n)
	}

	// An early FINISH: commit with forged votes, then abort with a forged refusal.
	early := units(60, 2060, 5)
	early.ID = client.NewID()
	if reply := leaders[1].prepare(early); reply.Status != wire.StatusOK {
		t.Fatalf("prepare: %+v", reply)
	}
	for _, fact := range []ledger.Fact{ledger.FactYes, ledger.FactCommitted, ledger.FactAborted} {
		leaders[1].forge(early, fact)
	}
	// The other shard never heard of it, so recovery aborts it once t2 is over. Until then it has to
	// stay prepared: a forged commit would have posted it, a forged abort released it.
	start := time.Now()
	if _, sees := b.ended(early, "prepared"); !strings.Contains(sees, " prepared") || strings.Contains(sees, "committed") || strings.Contains(sees, "aborted") {
		t.Errorf("after forged certificates: %s; want prepared at C1", sees)
	}
	// Two contents under one id: C1 prepares 3 units, C2 prepares 4.
	three, four := units(61, 1061, 3), units(61, 1061, 4)
	three.ID = client.NewID()
	four.ID = three.ID
	for id, tr := range map[shard.ID]client.Transfer{1: three, 2: four} {
		reply := leaders[id].prepare(tr)
		if reply.Status != wire.StatusOK || len(reply.Voted) != 1 {
			t.Fatalf("prepare at %s: %+v", id, reply)
		}
	}
	b.awaitCases([]*crashCase{
		{point: 9, name: "forged certificates, then recovery", outcome: "aborted", transfer: early},
		{point: 9, name: "two contents under one id", outcome: "aborted", transfer: three},
	}, start)
	b.awaitNothingPrepared()
	mustEqual(t, "balances", b.balances(), b.opened())
	b.mustConserve()
}

// forge sends a FINISH whose certificates nobody signed, from both shards of the transfer.
func (r *rawConn) forge(tr client.Transfer, fact ledger.Fact) {
	r.t.Helper()
	votes := []txn.Vote{{ID: tr.ID, Digest: ledger.DigestOf(record(tr)), Fact: fact}}
	var blocks []txn.Block
	for _, account := range []client.Account{tr.From, tr.To} {
		id, _ := r.bank.Topology.ShardOf(account)
		blocks = append(blocks, txn.Block{Bank: r.hello.Bank, Shard: id, KeyID: 1, Votes: votes, MAC: [32]byte{1, 2, 3}})
	}
	reply := r.ask(&wire.FinishRequest{Header: r.header(), Blocks: blocks})
	r.t.Logf("forged %s: status %d %q", fact, reply.Status, reply.Text)
}
