//go:build e2e

package e2e

import (
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/shard"
)

// TestItem6LeaderDeath kills every shard's leader three times and measures how long it takes until a
// transfer on that shard is acknowledged again.
func TestItem6LeaderDeath(t *testing.T) {
	b := newRunningBank(t)
	var results []client.Result
	worst := time.Duration(0)
	for kill := range 9 {
		id := shard.ID(kill%3 + 1)
		account := client.Account(int(id-1)*1000 + 10*(kill+1))
		n, _ := b.awaitLeader(id, 0)
		results = append(results, b.mustCommit(units(account, account+1, 1))) // the client knows the leader
		start := time.Now()
		b.kill(n)
		r := b.mustCommitWithin(units(account+2, account+3, 1), leadBound)
		took := time.Since(start)
		results = append(results, r)
		worst = max(worst, took)
		t.Logf("kill %d: leader %d of %s dead, acknowledged again after %s; restarted and caught up after %s",
			kill+1, n, id, round(took), round(b.restart(n)))
	}
	t.Logf("worst of nine kills: %s (aim: within 2 s)", round(worst))
	b.mustAgree(results)
	b.mustConserve()
}
