package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/wire"
)

const (
	progressName = "PROGRESS" // in the directory of a generation that is being filled
	// defaultProgressRows is after how many rows their number is kept on disk, so that a restart goes on from there: 16 MiB.
	defaultProgressRows = 128 << 10
	// intakeWindow is the window of ids of an index that is being filled: nobody asks it.
	intakeWindow = 1 << 16
	// maxHeadBytes bounds a head: 4,000,000 transfers in P.
	maxHeadBytes = 1 << 30
)

// IntakeOptions say how a checkpoint is fetched.
type IntakeOptions struct {
	// ProgressRows is after how many rows progress is made durable. Default 131,072.
	ProgressRows uint64
}

// Intake fills a new generation of the applied state with another replica's checkpoint: rows of history first, of which
// this replica's own are copied, then pages of accounts and the head. The generation that counts stays as it is until
// Install. It belongs to the goroutine that owns the Store.
//
// Rows of one shard are the same on every replica and in every checkpoint, so those that are there stay when another
// checkpoint is aimed at, and after a restart: PROGRESS says how many are durable. It is written after the rows and
// their ids were synced, and removed before anything of them is.
type Intake struct {
	store  *Store // the generation that counts
	o      IntakeOptions
	next   *Store // being filled; nil: not begun
	target wire.Manifest
	pages  uint32
	head   []byte
	saved  uint64 // rows of PROGRESS
	index  uint64 // of the last row
	row    ledger.Row
}

// NewIntake returns an intake beside a store. It touches no disk before Aim.
func (s *Store) NewIntake(o IntakeOptions) *Intake {
	if o.ProgressRows == 0 {
		o.ProgressRows = defaultProgressRows
	}
	return &Intake{store: s, o: o}
}

// Aim says which checkpoint is to be fetched. ok is false if it cannot be one.
// Errors: those of the disk.
func (in *Intake) Aim(m wire.Manifest) (ok bool, err error) {
	if m.Index == 0 || m.Term == 0 || m.HeadBytes == 0 || m.HeadBytes > maxHeadBytes {
		return false, nil
	}
	if in.next == nil {
		if err := in.begin(); err != nil {
			return false, err
		}
	}
	if in.next.history.Len() > m.Rows {
		if err := in.restart(); err != nil {
			return false, err
		}
	}
	if m != in.target {
		in.target, in.pages, in.head = m, 0, nil
	}
	return true, nil
}

// begin opens the next generation, with what an earlier process has put there.
func (in *Intake) begin() error {
	err := in.open()
	if errors.Is(err, ErrDamaged) {
		return in.restart()
	}
	if err == nil && in.saved > 0 {
		invariant.Sometimes("storage: went on with a checkpoint that was half fetched")
	}
	return err
}

// options are those of the live store, but for the window.
func (in *Intake) options() StoreOptions {
	o := in.store.options
	o.Window = intakeWindow
	if w := in.store.options.Window; w > 0 {
		o.Window = min(w, intakeWindow)
	}
	o.CacheBytes = historyBlock
	return o
}

func (in *Intake) open() error {
	d := in.store.dir
	generation := in.store.generation + 1
	name := d.fs.PathJoin(d.file(generationName(generation)), progressName)
	end, ids, err := in.readProgress(name)
	if err != nil {
		if !isNotExist(err) && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeignDir) {
			return err
		}
		if err := d.removeAll(generationName(generation)); err != nil {
			return err
		}
		end, ids = historyEnd{}, idsAtCheckpoint{}
	}
	o := in.options()
	if in.next, err = d.openTables(generation, o); err != nil {
		in.next = nil
		return err
	}
	if err := in.openNext(end, ids, o); err != nil {
		return errors.Join(err, in.closeNext())
	}
	in.saved, in.index = end.rows, 0
	return nil
}

// openNext opens the parts of the next generation. A block of its history that cannot be verified is damage.
func (in *Intake) openNext(end historyEnd, ids idsAtCheckpoint, o StoreOptions) (err error) {
	defer catchReadError(&err)
	return in.next.openParts(end, ids, o)
}

// readProgress reads PROGRESS: rows 8, of which the ids before 8 are in the table, ranges.
func (in *Intake) readProgress(name string) (end historyEnd, ids idsAtCheckpoint, err error) {
	d := in.store.dir
	raw, err := readOwn(d.fs, name)
	if err != nil {
		return end, ids, err
	}
	id, body, err := decodeHeader(name, raw, progressMagic)
	if err == nil {
		err = d.belongs(name, id)
	}
	if err != nil {
		return end, ids, err
	}
	r := &payloadReader{rest: body}
	if raw := r.bytes(16); raw != nil {
		end.rows, ids.indexed = binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:])
	}
	ids.stored, err = decodeRanges(r)
	if err != nil || r.failed || len(r.rest) > 0 || end.rows%blockRows != 0 || ids.indexed > end.rows {
		return historyEnd{}, idsAtCheckpoint{}, damagedFile(name, "cannot be decoded")
	}
	return end, ids, nil
}

// restart forgets everything that was fetched.
func (in *Intake) restart() error {
	if err := in.Drop(); err != nil {
		return err
	}
	return in.open()
}

// Drop removes what was fetched.
func (in *Intake) Drop() error {
	if err := in.closeNext(); err != nil {
		return err
	}
	in.target, in.pages, in.head = wire.Manifest{}, 0, nil
	d := in.store.dir
	name := generationName(in.store.generation + 1)
	if _, err := d.fs.Stat(d.file(name)); isNotExist(err) {
		return nil
	}
	// PROGRESS goes first: without it nothing of the rest counts.
	progress := d.fs.PathJoin(d.file(name), progressName)
	if err := d.fs.Remove(progress); err != nil && !isNotExist(err) {
		return err
	}
	if err := syncDir(d.fs, d.file(name)); err != nil {
		return err
	}
	return d.removeAll(name)
}

func (in *Intake) closeNext() error {
	if in.next == nil {
		return nil
	}
	next := in.next
	in.next = nil
	return next.Close()
}

// Close closes files; what was fetched stays for a later process.
func (in *Intake) Close() error { return in.closeNext() }

// Target returns the manifest that Aim was given last.
func (in *Intake) Target() wire.Manifest { return in.target }

// local returns up to where this replica's own rows are of use.
func (in *Intake) local() uint64 { return min(in.store.history.Len(), in.target.Rows) }

// Work copies up to n of this replica's own rows. Parts can be asked for when there are none left.
func (in *Intake) Work(n int) error {
	if in.next == nil {
		return nil
	}
	for h := in.next.history; n > 0 && h.Len() < in.local(); {
		raw := in.store.history.raw(nil, h.Len(), int(min(uint64(n), in.local()-h.Len())))
		n -= len(raw) / rowSize
		ok, err := in.takeRows(raw)
		if err != nil {
			return err
		}
		invariant.Check(ok, "this replica's own rows are those of the shard")
	}
	return nil
}

// Wants returns which part comes next; PartNone: none can be taken now, or the checkpoint is complete.
func (in *Intake) Wants() (kind wire.PartKind, position uint64) {
	switch m := &in.target; {
	case in.next == nil || in.next.history.Len() < in.local():
		return wire.PartNone, 0
	case in.next.history.Len() < m.Rows:
		return wire.PartRows, in.next.history.Len()
	case in.pages < m.Pages:
		return wire.PartPages, uint64(in.pages)
	case uint64(len(in.head)) < m.HeadBytes:
		return wire.PartHead, uint64(len(in.head))
	}
	return wire.PartNone, 0
}

// Complete reports whether every part is there.
func (in *Intake) Complete() bool {
	m := &in.target
	return in.next != nil && m.Index > 0 && in.next.history.Len() == m.Rows && in.pages == m.Pages && uint64(len(in.head)) == m.HeadBytes
}

// Done returns how many bytes of the target are there, and how many it has, about.
func (in *Intake) Done() (have, of uint64) {
	if in.next == nil {
		return 0, 0
	}
	const page = pageBytes
	have = in.next.history.Len()*rowSize + uint64(in.pages)*page + uint64(len(in.head))
	return have, in.target.Rows*rowSize + uint64(in.target.Pages)*page + in.target.HeadBytes
}

// pageBytes is about what a page of accounts takes.
const pageBytes = 6 << 10

// Take takes the part that Wants named. ok is false if it is none, or was damaged on its way: it is to be asked for
// again.
// Errors: those of the disk.
func (in *Intake) Take(p *wire.SnapshotPart) (ok bool, err error) {
	kind, position := in.Wants()
	if kind == wire.PartNone || p.Kind != kind || p.Position != position || p.Manifest != in.target || len(p.Data) == 0 {
		return false, nil
	}
	if wire.SumPart(p.Data) != p.Sum && !planted.On(planted.SnapshotUnchecked) {
		invariant.Sometimes("storage: refused a damaged part of a checkpoint")
		return false, nil
	}
	switch kind {
	case wire.PartRows:
		return in.takeRows(p.Data)
	case wire.PartPages:
		return in.takePages(p.Data)
	case wire.PartHead:
		if uint64(len(in.head)+len(p.Data)) > in.target.HeadBytes {
			return false, nil
		}
		in.head = append(in.head, p.Data...)
		return true, nil
	case wire.PartNone:
	}
	return false, nil
}

// takeRows adds rows to history and index: all of them or none.
func (in *Intake) takeRows(raw []byte) (bool, error) {
	h := in.next.history
	if len(raw)%rowSize != 0 || uint64(len(raw)/rowSize) > in.target.Rows-h.Len() {
		return false, nil
	}
	last := in.index
	for rest := raw; len(rest) > 0; rest = rest[rowSize:] {
		if decodeRow(rest[:rowSize], &in.row) != nil || in.row.Index < last || in.row.Index > in.target.Index {
			return false, nil
		}
		last = in.row.Index
	}
	in.index = last
	for rest := raw; len(rest) > 0; rest = rest[rowSize:] {
		position := h.Len()
		if err := h.appendRaw(rest[:rowSize]); err != nil {
			return false, err
		}
		if id, ok := rowOutcome(rest[:rowSize]); ok {
			in.next.index.Put(id, position)
		}
	}
	if h.Len()/blockRows*blockRows >= in.saved+in.o.ProgressRows {
		return true, in.save()
	}
	return true, nil
}

func (in *Intake) takePages(data []byte) (bool, error) {
	var b Batch
	r := &payloadReader{rest: data}
	n := in.pages
	for ; len(r.rest) > 0 && n < in.target.Pages; n++ {
		if page := r.bytes(r.uvarint()); !r.failed {
			b.Set(pageKey(nil, n), page)
		}
	}
	if r.failed || len(r.rest) > 0 || b.Len() == 0 {
		return false, nil
	}
	in.pages = n
	return true, in.next.table.Apply(&b)
}

// save makes the rows durable, and then their number.
func (in *Intake) save() error {
	rows := in.next.history.Len() / blockRows * blockRows
	if err := in.sync(); err != nil {
		return err
	}
	x := in.next.index
	body := binary.LittleEndian.AppendUint64(nil, rows)
	body = binary.LittleEndian.AppendUint64(body, min(rows, x.indexed))
	body = x.stored.appendTo(body)
	d := in.store.dir
	if err := writeAtomic(d.fs, d.fs.PathJoin(in.next.path, progressName), appendHeader(nil, progressMagic, d.id, body)); err != nil {
		return err
	}
	in.saved = rows
	return nil
}

// sync makes the full blocks durable.
func (in *Intake) sync() error {
	h := in.next.history
	if err := h.writeOut(); err != nil {
		return err
	}
	j := &Job{fs: in.store.dir.fs, path: in.next.path}
	j.files, j.names = h.takeUnsynced()
	if err := j.syncFiles(); err != nil {
		return err
	}
	return nil
}

// Install makes the complete checkpoint durable, checks that it fits together, and lets its generation count. generation
// is that of the log segment at which a start begins to read; see Log.SegmentFor. From then on the store that counted
// is out of date: close it, the log and the intake, and open the directory anew. A log that ends before the checkpoint
// begins anew behind it then.
//
// ok is false if the parts do not fit together; they are fetched again.
// Errors: those of the disk.
func (in *Intake) Install(generation uint64) (ok bool, err error) {
	invariant.Check(in.Complete(), "a checkpoint is complete before it is installed")
	if sha256.Sum256(in.head) != in.target.HeadSum {
		in.pages, in.head = 0, nil
		return false, nil
	}
	if err := in.sync(); err != nil {
		return false, err
	}
	m, n := &in.target, in.next
	c := Checkpoint{Index: m.Index, Term: m.Term, Rows: m.Rows, Generation: generation}
	var b Batch
	b.Set(checkpointKey, n.encode(c, n.history.end().tail, in.head))
	if err := n.table.Apply(&b); err != nil {
		return false, err
	}
	if err := n.table.Flush(); err != nil {
		return false, err
	}
	if err := in.verify(); err != nil {
		if !errors.Is(err, ErrDamaged) {
			return false, err
		}
		return false, in.restart()
	}
	d := in.store.dir
	if err := syncDir(d.fs, n.path); err != nil {
		return false, err
	}
	if err := d.setCurrent(n.generation); err != nil {
		return false, err
	}
	invariant.Sometimes("storage: installed another replica's checkpoint")
	return true, in.closeNext()
}

// verify reads the checkpoint as a start will.
func (in *Intake) verify() error {
	n := in.next
	value, _, err := n.table.Get(checkpointKey, nil)
	if err != nil {
		return err
	}
	v, err := n.decode(value)
	if err != nil {
		return err
	}
	n.last, n.head = v.at, slices.Clone(v.head)
	_, err = n.State(in.store.dir.id.Shard)
	return err
}
