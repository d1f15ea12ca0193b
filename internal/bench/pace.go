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

// pacer sends the times at which requests are due, as chance spreads independent callers (a Poisson
// process).
type pacer struct {
	due        chan time.Time
	seed       uint64
	perSecond  float64
	start, end time.Time
	sleep      func(time.Duration)
	// shed is told the time of each request that finds the channel full; nil: the pacer waits.
	shed func(time.Time)
}

// run sends until the end, or that of ctx; then it closes the channel.
func (p *pacer) run(ctx context.Context) {
	runtime.LockOSThread() // its sleep should not wait for another goroutine's system call
	defer runtime.UnlockOSThread()
	defer close(p.due)
	rng := rand.New(rand.NewPCG(p.seed, 1<<63))
	gap := func() time.Duration { return time.Duration(rng.ExpFloat64() / p.perSecond * float64(time.Second)) }
	for t := p.start.Add(gap()); t.Before(p.end); t = t.Add(gap()) {
		if d := time.Until(t); d > 0 {
			p.sleep(d)
		}
		if p.shed != nil {
			if ctx.Err() != nil {
				return
			}
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
			return
		}
	}
}
