package bench

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"raftbank/internal/api"
)

//go:embed report.html
var reportText string

var reportTemplate = template.Must(template.New("report").Parse(reportText))

// page is what the template shows.
type page struct {
	Title, Subtitle string
	Failure         string // why these figures do not count; "": they do
	Tiles           []tile
	Figures         []figure
	Kinds           []kindLine
	Outcomes        []pair
	Costs           []pair
	Config          []pair
	Machine         []pair
}

type tile struct{ Name, Value, Unit string }

type pair struct{ Name, Value string }

type kindLine struct {
	Kind, TPS, Committed, Refused, Unanswered string
	Mean, P50, P95, P99, P999, Max            string
}

// Report returns a result as one self-contained page: it loads nothing from anywhere.
func Report(r *api.Bench) ([]byte, error) {
	p := page{
		Title: r.System + " benchmark", Subtitle: "run at " + r.Started + ", " + trimFloat(r.Seconds) + " s measured",
		Tiles: tiles(r), Figures: figuresOf(r),
		Costs: costs(r), Config: configPairs(&r.Config), Machine: machinePairs(r),
	}
	for i := range r.Kinds {
		p.Kinds = append(p.Kinds, kindLineOf(&r.Kinds[i]))
	}
	p.Outcomes = outcomes(r)
	if r.Error != nil {
		p.Failure = r.Error.Message
	}
	var b bytes.Buffer
	if err := reportTemplate.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("make the report: %w", err)
	}
	return b.Bytes(), nil
}

// tiles are the figures that are looked at first.
func tiles(r *api.Bench) []tile {
	var out []tile
	for _, of := range sortsOf(r) {
		if of.what == readSort.what {
			k := readsOf(r)
			out = append(out, tile{"answered strong reads", grouped(k.TPS), "per second"},
				tile{"median latency of reads", msOf(k.LatencyUs, k.LatencyUs.P50), "ms"},
				tile{"99th percentile of reads", msOf(k.LatencyUs, k.LatencyUs.P99), "ms"})
			continue
		}
		out = append(out, tile{"committed transfers", grouped(r.TPS), "per second"},
			tile{"median latency", msOf(r.LatencyUs, r.LatencyUs.P50), "ms"}, tile{"99th percentile", msOf(r.LatencyUs, r.LatencyUs.P99), "ms"},
			tile{"servers' CPU", optional(r.CPUUsPerTransfer.Servers, 2), "us per transfer"})
	}
	return out
}

func kindLineOf(k *api.KindPerformance) kindLine {
	l, refused := k.LatencyUs, 0
	for _, n := range k.Aborted {
		refused += n
	}
	return kindLine{Kind: k.Kind, TPS: grouped(k.TPS), Committed: grouped(float64(k.Committed)), Refused: grouped(float64(refused)),
		Unanswered: grouped(float64(k.Unavailable + k.Unknown)), Mean: msOf(l, int64(l.Mean)), P50: msOf(l, l.P50), P95: msOf(l, l.P95), P99: msOf(l, l.P99),
		P999: msOf(l, l.P999), Max: msOf(l, l.Max)}
}

// msOf is a latency in milliseconds, or a dash if nothing was answered.
func msOf(l api.LatencyUs, us int64) string {
	if l.Max == 0 {
		return "–"
	}
	return ms(us)
}

func outcomes(r *api.Bench) []pair {
	var ps []pair
	if r.Config.ReadsPercent > 0 {
		k := readsOf(r)
		ps = append(ps, pair{"reads answered", grouped(float64(k.Committed))}, pair{"reads without an answer", grouped(float64(k.Unavailable))})
	}
	if r.Config.ReadsPercent < 100 {
		ps = append(ps, transferOutcomes(r)...)
	}
	return append(ps, pair{"money conserved", verdict(r.ConservationOK)}, pair{"replicas' hashes equal", verdict(r.HashesOK)})
}

func transferOutcomes(r *api.Bench) []pair {
	ps := []pair{{"transfers committed", grouped(float64(r.Committed))}}
	for _, reason := range slices.Sorted(maps.Keys(r.Aborted)) {
		ps = append(ps, pair{"aborted: " + strings.ReplaceAll(reason, "_", " "), grouped(float64(r.Aborted[reason]))})
	}
	ps = append(ps, pair{"unavailable", grouped(float64(r.Unavailable))}, pair{"unknown", grouped(float64(r.Unknown))})
	if r.Config.Queue > 0 {
		ps = append(ps, pair{"of these shed, the queue being full", grouped(float64(r.Shed))})
	}
	if r.Undrained > 0 {
		ps = append(ps, pair{fmt.Sprintf("of these without an answer %g s after the window", float64(r.Config.DrainMs)/1000), grouped(float64(r.Undrained))})
	}
	return ps
}

func costs(r *api.Bench) []pair {
	mib := func(n *uint64) string {
		if n == nil {
			return notMeasured
		}
		return grouped(float64(*n)/(1<<20)) + " MiB"
	}
	us := func(v *float64) string {
		if v == nil {
			return notMeasured
		}
		return optional(v, 2) + " us"
	}
	memory := []pair{{"resident memory, servers", mib(r.RSSBytes)}, {"resident memory, client", mib(r.ClientRSSBytes)}}
	if r.Config.ReadsPercent == 100 {
		return memory
	}
	return append([]pair{
		{"CPU per transfer, servers", us(r.CPUUsPerTransfer.Servers)}, {"CPU per transfer, client", us(r.CPUUsPerTransfer.Client)},
		{"log bytes per transfer", optional(r.LogBytesPerTransfer, 0)},
		{"disk bytes per transfer", optional(r.DiskBytesPerTransfer, 0)},
		{"syncs per transfer", optional(r.SyncsPerTransfer, 4)},
	}, memory...)
}

func configPairs(c *api.BenchConfig) []pair {
	cross := "as uniform pairs fall"
	if c.CrossPercent != nil {
		cross = strconv.Itoa(*c.CrossPercent) + " %"
	}
	loop, queue := "closed", "no: a closed loop"
	if c.Rate > 0 {
		loop, queue = "open, "+trimFloat(c.Rate)+" due per second", "all that is due"
	}
	if c.Queue > 0 {
		queue = plural(c.Queue, "request") + " at most, the rest is shed"
	}
	deadline := func(ms int64) string {
		if ms == 0 {
			return "none"
		}
		return durationText(float64(ms) * 1000)
	}
	ps := []pair{
		{"clients", strconv.Itoa(c.Clients)}, {"transfers per request", strconv.Itoa(c.Batch)},
		{"requests in flight per client", strconv.Itoa(c.InFlight)}, {"loop", loop}, {"waits for a caller", queue},
		{"deadline of a transfer", deadline(c.DeadlineMs)}, {"wait for answers after the window", deadline(c.DrainMs)}, {"cross-shard", cross},
		{"reads", strconv.Itoa(c.ReadsPercent) + " %"}, {"Zipf exponent", trimFloat(c.Skew)}, {"hot accounts", strconv.Itoa(c.Hot)},
		{"shards x replicas", fmt.Sprintf("%d x %d", c.Shards, c.Replicas)}, {"accounts", grouped(float64(c.Accounts))},
		{"window and warm-up", fmt.Sprintf("%g s, %g s", float64(c.DurationMs)/1000, float64(c.WarmupMs)/1000)},
		{"seed", strconv.FormatUint(c.Seed, 10)}, {"bank of its own", yesNo(c.Spawned)},
	}
	if c.LogSegmentMiB > 0 {
		ps = append(ps, pair{"log segments of a server", strconv.Itoa(c.LogSegmentMiB) + " MiB"})
	}
	if c.ServerProcs > 0 {
		ps = append(ps, pair{"GOMAXPROCS of a server", strconv.Itoa(c.ServerProcs)})
	}
	return ps
}

func machinePairs(r *api.Bench) []pair {
	m := &r.Machine
	ps := []pair{{"processor", m.CPU}, {"cores", strconv.Itoa(m.Cores)}, {"system", m.System}}
	if m.MemoryBytes > 0 {
		ps = append(ps, pair{"memory", grouped(float64(m.MemoryBytes)/(1<<30)) + " GiB"})
	}
	if m.Load1m != nil {
		ps = append(ps, pair{"load average before", trimFloat(*m.Load1m)})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		ps = append(ps, pair{name, r.Versions[name]})
	}
	return ps
}

const notMeasured = "not measured"

func verdict(ok *bool) string {
	if ok == nil {
		return "not comparable"
	}
	return yesNo(*ok)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func optional(v *float64, decimals int) string {
	if v == nil {
		return notMeasured
	}
	if *v >= 1000 {
		return grouped(*v)
	}
	return strconv.FormatFloat(*v, 'f', decimals, 64)
}

func ms(us int64) string { return strconv.FormatFloat(float64(us)/1000, 'f', 2, 64) }

func trimFloat(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// grouped prints a number without decimals, in groups of three digits.
func grouped(v float64) string {
	s := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(float64(n)) + " " + noun + "s"
}
