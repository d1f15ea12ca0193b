package bench

import (
	"cmp"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"raftbank/client"
	"raftbank/internal/api"
)

// Kinds that a recorder tells apart, in the order of the output.
const (
	kindIntra = iota
	kindCross
	kindRead
	kinds
)

// kindRead has no name in package api, which knows transfers only.
const readName = "read"

var kindNames = [kinds]string{api.KindIntra, api.KindCross, readName}

// window is the measured stretch of a run, cut into slices.
type window struct {
	start    time.Time // of the warm-up
	from, to time.Time
	slice    time.Duration
	open     bool // open loop: what was due in the window counts, else what was answered in it
}

// slices of the timeline are at least this long and at most this many.
const (
	minSlice  = 100 * time.Millisecond
	maxSlices = 120
)

func newWindow(start time.Time, o *Options) window {
	w := window{start: start, from: start.Add(o.Warmup), open: o.Rate > 0}
	w.to = w.from.Add(o.Duration)
	w.slice = max(minSlice, (o.Duration+maxSlices-1)/maxSlices)
	return w
}

func (w *window) holds(t time.Time) bool { return !t.Before(w.from) && t.Before(w.to) }

// phase returns what a run does at a time.
func (w *window) phase(t time.Time) Phase {
	switch {
	case t.Before(w.from):
		return WarmingUp
	case t.Before(w.to):
		return Measuring
	}
	return Draining
}

// counts reports whether a request counts that was due and answered at these times.
func (w *window) counts(due, end time.Time) bool {
	if w.open {
		return w.holds(due)
	}
	return w.holds(end)
}

// figures is what is counted of one kind.
type figures struct {
	committed, unavailable, unknown int
	inWindow                        int // of committed: answered in the window
	aborted                         map[client.Reason]int
	latency                         *hdrhistogram.Histogram // of answered ones
}

// slice is a part of the timeline.
type slice struct {
	committed, failed  int
	latency            *hdrhistogram.Histogram // nil: nothing happened
	reads, readsFailed int
	readLatency        *hdrhistogram.Histogram // nil: none was answered
}

// recorder counts for some slots. Many slots share few recorders, for histograms are large.
type recorder struct {
	w *window

	mu sync.Mutex
	// guarded by mu
	kinds     [kinds]figures
	slices    []slice
	committed int // in the whole run, warm-up included
	// Transfers that were due in the window and never sent, which unsent counts: those that found all callers and the queue
	// taken, and those that still waited when the drain ended.
	shed, late int
	cut        int // transfers that were open when the drain ended, and have no answer
}

func newRecorder(w *window) *recorder {
	r := &recorder{w: w, slices: make([]slice, int((w.to.Sub(w.from)+w.slice-1)/w.slice))}
	for i := range r.kinds {
		r.kinds[i] = figures{aborted: map[client.Reason]int{}, latency: NewLatencies()}
	}
	return r
}

// transfers counts what became of a request that was due and sent at these times. A latency
// begins when the request was due. cut: the drain ended before the request did.
func (r *recorder) transfers(due, sent time.Time, tally *client.Tally, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range tally.Committed {
		end := sent.Add(c.Latency)
		r.committed += c.Count
		if r.w.counts(due, end) {
			r.commits(r.figuresOf(c.Kind), c.Count, end.Sub(due), end)
		}
	}
	for i := range tally.Others {
		res := &tally.Others[i].Result
		if end := sent.Add(res.Latency); r.w.counts(due, end) {
			r.other(r.figuresOf(res.Kind), res, end.Sub(due), end)
			if cut && res.Outcome != client.Aborted {
				r.cut++
			}
		}
	}
}

func (r *recorder) figuresOf(k client.Kind) *figures {
	if k == client.Cross {
		return &r.kinds[kindCross]
	}
	return &r.kinds[kindIntra]
}

// commits counts transfers that committed at end.
func (r *recorder) commits(f *figures, n int, latency time.Duration, end time.Time) {
	us := Microseconds(latency)
	f.committed += n
	if r.w.holds(end) {
		f.inWindow += n
	}
	_ = f.latency.RecordValues(us, int64(n)) // in range, by Microseconds
	if s := r.sliceAt(end); s != nil {
		s.committed += n
		_ = s.latency.RecordValues(us, int64(n))
	}
}

// other counts a transfer that did not commit.
func (r *recorder) other(f *figures, res *client.Result, latency time.Duration, end time.Time) {
	s := r.sliceAt(end)
	if s != nil {
		s.failed++
	}
	switch res.Outcome {
	case client.Aborted:
		f.aborted[res.Reason]++
	case client.Unavailable:
		f.unavailable++
		return // no answer, no latency
	case client.Unknown:
		f.unknown++
		return
	case client.Committed:
		panic("unreachable: a commit among the others")
	default:
		panic("unreachable: outcome of a result")
	}
	us := Microseconds(latency)
	_ = f.latency.RecordValue(us)
	if s != nil {
		_ = s.latency.RecordValue(us)
	}
}

// read counts one read.
func (r *recorder) read(due, end time.Time, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.w.counts(due, end) {
		return
	}
	f, s := &r.kinds[kindRead], r.sliceAt(end)
	if !answered {
		f.unavailable++
		if s != nil {
			s.readsFailed++
		}
		return
	}
	f.committed++
	us := Microseconds(end.Sub(due))
	_ = f.latency.RecordValue(us)
	if s == nil {
		return
	}
	f.inWindow++
	s.reads++
	if s.readLatency == nil {
		s.readLatency = hdrhistogram.New(1, maxUs, sliceDigits)
	}
	_ = s.readLatency.RecordValue(us)
}

// sliceAt returns the slice of a time; nil outside the window.
func (r *recorder) sliceAt(t time.Time) *slice {
	if !r.w.holds(t) {
		return nil
	}
	s := &r.slices[int(t.Sub(r.w.from)/r.w.slice)]
	if s.latency == nil {
		s.latency = hdrhistogram.New(1, maxUs, sliceDigits)
	}
	return s
}

// total returns the committed transfers so far, warm-up included.
func (r *recorder) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committed
}

// merge adds another recorder's figures. Nobody may use either meanwhile.
func (r *recorder) merge(o *recorder) {
	r.committed += o.committed
	r.shed += o.shed
	r.late += o.late
	r.cut += o.cut
	for i := range r.kinds {
		a, b := &r.kinds[i], &o.kinds[i]
		a.committed += b.committed
		a.inWindow += b.inWindow
		a.unavailable += b.unavailable
		a.unknown += b.unknown
		for reason, n := range b.aborted {
			a.aborted[reason] += n
		}
		a.latency.Merge(b.latency)
	}
	for i := range r.slices {
		a, b := &r.slices[i], &o.slices[i]
		a.committed += b.committed
		a.failed += b.failed
		a.reads += b.reads
		a.readsFailed += b.readsFailed
		a.latency = mergeLatency(a.latency, b.latency)
		a.readLatency = mergeLatency(a.readLatency, b.readLatency)
	}
}

// mergeLatency adds b to a; either may be nil.
func mergeLatency(a, b *hdrhistogram.Histogram) *hdrhistogram.Histogram {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	a.Merge(b)
	return a
}
