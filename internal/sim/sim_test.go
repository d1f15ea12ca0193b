package sim

import (
	"io"
	"testing"
)

// shortMs keeps a run of the ordinary tests small.
const shortMs = 10_000

func TestSeeds(t *testing.T) {
	totals := NewTotals()
	for seed := range uint64(60) {
		r := Run(Options{Seed: seed, DurationMs: shortMs}, nil)
		totals.Add(r)
		if v := r.Violation; v != nil {
			t.Errorf("seed %d (%s): %s at %d ms: %s\nrepeat: %s --trace", seed, r.Shape, v.Check, v.AtMs, v.Text, r.Repeat)
		}
	}
	if totals.Outcomes["committed"] == 0 || totals.Elections == 0 || totals.Checked[string(CheckConservation)] == 0 {
		t.Errorf("nothing happened: %+v", totals)
	}
	t.Logf("%+v", totals)
}

func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(5) {
		o := Options{Seed: seed, DurationMs: 5_000}
		// The story must not change what happens.
		a, b := Run(o, nil), Run(o, io.Discard)
		if a.TraceHash != b.TraceHash {
			t.Errorf("seed %d: trace hash %s, then %s", seed, a.TraceHash, b.TraceHash)
		}
	}
}
