package cli

import (
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/bench"
)

// busySpansMax bounds the spans that a Recorder keeps to merge late answers into.
const busySpansMax = 4096

// Recorder counts the transfers of a session: outcomes per kind, latencies, and the time in which
// at least one transfer was in flight. It is safe for concurrent use.
type Recorder struct {
	// Now is the clock; nil: time.Now. Set before the first use.
	Now func() time.Time
	// Also is told every result that is observed; nil: nobody. Set before the first use.
	Also func(client.Result)

	// mu guards everything below.
	mu    sync.Mutex
	since time.Time
	kinds map[client.Kind]*kindFigures
	// refused counts by reason what never reached a server.
	refused map[string]int
	busy    busyTime
}

// kindFigures is what is counted of one kind of transfer.
type kindFigures struct {
	committed, unavailable, unknown int
	aborted                         map[string]int
	latency                         *hdrhistogram.Histogram // of answered transfers, in microseconds
}

func newKindFigures() *kindFigures {
	return &kindFigures{
		aborted: map[string]int{},
		latency: bench.NewLatencies(),
	}
}

// NewRecorder returns a Recorder whose session starts now.
func NewRecorder() *Recorder {
	r := &Recorder{}
	r.Reset()
	return r
}

// Reset forgets what was counted and starts anew.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = r.now()
	r.busy = busyTime{}
	r.kinds = map[client.Kind]*kindFigures{client.Intra: newKindFigures(), client.Cross: newKindFigures()}
	r.refused = map[string]int{}
}

// Observe counts one result, at the moment of its answer.
func (r *Recorder) Observe(res client.Result) {
	if r == nil {
		return
	}
	r.count(res)
	if r.Also != nil {
		r.Also(res)
	}
}

func (r *Recorder) count(res client.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kinds[res.Kind]
	if !ok { // refused by the rules before any server was asked: it took no time worth measuring
		r.refused[res.Reason.String()]++
		return
	}
	end := r.now()
	r.busy.add(end.Add(-res.Latency), end)
	switch res.Outcome {
	case client.Committed:
		k.committed++
	case client.Aborted:
		k.aborted[res.Reason.String()]++
	case client.Unavailable:
		k.unavailable++
		return // no answer, no latency
	case client.Unknown:
		k.unknown++
		return
	default:
		panic("unreachable: outcome of a result")
	}
	_ = k.latency.RecordValue(bench.Microseconds(res.Latency)) // in range
}

// Snapshot returns the figures since the last Reset. Throughput counts answered transfers, refusals
// included, per second of busy time.
func (r *Recorder) Snapshot() api.Performance {
	r.mu.Lock()
	defer r.mu.Unlock()
	busy := r.busy.total
	p := api.Performance{
		Client:    "session",
		Loop:      "closed",
		SinceMs:   r.now().Sub(r.since).Milliseconds(),
		BusyMs:    busy.Milliseconds(),
		Reachable: true,
	}
	all := newKindFigures()
	for _, kind := range []client.Kind{client.Intra, client.Cross} {
		k := r.kinds[kind]
		p.Kinds = append(p.Kinds, k.performance(kindName(kind), busy))
		all.merge(k)
	}
	p.Total = all.performance("total", busy)
	if len(r.refused) > 0 {
		p.Kinds = append(p.Kinds, api.KindPerformance{Kind: kindRefused, Aborted: maps.Clone(r.refused)})
		for reason, n := range r.refused {
			p.Total.Aborted[reason] += n
		}
	}
	return p
}

func (r *Recorder) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (k *kindFigures) merge(o *kindFigures) {
	k.committed += o.committed
	k.unavailable += o.unavailable
	k.unknown += o.unknown
	for reason, n := range o.aborted {
		k.aborted[reason] += n
	}
	k.latency.Merge(o.latency)
}

func (k *kindFigures) performance(name string, busy time.Duration) api.KindPerformance {
	p := api.KindPerformance{
		Kind:        name,
		Committed:   k.committed,
		Aborted:     map[string]int{},
		Unavailable: k.unavailable,
		Unknown:     k.unknown,
		LatencyUs:   bench.LatencyOf(k.latency),
	}
	answered := k.committed
	for reason, n := range k.aborted {
		p.Aborted[reason] = n
		answered += n
	}
	if busy > 0 {
		p.TPS = float64(answered) / busy.Seconds()
	}
	return p
}

func kindName(k client.Kind) string {
	if k == client.Cross {
		return api.KindCross
	}
	return api.KindIntra
}

// busyTime is the length of the union of spans that are added in the order of their ends. The
// spans form a stack of disjoint intervals: a new one swallows those at the top that it reaches.
type busyTime struct {
	total time.Duration
	spans []span
}

type span struct{ from, to time.Time }

func (b *busyTime) add(from, to time.Time) {
	for len(b.spans) > 0 {
		top := b.spans[len(b.spans)-1]
		if top.to.Before(from) {
			break
		}
		if top.from.Before(from) {
			from = top.from
		}
		if top.to.After(to) {
			to = top.to
		}
		b.total -= top.to.Sub(top.from)
		b.spans = b.spans[:len(b.spans)-1]
	}
	b.total += to.Sub(from)
	b.spans = append(b.spans, span{from, to})
	if len(b.spans) > busySpansMax {
		// No answer is late enough to reach this far back; the total keeps what they counted.
		b.spans = append(b.spans[:0], b.spans[busySpansMax/2:]...)
	}
}
