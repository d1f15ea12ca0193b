package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
)

// The table holds ids in groups: those that differ in their last byte alone share one key, the id's first bytes behind
// indexPrefix. Clients count ids up, so that a group is mostly full, and what the table costs is counted in groups.
//
// A group's value is a list of stretches, whose ids ascend and whose positions follow each other: number of ids less one 1,
// position of the first 8, little endian, the last byte of each id. A value holds every id of its group that the
// table has ever held: who writes some more of them reads the others first.

// stretchHead is the length of a stretch before its ids.
const stretchHead = 1 + 8

// groupKey appends the key of an id's group to b.
func groupKey(b []byte, id *ledger.TransferID) []byte {
	return append(append(b, indexPrefix), id[:len(id)-1]...)
}

// groupEnd returns the highest id of an id's group.
func groupEnd(id ledger.TransferID) ledger.TransferID {
	id[len(id)-1] = 0xff
	return id
}

// groupStart returns the lowest one.
func groupStart(id ledger.TransferID) ledger.TransferID {
	id[len(id)-1] = 0
	return id
}

func sameGroup(a, b *ledger.TransferID) bool {
	return groupStart(*a) == groupStart(*b)
}

// appendGroup appends the value of a group: its ids, which ascend.
func appendGroup(b []byte, ids []windowEntry) []byte {
	for len(ids) > 0 {
		n := 1
		for n < len(ids) && ids[n].position == ids[n-1].position+1 {
			n++
		}
		b = append(b, byte(n-1))
		b = binary.LittleEndian.AppendUint64(b, ids[0].position)
		for i := range ids[:n] {
			b = append(b, lastByte(&ids[i].id))
		}
		ids = ids[n:]
	}
	return b
}

func lastByte(id *ledger.TransferID) byte { return id[len(id)-1] }

// stretch takes the first stretch off a group's value.
func stretch(value []byte) (position uint64, lasts, rest []byte, err error) {
	if len(value) < stretchHead || len(value) < stretchHead+int(value[0])+1 {
		return 0, nil, nil, damagedFile("id index", fmt.Sprintf("holds a group of ids that ends within %d bytes", len(value)))
	}
	end := stretchHead + int(value[0]) + 1
	return binary.LittleEndian.Uint64(value[1:]), value[stretchHead:end], value[end:], nil
}

// findInGroup returns the position that a group's value gives an id; false: none.
func findInGroup(value []byte, id *ledger.TransferID) (position uint64, ok bool, err error) {
	for len(value) > 0 {
		first, lasts, rest, err := stretch(value)
		if err != nil {
			return 0, false, err
		}
		if i := bytes.IndexByte(lasts, lastByte(id)); i >= 0 {
			return first + uint64(i), true, nil
		}
		value = rest
	}
	return 0, false, nil
}

// mergeGroup returns the value of a group that has a value already, with more ids, which ascend. An id that is there has
// the position that comes now.
func mergeGroup(value []byte, ids []windowEntry) ([]byte, error) {
	var all [256]windowEntry
	var has [256]bool
	for len(value) > 0 {
		first, lasts, rest, err := stretch(value)
		if err != nil {
			return nil, err
		}
		for i, last := range lasts {
			id := ids[0].id
			id[len(id)-1] = last
			all[last], has[last] = windowEntry{id: id, position: first + uint64(i)}, true
		}
		value = rest
	}
	for i := range ids {
		last := lastByte(&ids[i].id)
		all[last], has[last] = ids[i], true
	}
	merged := all[:0]
	for last := range all {
		if has[last] {
			merged = append(merged, all[last])
		}
	}
	return appendGroup(nil, merged), nil
}

// idGroups is a Run of ids by group.
type idGroups struct {
	ids    []windowEntry  // ascending
	starts []uint32       // where a group begins
	merged map[int][]byte // values of groups of which the table holds some already
}

// newIDGroups groups ids, which ascend, for a table that holds ids within the ranges alone. Errors: those of the table.
func newIDGroups(ids []windowEntry, table Table, stored *idRanges) (*idGroups, error) {
	g := &idGroups{ids: ids, merged: map[int][]byte{}}
	var key, value []byte
	for from := 0; from < len(ids); {
		to := from + 1
		for to < len(ids) && sameGroup(&ids[to].id, &ids[from].id) {
			to++
		}
		if stored.mayHoldAny(groupStart(ids[from].id), groupEnd(ids[from].id)) && !planted.On(planted.IDGroupOverwritten) {
			var ok bool
			var err error
			key = groupKey(key[:0], &ids[from].id)
			if value, ok, err = table.Get(key, value[:0]); err != nil {
				return nil, err
			}
			if ok {
				if g.merged[len(g.starts)], err = mergeGroup(value, ids[from:to]); err != nil {
					return nil, err
				}
			}
		}
		giveWay(len(g.starts))
		g.starts = append(g.starts, uint32(from))
		from = to
	}
	return g, nil
}

// Len implements Run.
func (g *idGroups) Len() int { return len(g.starts) }

// At implements Run.
func (g *idGroups) At(i int, b []byte) (key, value []byte) {
	ids := g.group(i)
	b = groupKey(b, &ids[0].id)
	n := len(b)
	if merged, ok := g.merged[i]; ok {
		return b, merged
	}
	b = appendGroup(b, ids)
	return b[:n:n], b[n:]
}

// group returns the ids of the i-th group.
func (g *idGroups) group(i int) []windowEntry {
	end := len(g.ids)
	if i+1 < len(g.starts) {
		end = int(g.starts[i+1])
	}
	return g.ids[g.starts[i]:end]
}

// addTo notes all ids in ranges.
func (g *idGroups) addTo(x *idRanges) {
	for i := range g.starts {
		giveWay(i)
		ids := g.group(i)
		x.cover(ids[0].id, ids[len(ids)-1].id)
	}
}
