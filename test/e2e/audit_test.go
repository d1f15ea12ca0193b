//go:build e2e

package e2e

import (
	"math/rand"
	"strconv"
	"sync/atomic"
	"testing"

	"raftbank/client"
	"raftbank/internal/api"
)

// TestItem8AuditsWhileTransfersRun audits under load, with one kill -9 of a leader in between. Every audit that
// gives a total gives the right one. Between clusters money moves from C1 to C2 alone, so the audit also tells
// how many of those transfers it contains: all that were acknowledged before it began, and none that
// was not submitted when it ended.
func TestItem8AuditsWhileTransfersRun(t *testing.T) {
	b := newRunningBank(t)
	var submitted atomic.Int64
	l := b.startLoad(24, func(r *rand.Rand) client.Transfer {
		if r.Intn(2) == 0 {
			from := r.Intn(3000)
			to := from/1000*1000 + r.Intn(1000)
			if to == from {
				to = from/1000*1000 + (from+1)%1000
			}
			return units(client.Account(1+from), client.Account(1+to), uint64(1+r.Intn(3)))
		}
		submitted.Add(1)
		return units(client.Account(1+r.Intn(1000)), client.Account(1001+r.Intn(1000)), 1)
	})
	crossed := func() (n int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, r := range l.results {
			if r.Transfer.From <= 1000 && r.Transfer.To > 1000 && r.Outcome == client.Committed {
				n++
			}
		}
		return n
	}
	audits, failed, underWay, retries := 0, 0, 0, 0
	audit := func() {
		before := crossed()
		o := b.run("audit", "-o", "json")
		after := submitted.Load()
		v := decode[api.Audit](t, o)
		if o.Code == 4 && v.OK == nil {
			failed++
			t.Logf("no cut: %s", v.Error.Message)
			return
		}
		wantCode(t, o, 0)
		audits++
		underWay += v.Unfinished
		retries += v.Retries
		if want := b.Topology.Total().String(); v.Total != want || v.Expected != want || v.Accounts != 3000 || len(v.Shards) != 3 {
			t.Fatalf("want a total of %s over 3000 accounts\n%s", want, o)
		}
		n, err := strconv.ParseInt(v.Shards[0].Total, 10, 64)
		if n = 10_000 - n; err != nil || n < before || n > after {
			t.Errorf("the cut contains %d transfers from C1 to C2; %d were acknowledged before, %d submitted by the end\n%s", n, before, after, o)
		}
		if v.Shards[1].Total != strconv.FormatInt(10_000+n, 10) || v.Shards[2].Total != "10000" {
			t.Errorf("%d left C1\n%s", n, o)
		}
	}
	for range 20 {
		audit()
	}
	dead, _ := b.awaitLeader(2, 0)
	b.kill(dead)
	for range 10 {
		audit()
	}
	b.restart(dead)
	for range 20 {
		audit()
	}
	results := l.stop()
	b.awaitNothingPrepared()
	audit()
	b.mustConserve()
	t.Logf("%d audits, %d without a cut, %d retries, %d sides under way at the cuts, %d transfers", audits, failed, retries, underWay, len(results))
	if audits < 30 || failed > 10 {
		t.Errorf("%d audits gave a total, %d did not", audits, failed)
	}
}
