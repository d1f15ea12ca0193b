package bench

import (
	"context"
	"math/rand/v2"
	"runtime"
	"time"
)

// dueBacklog is how many due requests wait without holding up the pacer. It loses nothing when it is
// held up: the times are computed, not looked up.
const dueBacklog = 1 << 16

// longestSleep bounds how late a pacer with a low rate sees the end of ctx.
const longestSleep = 100 * time.Millisecond

// leastRamp is the share of its rate with which a pacer begins.
const leastRamp = 0.05

// pacer sends the times at which requests are due, as chance spreads independent callers (a Poisson
// process).
type pacer struct {
	due        chan time.Time
	seed       uint64
	perSecond  float64
	start, end time.Time
	ramp       time.Duration // from the start on, in which the rate rises to perSecond
	sleep      func(time.Duration)
	// shed is told the time of each request that finds the channel full; nil: the pacer waits.
	shed func(time.Time)
	// late is told the times of the requests that are left when ctx ends, until it returns false.
	late func(time.Time) bool
}

// run sends until the end, or that of ctx; then it closes the channel.
func (p *pacer) run(ctx context.Context) {
	runtime.LockOSThread() // its sleep should not wait for another goroutine's system call
	defer runtime.UnlockOSThread()
	defer close(p.due)
	rng := rand.New(rand.NewPCG(p.seed, 1<<63))
	gap := func(at time.Duration) time.Duration {
		rate := p.perSecond
		if at < p.ramp {
			rate *= max(leastRamp, float64(at)/float64(p.ramp))
		}
		return time.Duration(rng.ExpFloat64() / rate * float64(time.Second))
	}
	for t := p.start.Add(gap(0)); t.Before(p.end); t = t.Add(gap(t.Sub(p.start))) {
		for d := time.Until(t); d > 0 && ctx.Err() == nil; d = time.Until(t) {
			p.sleep(min(d, longestSleep))
		}
		if ctx.Err() != nil {
			if !p.late(t) {
				return
			}
			continue
		}
		if p.shed != nil {
			select {
			case p.due <- t:
			default:
				p.shed(t)
			}
			continue
		}
		select {
		case p.due <- t:
		case <-ctx.Done():
			if !p.late(t) {
				return
			}
		}
	}
}
