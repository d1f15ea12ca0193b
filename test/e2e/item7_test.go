//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/shard"
)

// repeated is one transfer that is sent again and again under its id.
type repeated struct {
	name             string
	from, to, amount string
	outcome, reason  string
	code             int
	id               string
}

// TestItem7SameIDAgain sends the same ids again: at once, after a change of every leader, and after
// a restart of all servers. Each is applied once at most and answers the same, refusals too.
func TestItem7SameIDAgain(t *testing.T) {
	b := newRunningBank(t)
	all := []*repeated{
		{name: "intra", from: "1", to: "2", amount: "3", outcome: api.OutcomeCommitted},
		{name: "cross", from: "1", to: "1001", amount: "4", outcome: api.OutcomeCommitted},
		{name: "intra, refused", from: "5", to: "6", amount: "12", outcome: api.OutcomeAborted, reason: "insufficient_funds", code: 3},
		{name: "cross, refused", from: "5", to: "2005", amount: "12", outcome: api.OutcomeAborted, reason: "insufficient_funds", code: 3},
	}
	for _, r := range all {
		r.id = client.NewID().String()
	}
	want := b.opened()
	one := units(1, 2, 3)
	move(want, one.From, one.To, one.Amount.Big())
	other := units(1, 1001, 4)
	move(want, other.From, other.To, other.Amount.Big())

	b.sendAgain("first", all)
	b.sendAgain("second", all)
	// Account 5 could pay now; the refused ids stay refused.
	pay := units(7, 5, 5)
	b.mustCommit(pay)
	move(want, pay.From, pay.To, pay.Amount.Big())
	b.sendAgain("funded", all)

	for id := shard.ID(1); id <= 3; id++ {
		n, _ := b.awaitLeader(id, 0)
		b.kill(n)
		led, took := b.awaitLeader(id, n)
		t.Logf("leader %d of %s killed, server %d leads after %s", n, id, led, round(took))
		b.start(n)
	}
	b.awaitReady()
	b.sendAgain("other leaders", all)

	b.kill(1, 2, 3, 4, 5, 6, 7, 8, 9)
	for n := 1; n <= 9; n++ {
		b.start(n)
	}
	t.Logf("all restarted, ready after %s", round(b.awaitReady()))
	b.sendAgain("restarted", all)

	v, code := b.transfer("1", "2", "2", "--id", all[0].id)
	if code != 3 || v.Reason != "id_conflict" {
		t.Errorf("the same id with another amount: exit %d, %+v; want id_conflict", code, v)
	}
	v, code = b.transfer("1", "1001", "2", "--id", all[1].id)
	if code != 3 || v.Reason != "id_conflict" {
		t.Errorf("the same id between shards with another amount: exit %d, %+v; want id_conflict", code, v)
	}
	b.awaitNothingPrepared()
	mustEqual(t, "balances", b.balances(), want)
	b.mustConserve()
}

// sendAgain sends every transfer with the command and compares the answer.
func (b *bank) sendAgain(when string, all []*repeated) {
	b.t.Helper()
	for _, r := range all {
		v, code := b.transfer(r.from, r.to, r.amount, "--id", r.id)
		got := fmt.Sprintf("exit %d %s %s %s", code, v.ID, v.Outcome, v.Reason)
		want := fmt.Sprintf("exit %d %s %s %s", r.code, r.id, r.outcome, r.reason)
		if got != want {
			b.t.Errorf("%s, %s: %s; want %s (%s)", when, r.name, got, want, v.Detail)
		}
		b.t.Logf("%s: %s: %s %s in %d us", when, r.name, v.Outcome, v.Reason, v.LatencyUs)
	}
}
