package storage

import (
	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
)

const (
	// defaultWindow is how many ids a generation of the window holds. Two generations exist.
	defaultWindow = 1 << 18
	// takeStride is how often Put looks whether the older generation has been written.
	takeStride  = 1024
	indexPrefix = 'i'
)

// Index is the id index of one replica: a window of the newest ids in memory before a Table. It
// implements ledger.Index and belongs to the goroutine that owns the ledger's state.
//
// The window is two generations. When the newer one is full it grows old, and is written to the table as one
// sorted run, once, while the next one fills; only then it is forgotten. So what is in neither was never put or is in
// the table. The ranges of the ids that were written only spare looking there: their answer is exact whatever the ids are.
//
// A checkpoint does not wait for the window: it notes from which row on ids may be missing in the table, and
// openIndex reads those from the history.
//
// The table may hold rows from the future, put before a crash and behind the checkpoint that was restored:
// a position at or behind the history's end counts as absent, and a row is believed only if it bears the id.
//
// An error of the table panics with a *ReadError.
type Index struct {
	table   Table
	history *History
	hash    ledger.IDHash
	cur     *generation
	old     *generation
	// writing is old on its way to the table; nil once it is there.
	writing *idRun
	// aside says that runs are written on a goroutine of their own.
	aside bool
	// stored are the ranges of everything that is in the table, and indexed is the position of the first row whose
	// id may not be.
	stored  idRanges
	indexed uint64
	// top is the highest id up to which runs were written, and ahead is how many entries of cur the last of them
	// has considered: see idRun. oldAhead is that of old.
	top             ledger.TransferID
	ahead, oldAhead int

	// missed is the id that Get has just missed, with its place in cur: the next Put is mostly of it.
	missed struct {
		id         ledger.TransferID
		hash, slot uint64
		puts       uint64 // when it was missed, plus 1
	}

	puts       uint64 // since the start
	key, value []byte
	spare      [2][]windowEntry // where runs are gathered and sorted
	// warmed keeps the compiler from dropping the loads of Warm.
	warmed uint32
	// lookups counts the questions that the table had to answer.
	lookups uint64
}

// indexOptions say how to open an index.
type indexOptions struct {
	Window int  // ids in a generation; 0: defaultWindow
	Aside  bool // write runs on a goroutine of their own
	// Place of Places spreads the replicas of a shard, whose generations would all be full at one position.
	Place, Places int
}

// openIndex returns an index over a table that holds all ids of the rows before indexed, and of no others
// than those within the ranges. The ids of later rows come from the history.
func openIndex(table Table, h *History, stored idRanges, indexed uint64, o indexOptions) *Index {
	if o.Window == 0 {
		o.Window = defaultWindow
	}
	x := &Index{table: table, history: h, hash: ledger.NewIDHash(), stored: stored, indexed: indexed, aside: o.Aside}
	x.cur, x.old = newGeneration(o.Window), newGeneration(o.Window)
	x.cur.limit = max(1, o.Window-o.Window*o.Place/max(1, o.Places))
	if n := len(stored.ranges); n > 0 {
		x.top = groupEnd(stored.ranges[n-1].hi)
	}
	opened := false
	defer func() {
		if !opened { // a block of history is damaged: nobody else knows of the run on its way
			_ = x.close()
		}
	}()
	for position := indexed; position < h.Len(); position++ {
		if id, ok := h.outcomeAt(position); ok {
			x.Put(id, position)
		}
	}
	opened = true
	return x
}

// Warm implements ledger.Warmer: the loads do not depend on each other, so that their cache misses overlap.
func (x *Index) Warm(records []ledger.Record) {
	for i := range records {
		hash := x.hash.Of(&records[i].ID)
		x.warmed += x.cur.warm(hash) + x.old.warm(hash)
	}
}

// Get implements ledger.Index.
func (x *Index) Get(id ledger.TransferID) (uint64, bool) {
	if position, ok := x.recent(&id); ok {
		return position, true
	}
	if !x.stored.mayHold(&id) {
		return 0, false
	}
	return x.look(&id)
}

// recent looks into the window.
func (x *Index) recent(id *ledger.TransferID) (uint64, bool) {
	hash := x.hash.Of(id)
	slot, n := x.cur.probe(id, hash)
	if n != 0 {
		return x.cur.entries[n-1].position, true
	}
	if _, n := x.old.probe(id, hash); n != 0 {
		return x.old.entries[n-1].position, true
	}
	x.missed.id, x.missed.hash, x.missed.slot, x.missed.puts = *id, hash, slot, x.puts+1
	return 0, false
}

// look asks the table.
func (x *Index) look(id *ledger.TransferID) (uint64, bool) {
	x.lookups++
	x.key = groupKey(x.key[:0], id)
	value, ok, err := x.table.Get(x.key, x.value[:0])
	x.value = value
	var position uint64
	if err == nil && ok {
		position, ok, err = findInGroup(value, id)
	}
	if err != nil {
		panic(&ReadError{err})
	}
	if !ok {
		return 0, false
	}
	if !planted.On(planted.FutureBelieved) && (position >= x.history.Len() || x.history.idAt(position) != *id) {
		invariant.Sometimes("storage: an id in the index was of a row that is not there yet")
		return 0, false
	}
	return position, true
}

// Put implements ledger.Index.
func (x *Index) Put(id ledger.TransferID, position uint64) {
	if x.cur.full() && (x.writing == nil || x.writing.ended() || x.cur.overfull()) {
		x.rotate()
	}
	hash, slot := x.missed.hash, x.missed.slot
	if x.missed.puts != x.puts+1 || x.missed.id != id {
		var n uint32
		hash = x.hash.Of(&id)
		slot, n = x.cur.probe(&id, hash)
		invariant.Check(n == 0, "an id is put once")
	}
	x.cur.add(slot, hash, windowEntry{id: id, position: position})
	x.puts++
	switch {
	case x.writing != nil:
		if x.puts%takeStride == 0 && x.writing.ended() {
			x.take()
		}
	case len(x.cur.entries) == (x.cur.limit+1)/2 && len(x.old.entries) > 0:
		x.writeOld()
	}
}

// writeOld begins to give the older generation to the table, once the newer one holds what came late.
func (x *Index) writeOld() {
	if x.spare[0] == nil {
		for i := range x.spare {
			x.spare[i] = make([]windowEntry, 0, cap(x.old.entries)+(x.old.window+1)/2)
		}
	}
	x.ahead = len(x.cur.entries)
	x.writing = &idRun{
		old: x.old.entries, written: x.oldAhead, next: x.cur.entries, gathered: x.spare[0], sorted: x.spare[1],
		ranges: x.stored.clone(), top: x.top, done: make(chan struct{}),
	}
	if x.aside {
		go x.writing.write(x.table)
		return
	}
	x.writing.write(x.table)
	x.take()
}

// rotate makes room: the older generation, which is in the table, is forgotten, and the newer one grows old.
func (x *Index) rotate() {
	if x.writing != nil {
		x.take()
	}
	x.old.empty()
	x.cur, x.old = x.old, x.cur
	x.oldAhead, x.ahead = x.ahead, 0
	x.missed.puts = 0
}

// take waits for the run that is being written, and notes that it is in the table.
func (x *Index) take() {
	w := x.writing
	if err := w.wait(); err != nil {
		panic(&ReadError{err})
	}
	x.stored, x.top = w.ranges, w.top
	x.indexed = w.old[len(w.old)-1].position + 1
	x.writing = nil
}

// close waits until nothing is written any more.
func (x *Index) close() error {
	if x.writing == nil {
		return nil
	}
	return x.writing.wait()
}
