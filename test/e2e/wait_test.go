//go:build e2e

package e2e

import (
	"testing"
	"time"
)

// Bounds. They are generous on purpose: a loaded machine is no failure, a hanging bank is.
const (
	pollEvery  = 20 * time.Millisecond
	startBound = 30 * time.Second // nine processes and three elections
	leadBound  = 15 * time.Second // a new leader after a death
	settle     = 30 * time.Second // everything that is left open gets settled
	runBound   = 60 * time.Second // one command
)

// await polls until done says so and returns how long that took. done also says what it sees, for
// the failure.
func await(t testing.TB, bound time.Duration, what string, done func() (ok bool, sees string)) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, sees := done()
		took := time.Since(start)
		if ok {
			return took
		}
		if took > bound {
			t.Fatalf("gave up after %s: %s; the last look saw: %s", bound, what, sees)
		}
		<-tick.C
	}
}

// round shortens a measured time for the log.
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
