//go:build e2e

package e2e

import (
	"testing"
	"time"

	"raftbank/test/process"
)

// Bounds. They are generous on purpose: a loaded machine is no failure, a hanging bank is.
const (
	startBound = 30 * time.Second // nine processes and three elections
	leadBound  = 15 * time.Second // a new leader after a death
	settle     = 30 * time.Second // everything that is left open gets settled
	runBound   = 60 * time.Second // one command
)

// await polls until done says so and returns how long that took; the test fails if it does not.
func await(t testing.TB, bound time.Duration, what string, done func() (ok bool, sees string)) time.Duration {
	t.Helper()
	took, err := process.Await(bound, what, done)
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// round shortens a measured time for the log.
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
