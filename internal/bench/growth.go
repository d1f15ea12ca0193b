package bench

import (
	"fmt"
	"time"

	"raftbank/internal/api"
)

// Windows is into how many windows the long run of the growth table is cut.
const Windows = 6

// Growth returns the table of how cost grows: in every group one thing varies, and its first row is what the others are
// held against. quick shortens every window, for a look.
func Growth(quick bool, seed uint64) []Row {
	warmup, duration := time.Second, 5*time.Second
	if quick {
		warmup, duration = 500*time.Millisecond, time.Second
	}
	var rows []Row
	add := func(group, value string, change func(*Row)) {
		r := Row{Name: group + "-" + value, Group: group, Load: group + " " + value, Figure: "transfers per second", Unit: unitRate, Shards: 1,
			Options: Options{Clients: 2, Batch: 256, InFlight: 8, Cross: AsPairsFall, Warmup: warmup, Duration: duration, Seed: seed}}
		change(&r)
		rows = append(rows, r)
	}
	for _, n := range []uint64{3000, 300_000, 3_000_000} {
		add("accounts", fmt.Sprint(n), func(r *Row) { r.Accounts = n })
	}
	for _, n := range []int{1, 2, 3, 6} {
		add("shards", fmt.Sprint(n), func(r *Row) { r.Shards, r.Options.Cross = n, 0 })
	}
	for _, n := range []int{0, 10, 50, 100} {
		add("cross", fmt.Sprint(n), func(r *Row) { r.Shards, r.Options.Cross, r.Load = 3, n, fmt.Sprintf("%d %% cross-shard", n) })
	}
	for _, s := range []float64{0, 0.8, 1, 1.5} {
		add("skew", fmt.Sprint(s), func(r *Row) { r.Options.Skew = s })
	}
	for _, n := range []int{0, 100, 10, 1} {
		add("hot", fmt.Sprint(n), func(r *Row) { r.Options.Hot, r.Load = n, plural(n, "hot account") })
	}
	for _, n := range []int{3, 1, 5} {
		add("replicas", fmt.Sprint(n), func(r *Row) { r.Replicas = n })
	}
	for _, n := range []int{0, 50, 95} {
		add("reads", fmt.Sprint(n), func(r *Row) { r.Options.Reads, r.Load = n, fmt.Sprintf("%d %% of requests are reads", n) })
	}
	add("load", "closed", func(r *Row) { r.Figure, r.Unit, r.Load = "latency, p99", unitUs, "closed loop" })
	for _, n := range []int{50, 80, 95} {
		add("load", fmt.Sprint(n), func(r *Row) {
			r.Figure, r.Unit, r.Load, r.Share = "latency, p99", unitUs, fmt.Sprintf("%d %% of what the closed loop reached are due", n), float64(n)/100
		})
	}
	for _, o := range []struct {
		group                  string
		batch, inFlight, queue int
	}{{"overload", 64, 8, 16}, {"overload-singles", 1, 128, 256}} {
		add(o.group, "closed", func(r *Row) {
			r.Options.Clients, r.Options.Batch, r.Options.InFlight = 8, o.batch, o.inFlight
			r.Figure, r.Unit, r.Load = "latency, p99", unitUs, fmt.Sprintf("batches of %d, closed loop", o.batch)
		})
		for _, n := range []int{40, 400} {
			add(o.group, fmt.Sprint(n), func(r *Row) {
				r.Options.Clients, r.Options.Batch, r.Options.InFlight, r.Options.Queue = 8, o.batch, o.inFlight, o.queue
				r.Figure, r.Unit, r.Share = "latency, p99", unitUs, float64(n)/100
				r.Load = fmt.Sprintf("batches of %d, %d %% of what the closed loop reached are due", o.batch, n)
			})
		}
	}
	for n := range Windows {
		add("history", fmt.Sprint(n+1), func(r *Row) {
			r.Options.Duration *= 2 * Windows
			r.Load, r.Window = fmt.Sprintf("window %d of %d of one run of %s", n+1, Windows, r.Options.Duration), n+1
		})
	}
	return rows
}

// WindowTPS is the throughput of the n-th of the Windows of a run, from 1; 0 if its timeline does not reach there.
func WindowTPS(b *api.Bench, n int) float64 {
	length := b.Seconds * 1000 / Windows
	from, to := float64(n-1)*length, float64(n)*length
	committed, before, covered := 0, 0.0, 0.0
	for _, s := range b.Timeline {
		if at := float64(s.AtMs); (before+at)/2 > from && (before+at)/2 <= to {
			committed, covered = committed+s.Committed, covered+at-before
		}
		before = float64(s.AtMs)
	}
	if covered == 0 {
		return 0
	}
	return float64(committed) * 1000 / covered
}
