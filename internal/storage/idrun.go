package storage

import (
	"cmp"
	"encoding/binary"
	"runtime"
	"slices"

	"raftbank/internal/ledger"
)

// idRun is a full generation of ids on its way into the table. It may be written on any goroutine: it shares
// only what nobody changes in the meantime.
//
// Ids ordered by time come a little out of order. A run takes from the next generation what is not above its own
// highest id; so mostly runs follow each other without overlap, and the table need never write them again. What comes
// later still is written apart. The highest id counts up to the end of its group, so that runs share none.
type idRun struct {
	old     []windowEntry // the generation
	written int           // as many of its first entries the run before has considered
	next    []windowEntry // what there is of the generation after it
	// gathered and sorted are room for as many entries as both.
	gathered, sorted []windowEntry
	// ranges and top are those of the index, and with this run's ids once it is written.
	ranges idRanges
	top    ledger.TransferID
	done   chan struct{} // closed at the end
	err    error
}

// write sorts the run and gives it to the table.
func (r *idRun) write(table Table) {
	defer close(r.done)
	top := r.gather()
	sorted := r.sorted[:len(r.gathered)]
	sortIDs(sorted, r.gathered)
	late, _ := slices.BinarySearchFunc(sorted, r.top, func(e windowEntry, top ledger.TransferID) int { return compareIDs(&e.id, &top) })
	for _, part := range [][]windowEntry{sorted[:late], sorted[late:]} {
		if len(part) == 0 {
			continue
		}
		var groups *idGroups
		if groups, r.err = newIDGroups(part, table, &r.ranges); r.err != nil {
			return
		}
		if r.err = table.Ingest(groups); r.err != nil {
			return
		}
		groups.addTo(&r.ranges)
	}
	r.top = top
}

// gather collects what the run consists of, and returns the highest id of all runs.
func (r *idRun) gather() (top ledger.TransferID) {
	top = r.top
	r.gathered = r.gathered[:0]
	for i := range r.old {
		giveWay(i)
		e := &r.old[i]
		if compareIDs(&e.id, &r.top) > 0 {
			if compareIDs(&e.id, &top) > 0 {
				top = groupEnd(e.id)
			}
		} else if i < r.written {
			continue
		}
		r.gathered = append(r.gathered, *e)
	}
	for i := range r.next {
		giveWay(i)
		if e := &r.next[i]; compareIDs(&e.id, &top) <= 0 {
			r.gathered = append(r.gathered, *e)
		}
	}
	return top
}

func (r *idRun) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *idRun) wait() error {
	<-r.done
	return r.err
}

func compareIDs(a, b *ledger.TransferID) int {
	be := binary.BigEndian
	if c := cmp.Compare(be.Uint64(a[:8]), be.Uint64(b[:8])); c != 0 {
		return c
	}
	return cmp.Compare(be.Uint64(a[8:]), be.Uint64(b[8:]))
}

// giveWay lets others use the processor after every few thousand steps of a long loop: the server's own loop must not
// wait for the scheduler's 10 ms.
func giveWay(i int) {
	if i%4096 == 4095 {
		runtime.Gosched()
	}
}

// smallBucket is up to how many entries are sorted by insertion.
const smallBucket = 24

// sortIDs writes from into to, which is as long, in the order of ids. The ids are spread by their high
// halves over as many buckets as there are ids, so that a bucket of ids that came evenly holds one or two.
func sortIDs(to, from []windowEntry) {
	if len(from) == 0 {
		return
	}
	lo, hi := ^uint64(0), uint64(0)
	for i := range from {
		giveWay(i)
		v := high(&from[i].id)
		lo, hi = min(lo, v), max(hi, v)
	}
	shift := 0
	for (hi-lo)>>shift >= uint64(len(from)) {
		shift++
	}
	starts := make([]uint32, (hi-lo)>>shift+2)
	for i := range from {
		giveWay(i)
		starts[(high(&from[i].id)-lo)>>shift+1]++
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	ends := slices.Clone(starts)
	for i := range from {
		giveWay(i)
		b := (high(&from[i].id) - lo) >> shift
		to[ends[b]] = from[i]
		ends[b]++
	}
	for b := range len(starts) - 1 {
		giveWay(b)
		if bucket := to[starts[b]:starts[b+1]]; len(bucket) > smallBucket {
			slices.SortFunc(bucket, func(a, b windowEntry) int { return compareIDs(&a.id, &b.id) })
		} else {
			insertionSort(bucket)
		}
	}
}

func insertionSort(s []windowEntry) {
	for i := 1; i < len(s); i++ {
		for j := i; j > 0 && compareIDs(&s[j].id, &s[j-1].id) < 0; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}
