package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
)

const (
	// historyBlock is what is written and verified as a whole.
	historyBlock = 4096
	// blockRows rows fill a block but for its trailer: number 8, CRC32C 4.
	blockRows     = 31
	trailerOffset = blockRows * rowSize

	historyPrefix = "history-"
	// defaultHistoryBytes is the size of a history file: two million rows.
	defaultHistoryBytes = 256 << 20
	// writeBehind is how many bytes of full blocks wait to be written together.
	writeBehind = 256 << 10
)

// History is the history of one replica on disk: rows of 128 bytes in blocks of 31, in files of fixed
// size. It implements ledger.History and belongs to the goroutine that owns the ledger's state, but for what
// a Job does.
//
// Only full blocks are written, and none is written again once a checkpoint relies on it: the rows behind the last
// full block are part of the checkpoint. So a torn write can harm no row that counts. What lies behind the
// checkpoint's length is never read; it is overwritten.
//
// A block that cannot be read or verified panics with a *ReadError: nothing may be answered after it.
type History struct {
	fs         vfs.FS
	path       string
	id         Identity
	seed       uint32 // of the blocks' checksums
	fileBlocks uint64

	rows uint64
	// buf holds the full blocks that are not written, and behind them the block that is being filled. Its blocks are used again
	// without being cleared: every row is written whole, and what follows the trailer stays zero.
	buf []byte

	files []historyFile // by number
	// unsynced lists the files written to since a Job took them; newNames says that one is new.
	unsynced []vfs.File
	newNames bool
	cache    pageCache
	written  uint64
}

type historyFile struct {
	file  vfs.File
	dirty bool
}

// ReadError is thrown, as a panic, by a read of the history or of the id index that failed or found
// damage. The process must end with it.
type ReadError struct{ Err error }

// Error says what could not be read.
func (e *ReadError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ReadError) Unwrap() error { return e.Err }

// catchReadError is deferred: it turns the panic of a failed read into an error.
func catchReadError(err *error) {
	v := recover()
	if v == nil {
		return
	}
	failure, ok := v.(*ReadError)
	if !ok {
		panic(v)
	}
	*err = failure.Err
}

// historyOptions say how to open a history.
type historyOptions struct {
	FileBytes  int64 // size of a file; 0: defaultHistoryBytes
	CacheBytes int64 // of verified blocks kept in memory
}

// historyEnd is where a checkpoint says that the history ends: its length, and the rows behind the last
// full block.
type historyEnd struct {
	rows uint64
	tail []byte
}

// openHistory opens the history in a directory, as long as a checkpoint says. What lies behind is forgotten.
// Errors: ErrDamaged, ErrForeignDir.
func openHistory(fsys vfs.FS, path string, id Identity, end historyEnd, o historyOptions) (*History, error) {
	if o.FileBytes == 0 {
		o.FileBytes = defaultHistoryBytes
	}
	h := &History{
		fs: fsys, path: path, id: id, seed: id.seed(), rows: end.rows, fileBlocks: max(1, uint64(o.FileBytes)/historyBlock),
		cache: newPageCache(o.CacheBytes), buf: make([]byte, historyBlock),
	}
	if uint64(len(end.tail)) != end.rows%blockRows*rowSize {
		return nil, damagedFile(path, fmt.Sprintf("ends with %d bytes for %d rows", len(end.tail), end.rows))
	}
	copy(h.tail(), end.tail)
	if err := makeDir(fsys, path); err != nil {
		return nil, err
	}
	blocks := end.rows / blockRows
	for n := uint64(0); n*h.fileBlocks < blocks; n++ {
		if err := h.open(n, blocks-n*h.fileBlocks); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	if planted.On(planted.HistoryKept) {
		return h, h.plantedKeep()
	}
	return h, h.forgetLater()
}

func historyName(n uint64) string { return fmt.Sprintf("%s%010d%s", historyPrefix, n, segmentSuffix) }

// open opens a file that must hold that many blocks, or be full.
func (h *History) open(n, blocks uint64) error {
	name := h.fs.PathJoin(h.path, historyName(n))
	if _, err := h.fs.Stat(name); isNotExist(err) { // opening would make it
		return damagedFile(name, "is missing, though the checkpoint counts on it")
	}
	f, err := h.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	h.files = append(h.files, historyFile{file: f})
	head := make([]byte, historyBlock)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", name, err)
	}
	id, body, err := decodeHeader(name, head, historyMagic)
	if err != nil {
		return err
	}
	if id != h.id {
		return &describedError{kind: ErrForeignDir, text: fmt.Sprintf(
			"%s belongs to server %s of %s (incarnation %d): put the file back where it was", name, id.Server, id.Shard, id.Incarnation)}
	}
	if len(body) != 16 || binary.LittleEndian.Uint64(body) != n || binary.LittleEndian.Uint64(body[8:]) == 0 {
		return damagedFile(name, "has an impossible header")
	}
	if size := binary.LittleEndian.Uint64(body[8:]); n > 0 && size != h.fileBlocks {
		return damagedFile(name, fmt.Sprintf("has room for %d blocks, not %d", size, h.fileBlocks))
	} else if n == 0 {
		h.fileBlocks = size // the size with which the history began counts for ever
	}
	blocks = min(blocks, h.fileBlocks)
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if want := int64(1+blocks) * historyBlock; info.Size() < want {
		return damagedFile(name, fmt.Sprintf("is %d bytes long, but the checkpoint counts on %d", info.Size(), want))
	}
	return nil
}

// forgetLater removes the files that lie wholly behind the end: they are made anew when rows reach them.
func (h *History) forgetLater() error {
	names, err := h.fs.List(h.path)
	if err != nil {
		return fmt.Errorf("list %s: %w", h.path, err)
	}
	slices.Sort(names)
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, historyPrefix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(digits, segmentSuffix), 10, 64)
		if err != nil || n < uint64(len(h.files)) {
			continue
		}
		invariant.Sometimes("storage: removed history behind the checkpoint")
		if err := h.fs.Remove(h.fs.PathJoin(h.path, name)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// full returns the full blocks that are not written.
func (h *History) full() []byte { return h.buf[:len(h.buf)-historyBlock] }

// tail returns the block that is being filled.
func (h *History) tail() []byte { return h.buf[len(h.buf)-historyBlock:] }

// Len returns the number of rows.
func (h *History) Len() uint64 { return h.rows }

// Append adds a row and returns its position. It panics with a *ReadError if a write fails: the ledger has no use
// for a history that has stopped.
func (h *History) Append(r *ledger.Row) uint64 {
	at := h.rows % blockRows * rowSize
	encodeRow(h.tail()[at:at+rowSize], r)
	h.rows++
	if h.rows%blockRows == 0 {
		h.seal()
	}
	return h.rows - 1
}

// appendRaw adds a row in its form on disk.
func (h *History) appendRaw(row []byte) error {
	at := h.rows % blockRows * rowSize
	copy(h.tail()[at:at+rowSize], row)
	h.rows++
	if h.rows%blockRows == 0 {
		h.complete()
		if len(h.buf) > writeBehind {
			return h.writeOut()
		}
	}
	return nil
}

// raw appends rows from a position on in their form on disk: up to n, and at least one.
func (h *History) raw(b []byte, position uint64, n int) []byte {
	in := position % blockRows
	n = int(min(uint64(n), blockRows-in, h.rows-position))
	return append(b, h.block(position / blockRows)[in*rowSize:][:n*rowSize]...)
}

// complete finishes the block that is being filled, lets it wait to be written, and begins the next.
func (h *History) complete() {
	block := h.rows/blockRows - 1
	tail := h.tail()
	binary.LittleEndian.PutUint64(tail[trailerOffset:], block)
	binary.LittleEndian.PutUint32(tail[trailerOffset+8:], h.sum(tail))
	h.buf = slices.Grow(h.buf, historyBlock)[:len(h.buf)+historyBlock]
}

// seal is complete, and writes what is worth a write.
func (h *History) seal() {
	h.complete()
	if len(h.buf) > writeBehind {
		if err := h.writeOut(); err != nil {
			panic(&ReadError{err})
		}
	}
}

func (h *History) sum(block []byte) uint32 {
	return crc32.Update(h.seed, castagnoli, block[:trailerOffset+8])
}

// firstWaiting returns the number of the first block that is not written.
func (h *History) firstWaiting() uint64 {
	return h.rows/blockRows - uint64(len(h.full())/historyBlock)
}

// writeOut gives all full blocks to the files. They are not synced.
func (h *History) writeOut() error {
	full, first := h.full(), h.firstWaiting()
	done := 0
	for done < len(full) {
		block := first + uint64(done/historyBlock)
		n, in := block/h.fileBlocks, block%h.fileBlocks
		if n == uint64(len(h.files)) {
			if err := h.create(n); err != nil {
				return err
			}
		}
		take := min(len(full)-done, int(h.fileBlocks-in)*historyBlock) // what follows is the next file's
		f := &h.files[n]
		if _, err := f.file.WriteAt(full[done:done+take], int64(1+in)*historyBlock); err != nil {
			return fmt.Errorf("write %s: %w (this server must stop)", historyName(n), err)
		}
		if !f.dirty {
			f.dirty = true
			h.unsynced = append(h.unsynced, f.file)
		}
		h.written += uint64(take)
		done += take
	}
	h.buf = h.buf[:copy(h.buf, h.buf[done:])]
	return nil
}

func (h *History) create(n uint64) error {
	name := h.fs.PathJoin(h.path, historyName(n))
	f, err := h.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	h.files = append(h.files, historyFile{file: f, dirty: true})
	h.unsynced = append(h.unsynced, f)
	h.newNames = true
	body := binary.LittleEndian.AppendUint64(nil, n)
	body = binary.LittleEndian.AppendUint64(body, h.fileBlocks)
	head := make([]byte, historyBlock)
	copy(head, appendHeader(nil, historyMagic, h.id, body))
	if _, err := f.WriteAt(head, 0); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// end returns where the history ends now, for a checkpoint. Full blocks must have been written out.
func (h *History) end() historyEnd {
	invariant.Check(len(h.full()) == 0, "a checkpoint's history is written out")
	return historyEnd{rows: h.rows, tail: slices.Clone(h.tail()[:h.rows%blockRows*rowSize])}
}

// last returns the file that is being written, and its length; nil: there is none.
func (h *History) last() (f vfs.File, length int64) {
	n := len(h.files)
	if n == 0 {
		return nil, 0
	}
	blocks := h.firstWaiting() - uint64(n-1)*h.fileBlocks
	return h.files[n-1].file, int64(1+blocks) * historyBlock
}

// takeUnsynced returns what must be synced to make everything written so far durable. The caller does it, on
// whatever goroutine.
func (h *History) takeUnsynced() (files []vfs.File, names bool) {
	files, names = h.unsynced, h.newNames
	h.unsynced, h.newNames = nil, false
	for i := range h.files {
		h.files[i].dirty = false
	}
	return files, names
}

// Read copies the row at a position below Len into r.
func (h *History) Read(position uint64, r *ledger.Row) {
	if position >= h.rows {
		invariant.Fail("row %d of a history of %d", position, h.rows)
	}
	block, in := position/blockRows, position%blockRows*rowSize
	if err := decodeRow(h.block(block)[in:in+rowSize], r); err != nil {
		panic(&ReadError{damagedFile(h.path, fmt.Sprintf("row %d: %v", position, err))})
	}
	r.Position = position
}

// idAt returns the id of the row at a position below Len.
func (h *History) idAt(position uint64) ledger.TransferID {
	in := position % blockRows * rowSize
	return ledger.TransferID(h.block(position / blockRows)[in : in+16])
}

// outcomeAt returns the id of the row at a position below Len, if the row is an outcome.
func (h *History) outcomeAt(position uint64) (ledger.TransferID, bool) {
	in := position % blockRows * rowSize
	return rowOutcome(h.block(position / blockRows)[in : in+rowSize])
}

// block returns a block, good until the next call of any method.
func (h *History) block(n uint64) []byte {
	if n == h.rows/blockRows {
		return h.tail()
	}
	if first := h.firstWaiting(); n >= first {
		return h.buf[(n-first)*historyBlock:][:historyBlock]
	}
	data, hit := h.cache.at(n)
	if hit {
		return data
	}
	if err := h.load(n, data); err != nil {
		h.cache.forget(n)
		panic(&ReadError{err})
	}
	return data
}

func (h *History) load(n uint64, data []byte) error {
	file, in := n/h.fileBlocks, n%h.fileBlocks
	if _, err := h.files[file].file.ReadAt(data, int64(1+in)*historyBlock); err != nil {
		return fmt.Errorf("read %s, block %d: %w (this server must stop)", historyName(file), in, err)
	}
	le := binary.LittleEndian
	if le.Uint64(data[trailerOffset:]) != n || le.Uint32(data[trailerOffset+8:]) != h.sum(data) {
		return damagedFile(h.fs.PathJoin(h.path, historyName(file)), fmt.Sprintf("has a block %d whose checksum or number does not match", in))
	}
	return nil
}

// Close closes the files. What no checkpoint has made durable is lost, and comes again from the log.
func (h *History) Close() error {
	var err error
	for i := range h.files {
		err = errors.Join(err, h.files[i].file.Close())
	}
	h.files = nil
	return err
}

// pageCache keeps verified blocks: block n can lie in one place only, so that finding it is one look.
type pageCache struct {
	pages []cachedPage
}

type cachedPage struct {
	next uint64 // block number plus 1; 0: empty
	data []byte
}

func newPageCache(bytes int64) pageCache {
	return pageCache{pages: make([]cachedPage, max(1, bytes/historyBlock))}
}

// at returns the block's place and whether the block is there; if not, the caller fills it.
func (c *pageCache) at(n uint64) (data []byte, hit bool) {
	p := &c.pages[n%uint64(len(c.pages))]
	if p.next == n+1 {
		return p.data, true
	}
	if p.data == nil {
		p.data = make([]byte, historyBlock)
	}
	p.next = n + 1
	return p.data, false
}

func (c *pageCache) forget(n uint64) { c.pages[n%uint64(len(c.pages))].next = 0 }
