//go:build e2e

package e2e

import (
	"context"
	"errors"
	"sync"
	"testing"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// TestItem2KillEveryServerInTurn kills every server once while transfers run, leaders first, and
// then lets the bank run with one server of each cluster down.
func TestItem2KillEveryServerInTurn(t *testing.T) {
	b := newRunningBank(t)
	l := b.startLoad(16, mixed)
	for _, n := range b.leadersFirst() {
		b.killInTurn(l, n)
	}
	t.Logf("so far: %v", l.snapshot())

	down := []int{1, 5, 9}
	b.kill(down...)
	for id := shard.ID(1); id <= 3; id++ {
		t.Logf("servers %v down: %s acknowledges after %s", down, id, round(l.awaitAck(t, id)))
	}
	byHand := []client.Result{b.mustCommit(units(11, 1011, 1)), b.mustCommit(units(1011, 2011, 1))}
	for _, n := range down {
		t.Logf("server %d back and caught up after %s", n, round(b.restart(n)))
	}
	results := append(byHand, l.stop()...)
	t.Logf("nothing prepared after %s; outcomes: %v", round(b.awaitNothingPrepared()), count(results))
	t.Logf("unknown ones resolved to: %v", b.mustAgree(results))
	b.mustConserve()
}

// leadersFirst lists all servers, the three leaders before the others.
func (b *bank) leadersFirst() []int {
	var leaders, rest []int
	for id := shard.ID(1); id <= 3; id++ {
		n, _ := b.awaitLeader(id, 0)
		leaders = append(leaders, n)
		rest = append(rest, others(id, n)...)
	}
	return append(leaders, rest...)
}

// killInTurn kills one server, waits until its cluster acknowledges transfers, and restarts it.
func (b *bank) killInTurn(l *load, n int) {
	b.t.Helper()
	id := process.ShardOf(n)
	was := "follower"
	if led, _ := b.awaitLeader(id, 0); led == n {
		was = "leader"
	}
	b.kill(n)
	acked := l.awaitAck(b.t, id)
	b.t.Logf("kill -9 server %d (%s of %s): acknowledged again after %s, restarted and caught up after %s",
		n, was, id, round(acked), round(b.restart(n)))
}

// snapshot counts the outcomes so far.
func (l *load) snapshot() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return count(l.results)
}

// TestItem2ClusterWithoutMajority takes C2's majority away: unknown with the id while its leader
// still leads, unavailable afterwards; the other clusters go on; all settles when it is back.
func TestItem2ClusterWithoutMajority(t *testing.T) {
	b := newRunningBank(t)
	const id = shard.ID(2)
	var all []client.Result
	all = append(all, b.mustCommit(units(1001, 1002, 1)))

	led, _ := b.awaitLeader(id, 0)
	all = append(all, b.seizeMajority(led)...)
	held := decode[api.InDoubt](t, b.run("in-doubt", "-o", "json"))
	t.Logf("held by the other clusters until the majority is back: %d", len(held.Transfers))

	// Until the leader has stepped down, an answer may still be unknown.
	steppedDown := await(t, leadBound, "the leader of C2 steps down", func() (bool, string) {
		c := b.cluster(id)
		return c.LeadingServer() == nil, describe(c)
	})
	t.Logf("the leader without majority no longer leads after %s", round(steppedDown))
	v, code := b.transfer("1003", "1004", "1")
	if code != 4 || v.Outcome != api.OutcomeUnavailable || v.Error == nil || v.Error.Code != "unavailable" {
		t.Errorf("after the leader stepped down: exit %d, %+v; want exit 4, unavailable", code, v)
	}
	t.Logf("after the leader stepped down: %s in %d us: %s", v.Outcome, v.LatencyUs, v.Detail)

	for i := range 20 {
		a := client.Account(20 + i)
		all = append(all, b.mustCommit(units(a, a+100, 1)), b.mustCommit(units(a+2000, a+2100, 1)), b.mustCommit(units(a, a+2000, 1)))
	}
	cross := b.do(units(40, 1040, 1))
	t.Logf("C1 to C2 meanwhile: %s %s", outcomeText(cross), cross.Detail)
	if cross.Outcome == client.Committed {
		t.Errorf("a transfer to a cluster without majority was acknowledged")
	}
	all = append(all, cross)

	for _, n := range others(id, led) {
		b.start(n)
	}
	_, back := b.awaitLeader(id, 0)
	t.Logf("majority is back: a leader after %s", round(back))
	t.Logf("nothing prepared after %s", round(b.awaitNothingPrepared()))
	t.Logf("unknown ones resolved to: %v", b.mustAgree(all))
	b.mustConserve()
}

// seizeMajority kills the two followers and at once asks the leader for transfers, with the Go
// client and with the command: unknown, with the id. The client sends them in one batch, so that the leader
// proposes them at once. What came a turn later would wait for the entry before it, and would surely not be applied.
func (b *bank) seizeMajority(led int) []client.Result {
	b.t.Helper()
	transfers := make([]client.Transfer, 8)
	for i := range transfers {
		transfers[i] = units(client.Account(1100+i), client.Account(1200+i), 1)
		if i >= 5 {
			transfers[i].From = client.Account(100 + i) // in C1, which votes yes
		}
		transfers[i].ID = client.NewID()
	}
	var results []client.Result
	var o output
	var batchErr, err error
	var wait sync.WaitGroup
	b.kill(others(process.ShardOf(led), led)...)
	wait.Go(func() { results, batchErr = b.client.TransferBatch(context.Background(), transfers) })
	byHand := units(1300, 1301, 1)
	byHand.ID = client.NewID()
	wait.Go(func() {
		o, err = tryCommand("", "transfer", "1300", "1301", "1", "--id", byHand.ID.String(), "-o", "json", "--config", b.Config)
	})
	wait.Wait()
	if err := errors.Join(batchErr, err); err != nil {
		b.t.Fatal(err)
	}
	for i := range results {
		r := &results[i]
		r.Transfer = transfers[i]
		if r.Outcome != client.Unknown {
			b.t.Errorf("asked of a leader that lost its majority: %s %s; want unknown", outcomeText(*r), r.Detail)
		}
	}
	v := decode[api.Transfer](b.t, o)
	if v.ID != byHand.ID.String() || v.Error == nil || v.Error.ID != v.ID {
		b.t.Errorf("the command does not tell the id\n%s", o)
	}
	switch {
	case o.Code == 5 && v.Outcome == api.OutcomeUnknown:
	case o.Code == 4 && v.Outcome == api.OutcomeUnavailable: // it came a turn later, or after the leader had stepped down
		b.t.Logf("the command came too late to be proposed")
	default:
		b.t.Errorf("want exit 5 and unknown\n%s", o)
	}
	b.t.Logf("before the leader stepped down: %v; the command: exit %d after %s: %s",
		count(results), o.Code, round(o.Took), v.Error.Message)
	outcome := map[string]client.Outcome{api.OutcomeUnknown: client.Unknown, api.OutcomeUnavailable: client.Unavailable}[v.Outcome]
	return append(results, client.Result{Transfer: byHand, Outcome: outcome})
}
