package bench

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"raftbank/client"
	"raftbank/internal/shard"
)

// progressEvery is how often Run tells how far it is.
const progressEvery = 500 * time.Millisecond

// What an interrupted run still does.
const (
	shortestWindow = minSlice        // less is no measurement
	lastLook       = 2 * time.Second // for the servers' figures at its end
)

// Progress is how far a run is.
type Progress struct {
	Elapsed, Whole time.Duration // warm-up included
	Committed      int           // so far, warm-up included
	TPS            float64       // since the last one
	Phase          Phase
	Left           time.Duration // of the drain, at most
}

// Phase is what a run is doing.
type Phase int

// The phases of a run.
const (
	WarmingUp Phase = iota
	Measuring
	Draining // the window is over, but not all that was due in it is answered
)

// String returns the phase's name.
func (p Phase) String() string { return [...]string{"warm-up", "measuring", "draining"}[p] }

// Measured is what a run counted. Result makes figures of it.
type Measured struct {
	started       time.Time
	recorder      *recorder
	before, after map[string]uint64 // servers' usage at the ends of the window
	own           [2]map[string]uint64
	load          *float64 // load average before
	// UsageError says why figures of the servers are missing; nil: none is.
	UsageError error
	// Interrupted says that ctx ended within the window: what was measured until then is a run of that length.
	Interrupted bool
}

// run is one run in progress.
type run struct {
	o         Options
	target    Target
	w         window
	recorders []*recorder
	due       chan time.Time // open loop
	sleep     func(time.Duration)
	progress  func(Progress) // may be nil
	unsent    *unsent        // of an open loop: what no caller took

	ctx  context.Context
	stop context.CancelCauseFunc
	// sending ends with ctx, or with the drain: what is open then is cut off, and counts.
	sending context.Context
	cut     context.CancelFunc
}

// Run puts the load on the target and measures it. The options must be valid for the topology. progress
// may be nil; it is called from Run's goroutine.
// Errors: the end of ctx before the window; a session that failed for good.
func Run(ctx context.Context, target Target, t *shard.Topology, o Options, progress func(Progress)) (*Measured, error) {
	r := &run{o: o, target: target, sleep: sleep, progress: progress}
	return r.run(ctx, t)
}

func (r *run) run(ctx context.Context, t *shard.Topology) (*Measured, error) {
	o, target := r.o, r.target
	sessions, err := connect(ctx, target, o.Clients)
	defer func() {
		for _, s := range sessions {
			_ = s.Close() // the load is over: nothing depends on it
		}
	}()
	if err != nil {
		return nil, err
	}
	m := &Measured{started: time.Now(), load: loadAverage()}
	r.w = newWindow(m.started, &o)
	r.ctx, r.stop = context.WithCancelCause(ctx)
	defer r.stop(nil)
	r.sending, r.cut = context.WithCancel(r.ctx)
	defer r.cut()
	for range min(o.Clients*o.InFlight, 2*runtime.GOMAXPROCS(0)) {
		r.recorders = append(r.recorders, newRecorder(&r.w))
	}
	done := r.slots(sessions, newAccounts(t, o))
	if err := r.watch(ctx, m, done); err != nil {
		return nil, err
	}
	m.recorder = r.recorders[0]
	for _, other := range r.recorders[1:] {
		m.recorder.merge(other)
	}
	return m, nil
}

// connect opens all clients.
func connect(ctx context.Context, target Target, n int) ([]Session, error) {
	var sessions []Session
	for i := range n {
		s, err := target.Connect(ctx, i)
		if err != nil {
			return sessions, fmt.Errorf("open client %d of %d: %w", i+1, n, err)
		}
		sessions = append(sessions, s)
	}
	return sessions, nil
}

// slots starts a goroutine per request in flight, and the pacer of an open loop. The channel is closed when all have
// ended.
func (r *run) slots(sessions []Session, a *accounts) <-chan struct{} {
	var running sync.WaitGroup
	if p := r.pacer(); p != nil {
		running.Go(func() { p.run(r.sending) })
	}
	n := 0
	for i, s := range sessions {
		for slot := range r.o.InFlight {
			rec, g := r.recorders[n%len(r.recorders)], a.generator(i, slot)
			n++
			running.Go(func() {
				if err := r.slot(s, rec, g); err != nil {
					r.stop(err)
				}
			})
		}
	}
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	return done
}

// pacer returns what says when requests are due, and makes its channel; nil in a closed loop.
func (r *run) pacer() *pacer {
	if r.o.Rate == 0 {
		return nil
	}
	r.unsent = newUnsent(&r.w, &r.o)
	r.recorders = append(r.recorders, r.unsent.recorder)
	p := &pacer{seed: r.o.Seed, perSecond: r.o.Rate / float64(r.o.Batch), start: r.w.start, end: r.w.to, ramp: r.o.Warmup / 2, sleep: r.sleep, late: r.late}
	r.due = make(chan time.Time, dueBacklog)
	if r.o.Queue > 0 {
		r.due = make(chan time.Time, r.o.Queue)
		p.shed = r.unsent.shedAt
	}
	p.due = r.due
	return p
}

// late counts a request that was still waiting when the drain ended; false: the run itself has ended.
func (r *run) late(due time.Time) bool {
	if r.ctx.Err() != nil {
		return false
	}
	r.unsent.lateAt(due)
	return true
}

// next returns when the slot's next request is due; false: no more.
func (r *run) next() (time.Time, bool) {
	if r.due == nil {
		now := time.Now()
		return now, now.Before(r.w.to) && r.ctx.Err() == nil
	}
	for due := range r.due {
		if r.sending.Err() == nil {
			return due, true
		}
		if !r.late(due) {
			break
		}
	}
	return time.Time{}, false
}

// slot sends one request after the other.
func (r *run) slot(s Session, rec *recorder, g *Generator) error {
	batch := make([]client.Transfer, r.o.Batch)
	for {
		due, ok := r.next()
		if !ok {
			return nil
		}
		if g.IsRead() {
			if err := s.Read(r.sending, g.Account()); err == nil || r.ctx.Err() == nil {
				rec.read(due, time.Now(), err == nil)
			}
			continue
		}
		g.Fill(batch)
		sent := time.Now()
		tally, err := s.Transfer(r.sending, batch)
		cut := r.sending.Err() != nil
		switch {
		case err != nil && cut && r.ctx.Err() == nil:
			return nil // it ended with the drain
		case err != nil:
			return err
		case r.ctx.Err() == nil: // else the outcomes are of the run's end, not of the system
			rec.transfers(due, sent, &tally, cut)
		}
	}
}

// watch takes the servers' figures at the ends of the window and tells how far the run is, until all
// slots have ended.
func (r *run) watch(ctx context.Context, m *Measured, done <-chan struct{}) error {
	begins, ends := time.NewTimer(time.Until(r.w.from)), time.NewTimer(time.Until(r.w.to))
	defer begins.Stop()
	defer ends.Stop()
	drainEnd := r.w.to.Add(cmp.Or(r.o.Drain, defaultDrain))
	drained := time.NewTimer(time.Until(drainEnd))
	defer drained.Stop()
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	last, lastAt := 0, m.started
	stopped, stoppedAt := r.ctx.Done(), time.Time{}
	for done != nil || stopped != nil && m.after == nil {
		select {
		case <-done:
			done = nil // a slow open loop is done before its window
		case <-stopped:
			stopped, stoppedAt = nil, time.Now() // the slots end now
		case <-begins.C:
			r.sample(ctx, m, &m.before, 0)
		case <-ends.C:
			if stopped != nil {
				r.sample(ctx, m, &m.after, 1)
			}
		case <-drained.C:
			r.cut()
		case now := <-ticks.C:
			if r.progress != nil {
				n := r.total()
				r.progress(Progress{
					Elapsed: now.Sub(m.started), Whole: r.w.to.Sub(m.started), Committed: n,
					TPS: float64(n-last) / now.Sub(lastAt).Seconds(), Phase: r.w.phase(now), Left: drainEnd.Sub(now),
				})
				last, lastAt = n, now
			}
		}
	}
	switch cause := context.Cause(r.ctx); {
	case cause == nil:
		return nil
	case ctx.Err() == nil:
		return cause
	}
	if stopped != nil {
		stoppedAt = time.Now()
	}
	return r.interrupted(ctx, m, stoppedAt)
}

// interrupted ends the window at a time, if it had begun. Nothing runs any more.
// Errors: that of ctx if there is nothing to show.
func (r *run) interrupted(ctx context.Context, m *Measured, at time.Time) error {
	if at.Sub(r.w.from) < shortestWindow {
		return ctx.Err()
	}
	m.Interrupted = true
	if at.Before(r.w.to) {
		r.w.to = at
	}
	if m.after == nil {
		asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
		defer cancel()
		r.sample(asked, m, &m.after, 1)
	}
	return nil
}

// sample takes the figures at one end of the window.
func (r *run) sample(ctx context.Context, m *Measured, into *map[string]uint64, own int) {
	m.own[own] = ownUsage()
	usage, err := r.target.Usage(ctx)
	if *into = usage; usage == nil {
		*into = map[string]uint64{}
	}
	if err != nil {
		m.UsageError = err
	}
}

func (r *run) total() int {
	n := 0
	for _, rec := range r.recorders {
		n += rec.total()
	}
	return n
}
