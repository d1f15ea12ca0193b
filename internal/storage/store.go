package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

const (
	indexName = "index" // in a generation's directory, of the table
	// checkpointVersion is the first byte of the checkpoint's value.
	checkpointVersion = 2
	defaultCacheBytes = 4 << 20
)

// Keys of the table beside those of ids.
var checkpointKey = []byte("checkpoint")

const pagePrefix = 'a'

func pageKey(b []byte, number uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, pagePrefix), number)
}

// StoreOptions bound a store's memory and files. Zero fields take the defaults.
type StoreOptions struct {
	// Table opens what keeps index and checkpoints under a path; nil: a pebble database, with Pebble.
	Table  func(path string) (Table, error)
	Pebble PebbleOptions
	// Window is how many ids each of two generations holds in memory, in all 128 bytes each. Default 262,144.
	Window int
	// Place of Places spreads the work of a shard's replicas, which put the same ids at the same time.
	Place, Places int
	// CacheBytes is the memory for blocks of history that were read. Default 4 MiB.
	CacheBytes int64
	// HistoryBytes is the size of a history file. Default 256 MiB.
	HistoryBytes int64
}

// Checkpoint says up to where the store's last durable checkpoint reaches. The zero value says that
// there is none.
type Checkpoint struct {
	Index, Term uint64 // of the last applied entry
	Rows        uint64 // of history
	// Generation of the log segment that holds entry Index; entries after it are there or in later ones.
	Generation uint64
}

// Store is the applied state of one replica on disk: history, id index and checkpoints. It belongs to the
// goroutine that owns the replica, but for Job.Run.
//
// A checkpoint at index i is made in this order, which crashes dictate: the history is synced as far as i;
// one batch takes the accounts that changed, what is in P, the hashes, from which row on ids may be missing in the
// table, and i itself; the table is flushed; CHECKPOINT is written; only then may the log be cut. No other batch holds an applied index. So
// whatever a crash leaves, the table's newest checkpoint has its history, and with it its ids; and a table that comes
// back with less than CHECKPOINT says is damaged.
type Store struct {
	dir        *Dir
	options    StoreOptions
	generation uint64
	path       string // of the generation
	table      Table
	held       *held // what other replicas fetch; nil: none does
	history    *History
	index      *Index
	state      *ledger.State
	back       writeBack
	last       Checkpoint
	head       []byte // of the checkpoint that was read; nil once the state is made

	// Of the checkpoint under way.
	frozen *ledger.Frozen
	end    historyEnd
	gen    uint64
	job    *Job
}

// OpenStore opens the applied state of a directory, as its last checkpoint has it. Of several generations the one that
// CURRENT names counts; older ones are removed.
// Errors: ErrDamaged, ErrForeignDir, ErrNewerFormat, those of the disk.
func (d *Dir) OpenStore(o StoreOptions) (*Store, error) {
	generation, err := d.currentGeneration()
	if err != nil {
		return nil, err
	}
	if err := d.removeOlder(generation); err != nil {
		return nil, err
	}
	s, err := d.openTables(generation, o)
	if err != nil {
		return nil, err
	}
	s.options = o
	if err := s.open(o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openTables opens or makes the directory of a generation, and its table.
func (d *Dir) openTables(generation uint64, o StoreOptions) (*Store, error) {
	s := &Store{dir: d, path: d.file(generationName(generation)), generation: generation}
	if err := makeDir(d.fs, s.path); err != nil {
		return nil, err
	}
	open := o.Table
	if open == nil {
		open = func(path string) (Table, error) { return OpenPebble(d.fs, path, o.Pebble) }
	}
	var err error
	s.table, err = open(d.fs.PathJoin(s.path, indexName))
	return s, err
}

// open reads the checkpoint and what stands in the window. A block of history that cannot be verified is damage.
func (s *Store) open(o StoreOptions) (err error) {
	defer catchReadError(&err)
	value, ok, err := s.table.Get(checkpointKey, nil)
	if err != nil {
		return err
	}
	var v checkpointValue
	if ok {
		if v, err = s.decode(value); err != nil {
			return err
		}
	}
	s.last, s.head = v.at, v.head
	if err := s.checkDurable(); err != nil {
		return err
	}
	return s.openParts(v.end, v.ids, o)
}

// openParts opens history and index as a checkpoint has them.
func (s *Store) openParts(end historyEnd, ids idsAtCheckpoint, o StoreOptions) (err error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	s.history, err = openHistory(s.dir.fs, s.path, s.dir.id, end, historyOptions{FileBytes: o.HistoryBytes, CacheBytes: o.CacheBytes})
	if err != nil {
		return err
	}
	s.index = openIndex(s.table, s.history, ids.stored, ids.indexed,
		indexOptions{Window: o.Window, Aside: o.Table == nil, Place: o.Place, Places: o.Places})
	return nil
}

// idsAtCheckpoint is what a checkpoint says of the table's ids: the ranges of those that count, and the first row
// whose id may be missing.
type idsAtCheckpoint struct {
	stored  idRanges
	indexed uint64
}

// encode returns the checkpoint's value, little endian: version 2, identity 28, index, term, rows,
// generation, first row whose id may not be in the table 8 each; as uvarint-counted bytes the rows behind the last
// full block and the ledger's head; the ranges of ids; CRC32C over all of it 4.
func (s *Store) encode(c Checkpoint, tail, head []byte) []byte {
	b := append(make([]byte, 0, 8192+len(head)), checkpointVersion)
	b = s.dir.id.appendTo(b)
	for _, v := range []uint64{c.Index, c.Term, c.Rows, c.Generation, min(c.Rows, s.index.plantedIndexed(c.Rows))} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(binary.AppendUvarint(b, uint64(len(tail))), tail...)
	b = append(binary.AppendUvarint(b, uint64(len(head))), head...)
	b = s.index.stored.appendTo(b)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// checkpointValue is what encode wrote.
type checkpointValue struct {
	at   Checkpoint
	end  historyEnd
	head []byte
	ids  idsAtCheckpoint
}

// decode reads what encode wrote.
func (s *Store) decode(b []byte) (v checkpointValue, err error) {
	bad := func(what string) (checkpointValue, error) {
		return checkpointValue{}, damagedFile(s.path, "holds a checkpoint that "+what)
	}
	if len(b) < 5 {
		return bad("is too short")
	}
	if b[0] < checkpointVersion {
		return bad(fmt.Sprintf("has format %d, which no release wrote", b[0]))
	}
	if b[0] > checkpointVersion {
		return v, &describedError{kind: ErrNewerFormat, text: fmt.Sprintf(
			"%s holds a checkpoint of format %d, but this raftbank reads format %d: start the newer raftbank that wrote it",
			s.path, b[0], checkpointVersion)}
	}
	if n := len(b) - 4; crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
		return bad("does not match its checksum")
	}
	r := &payloadReader{rest: b[1 : len(b)-4]}
	var id Identity
	if raw := r.bytes(identitySize); raw != nil {
		id.decode(raw)
	}
	if err := s.dir.belongs(s.path, id); err != nil {
		return v, err
	}
	for _, n := range []*uint64{&v.at.Index, &v.at.Term, &v.at.Rows, &v.at.Generation, &v.ids.indexed} {
		if raw := r.bytes(8); raw != nil {
			*n = binary.LittleEndian.Uint64(raw)
		}
	}
	v.end = historyEnd{rows: v.at.Rows, tail: r.bytes(r.uvarint())}
	v.head = r.bytes(r.uvarint())
	v.ids.stored, err = decodeRanges(r)
	if err != nil || r.failed || len(r.rest) > 0 || v.at.Index == 0 || v.ids.indexed > v.at.Rows {
		return bad("cannot be decoded")
	}
	return v, nil
}

// State returns the shard's state as of the last checkpoint, or an empty one. It comes once; from then on
// the store follows it.
// Errors: ErrDamaged, those of the disk.
func (s *Store) State(id shard.ID) (*ledger.State, error) {
	invariant.Check(s.state == nil, "a store has one state")
	if s.last.Index == 0 {
		s.state = ledger.NewOn(id, s.history, s.index)
		return s.state, nil
	}
	var err error
	s.state, err = ledger.Restore(id, s.history, s.index, ledger.Saved{Head: s.head, Page: s.page})
	if errors.Is(err, ledger.ErrBadState) {
		return nil, damagedFile(s.path, fmt.Sprintf("holds a checkpoint at index %d that does not fit together (%v)", s.last.Index, err))
	}
	s.head = nil
	if err != nil {
		return nil, err
	}
	if index, term := s.state.Applied(); index != s.last.Index || term != s.last.Term {
		return nil, damagedFile(s.path, "holds a checkpoint of two indexes")
	}
	return s.state, nil
}

func (s *Store) page(number uint32) ([]byte, error) {
	data, ok, err := s.table.Get(pageKey(nil, number), nil)
	if err == nil && !ok {
		err = damagedFile(s.path, fmt.Sprintf("has lost page %d of the accounts", number))
	}
	return data, err
}

// Last returns the last durable checkpoint.
func (s *Store) Last() Checkpoint { return s.last }

// Busy reports whether a checkpoint is under way.
func (s *Store) Busy() bool { return s.frozen != nil || s.job != nil }

// Begin begins a checkpoint of the state as it is. generation is that of the log segment which holds the
// last applied entry. One at a time.
func (s *Store) Begin(generation uint64) error {
	invariant.Check(!s.Busy(), "one checkpoint at a time")
	if err := s.history.writeOut(); err != nil {
		return err
	}
	s.end, s.gen = s.history.end(), generation
	s.frozen = s.state.Freeze()
	return nil
}

// Step goes on with the checkpoint by about n pages of accounts. Once everything is gathered it returns the Job that
// remains, once.
func (s *Store) Step(n int) *Job {
	if s.options.Table == nil {
		if f, offset := s.history.last(); f != nil {
			s.back.step(s.history.written, f, offset)
		}
	}
	if s.frozen == nil {
		return nil
	}
	if !s.frozen.Step(n) {
		return nil
	}
	f := s.frozen
	s.frozen = nil
	c := Checkpoint{Index: f.Index, Term: f.Term, Rows: f.Rows, Generation: s.gen}
	s.job = &Job{table: s.table, fs: s.dir.fs, path: s.path, id: s.dir.id, to: c}
	s.job.files, s.job.names = s.history.takeUnsynced()
	for _, p := range f.Pages() {
		s.job.batch.Set(pageKey(nil, p.Number), p.Data)
	}
	s.job.batch.Set(checkpointKey, s.encode(c, s.end.tail, f.Head()))
	return s.job
}

// Done takes note of a Job whose Run has returned nil: its checkpoint is durable.
func (s *Store) Done(j *Job) {
	invariant.Check(j == s.job, "the job is the one under way")
	s.job, s.last = nil, j.to
}

// Health returns the error that has stopped work in the background, if one has.
func (s *Store) Health() error { return errors.Join(s.table.Health(), s.back.err) }

// Figures returns what the store has done since it was opened.
func (s *Store) Figures() map[string]uint64 {
	return map[string]uint64{
		"history_bytes": s.history.written, "index_puts": s.index.puts, "index_lookups": s.index.lookups,
		"checkpoint_index": s.last.Index,
	}
}

// Close closes the files. A Job must have returned.
func (s *Store) Close() error {
	err := s.Release()
	if s.index != nil {
		err = errors.Join(err, s.index.close())
	}
	err = errors.Join(err, s.back.wait())
	if s.history != nil {
		err = errors.Join(err, s.history.Close())
	}
	if s.table != nil {
		err = errors.Join(err, s.table.Close())
	}
	return err
}

// Job is the part of a checkpoint that waits for the disk. It may run on any goroutine.
type Job struct {
	table Table
	fs    vfs.FS
	path  string
	id    Identity
	files []vfs.File
	names bool
	batch Batch
	to    Checkpoint
}

// Run makes the checkpoint durable. After an error nothing is known of the disk, and the process must end.
func (j *Job) Run() error {
	if err := j.syncFiles(); err != nil {
		return err
	}
	if planted.On(planted.CheckpointTorn) {
		if err := j.table.Apply(j.batch.plantedLast()); err != nil {
			return err
		}
	}
	if err := j.table.Apply(&j.batch); err != nil || planted.On(planted.CheckpointUnflushed) {
		return err
	}
	if err := j.table.Flush(); err != nil {
		return err
	}
	return j.setDurable()
}

func (j *Job) syncFiles() error {
	for _, f := range j.files {
		if planted.On(planted.HistoryUnsynced) {
			break
		}
		if err := f.SyncData(); err != nil {
			return fmt.Errorf("sync the history in %s: %w (this server must stop)", j.path, err)
		}
	}
	if j.names {
		if err := syncDir(j.fs, j.path); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoint returns where the job's checkpoint reaches.
func (j *Job) Checkpoint() Checkpoint { return j.to }
