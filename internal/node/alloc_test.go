package node

import (
	"context"
	"runtime"
	"testing"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// TestNoAllocationPerTransfer counts the allocations of a whole bank and its client in this process: six servers on real
// disks and connections. What is allocated per batch, per turn or per block is shared by thousands of transfers; one
// allocation per transfer, anywhere on its way, would show as at least 1.
func TestNoAllocationPerTransfer(t *testing.T) {
	if underRace {
		t.Skip("a hundred times slower, so that heartbeats and turns without work count more than transfers")
	}
	const (
		batch   = 4096
		warm    = 20 // batches until buffers have grown
		batches = 40
	)
	c := newBank(t, 2, 3)
	c.topology.OpeningBalance = 1 << 30
	for _, s := range c.topology.Servers() {
		c.start(s.ID)
	}
	cl, err := client.Open(client.Options{Topology: c.topology, Deadline: wait})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, kind := range []struct {
		name   string
		credit shard.Account // of the first transfer
	}{{"intra", 2}, {"cross", 11}} {
		ts := make([]client.Transfer, batch)
		for i := range ts {
			from, to := shard.Account(1+i%9), kind.credit+shard.Account(i%9)
			ts[i] = client.Transfer{From: from, To: to, Amount: ledger.Units(1)}
		}
		run := func(n int) {
			for range n {
				tally, err := cl.TransferMany(context.Background(), ts)
				if err != nil || len(tally.Others) > 0 {
					t.Fatalf("%s: %v, %d of %d did not commit, the first: %+v", kind.name, err, len(tally.Others), batch, tally.Others[:min(1, len(tally.Others))])
				}
			}
		}
		run(warm)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run(batches)
		runtime.ReadMemStats(&after)
		per := float64(after.Mallocs-before.Mallocs) / (batch * batches)
		t.Logf("%s: %.4f allocations and %.0f bytes per transfer, of all servers and the client", kind.name, per, float64(after.TotalAlloc-before.TotalAlloc)/(batch*batches))
		if per > 0.6 {
			t.Errorf("%s: %.2f allocations per transfer; none may be made for a single one", kind.name, per)
		}
	}
}
