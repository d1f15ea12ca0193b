package session

import (
	"strings"
	"testing"
)

// TestTwoAnswersOfOneShardAreOneTombstone: a CANCEL that was slow goes out again, and both copies
// are answered. The other cluster has no tombstone yet: the transfer could still be applied there.
func TestTwoAnswersOfOneShardAreOneTombstone(t *testing.T) {
	w := newWorld(t, Options{})
	w.ups(1, 4)
	w.ops[w.e.Cancel(w.id("a"))] = "a"
	w.flush()
	w.arrive()
	w.answer()
	w.flush() // CANCEL to both
	for range 120 {
		w.e.Tick()
		w.flush()
	}
	w.arrive(1)
	if len(w.replies) < 2 {
		t.Fatalf("want a copy of CANCEL, got %d replies\n%s", len(w.replies), w.out.String())
	}
	w.answer(1)
	w.flush()
	if strings.Contains(w.out.String(), "done a") {
		t.Fatalf("cancelled without a tombstone in C2:\n%s", w.out.String())
	}
	w.run()
	if !strings.Contains(w.out.String(), "done a aborted cancelled") {
		t.Errorf("not cancelled in the end:\n%s", w.out.String())
	}
}
