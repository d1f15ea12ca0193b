package bench

import (
	"encoding/json"
	"fmt"
	"math"
	"os"

	"raftbank/internal/api"
)

// sameWithin is the difference below which neither side is called better.
const sameWithin = 0.02

// Results is a file of results: one run, or a suite.
type Results struct {
	Run   *api.Bench
	Suite *api.BenchSuite
}

// ReadResults reads a file that bench or bench suite wrote.
// Errors: no such file; not such a file.
func ReadResults(name string) (Results, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return Results{}, err
	}
	var which struct {
		Rows      *json.RawMessage `json:"rows"`
		LatencyUs *json.RawMessage `json:"latency_us"`
	}
	if err := json.Unmarshal(b, &which); err != nil {
		return Results{}, fmt.Errorf("%s: %w", name, err)
	}
	var r Results
	switch {
	case which.Rows != nil:
		r.Suite = &api.BenchSuite{}
		err = json.Unmarshal(b, r.Suite)
	case which.LatencyUs != nil:
		r.Run = &api.Bench{}
		err = json.Unmarshal(b, r.Run)
	default:
		err = fmt.Errorf("%s: neither a result of bench nor one of bench suite", name)
	}
	return r, err
}

// Compare holds two results of the same sort against each other.
// Errors: one is a run and the other a suite; two suites without a row in common.
func Compare(a, b Results) (api.BenchCompare, error) {
	out := api.BenchCompare{Rows: []api.BenchRatio{}, Notes: []string{}}
	switch {
	case a.Run != nil && b.Run != nil:
		out.Rows = ratiosOf(a.Run, b.Run)
		out.Notes = differences(a.Run, b.Run)
	case a.Suite != nil && b.Suite != nil:
		if a.Suite.Quick != b.Suite.Quick {
			out.Notes = append(out.Notes, "only one of the two is a quick run")
		}
		out.Notes = append(out.Notes, machineNotes(&a.Suite.Machine, &b.Suite.Machine)...)
		for i := range a.Suite.Rows {
			for j := range b.Suite.Rows {
				if x, y := &a.Suite.Rows[i], &b.Suite.Rows[j]; x.Name == y.Name {
					r := ratioOf(x.Figure, x.Unit, lessIsBetter(x.Unit), &x.Median, &y.Median)
					r.Row = x.Name
					out.Rows = append(out.Rows, r)
				}
			}
		}
		if len(out.Rows) == 0 {
			return out, fmt.Errorf("the two suites have no row in common")
		}
	default:
		return out, fmt.Errorf("one file is a run and the other a suite: compare two of the same sort")
	}
	return out, nil
}

// lessIsBetter reports whether a figure of a unit should be small.
func lessIsBetter(unit string) bool { return unit == "us" || unit == "s" || unit == "bytes" }

func ratiosOf(a, b *api.Bench) []api.BenchRatio {
	us := func(v int64) *float64 { f := float64(v); return &f }
	bytes := func(v *uint64) *float64 {
		if v == nil {
			return nil
		}
		f := float64(*v)
		return &f
	}
	x, y := &a.LatencyUs, &b.LatencyUs
	return []api.BenchRatio{
		ratioOf("transfers per second", "1/s", false, &a.TPS, &b.TPS),
		ratioOf("latency, mean", "us", true, &x.Mean, &y.Mean),
		ratioOf("latency, p50", "us", true, us(x.P50), us(y.P50)),
		ratioOf("latency, p95", "us", true, us(x.P95), us(y.P95)),
		ratioOf("latency, p99", "us", true, us(x.P99), us(y.P99)),
		ratioOf("latency, p99.9", "us", true, us(x.P999), us(y.P999)),
		ratioOf("latency, max", "us", true, us(x.Max), us(y.Max)),
		ratioOf("CPU per transfer, servers", "us", true, a.CPUUsPerTransfer.Servers, b.CPUUsPerTransfer.Servers),
		ratioOf("CPU per transfer, client", "us", true, a.CPUUsPerTransfer.Client, b.CPUUsPerTransfer.Client),
		ratioOf("resident, servers", "bytes", true, bytes(a.RSSBytes), bytes(b.RSSBytes)),
		ratioOf("log per transfer", "bytes", true, a.LogBytesPerTransfer, b.LogBytesPerTransfer),
		ratioOf("syncs per transfer", "", true, a.SyncsPerTransfer, b.SyncsPerTransfer),
	}
}

func ratioOf(figure, unit string, less bool, a, b *float64) api.BenchRatio {
	r := api.BenchRatio{Figure: figure, Unit: unit, A: a, B: b}
	if a == nil || b == nil || *a == 0 {
		return r
	}
	ratio := *b / *a
	r.Ratio = &ratio
	if math.Abs(ratio-1) > sameWithin {
		r.Better = "a"
		if (ratio > 1) != less {
			r.Better = "b"
		}
	}
	return r
}

// differences says what makes two runs hard to compare.
func differences(a, b *api.Bench) []string {
	notes := []string{}
	differ := func(what string, x, y any) {
		if x != y {
			notes = append(notes, fmt.Sprintf("%s: %v and %v", what, x, y))
		}
	}
	x, y := &a.Config, &b.Config
	differ("system", a.System, b.System)
	differ("clients", x.Clients, y.Clients)
	differ("batch", x.Batch, y.Batch)
	differ("in flight", x.InFlight, y.InFlight)
	differ("rate", x.Rate, y.Rate)
	differ("cross-shard percent", crossText(x.CrossPercent), crossText(y.CrossPercent))
	differ("skew", x.Skew, y.Skew)
	differ("hot accounts", x.Hot, y.Hot)
	differ("reads percent", x.ReadsPercent, y.ReadsPercent)
	differ("shards", x.Shards, y.Shards)
	differ("replicas", x.Replicas, y.Replicas)
	differ("accounts", x.Accounts, y.Accounts)
	differ("window in ms", x.DurationMs, y.DurationMs)
	differ("GOMAXPROCS of servers", x.ServerProcs, y.ServerProcs)
	return append(notes, machineNotes(&a.Machine, &b.Machine)...)
}

func crossText(p *int) string {
	if p == nil {
		return "as pairs fall"
	}
	return fmt.Sprint(*p)
}

// busyAbove is the load average per core above which others were at work on the machine.
const busyAbove = 0.5

func machineNotes(a, b *api.BenchMachine) []string {
	var notes []string
	if a.CPU != b.CPU || a.Cores != b.Cores {
		notes = append(notes, fmt.Sprintf("machines: %d x %s and %d x %s", a.Cores, a.CPU, b.Cores, b.CPU))
	}
	return append(append(notes, busyNote("first", a)...), busyNote("second", b)...)
}

func busyNote(which string, m *api.BenchMachine) []string {
	if m.Load1m == nil || *m.Load1m <= busyAbove*float64(m.Cores) {
		return nil
	}
	return []string{fmt.Sprintf("the machine was busy before the %s run: load average %.1f on %d cores", which, *m.Load1m, m.Cores)}
}
