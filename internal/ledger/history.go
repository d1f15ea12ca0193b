package ledger

// History is the append-only list of rows, addressed by position from 0. Rows never change. The
// ledger calls it from Apply, in order, from one goroutine; an implementation on disk must not
// return from Read with a row it did not verify: a read error is fatal for the process.
type History interface {
	// Append adds a row and returns its position. The row may be reused by the caller.
	Append(r *Row) uint64
	// Read copies the row at a position below Len into r.
	Read(position uint64, r *Row)
	// Len returns the number of rows.
	Len() uint64
}

// Index finds the newest row of a transfer id. It is the duplicate check: a miss means that the
// shard has never seen the id. Called like History.
type Index interface {
	// Get returns the position of the id's newest row.
	Get(id TransferID) (position uint64, ok bool)
	// Put notes a newer row of the id.
	Put(id TransferID, position uint64)
}

// chunkRows is how many rows the history in memory allocates at once: it never copies rows to grow. A
// chunk of 256 is some 60 KiB, which a simulated server that starts for a moment can afford.
const chunkRows = 1 << 8

// memoryHistory keeps every row in memory.
type memoryHistory struct {
	chunks [][]Row
	n      uint64
}

func (h *memoryHistory) Append(r *Row) uint64 {
	if h.n%chunkRows == 0 {
		h.chunks = append(h.chunks, make([]Row, 0, chunkRows))
	}
	last := &h.chunks[len(h.chunks)-1]
	*last = append(*last, *r)
	h.n++
	return h.n - 1
}

func (h *memoryHistory) Read(position uint64, r *Row) { *r = *h.at(position) }

func (h *memoryHistory) at(position uint64) *Row {
	return &h.chunks[position/chunkRows][position%chunkRows]
}

func (h *memoryHistory) Len() uint64 { return h.n }
