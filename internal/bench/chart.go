package bench

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"

	"raftbank/internal/api"
)

// Size of a chart in its own units, and the room for axes.
const (
	chartWidth, chartHeight              = 760, 260
	marginLeft, marginRight, marginTop   = 64, 70, 14
	marginBottom                         = 34
	plotWidth                            = chartWidth - marginLeft - marginRight
	plotHeight                           = chartHeight - marginTop - marginBottom
	chartXSteps                          = 5
	logDecadeTop, logDecadeBottom        = 7.0, 0.0
	worstPercentShown, tailPositionScale = 99.999, 5.0
)

// line is one series; its class gives its colour.
type line struct {
	name  string
	class string
	y     []float64
	tips  []string
}

// tick is a mark of an axis, at a position from 0 to 1.
type tick struct {
	at   float64
	text string
}

// chart is a drawing with positions from 0 to 1 on both axes.
type chart struct {
	label  string // what a reader that cannot see it is told
	x      []float64
	lines  []line
	xTicks []tick
	yTicks []tick
	fill   bool // the area below the first line
}

// draw returns the chart as SVG.
func (c *chart) draw() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, chartHeight, template.HTMLEscapeString(c.label))
	for _, t := range c.yTicks {
		y := plotY(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, marginLeft, marginLeft+plotWidth, y, y)
		fmt.Fprintf(&b, `<text class="tick end" x="%d" y="%.1f">%s</text>`, marginLeft-8, y+4, t.text)
	}
	for _, t := range c.xTicks {
		fmt.Fprintf(&b, `<text class="tick mid" x="%.1f" y="%d">%s</text>`, plotX(t.at), chartHeight-12, t.text)
	}
	for i := range c.lines {
		c.drawLine(&b, &c.lines[i], c.fill && i == 0)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // texts are numbers, or escaped above
}

func (c *chart) drawLine(b *strings.Builder, l *line, fill bool) {
	if len(c.x) == 0 {
		return
	}
	var points strings.Builder
	for i := range c.x {
		fmt.Fprintf(&points, "%.1f,%.1f ", plotX(c.x[i]), plotY(l.y[i]))
	}
	if fill {
		fmt.Fprintf(b, `<polygon class="area %s" points="%.1f,%.1f %s%.1f,%.1f"/>`, l.class,
			plotX(c.x[0]), plotY(0), points.String(), plotX(c.x[len(c.x)-1]), plotY(0))
	}
	fmt.Fprintf(b, `<polyline class="line %s" points="%s"/>`, l.class, points.String())
	for i := range c.x { // wide invisible marks, so that a pointer finds the values
		fmt.Fprintf(b, `<circle class="hit %s" cx="%.1f" cy="%.1f" r="5"><title>%s</title></circle>`, l.class,
			plotX(c.x[i]), plotY(l.y[i]), template.HTMLEscapeString(l.tips[i]))
	}
	if l.name != "" {
		last := len(c.x) - 1
		fmt.Fprintf(b, `<text class="name" x="%.1f" y="%.1f">%s</text>`, plotX(c.x[last])+6, plotY(l.y[last])+4, l.name)
	}
}

func plotX(at float64) float64 { return marginLeft + at*plotWidth }

func plotY(at float64) float64 { return marginTop + (1-at)*plotHeight }

// linearTicks returns ticks from 0 to a round number that is not below top, and that number.
func linearTicks(top float64) ([]tick, float64) {
	step := niceStep(top / 4)
	var ticks []tick
	n := math.Max(1, math.Ceil(top/step-1e-9))
	for i := 0.0; i <= n; i++ {
		ticks = append(ticks, tick{i / n, grouped(i * step)})
	}
	return ticks, n * step
}

// niceStep returns 1, 2 or 5 times a power of ten, not below v.
func niceStep(v float64) float64 {
	if v <= 1 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}

// logScale places microseconds on a scale of whole powers of ten.
type logScale struct{ low, high float64 }

func newLogScale(values []int64) logScale {
	s := logScale{low: logDecadeTop, high: logDecadeBottom}
	for _, v := range values {
		d := math.Log10(float64(max(v, 1)))
		s.low, s.high = math.Min(s.low, math.Floor(d)), math.Max(s.high, math.Ceil(d))
	}
	if s.high <= s.low {
		s.high = s.low + 1
	}
	return s
}

func (s logScale) place(us int64) float64 {
	return (math.Log10(float64(max(us, 1))) - s.low) / (s.high - s.low)
}

// ticks marks powers of ten, and on a short scale their halves and fifths.
func (s logScale) ticks() []tick {
	steps := []float64{1}
	if s.high-s.low <= 2 {
		steps = []float64{1, 2, 5}
	}
	var out []tick
	for d := s.low; d <= s.high; d++ {
		for _, m := range steps {
			at := (d + math.Log10(m) - s.low) / (s.high - s.low)
			if at <= 1+1e-9 {
				out = append(out, tick{at, durationText(m * math.Pow(10, d))})
			}
		}
	}
	return out
}

// durationText prints microseconds in the unit that keeps them short.
func durationText(us float64) string {
	switch {
	case us >= 1e6:
		return trimFloat(us/1e6) + " s"
	case us >= 1e3:
		return trimFloat(us/1e3) + " ms"
	}
	return trimFloat(us) + " us"
}

// timeAxis places the ends of slices.
func timeAxis(r *api.Bench) (x []float64, ticks []tick) {
	whole := r.Seconds * 1000
	for _, s := range r.Timeline {
		x = append(x, float64(s.AtMs)/whole)
	}
	for i := range chartXSteps + 1 {
		at := float64(i) / chartXSteps
		ticks = append(ticks, tick{at, strconv.FormatFloat(at*r.Seconds, 'g', 3, 64) + " s"})
	}
	return x, ticks
}

func throughputChart(r *api.Bench) template.HTML {
	c := chart{label: "committed transfers per second over time", fill: true}
	c.x, c.xTicks = timeAxis(r)
	top := 1.0
	for _, s := range r.Timeline {
		top = math.Max(top, s.TPS)
	}
	c.yTicks, top = linearTicks(top)
	l := line{class: "a"}
	for _, s := range r.Timeline {
		l.y = append(l.y, s.TPS/top)
		l.tips = append(l.tips, fmt.Sprintf("until %.1f s: %s/s, %d not committed", float64(s.AtMs)/1000, grouped(s.TPS), s.Failed))
	}
	c.lines = []line{l}
	return c.draw()
}

// latencyChart shows median and 99th percentile of the slices in which something was answered.
func latencyChart(r *api.Bench) template.HTML {
	c := chart{label: "median and 99th percentile of the latency over time"}
	x, ticks := timeAxis(r)
	c.xTicks = ticks
	var values []int64
	for _, s := range r.Timeline {
		if s.P99Us > 0 {
			values = append(values, s.P50Us, s.P99Us)
		}
	}
	scale := newLogScale(values)
	c.yTicks = scale.ticks()
	p50, p99 := line{name: "p50", class: "a"}, line{name: "p99", class: "b"}
	for i, s := range r.Timeline {
		if s.P99Us == 0 {
			continue
		}
		c.x = append(c.x, x[i])
		for _, l := range []struct {
			to *line
			us int64
		}{{&p50, s.P50Us}, {&p99, s.P99Us}} {
			l.to.y = append(l.to.y, scale.place(l.us))
			l.to.tips = append(l.to.tips, fmt.Sprintf("until %.1f s: %s %s", float64(s.AtMs)/1000, l.to.name, durationText(float64(l.us))))
		}
	}
	c.lines = []line{p50, p99}
	return c.draw()
}

// distributionChart shows which share of the transfers took how long; every step to the right is a tail
// ten times as thin.
func distributionChart(r *api.Bench) template.HTML {
	c := chart{label: "latency by percentile"}
	place := func(percent float64) float64 {
		return math.Min(1, -math.Log10(1-math.Min(percent, worstPercentShown)/100)/tailPositionScale)
	}
	for _, p := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999} {
		c.xTicks = append(c.xTicks, tick{place(p), trimFloat(p) + " %"})
	}
	var values []int64
	for _, q := range r.Distribution {
		values = append(values, q.Us)
	}
	scale := newLogScale(values)
	c.yTicks = scale.ticks()
	l := line{class: "a"}
	for _, q := range r.Distribution {
		if q.Percent > worstPercentShown {
			continue // the maximum stands in the table
		}
		c.x = append(c.x, place(q.Percent))
		l.y = append(l.y, scale.place(q.Us))
		l.tips = append(l.tips, fmt.Sprintf("%s %% within %s", trimFloat(q.Percent), durationText(float64(q.Us))))
	}
	c.lines = []line{l}
	return c.draw()
}
