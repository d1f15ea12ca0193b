//go:build e2e

package e2e

import (
	"context"
	"math/rand"
	"sync"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// loadPause is how long a worker of a load rests between two transfers: the load is for faults to
// happen under, not to find the bank's limit.
const loadPause = 15 * time.Millisecond

// load sends transfers until it is stopped and keeps every outcome.
type load struct {
	stopped chan struct{}
	wait    sync.WaitGroup

	mu      sync.Mutex // guards results and acked
	results []client.Result
	acked   map[shard.ID]time.Time // when a transfer within the shard was last acknowledged
}

// startLoad runs workers that make transfers from pick, each waiting for its answers.
func (b *bank) startLoad(workers int, pick func(*rand.Rand) client.Transfer) *load {
	l := &load{stopped: make(chan struct{}), acked: map[shard.ID]time.Time{}}
	for w := range workers {
		random := rand.New(rand.NewSource(int64(w + 1)))
		l.wait.Go(func() { l.work(b, random, pick) })
	}
	b.t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) work(b *bank, random *rand.Rand, pick func(*rand.Rand) client.Transfer) {
	tick := time.NewTicker(loadPause)
	defer tick.Stop()
	for {
		select {
		case <-l.stopped:
			return
		case <-tick.C:
		}
		transfer := pick(random)
		transfer.ID = client.NewID()
		r, err := b.client.Transfer(context.Background(), transfer)
		if err != nil {
			b.t.Errorf("transfer %s: %v", transfer.ID, err)
			return
		}
		r.Transfer = transfer // the oracle trusts what was asked, not what came back
		l.mu.Lock()
		l.results = append(l.results, r)
		from, _ := b.Topology.ShardOf(transfer.From)
		if to, _ := b.Topology.ShardOf(transfer.To); to == from && r.Outcome == client.Committed {
			l.acked[from] = time.Now()
		}
		l.mu.Unlock()
	}
}

// awaitAck waits until a transfer within the shard is acknowledged after now.
func (l *load) awaitAck(t testing.TB, id shard.ID) time.Duration {
	t.Helper()
	since := time.Now()
	return await(t, leadBound, "a transfer within "+id.String()+" is acknowledged", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.acked[id].After(since), "none"
	})
}

// stop ends the load, waits for its last answers and returns all of them. Again is no harm.
func (l *load) stop() []client.Result {
	select {
	case <-l.stopped:
	default:
		close(l.stopped)
	}
	l.wait.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.results
}

// mixed picks a transfer of 1 to 8 of the 10 that every account opens with between any two accounts,
// 30 % between clusters. Some get refused.
func mixed(r *rand.Rand) client.Transfer {
	from := 1 + r.Intn(3000)
	shardBase := (from - 1) / 1000 * 1000
	to := shardBase + 1 + r.Intn(1000)
	if r.Intn(10) < 3 {
		to = (shardBase+1000*(1+r.Intn(2)))%3000 + 1 + r.Intn(1000)
	}
	if to == from {
		to = shardBase + (to-shardBase)%1000 + 1
	}
	return client.Transfer{From: client.Account(from), To: client.Account(to), Amount: ledger.Units(uint64(1 + r.Intn(8)))}
}

// units is a transfer of n units.
func units(from, to client.Account, n uint64) client.Transfer {
	return client.Transfer{From: from, To: to, Amount: ledger.Units(n)}
}

// do makes one transfer with the Go client.
func (b *bank) do(t client.Transfer) client.Result {
	b.t.Helper()
	if t.ID.IsZero() {
		t.ID = client.NewID()
	}
	r, err := b.client.Transfer(context.Background(), t)
	if err != nil {
		b.t.Fatalf("transfer %s: %v", t.ID, err)
	}
	r.Transfer = t
	return r
}

// mustCommit makes one transfer that has to be committed.
func (b *bank) mustCommit(t client.Transfer) client.Result {
	b.t.Helper()
	r := b.do(t)
	if r.Outcome != client.Committed {
		b.t.Fatalf("transfer %s -> %s: %s %s", t.From, t.To, outcomeText(r), r.Detail)
	}
	return r
}
