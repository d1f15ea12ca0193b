package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"raftbank/internal/api"
)

// benchTables prints a result for people, or one row per figure for programs.
func (a *App) benchTables(w io.Writer, r *api.Bench) {
	cols := columns("kind", "#tps", "#committed", "#aborted", "#unavailable", "#unknown", ">mean", ">p50", ">p95", ">p99", ">p99.9", ">max")
	if a.Format != FormatTable {
		cols = microseconds(cols)
	}
	var rows [][]string
	for i := range r.Kinds {
		rows = append(rows, a.benchKindRow(&r.Kinds[i]))
	}
	if a.Format == FormatTable {
		_, _ = fmt.Fprintf(w, "%s: %s\n", r.System, loadText(&r.Config))
	}
	a.grid(w, cols, rows)
	if a.Format == FormatTable {
		_, _ = fmt.Fprintf(w, "%s transfers/s over %.3g s; %s committed, %d unavailable, %d unknown%s\n",
			thousands(fmt.Sprintf("%.0f", r.TPS)), r.Seconds, thousands(fmt.Sprint(r.Committed)), r.Unavailable, r.Unknown, abortedText(r.Aborted))
	}
	a.grid(w, columns("figure", ">value", "unit"), benchFigures(r))
}

// benchKindRow prints one kind. People get milliseconds, programs microseconds.
func (a *App) benchKindRow(k *api.KindPerformance) []string {
	row := []string{k.Kind, fmt.Sprintf("%.0f", k.TPS), fmt.Sprint(k.Committed), fmt.Sprint(sum(k.Aborted)),
		fmt.Sprint(k.Unavailable), fmt.Sprint(k.Unknown)}
	l := k.LatencyUs
	for _, us := range []float64{l.Mean, float64(l.P50), float64(l.P95), float64(l.P99), float64(l.P999), float64(l.Max)} {
		row = append(row, a.latencyText(us))
	}
	return row
}

// latencyText prints microseconds: people get milliseconds.
func (a *App) latencyText(us float64) string {
	if a.Format != FormatTable {
		return fmt.Sprintf("%.0f", us)
	}
	return fmt.Sprintf("%.2f ms", us/1000)
}

// abortedText lists refusals by reason.
func abortedText(aborted map[string]int) string {
	var b strings.Builder
	for _, reason := range slices.Sorted(maps.Keys(aborted)) {
		fmt.Fprintf(&b, ", %d %s", aborted[reason], reason)
	}
	return b.String()
}

// benchFigures lists what a result has beside throughput and latency.
func benchFigures(r *api.Bench) [][]string {
	var rows [][]string
	number := func(name string, v *float64, format, unit string) {
		text := "not measured"
		if v != nil {
			text = fmt.Sprintf(format, *v)
		}
		rows = append(rows, []string{name, text, unit})
	}
	mib := func(name string, v *uint64) {
		if v == nil {
			number(name, nil, "", "MiB")
			return
		}
		n := float64(*v) / (1 << 20)
		number(name, &n, "%.0f", "MiB")
	}
	if r.Config.Queue > 0 && r.Config.ReadsPercent < 100 {
		n := float64(r.Shed)
		number("shed by the load's callers", &n, "%.0f", "transfers")
	}
	if r.Undrained > 0 {
		n := float64(r.Undrained)
		number(fmt.Sprintf("without an answer %g s after the window", float64(r.Config.DrainMs)/1000), &n, "%.0f", "transfers")
	}
	number("CPU per transfer, servers", r.CPUUsPerTransfer.Servers, "%.2f", "us")
	number("CPU per transfer, client", r.CPUUsPerTransfer.Client, "%.2f", "us")
	mib("resident, servers", r.RSSBytes)
	mib("resident, client", r.ClientRSSBytes)
	number("log per transfer", r.LogBytesPerTransfer, "%.0f", "bytes")
	number("disk per transfer", r.DiskBytesPerTransfer, "%.0f", "bytes")
	number("syncs per transfer", r.SyncsPerTransfer, "%.4f", "")
	verdict := func(name string, ok *bool) {
		text := "not comparable"
		if ok != nil {
			text = map[bool]string{true: "ok", false: "violation"}[*ok]
		}
		rows = append(rows, []string{name, text, r.CheckNote})
	}
	verdict("conservation", r.ConservationOK)
	verdict("replicas' hashes", r.HashesOK)
	return rows
}

// loadText says a configuration in words.
func loadText(c *api.BenchConfig) string {
	text := fmt.Sprintf("%s, batches of %d, %d in flight each", plural(c.Clients, "client"), c.Batch, c.InFlight)
	if c.Rate > 0 {
		text += fmt.Sprintf(", %g due per second", c.Rate)
	}
	if c.CrossPercent != nil {
		text += fmt.Sprintf(", %d %% cross-shard", *c.CrossPercent)
	}
	switch {
	case c.Hot > 0:
		text += fmt.Sprintf(", %s", plural(c.Hot, "hot account"))
	case c.Skew > 0:
		text += fmt.Sprintf(", Zipf %g", c.Skew)
	}
	if c.ReadsPercent > 0 {
		text += fmt.Sprintf(", %d %% reads", c.ReadsPercent)
	}
	return fmt.Sprintf("%s; %s x %s, %s accounts; seed %d", text, plural(c.Shards, "shard"), plural(c.Replicas, "replica"),
		thousands(fmt.Sprint(c.Accounts)), c.Seed)
}
