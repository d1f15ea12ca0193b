package storage

import (
	"encoding/binary"
	"errors"
	"slices"

	"raftbank/internal/ledger"
)

// maxRanges bounds an idRanges.
const maxRanges = 64

// idRange is a run of ids, ends included.
type idRange struct {
	lo, hi ledger.TransferID
}

// idRanges is a superset of a set of ids, as few disjoint ranges: what lies in none of them is surely not in the
// set. It keeps the widest gaps, so that ids ordered by time cost nothing even if some client's clock is
// years ahead: its ids get a range of their own.
type idRanges struct {
	ranges []idRange // ascending
	last   int       // where the last id was found
	// narrowest is the width of the narrowest gap between two ranges once there are maxRanges.
	narrowest uint64
}

// high is the part of an id by which gaps are measured.
func high(id *ledger.TransferID) uint64 { return binary.BigEndian.Uint64(id[:8]) }

func less(a, b *ledger.TransferID) bool {
	if x, y := high(a), high(b); x != y {
		return x < y
	}
	return binary.BigEndian.Uint64(a[8:]) < binary.BigEndian.Uint64(b[8:])
}

// clone returns a copy that shares nothing.
func (x *idRanges) clone() idRanges {
	c := *x
	c.ranges = slices.Clone(x.ranges)
	return c
}

func (r *idRange) holds(id *ledger.TransferID) bool { return !less(id, &r.lo) && !less(&r.hi, id) }

// place returns the first range that does not end before id.
func (x *idRanges) place(id *ledger.TransferID) int {
	lo, hi := 0, len(x.ranges)
	for lo < hi {
		if mid := (lo + hi) / 2; less(&x.ranges[mid].hi, id) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// mayHold reports whether the set may hold the id.
func (x *idRanges) mayHold(id *ledger.TransferID) bool {
	if n := len(x.ranges); n == 0 || less(&x.ranges[n-1].hi, id) {
		return false // as mostly, if ids are ordered by time
	}
	i := x.place(id)
	return i < len(x.ranges) && x.ranges[i].holds(id)
}

// mayHoldAny reports whether the set may hold an id from lo to hi.
func (x *idRanges) mayHoldAny(lo, hi ledger.TransferID) bool {
	i := x.place(&lo)
	return i < len(x.ranges) && !less(&hi, &x.ranges[i].lo)
}

// gapBefore returns the width of the gap before range i, the widest there is before the first.
func (x *idRanges) gapBefore(i int) uint64 {
	if i == 0 || i == len(x.ranges) {
		return ^uint64(0)
	}
	return high(&x.ranges[i].lo) - high(&x.ranges[i-1].hi)
}

// add puts an id into the set.
func (x *idRanges) add(id ledger.TransferID) {
	if x.last < len(x.ranges) && x.ranges[x.last].holds(&id) {
		return
	}
	i := x.place(&id)
	x.last = i
	if i < len(x.ranges) && x.ranges[i].holds(&id) {
		return
	}
	if len(x.ranges) < maxRanges {
		x.insert(i, id)
		return
	}
	before, after := ^uint64(0), ^uint64(0)
	if i > 0 {
		before = high(&id) - high(&x.ranges[i-1].hi)
	}
	if i < len(x.ranges) {
		after = high(&x.ranges[i].lo) - high(&id)
	}
	if min(before, after) > x.narrowest {
		x.mergeNarrowest()
		x.insert(x.place(&id), id)
		return
	}
	// The id's own gap is no wider than the narrowest: the range beside it grows.
	if before <= after {
		x.last = i - 1
		x.ranges[i-1].hi = id
	} else {
		x.ranges[i].lo = id
	}
	x.narrowest = min(x.narrowest, x.gapBefore(x.last), x.gapBefore(x.last+1))
}

// cover puts all ids from lo to hi into the set.
func (x *idRanges) cover(lo, hi ledger.TransferID) {
	x.add(lo)
	i := x.last
	if !less(&x.ranges[i].hi, &hi) {
		return
	}
	x.ranges[i].hi = hi
	end := i + 1
	for end < len(x.ranges) && !less(&hi, &x.ranges[end].lo) {
		if less(&hi, &x.ranges[end].hi) {
			x.ranges[i].hi = x.ranges[end].hi
		}
		end++
	}
	x.ranges = slices.Delete(x.ranges, i+1, end)
	x.measure()
}

func (x *idRanges) insert(i int, id ledger.TransferID) {
	x.ranges = slices.Insert(x.ranges, i, idRange{lo: id, hi: id})
	x.last = i
	x.measure()
}

func (x *idRanges) mergeNarrowest() {
	for i := 1; i < len(x.ranges); i++ {
		if x.gapBefore(i) == x.narrowest {
			x.ranges[i-1].hi = x.ranges[i].hi
			x.ranges = slices.Delete(x.ranges, i, i+1)
			return
		}
	}
}

func (x *idRanges) measure() {
	x.narrowest = ^uint64(0)
	for i := 1; i < len(x.ranges); i++ {
		x.narrowest = min(x.narrowest, x.gapBefore(i))
	}
}

// appendTo encodes number of ranges 1, ranges.
func (x *idRanges) appendTo(b []byte) []byte {
	b = append(b, byte(len(x.ranges)))
	for i := range x.ranges {
		b = append(b, x.ranges[i].lo[:]...)
		b = append(b, x.ranges[i].hi[:]...)
	}
	return b
}

var errRanges = errors.New("ranges of ids that cannot be")

// decodeRanges reads what appendTo wrote.
func decodeRanges(r *payloadReader) (idRanges, error) {
	var x idRanges
	n := int(r.byte())
	if n > maxRanges {
		return x, errRanges
	}
	for i := range n {
		raw := r.bytes(32)
		if r.failed {
			return x, errRanges
		}
		v := idRange{lo: ledger.TransferID(raw[:16]), hi: ledger.TransferID(raw[16:])}
		if less(&v.hi, &v.lo) || i > 0 && !less(&x.ranges[i-1].hi, &v.lo) {
			return x, errRanges
		}
		x.ranges = append(x.ranges, v)
	}
	x.measure()
	return x, nil
}
