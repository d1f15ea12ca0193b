package bench

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// Size of a chart in its own units, and the room for axes.
const (
	chartWidth, chartHeight              = 760, 260
	marginLeft, marginRight, marginTop   = 64, 70, 14
	marginBottom                         = 34
	plotWidth                            = chartWidth - marginLeft - marginRight
	plotHeight                           = chartHeight - marginTop - marginBottom
	chartXSteps                          = 5
	nameHeight                           = 14 // of a line's name, with the room below it
	logDecadeTop, logDecadeBottom        = 7.0, 0.0
	worstPercentShown, tailPositionScale = 99.999, 5.0
)

// line is one series; its class gives its colour.
type line struct {
	name  string
	class string
	x, y  []float64
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
	c.drawNames(&b)
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // texts are numbers, or escaped above
}

func (c *chart) drawLine(b *strings.Builder, l *line, fill bool) {
	if len(l.x) == 0 {
		return
	}
	var points strings.Builder
	for i := range l.x {
		fmt.Fprintf(&points, "%.1f,%.1f ", plotX(l.x[i]), plotY(l.y[i]))
	}
	if fill {
		fmt.Fprintf(b, `<polygon class="area %s" points="%.1f,%.1f %s%.1f,%.1f"/>`, l.class,
			plotX(l.x[0]), plotY(0), points.String(), plotX(l.x[len(l.x)-1]), plotY(0))
	}
	fmt.Fprintf(b, `<polyline class="line %s" points="%s"/>`, l.class, points.String())
	for i := range l.x { // wide invisible marks, so that a pointer finds the values
		fmt.Fprintf(b, `<circle class="hit %s" cx="%.1f" cy="%.1f" r="5"><title>%s</title></circle>`, l.class,
			plotX(l.x[i]), plotY(l.y[i]), template.HTMLEscapeString(l.tips[i]))
	}
	if len(l.x) == 1 { // a line of one point shows nothing
		fmt.Fprintf(b, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="3"/>`, l.class, plotX(l.x[0]), plotY(l.y[0]))
	}
}

// drawNames writes the lines' names at their ends, one below the other where they meet.
func (c *chart) drawNames(b *strings.Builder) {
	type name struct {
		text, class string
		x, y        float64
	}
	var names []name
	for i := range c.lines {
		if l := &c.lines[i]; l.name != "" && len(l.x) > 0 {
			last := len(l.x) - 1
			names = append(names, name{l.name, l.class, plotX(l.x[last]) + 6, plotY(l.y[last]) + 4})
		}
	}
	slices.SortStableFunc(names, func(a, b name) int { return cmp.Compare(a.y, b.y) })
	for i, n := range names {
		if i > 0 {
			n.y = max(n.y, names[i-1].y+nameHeight)
			names[i] = n
		}
		fmt.Fprintf(b, `<text class="name %s" x="%.1f" y="%.1f">%s</text>`, n.class, n.x, n.y, template.HTMLEscapeString(n.text))
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
