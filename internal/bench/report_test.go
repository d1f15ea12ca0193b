package bench

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"raftbank/internal/api"
)

func sample() *api.Bench {
	cpu, ok := 2.5, true
	return &api.Bench{
		System: "raftbank", Started: "2026-01-02T03:04:05Z", Seconds: 2, Committed: 2468, TPS: 1234,
		Aborted:          map[string]int{"insufficient_funds": 3},
		LatencyUs:        api.LatencyUs{Mean: 400, P50: 350, P95: 700, P99: 9000, P999: 20_000, Max: 30_000},
		Kinds:            []api.KindPerformance{{Kind: "intra", Committed: 2468, TPS: 1234}},
		Config:           api.BenchConfig{Clients: 3, Batch: 7, InFlight: 1, Shards: 1, Replicas: 3},
		Versions:         map[string]string{"raftbank": "0.1.0 <b>"},
		Machine:          api.BenchMachine{CPU: "a processor", Cores: 2},
		CPUUsPerTransfer: api.BenchCPU{Servers: &cpu}, ConservationOK: &ok,
		Timeline:     []api.BenchSlice{{AtMs: 1000, TPS: 1000, Committed: 1000, P50Us: 300, P99Us: 900}, {AtMs: 2000, TPS: 1468, Committed: 1468}},
		Distribution: []api.BenchQuantile{{Percent: 0, Us: 100}, {Percent: 50, Us: 350}, {Percent: 100, Us: 30_000}},
	}
}

func TestReport(t *testing.T) {
	page, err := Report(sample())
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{"1,234", "0.35", "2.50", "insufficient funds", "0.1.0 &lt;b&gt;", "not measured", "a processor", "until 1.0 s: p99 900 us"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"http:", "https:", "src=", "href=", "@import", "url(", "<script", "NaN", "Inf"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if n := strings.Count(text, "<svg"); n != 3 {
		t.Errorf("%d charts, want 3", n)
	}
	drawn(t, text)
	if strings.Contains(text, "The run failed") {
		t.Error("a whole run is shown as a failed one")
	}
	failed := sample()
	failed.Error = &api.Error{Message: "server 2 ended"}
	if page, err := Report(failed); err != nil || !strings.Contains(string(page), "The run failed") || !strings.Contains(string(page), "server 2 ended") {
		t.Errorf("the page does not say that the run failed: %v", err)
	}
	if _, err := Report(&api.Bench{}); err != nil {
		t.Errorf("an empty result: %v", err)
	}
}

// TestReportShowsWhatTheLoadWas has loads of reads, of both, one with failures, and one without any answer.
func TestReportShowsWhatTheLoadWas(t *testing.T) {
	reads := func(b *api.Bench, percent int) {
		b.Config.ReadsPercent = percent
		b.Kinds = append(b.Kinds, api.KindPerformance{Kind: readName, Committed: 77, TPS: 38, LatencyUs: api.LatencyUs{P50: 111, P99: 222, Max: 333}})
		b.Timeline[0].Reads, b.Timeline[0].ReadP50Us, b.Timeline[0].ReadP99Us = 77, 111, 222
		b.ReadDistribution = []api.BenchQuantile{{Percent: 0, Us: 90}, {Percent: 99, Us: 222}}
	}
	for _, test := range []struct {
		name       string
		change     func(*api.Bench)
		charts     int
		want, lack []string
	}{
		{"transfers", func(*api.Bench) {}, 3, []string{"Committed transfers per second", "no: a closed loop"}, []string{"Answered reads", "Failures per", "shed"}},
		{"reads", func(b *api.Bench) {
			reads(b, 100)
			b.Timeline[0].Committed, b.Timeline[1].Committed, b.Timeline[0].P50Us, b.Timeline[0].P99Us = 0, 0, 0, 0
			b.Distribution = nil
		}, 3, []string{"Answered reads per second", "until 1.0 s: p99 222 us", "99 % of the reads within 222 us", "0.11", "reads answered"},
			[]string{"Committed transfers per second", "transfers committed"}},
		{"mixed", func(b *api.Bench) { reads(b, 50) }, 5, []string{"Answered reads per second", "Committed transfers per second", ">reads</text>", ">transfers</text>"}, nil},
		{"failures", func(b *api.Bench) {
			b.Timeline[1].Failed, b.Shed, b.Undrained = 12_345, 12_000, 345
			b.Config.Rate, b.Config.Queue, b.Config.DeadlineMs, b.Config.DrainMs, b.Config.LogSegmentMiB = 1000, 7, 10_000, 2000, 64
		}, 4, []string{"Failures per second", "until 2.0 s: 12,345 transfers/s failed", "7 requests at most", "12,000", "64 MiB", "10 s", "answer 2 s after the window"}, nil},
		{"nothing", func(b *api.Bench) { *b = api.Bench{} }, 0, []string{"Nothing was answered"}, nil},
	} {
		b := sample()
		test.change(b)
		page, err := Report(b)
		if err != nil {
			t.Fatal(err)
		}
		text := string(page)
		if n := strings.Count(text, "<svg"); n != test.charts {
			t.Errorf("%s: %d charts, want %d", test.name, n, test.charts)
		}
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the page lacks %q", test.name, want)
			}
		}
		for _, lack := range test.lack {
			if strings.Contains(text, lack) {
				t.Errorf("%s: the page holds %q", test.name, lack)
			}
		}
		drawn(t, text)
	}
}

// drawn checks every chart of a page.
func drawn(t *testing.T, text string) {
	t.Helper()
	for strings.Contains(text, "<svg") {
		_, after, _ := strings.Cut(text, "<svg")
		svg, next, _ := strings.Cut(after, "</svg>")
		wellFormed(t, "<svg"+svg+"</svg>")
		text = next
	}
	if strings.Contains(text, "NaN") {
		t.Error("a figure is none")
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%v in %.200s", err, text)
		}
	}
}

func write(t *testing.T, name string, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, v any) Results {
	t.Helper()
	r, err := ReadResults(write(t, "r.json", v))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCompareRuns(t *testing.T) {
	b := sample()
	b.TPS, b.LatencyUs.P50, b.LatencyUs.P95, b.Config.Batch = 2468, 700, 705, 8
	b.Config.Queue, b.Config.Seed, b.Config.DeadlineMs = 3, 5, 100
	b.Versions["servers"] = "0.2.0"
	busy := 3.0
	b.Machine.Load1m = &busy
	v, err := Compare(read(t, sample()), read(t, b))
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]api.BenchRatio{}
	for _, r := range v.Rows {
		by[r.Figure] = r
	}
	for figure, want := range map[string]struct {
		ratio     float64
		undecided string
	}{
		"transfers per second": {2, tooFewRuns}, "latency, p50": {2, tooFewRuns}, "latency, p95": {705.0 / 700, withinNoise},
		"CPU per transfer, servers": {1, withinNoise},
	} {
		if r := by[figure]; r.Ratio == nil || *r.Ratio != want.ratio || r.Better != "" || r.Undecided != want.undecided {
			t.Errorf("%s: %+v, want %+v", figure, r, want)
		}
	}
	if r := by["syncs per transfer"]; r.Ratio != nil || r.A != nil {
		t.Errorf("a figure that was not measured was compared: %+v", r)
	}
	want := []string{"batch: 7 and 8", "queue: 0 and 3", "deadline in ms: 0 and 100", "seed: 0 and 5", "version, servers: unknown and 0.2.0",
		"the machine was busy before the second run: load average 3.0 on 2 cores"}
	if !slices.Equal(v.Notes, want) {
		t.Errorf("notes: %q, want %q", v.Notes, want)
	}
	nothing := sample()
	nothing.Committed, nothing.TPS, nothing.LatencyUs = 0, 0, api.LatencyUs{}
	nothing.Error = &api.Error{Message: "server 2 ended"}
	v, err = Compare(read(t, sample()), read(t, nothing))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range v.Rows[:7] {
		if r.Ratio != nil || r.Better != "" || r.Undecided != notComparable {
			t.Errorf("with a run that committed nothing: %+v", r)
		}
	}
	if len(v.Notes) == 0 || v.Notes[0] != "the second run failed: server 2 ended" {
		t.Errorf("notes: %q", v.Notes)
	}
	reads := &api.Bench{Kinds: []api.KindPerformance{{Kind: readName, Committed: 10, TPS: 5, LatencyUs: api.LatencyUs{P50: 7, Max: 9}}}}
	if v, err := Compare(read(t, reads), read(t, reads)); err != nil || v.Rows[0].Figure != "reads per second" || *v.Rows[0].Ratio != 1 {
		t.Errorf("reads: %+v, %v", v, err)
	}
}

// TestCompareLooksAtTheRuns has medians that differ, and runs that do or do not overlap.
func TestCompareLooksAtTheRuns(t *testing.T) {
	row := func(unit string, values ...float64) *api.BenchRow {
		return &api.BenchRow{Unit: unit, Values: values, Median: Median(values)}
	}
	for _, test := range []struct {
		a, b              *api.BenchRow
		better, undecided string
	}{
		{row("1/s", 100, 130, 131), row("1/s", 140, 150, 160), "b", ""},
		{row("us", 100, 130, 131), row("us", 140, 150, 160), "a", ""},
		{row("1/s", 100, 110, 145), row("1/s", 140, 150, 160), "", withinNoise},
		{row("1/s", 100, 110, 140), row("1/s", 140, 150, 160), "", withinNoise},
		{row("1/s", 1000, 1001, 1002), row("1/s", 1010, 1011, 1012), "", withinNoise},
		{row("1/s", 100, 110), row("1/s", 200, 210, 220), "", tooFewRuns},
		{row("1/s", 0, 0, 0), row("1/s", 200, 210, 220), "", notComparable},
		{row("1/s"), row("1/s", 200, 210, 220), "", notComparable},
	} {
		if r := suiteRatio(test.a, test.b); r.Better != test.better || r.Undecided != test.undecided {
			t.Errorf("%v and %v: %+v", test.a.Values, test.b.Values, r)
		}
	}
	var notes rowNotes
	notes.add("one", []string{"seed: 1 and 2", "batch: 1 and 2"})
	notes.add("two", []string{"seed: 1 and 2"})
	if got := notes.lines(2); !slices.Equal(got, []string{"seed: 1 and 2", "batch: 1 and 2 (row one)"}) {
		t.Errorf("notes: %q", got)
	}
}

func TestCompareSuites(t *testing.T) {
	suite := func(p50, tps float64, name string) *api.BenchSuite {
		return &api.BenchSuite{Rows: []api.BenchRow{
			{Name: "one", Figure: "latency, p50", Unit: unitUs, Median: p50, Values: []float64{p50, p50, p50}},
			{Name: name, Figure: "transfers per second", Unit: unitRate, Median: tps, Values: []float64{tps, tps, tps}},
		}}
	}
	v, err := Compare(read(t, suite(400, 1000, "batches")), read(t, suite(200, 500, "batches")))
	if err != nil || len(v.Rows) != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	if a, b := v.Rows[0], v.Rows[1]; a.Row != "one" || *a.Ratio != 0.5 || a.Better != "b" || *b.Ratio != 0.5 || b.Better != "a" {
		t.Errorf("got %+v", v.Rows)
	}
	if v, err := Compare(read(t, suite(1, 1, "batches")), read(t, suite(1, 1, "shards"))); err != nil || len(v.Rows) != 1 {
		t.Errorf("one row in common: %+v, %v", v, err)
	}
	none := &api.BenchSuite{Rows: []api.BenchRow{}}
	if _, err := Compare(read(t, none), read(t, none)); err == nil {
		t.Error("suites without rows were compared")
	}
	if _, err := Compare(read(t, sample()), read(t, none)); err == nil {
		t.Error("a run and a suite were compared")
	}
}

func TestReadResultsRefuses(t *testing.T) {
	if _, err := ReadResults(filepath.Join(t.TempDir(), "none.json")); err == nil {
		t.Error("a file that is not there was read")
	}
	if _, err := ReadResults(write(t, "other.json", map[string]int{"x": 1})); err == nil || !strings.Contains(err.Error(), "neither a result") {
		t.Errorf("another file: %v", err)
	}
	if _, err := ReadResults(write(t, "text.json", "hello")); err == nil {
		t.Error("a text was read")
	}
}

func TestStandard(t *testing.T) {
	for _, quick := range []bool{false, true} {
		names := map[string]bool{}
		for _, r := range Standard(quick, 5) {
			if err := r.Options.Validate(testTopology(r.Shards, 1000)); err != nil {
				t.Errorf("row %s: %v", r.Name, err)
			}
			if names[r.Name] || r.Options.Seed != 5 {
				t.Errorf("row %s: twice, or without the seed", r.Name)
			}
			names[r.Name] = true
			if quick && r.Options.Duration.Seconds() > 10 {
				t.Errorf("row %s takes %s", r.Name, r.Options.Duration)
			}
		}
	}
	b := sample()
	for figure, want := range map[string]float64{"latency, p50": 350, "latency, p99": 9000, "transfers per second": 1234} {
		if got := (&Row{Figure: figure}).Value(b); got != want {
			t.Errorf("%s: got %g, want %g", figure, got, want)
		}
	}
	if Median(nil) != 0 || Median([]float64{3, 1, 2}) != 2 || Median([]float64{4, 1}) != 2.5 {
		t.Error("medians are wrong")
	}
}
