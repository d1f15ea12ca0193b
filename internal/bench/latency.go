package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"raftbank/internal/api"
)

// Histograms hold microseconds up to ten minutes; a longer wait counts as ten minutes.
const (
	maxUs       = int64(10 * time.Minute / time.Microsecond)
	digits      = 3
	sliceDigits = 2 // of the many histograms of the timeline
)

// NewLatencies returns an empty histogram for what Microseconds returns, with three significant digits.
func NewLatencies() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxUs, digits) }

// Microseconds of a latency, within what a histogram of NewLatencies holds: 1 us to 10 min.
func Microseconds(d time.Duration) int64 { return min(max(d.Microseconds(), 1), maxUs) }

// LatencyOf returns mean, quantiles and maximum of a histogram of microseconds; zeros if it is empty.
func LatencyOf(h *hdrhistogram.Histogram) api.LatencyUs {
	return api.LatencyUs{
		Mean: h.Mean(), P50: h.ValueAtQuantile(50), P95: h.ValueAtQuantile(95), P99: h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
}
