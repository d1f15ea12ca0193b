package sim

import "testing"

// networkAlone returns a network without a bank, of a run that promises as little, and looks at as little, as there is.
func networkAlone(durationUs int64) *network {
	w := &world{report: newReport(Options{}), fired: map[Check]bool{}, plan: plan{beyond: true, durationUs: durationUs}}
	w.net = newNetwork(w)
	return w.net
}

// TestStormIsAFailure, also beyond what is promised, and with the checker of progress off.
func TestStormIsAFailure(t *testing.T) {
	n := networkAlone(60 * second)
	n.frame(1, 2, make([]byte, 1<<20))
	if n.w.stopped || n.w.report.Violation != nil {
		t.Fatal("one frame is a storm")
	}
	n.sent = stormBytes
	n.frame(1, 2, make([]byte, 1<<20))
	if !n.w.stopped || n.w.report.Violation == nil {
		t.Errorf("stopped %v, violation %v", n.w.stopped, n.w.report.Violation)
	}
}

// TestLongRunIsNoStorm: its heartbeats alone come to more than a storm in the end.
func TestLongRunIsNoStorm(t *testing.T) {
	n := networkAlone(600 * second)
	for range 10 {
		n.sent = stormBytes - 1
		n.w.now += stormUs
		n.frame(1, 2, make([]byte, 1<<20))
	}
	if n.w.stopped || n.sent != 1<<20 {
		t.Errorf("stopped %v, %d bytes counted", n.w.stopped, n.sent)
	}
	n.w.now, n.w.calm, n.sent = n.w.now+stormUs, true, stormBytes
	n.frame(1, 2, make([]byte, 1))
	if !n.w.stopped {
		t.Error("no storm ends the time to heal")
	}
}

// TestCutsAreNoResets: with nothing but what lingers, no connection is said to have broken by chance, nor a server to have starved.
func TestCutsAreNoResets(t *testing.T) {
	struck := 0
	for seed := range uint64(8) {
		r := Run(Options{Seed: seed, DurationMs: 5_000, Faults: []string{string(faultLinger)}}, nil)
		if v := r.Violation; v != nil {
			t.Errorf("seed %d: %s: %s", seed, v.Check, v.Text)
		}
		struck += r.Faults[string(faultLinger)]
		for _, f := range []fault{faultReset, faultStarve} {
			if n := r.Faults[string(f)]; n > 0 {
				t.Errorf("seed %d: %d of %s", seed, n, f)
			}
		}
	}
	if struck == 0 {
		t.Error("nothing lingered")
	}
}
