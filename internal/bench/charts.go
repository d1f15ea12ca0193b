package bench

import (
	"fmt"
	"html/template"
	"math"
	"strconv"

	"raftbank/internal/api"
)

// figure is a chart with its heading.
type figure struct {
	Title string
	Chart template.HTML
	Note  string
}

// sort is what a result has of transfers, or of reads.
type sort struct {
	what         string // transfers, reads
	class, tail  string // colours of throughput and median, and of the tail
	done, failed func(*api.BenchSlice) int
	p50, p99     func(*api.BenchSlice) int64
	distribution func(*api.Bench) []api.BenchQuantile
}

var transferSort = sort{
	what: "transfers", class: "a", tail: "b",
	done:         func(s *api.BenchSlice) int { return s.Committed },
	failed:       func(s *api.BenchSlice) int { return s.Failed },
	p50:          func(s *api.BenchSlice) int64 { return s.P50Us },
	p99:          func(s *api.BenchSlice) int64 { return s.P99Us },
	distribution: func(r *api.Bench) []api.BenchQuantile { return r.Distribution },
}

var readSort = sort{
	what: "reads", class: "c", tail: "d",
	done:         func(s *api.BenchSlice) int { return s.Reads },
	failed:       func(s *api.BenchSlice) int { return s.ReadsFailed },
	p50:          func(s *api.BenchSlice) int64 { return s.ReadP50Us },
	p99:          func(s *api.BenchSlice) int64 { return s.ReadP99Us },
	distribution: func(r *api.Bench) []api.BenchQuantile { return r.ReadDistribution },
}

// sortsOf returns what the load was of: transfers, reads, or both.
func sortsOf(r *api.Bench) []sort {
	switch {
	case r.Config.ReadsPercent == 100:
		return []sort{readSort}
	case r.Config.ReadsPercent > 0:
		return []sort{transferSort, readSort}
	}
	return []sort{transferSort}
}

// figuresOf draws a result: throughput of each sort, failures if there were any, latency of each sort, and the
// distributions. What has nothing to show is left out.
func figuresOf(r *api.Bench) []figure {
	sorts := sortsOf(r)
	var out []figure
	add := func(title, note string, c *chart) {
		if c != nil {
			out = append(out, figure{title, c.draw(), note})
		}
	}
	for i := range sorts {
		name := map[string]string{"transfers": "Committed transfers", "reads": "Answered reads"}[sorts[i].what]
		add(name+" per second over time", "", throughputChart(r, &sorts[i]))
	}
	add("Failures per second over time", "refused, unavailable and unknown; what was due and never sent counts when it was due", failureChart(r, sorts))
	for i := range sorts {
		add("Latency of "+sorts[i].what+" over time", "", latencyChart(r, &sorts[i]))
	}
	add("Latency distribution", "share that was answered within that time; each step to the right is a tail ten times as thin", distributionChart(r, sorts))
	return out
}

// timeAxis places the ends of slices.
func timeAxis(r *api.Bench) (x []float64, ticks []tick) {
	whole := r.Seconds * 1000
	for _, s := range r.Timeline {
		x = append(x, math.Min(1, float64(s.AtMs)/whole))
	}
	for i := range chartXSteps + 1 {
		at := float64(i) / chartXSteps
		ticks = append(ticks, tick{at, strconv.FormatFloat(at*r.Seconds, 'g', 3, 64) + " s"})
	}
	return x, ticks
}

// rates returns what a count of every slice is per second, and the largest.
func rates(r *api.Bench, count func(*api.BenchSlice) int) (perSecond []float64, top float64) {
	before := int64(0)
	for i := range r.Timeline {
		s := &r.Timeline[i]
		v := float64(count(s)) * 1000 / float64(max(s.AtMs-before, 1))
		before = s.AtMs
		perSecond, top = append(perSecond, v), math.Max(top, v)
	}
	return perSecond, top
}

// until says until when a slice went.
func until(s *api.BenchSlice) string { return fmt.Sprintf("until %.1f s: ", float64(s.AtMs)/1000) }

// throughputChart is nil if nothing was done.
func throughputChart(r *api.Bench, of *sort) *chart {
	values, top := rates(r, of.done)
	if top == 0 {
		return nil
	}
	c := &chart{label: of.what + " per second over time", fill: true}
	x, ticks := timeAxis(r)
	c.xTicks = ticks
	c.yTicks, top = linearTicks(top)
	l := line{class: of.class, x: x}
	for i, v := range values {
		l.y = append(l.y, v/top)
		l.tips = append(l.tips, until(&r.Timeline[i])+grouped(v)+"/s")
	}
	c.lines = []line{l}
	return c
}

// failureChart is nil if nothing failed.
func failureChart(r *api.Bench, sorts []sort) *chart {
	c := &chart{label: "failures per second over time"}
	x, ticks := timeAxis(r)
	c.xTicks = ticks
	top := 0.0
	var all [][]float64
	for i := range sorts {
		values, most := rates(r, sorts[i].failed)
		all, top = append(all, values), math.Max(top, most)
	}
	if top == 0 {
		return nil
	}
	c.yTicks, top = linearTicks(top)
	for i := range sorts {
		l := line{class: []string{"bad", "c"}[i], x: x}
		if len(sorts) > 1 {
			l.name = sorts[i].what
		}
		for j, v := range all[i] {
			l.y = append(l.y, v/top)
			l.tips = append(l.tips, until(&r.Timeline[j])+grouped(v)+" "+sorts[i].what+"/s failed")
		}
		c.lines = append(c.lines, l)
	}
	c.fill = len(c.lines) == 1
	return c
}

// latencyChart shows median and 99th percentile of the slices in which something was answered; nil if there are none.
func latencyChart(r *api.Bench, of *sort) *chart {
	c := &chart{label: "median and 99th percentile of the latency of " + of.what + " over time"}
	x, ticks := timeAxis(r)
	c.xTicks = ticks
	var values []int64
	for i := range r.Timeline {
		if s := &r.Timeline[i]; of.p99(s) > 0 {
			values = append(values, of.p50(s), of.p99(s))
		}
	}
	if len(values) == 0 {
		return nil
	}
	scale := newLogScale(values)
	c.yTicks = scale.ticks()
	c.lines = []line{{name: "p50", class: of.class}, {name: "p99", class: of.tail}}
	for i := range r.Timeline {
		s := &r.Timeline[i]
		if of.p99(s) == 0 {
			continue
		}
		for j, us := range []int64{of.p50(s), of.p99(s)} {
			l := &c.lines[j]
			l.x, l.y = append(l.x, x[i]), append(l.y, scale.place(us))
			l.tips = append(l.tips, until(s)+l.name+" "+durationText(float64(us)))
		}
	}
	return c
}

// distributionChart shows which share took how long; every step to the right is a tail ten times as thin. nil if nothing
// was answered.
func distributionChart(r *api.Bench, sorts []sort) *chart {
	c := &chart{label: "latency by percentile"}
	place := func(percent float64) float64 {
		return math.Min(1, -math.Log10(1-math.Min(percent, worstPercentShown)/100)/tailPositionScale)
	}
	for _, p := range []float64{0, 90, 99, 99.9, 99.99, 99.999} {
		c.xTicks = append(c.xTicks, tick{place(p), trimFloat(p) + " %"})
	}
	var values []int64
	for i := range sorts {
		for _, q := range sorts[i].distribution(r) {
			values = append(values, q.Us)
		}
	}
	if len(values) == 0 {
		return nil
	}
	scale := newLogScale(values)
	c.yTicks = scale.ticks()
	for i := range sorts {
		l := line{class: sorts[i].class}
		if len(sorts) > 1 {
			l.name = sorts[i].what
		}
		for _, q := range sorts[i].distribution(r) {
			if q.Percent > worstPercentShown {
				continue // the maximum stands in the table
			}
			l.x, l.y = append(l.x, place(q.Percent)), append(l.y, scale.place(q.Us))
			l.tips = append(l.tips, fmt.Sprintf("%s %% of the %s within %s", trimFloat(q.Percent), sorts[i].what, durationText(float64(q.Us))))
		}
		c.lines = append(c.lines, l)
	}
	return c
}
