package bench

import (
	"context"

	"raftbank/client"
	"raftbank/internal/shard"
)

// Target is a system that load is put on.
type Target interface {
	// Connect opens the n-th client, with connections of its own.
	Connect(ctx context.Context, n int) (Session, error)
	// Usage returns what the system's servers have used since they started, summed over all of them,
	// under the names of the Usage constants. What some server does not tell is missing; an error says
	// why, beside what there is.
	Usage(ctx context.Context) (map[string]uint64, error)
}

// Session is one client of a Target. Its methods may be called concurrently.
type Session interface {
	// Transfer carries out transfers and returns what became of them; each Latency runs to the end of its own
	// transfer. An error means that the run cannot go on; everything else is an outcome.
	Transfer(ctx context.Context, ts []client.Transfer) (client.Tally, error)
	// Read reads one balance that is not stale. An error is an unanswered read.
	Read(ctx context.Context, a shard.Account) error
	Close() error
}

// Names of what servers use.
const (
	UsageCPU  = "cpu_us"     // CPU time in microseconds
	UsageRSS  = "rss_bytes"  // resident memory now
	UsageDisk = "disk_bytes" // bytes written, by the kernel's account
	UsageLog  = "log_bytes"  // bytes given to the log
	UsageSync = "log_syncs"  // fsync and fdatasync calls
)

// usageNames lists what a result shows.
var usageNames = []string{UsageCPU, UsageRSS, UsageDisk, UsageLog, UsageSync}

// TallyOf counts results, for a Session that has one of each transfer.
func TallyOf(results []client.Result) client.Tally {
	var t client.Tally
	for i := range results {
		r := &results[i]
		if r.Outcome != client.Committed {
			t.Others = append(t.Others, client.Other{Index: i, Result: *r})
			continue
		}
		if n := len(t.Committed); n > 0 && t.Committed[n-1].Kind == r.Kind && t.Committed[n-1].Latency == r.Latency {
			t.Committed[n-1].Count++
			continue
		}
		t.Committed = append(t.Committed, client.Commits{Kind: r.Kind, Count: 1, Latency: r.Latency})
	}
	return t
}
