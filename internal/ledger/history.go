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

// Index finds the row with the outcome of a transfer id. With the prepared set it is the duplicate
// check: what is in neither was never seen by the shard. Called like History.
//
// A transfer in P is not in the index: its row is known to the prepared set, which is part of every
// checkpoint. So every id is put once, and an index that forgets what was put after a checkpoint
// forgets nothing that the checkpoint's history holds.
type Index interface {
	// Get returns the position of the id's last row.
	Get(id TransferID) (position uint64, ok bool)
	// Put notes the last row of the id.
	Put(id TransferID, position uint64)
}

// Warmer is an Index that can fetch ahead what Get will need.
type Warmer interface {
	// Warm is told the records whose ids are asked for next.
	Warm(records []Record)
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
