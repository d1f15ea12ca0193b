package bench

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"raftbank/internal/api"
	"raftbank/internal/shard"
)

// quantiles are the points of the latency distribution.
var quantiles = []float64{0, 1, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97, 98, 99, 99.5, 99.9, 99.95, 99.99, 99.999, 100}

// ConfigOf returns the configuration of a run for its result; the caller adds what it knows of the
// servers.
func ConfigOf(t *shard.Topology, o Options, deadline time.Duration) api.BenchConfig {
	c := api.BenchConfig{
		Clients: o.Clients, Batch: o.Batch, InFlight: o.InFlight, DurationMs: o.Duration.Milliseconds(), WarmupMs: o.Warmup.Milliseconds(),
		Skew: o.Skew, Hot: o.Hot, ReadsPercent: o.Reads, Rate: o.Rate, Queue: o.Queue, DrainMs: cmp.Or(o.Drain, defaultDrain).Milliseconds(), Seed: o.Seed, DeadlineMs: deadline.Milliseconds(),
		Shards: len(t.Clusters), OpeningBalance: t.OpeningBalance,
	}
	if o.Cross != AsPairsFall {
		cross := o.Cross
		c.CrossPercent = &cross
	}
	for i := range t.Clusters {
		c.Accounts += t.Clusters[i].Range.Len()
		c.Replicas = max(c.Replicas, len(t.Clusters[i].Servers))
	}
	return c
}

// Versions returns the versions of this program, of Go and of what else the build knows of itself.
func Versions(program string) map[string]string {
	v := map[string]string{"raftbank": program, "go": runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v["revision"] = s.Value
			case "vcs.modified":
				v["modified"] = s.Value
			}
		}
	}
	return v
}

// Result makes figures of what was counted. System, Config, Versions and the check are the caller's.
func (m *Measured) Result() api.Bench {
	window := m.recorder.w.to.Sub(m.recorder.w.from)
	out := api.Bench{
		Started: m.started.UTC().Format(time.RFC3339), Machine: Machine(), Seconds: window.Seconds(), Interrupted: m.Interrupted,
		Aborted: map[string]int{}, Kinds: []api.KindPerformance{}, Timeline: []api.BenchSlice{}, Distribution: []api.BenchQuantile{},
	}
	out.Machine.Load1m = m.load
	all := NewLatencies()
	inWindow := 0
	for i := range m.recorder.kinds {
		f := &m.recorder.kinds[i]
		k := f.performance(kindNames[i], window)
		if f.empty() {
			continue
		}
		out.Kinds = append(out.Kinds, k)
		if i == kindRead {
			continue
		}
		all.Merge(f.latency)
		inWindow += f.inWindow
		out.Committed += k.Committed
		out.Unavailable += k.Unavailable
		out.Unknown += k.Unknown
		for reason, n := range k.Aborted {
			out.Aborted[reason] += n
		}
	}
	out.Shed, out.Undrained = m.recorder.shed, m.recorder.late+m.recorder.cut
	out.Unavailable += m.recorder.shed + m.recorder.late
	out.TPS = perSecond(inWindow, window)
	out.LatencyUs = LatencyOf(all)
	out.Distribution = append(out.Distribution, distributionOf(all)...)
	out.ReadDistribution = distributionOf(m.recorder.kinds[kindRead].latency)
	m.usage(&out, inWindow)
	m.timeline(&out)
	return out
}

// distributionOf returns the points of a distribution; none of an empty one.
func distributionOf(h *hdrhistogram.Histogram) []api.BenchQuantile {
	if h.TotalCount() == 0 {
		return nil
	}
	var out []api.BenchQuantile
	for _, q := range quantiles {
		out = append(out, api.BenchQuantile{Percent: q, Us: h.ValueAtQuantile(q)})
	}
	return out
}

func (f *figures) empty() bool {
	return f.committed+f.unavailable+f.unknown+len(f.aborted) == 0
}

func (f *figures) performance(name string, window time.Duration) api.KindPerformance {
	k := api.KindPerformance{
		Kind: name, Committed: f.committed, Aborted: map[string]int{}, Unavailable: f.unavailable, Unknown: f.unknown,
		TPS: perSecond(f.inWindow, window), LatencyUs: LatencyOf(f.latency),
	}
	for reason, n := range f.aborted {
		k.Aborted[reason.String()] = n
	}
	return k
}

func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

// usage fills in what servers and client used, per committed transfer.
func (m *Measured) usage(out *api.Bench, committed int) {
	per := func(before, after map[string]uint64, name string) *float64 {
		a, okA := before[name]
		b, okB := after[name]
		if !okA || !okB || b < a || committed == 0 {
			return nil
		}
		v := float64(b-a) / float64(committed)
		return &v
	}
	out.CPUUsPerTransfer.Servers = per(m.before, m.after, UsageCPU)
	out.CPUUsPerTransfer.Client = per(m.own[0], m.own[1], UsageCPU)
	out.DiskBytesPerTransfer = per(m.before, m.after, UsageDisk)
	out.LogBytesPerTransfer = per(m.before, m.after, UsageLog)
	out.SyncsPerTransfer = per(m.before, m.after, UsageSync)
	if rss, ok := m.after[UsageRSS]; ok {
		out.RSSBytes = &rss
	}
	if rss, ok := m.own[1][UsageRSS]; ok {
		out.ClientRSSBytes = &rss
	}
}

func (m *Measured) timeline(out *api.Bench) {
	w := m.recorder.w
	for i := range m.recorder.slices {
		s := &m.recorder.slices[i]
		from := time.Duration(i) * w.slice
		if from >= w.to.Sub(w.from) {
			return // the run was interrupted
		}
		to := min(from+w.slice, w.to.Sub(w.from))
		t := api.BenchSlice{AtMs: to.Milliseconds(), TPS: perSecond(s.committed, to-from), Committed: s.committed, Failed: s.failed,
			Reads: s.reads, ReadsFailed: s.readsFailed}
		if s.latency != nil {
			t.P50Us, t.P99Us = s.latency.ValueAtQuantile(50), s.latency.ValueAtQuantile(99)
		}
		if s.readLatency != nil {
			t.ReadP50Us, t.ReadP99Us = s.readLatency.ValueAtQuantile(50), s.readLatency.ValueAtQuantile(99)
		}
		out.Timeline = append(out.Timeline, t)
	}
}

// Checked puts the verdict of a conservation check into a result.
func Checked(out *api.Bench, c api.Check) {
	out.ConservationOK, out.CheckNote = c.OK, c.Note
	ok, known := true, len(c.Shards) > 0
	for i := range c.Shards {
		h := c.Shards[i].HashesOK
		known = known && h != nil
		ok = ok && (h == nil || *h)
	}
	if known || !ok {
		out.HashesOK = &ok
	}
}
