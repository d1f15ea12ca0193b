package shard

import (
	"fmt"
	"slices"
)

// Range is a run of account ids, both ends included.
type Range struct {
	First, Last Account
}

// Contains reports whether a lies in the range.
func (r Range) Contains(a Account) bool { return r.First <= a && a <= r.Last }

// Len returns the number of accounts in the range.
func (r Range) Len() uint64 { return uint64(r.Last-r.First) + 1 }

// String returns "first-last".
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// Assignment says that a shard holds a range.
type Assignment struct {
	Shard ID
	Range Range
}

// Map assigns account ranges to shards. It is immutable; the zero Map holds nothing.
type Map struct {
	epoch uint32
	// parts is sorted by Range.First and free of overlaps.
	parts []Assignment
}

// NewMap builds a map from assignments in any order. Each shard holds one range.
// Errors: an empty or reversed range, an overlap, a shard named twice, an id at or above EquityBase.
func NewMap(epoch uint32, parts []Assignment) (Map, error) {
	sorted := slices.Clone(parts)
	slices.SortFunc(sorted, func(a, b Assignment) int {
		switch {
		case a.Range.First < b.Range.First:
			return -1
		case a.Range.First > b.Range.First:
			return 1
		}
		return int(a.Shard) - int(b.Shard)
	})
	seen := map[ID]bool{}
	for i, p := range sorted {
		switch {
		case p.Shard == 0:
			return Map{}, fmt.Errorf("accounts %s: shard number must be 1 or more", p.Range)
		case p.Range.First == 0 || p.Range.Last < p.Range.First:
			return Map{}, fmt.Errorf("shard %s: range %s is empty, reversed or starts at 0", p.Shard, p.Range)
		case p.Range.Last >= EquityBase:
			return Map{}, fmt.Errorf("shard %s: range %s reaches the bank's own ids (from %d)", p.Shard, p.Range, EquityBase)
		case seen[p.Shard]:
			return Map{}, fmt.Errorf("shard %s has more than one range", p.Shard)
		case i > 0 && sorted[i-1].Range.Last >= p.Range.First:
			return Map{}, fmt.Errorf("accounts %d-%d belong to both %s and %s",
				p.Range.First, min(p.Range.Last, sorted[i-1].Range.Last), sorted[i-1].Shard, p.Shard)
		}
		seen[p.Shard] = true
	}
	return Map{epoch: epoch, parts: sorted}, nil
}

// Epoch returns the version of the map, carried by every request.
func (m Map) Epoch() uint32 { return m.epoch }

// Assignments returns the parts in account order. The caller must not change them.
func (m Map) Assignments() []Assignment { return m.parts }

// Shard returns the shard that holds a, and whether any does.
func (m Map) Shard(a Account) (ID, bool) {
	from, to := 0, len(m.parts) // by hand: it is looked up several times per transfer
	for from < to {
		switch i := int(uint(from+to) / 2); {
		case m.parts[i].Range.Last < a:
			from = i + 1
		case m.parts[i].Range.First > a:
			to = i
		default:
			return m.parts[i].Shard, true
		}
	}
	return 0, false
}

// Range returns the range that a shard holds, and whether the map knows the shard.
func (m Map) Range(id ID) (Range, bool) {
	for _, p := range m.parts {
		if p.Shard == id {
			return p.Range, true
		}
	}
	return Range{}, false
}

// Equal reports whether both maps have the same epoch and the same parts.
func (m Map) Equal(o Map) bool { return m.epoch == o.epoch && slices.Equal(m.parts, o.parts) }

// String lists the parts, for example "C1 1-1000, C2 1001-2000".
func (m Map) String() string {
	var s string
	for i, p := range m.parts {
		if i > 0 {
			s += ", "
		}
		s += p.Shard.String() + " " + p.Range.String()
	}
	return s
}
