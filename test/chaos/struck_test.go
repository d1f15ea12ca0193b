//go:build chaos && linux

package chaos

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

const (
	// everyKind is how long a run must be for every kind of fault to be required.
	everyKind = time.Minute
	// killEvery: there must be one kill -9 of a server for so much of a run, five minutes make 60. A machine with two cores does about eight times as many.
	killEvery = 5 * time.Second
	// killAllEvery is the shortest time between two strikes at the whole bank.
	killAllEvery = 15 * time.Second
	bankKilled   = "bank killed"
)

// crashPoints are those at which clients die in this test.
func crashPoints() []int { return []int{1, 2, 3, 4, 5, 6, 8} }

// struck makes sure that the run was as hard as it claims to be. One that has failed was cut short.
func (r *run) struck() {
	if r.broken.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range missing(r.counts, r.skipped, r.killed, *duration) {
		r.t.Error(text)
	}
	if *duration < everyKind {
		r.t.Logf("faults struck for %s; every kind of them is required from %s on", *duration, everyKind)
	}
}

// missing lists what has not happened in a run of some length and should have.
func missing(counts map[string]int, skipped map[string]string, killed int, length time.Duration) (out []string) {
	if want := int(length / killEvery); killed < want {
		out = append(out, fmt.Sprintf("%d servers were killed in %s; there must be %d", killed, length, want))
	}
	if length < everyKind {
		return out
	}
	want := []string{bankKilled, auditsGivenUp}
	for _, k := range kinds() {
		if skipped[k.name] == "" {
			want = append(want, k.name)
		}
	}
	for _, point := range crashPoints() {
		want = append(want, crashed(point))
	}
	for _, what := range want {
		if counts[what] == 0 {
			out = append(out, fmt.Sprintf("%s: this has not happened in %s", what, length))
		}
	}
	return out
}

// TestMissing: each kind of fault that has not struck is named, in runs that are long enough.
func TestMissing(t *testing.T) {
	all := map[string]int{bankKilled: 1, auditsGivenUp: 1}
	for _, k := range kinds() {
		all[k.name] = 1
	}
	for _, point := range crashPoints() {
		all[crashed(point)] = 1
	}
	skipped := map[string]string{"disk full": "not allowed to mount"}
	for what := range all {
		counts := maps.Clone(all)
		delete(counts, what)
		want := []string{what + ": this has not happened in 1m0s"}
		if got := missing(counts, nil, 12, time.Minute); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if got := missing(counts, skipped, 12, time.Minute); len(got) != 0 && what == "disk full" {
			t.Errorf("%q of what was skipped", got)
		}
	}
	if got := missing(nil, nil, 11, 59*time.Second); len(got) != 0 {
		t.Errorf("a short run: %q", got)
	}
	if got := missing(all, nil, 59, 5*time.Minute); !slices.Equal(got, []string{"59 servers were killed in 5m0s; there must be 60"}) {
		t.Errorf("%q", got)
	}
}
