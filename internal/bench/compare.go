package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"raftbank/internal/api"
)

// What it takes to call a side better: a difference, and enough runs to tell it from noise. If two sides are the same,
// three runs each lie all on one side of the three others by chance in one of ten comparisons, single runs always do.
const (
	sameWithin = 0.02
	fewestRuns = 3
)

// Why no side is called better.
const (
	withinNoise   = "within noise"
	tooFewRuns    = "too few runs"
	notComparable = "not comparable"
)

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
		if a.Suite.Growth != b.Suite.Growth {
			out.Notes = append(out.Notes, "only one of the two is the table of growth")
		}
		out.Notes = append(out.Notes, versionNotes(a.Suite.Versions, b.Suite.Versions)...)
		out.Notes = append(out.Notes, machineNotes(&a.Suite.Machine, &b.Suite.Machine)...)
		var notes rowNotes
		for i := range a.Suite.Rows {
			for j := range b.Suite.Rows {
				if x, y := &a.Suite.Rows[i], &b.Suite.Rows[j]; x.Name == y.Name {
					out.Rows = append(out.Rows, suiteRatio(x, y))
					if len(x.Runs) > 0 && len(y.Runs) > 0 {
						notes.add(x.Name, configNotes(&x.Runs[0].Config, &y.Runs[0].Config))
					}
				}
			}
		}
		out.Notes = append(out.Notes, notes.lines(len(out.Rows))...)
		if len(out.Rows) == 0 {
			return out, fmt.Errorf("the two suites have no row in common")
		}
	default:
		return out, fmt.Errorf("one file is a run and the other a suite: compare two of the same sort")
	}
	return out, nil
}

// suiteRatio compares the medians of a row, and decides by the ranges of its runs.
func suiteRatio(x, y *api.BenchRow) api.BenchRatio {
	r := ratioOf(x.Figure, x.Unit, lessIsBetter(x.Unit), median(x), median(y))
	r.Row = x.Name
	if r.Ratio == nil {
		return r
	}
	spanX, spanY := span(x.Values), span(y.Values)
	r.RangeA, r.RangeB = &spanX, &spanY
	switch {
	case min(len(x.Values), len(y.Values)) < fewestRuns:
		r.Better, r.Undecided = "", tooFewRuns
	case spanX.Least <= spanY.Most && spanY.Least <= spanX.Most:
		r.Better, r.Undecided = "", withinNoise
	}
	return r
}

// median is nil of a row whose runs all failed.
func median(r *api.BenchRow) *float64 {
	if len(r.Values) == 0 {
		return nil
	}
	return &r.Median
}

func span(values []float64) api.BenchRange {
	return api.BenchRange{Least: slices.Min(values), Most: slices.Max(values)}
}

// rowNotes gathers what differs between the rows of two suites: most of it is the same for all.
type rowNotes struct {
	texts []string
	rows  map[string][]string
}

func (n *rowNotes) add(row string, notes []string) {
	if n.rows == nil {
		n.rows = map[string][]string{}
	}
	for _, text := range notes {
		if n.rows[text] == nil {
			n.texts = append(n.texts, text)
		}
		n.rows[text] = append(n.rows[text], row)
	}
}

// lines names the rows of a note, unless it is about all of them.
func (n *rowNotes) lines(all int) []string {
	var out []string
	for _, text := range n.texts {
		if rows := n.rows[text]; len(rows) < all {
			text += " (row " + strings.Join(rows, ", ") + ")"
		}
		out = append(out, text)
	}
	return out
}

// lessIsBetter reports whether a figure of a unit should be small.
func lessIsBetter(unit string) bool { return unit == "us" || unit == "s" || unit == "bytes" }

// ratiosOf compares single runs: nothing tells their difference from noise, so no side is called better.
func ratiosOf(a, b *api.Bench) []api.BenchRatio {
	bytes := func(v *uint64) *float64 {
		if v == nil {
			return nil
		}
		f := float64(*v)
		return &f
	}
	var out []api.BenchRatio
	if a.Committed > 0 || b.Committed > 0 {
		out = append(out, ratioOf("transfers per second", "1/s", false, &a.TPS, &b.TPS))
		out = append(out, latencyRatios("latency", &a.LatencyUs, &b.LatencyUs)...)
	}
	if x, y := readsOf(a), readsOf(b); x.Committed > 0 || y.Committed > 0 {
		out = append(out, ratioOf("reads per second", "1/s", false, &x.TPS, &y.TPS))
		out = append(out, latencyRatios("latency of reads", &x.LatencyUs, &y.LatencyUs)...)
	}
	out = append(out,
		ratioOf("CPU per transfer, servers", "us", true, a.CPUUsPerTransfer.Servers, b.CPUUsPerTransfer.Servers),
		ratioOf("CPU per transfer, client", "us", true, a.CPUUsPerTransfer.Client, b.CPUUsPerTransfer.Client),
		ratioOf("resident, servers", "bytes", true, bytes(a.RSSBytes), bytes(b.RSSBytes)),
		ratioOf("log per transfer", "bytes", true, a.LogBytesPerTransfer, b.LogBytesPerTransfer),
		ratioOf("syncs per transfer", "", true, a.SyncsPerTransfer, b.SyncsPerTransfer))
	for i := range out {
		if out[i].Better != "" {
			out[i].Better, out[i].Undecided = "", tooFewRuns
		}
	}
	return out
}

// latencyRatios compares what was answered: a run that answered nothing has no latency, not one of 0.
func latencyRatios(name string, x, y *api.LatencyUs) []api.BenchRatio {
	us := func(l *api.LatencyUs, v float64) *float64 {
		if l.Max == 0 {
			return nil
		}
		return &v
	}
	var out []api.BenchRatio
	for _, f := range []struct {
		name string
		a, b float64
	}{
		{"mean", x.Mean, y.Mean}, {"p50", float64(x.P50), float64(y.P50)}, {"p95", float64(x.P95), float64(y.P95)},
		{"p99", float64(x.P99), float64(y.P99)}, {"p99.9", float64(x.P999), float64(y.P999)}, {"max", float64(x.Max), float64(y.Max)},
	} {
		out = append(out, ratioOf(name+", "+f.name, "us", true, us(x, f.a), us(y, f.b)))
	}
	return out
}

// readsOf returns the figures of reads; zeros if there were none.
func readsOf(b *api.Bench) *api.KindPerformance {
	for i := range b.Kinds {
		if b.Kinds[i].Kind == readName {
			return &b.Kinds[i]
		}
	}
	return &api.KindPerformance{}
}

// ratioOf compares two values, as if there were no noise.
func ratioOf(figure, unit string, less bool, a, b *float64) api.BenchRatio {
	r := api.BenchRatio{Figure: figure, Unit: unit, A: a, B: b}
	if a == nil || b == nil || *a == 0 || *b == 0 {
		r.Undecided = notComparable
		return r
	}
	ratio := *b / *a
	r.Ratio = &ratio
	switch {
	case math.Abs(ratio-1) <= sameWithin:
		r.Undecided = withinNoise
	case (ratio > 1) != less:
		r.Better = "b"
	default:
		r.Better = "a"
	}
	return r
}

// differences says what makes two runs hard to compare.
func differences(a, b *api.Bench) []string {
	notes := []string{}
	if a.System != b.System {
		notes = append(notes, fmt.Sprintf("system: %s and %s", a.System, b.System))
	}
	for which, r := range map[string]*api.Bench{"first": a, "second": b} {
		if r.Error != nil {
			notes = append(notes, fmt.Sprintf("the %s run failed: %s", which, r.Error.Message))
		}
	}
	slices.Sort(notes)
	notes = append(notes, configNotes(&a.Config, &b.Config)...)
	notes = append(notes, versionNotes(a.Versions, b.Versions)...)
	return append(notes, machineNotes(&a.Machine, &b.Machine)...)
}

// configNotes says in what two loads, and their banks, differ.
func configNotes(x, y *api.BenchConfig) []string {
	var notes []string
	differ := func(what string, x, y any) {
		if x != y {
			notes = append(notes, fmt.Sprintf("%s: %v and %v", what, x, y))
		}
	}
	differ("clients", x.Clients, y.Clients)
	differ("batch", x.Batch, y.Batch)
	differ("in flight", x.InFlight, y.InFlight)
	differ("rate", x.Rate, y.Rate)
	differ("queue", x.Queue, y.Queue)
	differ("deadline in ms", x.DeadlineMs, y.DeadlineMs)
	differ("cross-shard percent", crossText(x.CrossPercent), crossText(y.CrossPercent))
	differ("skew", x.Skew, y.Skew)
	differ("hot accounts", x.Hot, y.Hot)
	differ("reads percent", x.ReadsPercent, y.ReadsPercent)
	differ("seed", x.Seed, y.Seed)
	differ("shards", x.Shards, y.Shards)
	differ("replicas", x.Replicas, y.Replicas)
	differ("accounts", x.Accounts, y.Accounts)
	differ("opening balance", x.OpeningBalance, y.OpeningBalance)
	differ("warm-up in ms", x.WarmupMs, y.WarmupMs)
	differ("window in ms", x.DurationMs, y.DurationMs)
	differ("a bank of its own", yesNo(x.Spawned), yesNo(y.Spawned))
	differ("GOMAXPROCS of servers", x.ServerProcs, y.ServerProcs)
	differ("log segments in MiB", x.LogSegmentMiB, y.LogSegmentMiB)
	return notes
}

// versionNotes says which versions differ, those too that one side alone knows.
func versionNotes(a, b map[string]string) []string {
	names := maps.Clone(a)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, b)
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a[name] != b[name] {
			notes = append(notes, fmt.Sprintf("version, %s: %s and %s", name, cmp.Or(a[name], "unknown"), cmp.Or(b[name], "unknown")))
		}
	}
	return notes
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
