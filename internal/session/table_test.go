package session

import (
	"testing"

	"pgregory.net/rapid"
)

// TestTable compares a table with a map.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table Table[int]
		model := map[uint64]int{}
		last := uint64(0)
		put := func(n uint64, v int) {
			model[n] = v
			last = max(last, n)
		}
		for range rapid.IntRange(0, 2000).Draw(t, "steps") {
			v := rapid.IntRange(1, 9).Draw(t, "value")
			n := last - min(last, uint64(rapid.IntRange(0, 400).Draw(t, "back")))
			switch rapid.IntRange(0, 6).Draw(t, "what") {
			case 0, 1:
				want := table.Next()
				if got := table.Add(v); got != want || got != last+1 {
					t.Fatalf("Add gave %d, want %d after %d", got, want, last)
				}
				put(last+1, v)
			case 2:
				table.Put(last+3, v)
				put(last+3, v)
			case 3:
				if model[n] != 0 {
					table.Put(n, v)
					put(n, v)
				}
			default:
				if _, known := model[n]; table.Remove(n) != known {
					t.Fatalf("Remove(%d) of a table that holds it: %v", n, known)
				}
				delete(model, n)
			}
			if table.Get(n) != model[n] || table.Len() != len(model) {
				t.Fatalf("%d: %d of %d values, want %d of %d", n, table.Get(n), table.Len(), model[n], len(model))
			}
		}
		seen := uint64(0)
		table.All(func(n uint64, v int) {
			if n <= seen || model[n] != v {
				t.Fatalf("All gave %d: %d after %d", n, v, seen)
			}
			seen = n
			table.Remove(n)
			delete(model, n)
		})
		if len(model) != 0 || table.Len() != 0 {
			t.Fatalf("All left %d values out", len(model))
		}
	})
}
