package ledger

import (
	"slices"
	"testing"
)

// TestMembersSurviveACheckpoint: the membership is that of the last change, before and after a checkpoint; what is handed
// out is a copy.
func TestMembersSurviveACheckpoint(t *testing.T) {
	s := New(1)
	if _, ok := s.Members(); ok {
		t.Error("a new state knows members")
	}
	want := Members{Voters: []uint64{2, 7}, Learners: []uint64{5}, Removed: []uint64{1, 9}}
	s.ChangeMembers(1, 1, want)
	got, _ := s.Members()
	got.Voters[0] = 99
	f := s.Freeze()
	for !f.Step(1) {
	}
	again, err := Restore(1, s.history, s.ids, Saved{Head: f.Head()})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := again.Members()
	if !ok || !slices.Equal(got.Voters, want.Voters) || !slices.Equal(got.Learners, want.Learners) || !slices.Equal(got.Removed, want.Removed) {
		t.Errorf("%+v %v, want %+v", got, ok, want)
	}
	if got.Has(1) || !got.Has(5) || !slices.Equal(got.All(), []uint64{2, 5, 7}) {
		t.Errorf("%+v: all %v", got, got.All())
	}
	if index, _ := again.Applied(); index != 1 {
		t.Errorf("applied %d", index)
	}
}
