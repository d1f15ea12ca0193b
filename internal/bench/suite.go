package bench

import (
	"slices"
	"time"

	"raftbank/internal/api"
)

// Row is a load of the standard table, with the bank it wants.
type Row struct {
	Name, Load   string
	Figure, Unit string
	Shards       int
	Options      Options
	// Restart is how many transfers a replica has when it is killed and started again; 0: a load.
	Restart int
	// Spread marks the row with one hot account: it is divided by the same load without it.
	Spread bool

	// Of the growth table: the rows that are held against the first of them; the bank's size, if it varies; the share of
	// the first row's throughput that is due; which of the Windows of the first row's run this row is, from 1.
	Group    string
	Accounts uint64 // 0: the suite's
	Replicas int    // 0: the suite's
	Share    float64
	Window   int
}

// Units of the suite's figures.
const (
	unitRate    = "1/s"
	unitUs      = "us"
	unitSeconds = "s"
	unitRatio   = "ratio"
)

// Restart loads of the suite, in transfers.
const (
	restartTransfers      = 20_000_000
	restartTransfersQuick = 200_000
)

// Standard returns the standard table: the loads by which versions are compared. quick shortens every
// window, for a look.
func Standard(quick bool, seed uint64) []Row {
	row := func(name, load, figure, unit string, shards int, o Options) Row {
		o.Seed, o.Warmup, o.Duration = seed, 3*time.Second, 20*time.Second
		if quick {
			o.Warmup, o.Duration = time.Second, 2*time.Second
		}
		return Row{Name: name, Load: load, Figure: figure, Unit: unit, Shards: shards, Options: o}
	}
	const tps, p50, p99 = "transfers per second", "latency, p50", "latency, p99"
	rows := []Row{
		row("batches", "one shard, batches of 8190", tps, unitRate, 1, Options{Clients: 2, Batch: 8190, InFlight: 4}),
		row("shards", "three shards, all intra-shard, batches of 8190", tps, unitRate, 3, Options{Clients: 3, Batch: 8190, InFlight: 4}),
		row("singles", "one shard, single transfers, 1,024 in flight on 8 connections", tps, unitRate, 1, Options{Clients: 8, Batch: 1, InFlight: 128}),
		row("clients", "one shard, single transfers, 64 clients, 1 in flight each", tps, unitRate, 1, Options{Clients: 64, Batch: 1, InFlight: 1}),
		row("one", "one shard, one client, one transfer in flight", p50, unitUs, 1, Options{Clients: 1, Batch: 1, InFlight: 1}),
		row("tail", "one shard, saturated with batches of 2048", p99, unitUs, 1, Options{Clients: 2, Batch: 2048, InFlight: 8}),
		row("cross-one", "two shards, one client, one cross-shard transfer in flight", p50, unitUs, 2, Options{Clients: 1, Batch: 1, InFlight: 1, Cross: 100}),
		row("cross", "two shards, cross-shard batches of 4096", tps, unitRate, 2, Options{Clients: 2, Batch: 4096, InFlight: 4, Cross: 100}),
		row("hot", "one shard, 64 clients, one hot account, against spread load", "throughput, hot over spread", unitRatio, 1,
			Options{Clients: 64, Batch: 1, InFlight: 1, Hot: 1}),
		row("restart", "one shard, a replica with 20 million transfers killed and started", "time until it serves", unitSeconds, 1,
			Options{Clients: 2, Batch: 8190, InFlight: 4}),
	}
	rows[0].Options.Duration *= 3
	rows[8].Spread = true
	rows[9].Restart = restartTransfers
	if quick {
		rows[9].Restart, rows[9].Load = restartTransfersQuick, "one shard, a replica with 200,000 transfers killed and started"
	}
	return rows
}

// Value picks the row's figure from a run of a load.
func (r *Row) Value(b *api.Bench) float64 {
	switch r.Figure {
	case "latency, p50":
		return float64(b.LatencyUs.P50)
	case "latency, p99":
		return float64(b.LatencyUs.P99)
	}
	return b.TPS
}

// Median returns the middle value, or the mean of the two in the middle; 0 of none.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	switch n := len(s); {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}
