package bench

import (
	"testing"

	"raftbank/internal/api"
)

func TestGrowth(t *testing.T) {
	for _, quick := range []bool{false, true} {
		names, groups, last := map[string]bool{}, map[string]bool{}, ""
		for _, r := range Growth(quick, 5) {
			if r.Share > 0 {
				r.Options.Rate = r.Share * 1000 // of what the closed loop reaches, which is known later
			}
			accounts := max(r.Accounts, 3000) / uint64(r.Shards)
			if err := r.Options.Validate(testTopology(r.Shards, accounts)); err != nil {
				t.Errorf("row %s: %v", r.Name, err)
			}
			if names[r.Name] || r.Options.Seed != 5 {
				t.Errorf("row %s: twice, or without the seed", r.Name)
			}
			first := r.Group != last
			if first && groups[r.Group] {
				t.Errorf("row %s: its group stands in two places", r.Name)
			}
			if first && (r.Share > 0 || r.Window > 1) {
				t.Errorf("row %s needs the first row of its group, and is it", r.Name)
			}
			names[r.Name], groups[r.Group], last = true, true, r.Group
		}
		if len(groups) != 11 {
			t.Errorf("%d groups, want 11", len(groups))
		}
	}
}

func TestWindowTPS(t *testing.T) {
	b := &api.Bench{Seconds: 60}
	for i := range 120 {
		b.Timeline = append(b.Timeline, api.BenchSlice{AtMs: int64(i+1) * 500, Committed: 100 + i/20})
	}
	for n := 1; n <= Windows; n++ {
		if got, want := WindowTPS(b, n), 2*float64(99+n); got != want {
			t.Errorf("window %d: %g/s, want %g", n, got, want)
		}
	}
	if got := WindowTPS(&api.Bench{Seconds: 60}, 1); got != 0 {
		t.Errorf("without a timeline: %g", got)
	}
}
