package storage

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// fullFS refuses writes of tables as a full disk does, each one once it is let go.
type fullFS struct {
	vfs.FS
	full atomic.Bool
	gate chan struct{} // closed: writes go on
}

func (f *fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if strings.HasSuffix(name, ".sst") {
		file = fullFile{file, f}
	}
	return file, err
}

type fullFile struct {
	vfs.File
	fs *fullFS
}

func (f fullFile) Write(p []byte) (int, error) {
	<-f.fs.gate
	if f.fs.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

// stalledTable is a table whose memory is full and whose flush stands still until the disk says that it is full too.
type stalledTable struct {
	*pebbleTable
	fs      *fullFS
	stalled chan struct{} // closed when a writer waits
}

func newStalledTable(t *testing.T) *stalledTable {
	const memTable = 64 << 10
	s := &stalledTable{fs: &fullFS{FS: vfs.NewMem(), gate: make(chan struct{})}, stalled: make(chan struct{})}
	s.fs.full.Store(true)
	table, err := OpenPebble(s.fs, "/t", PebbleOptions{MemTableBytes: memTable})
	must(t, err)
	s.pebbleTable = table.(*pebbleTable)
	s.options.EventListener.WriteStallBegin = func(pebble.WriteStallBeginInfo) { close(s.stalled) }
	s.grace = 0
	must(t, s.Apply(bigBatch(5*memTable)))
	return s
}

func bigBatch(size int) *Batch {
	var b Batch
	b.Set([]byte("big"), bytes.Repeat([]byte("x"), size))
	return &b
}

// oneRun is a run of one key.
type oneRun struct{}

func (oneRun) Len() int { return 1 }

func (oneRun) At(_ int, b []byte) (key, value []byte) { return append(b, 'k'), nil }

// end lets the disk be full, or not, and then lets pebble come to an end.
func (s *stalledTable) end(t *testing.T) {
	s.fs.full.Store(false)
	s.writes.Wait()
	must(t, s.call("close", s.db.Close))
}

// TestFullDiskInAStall lets the disk be full while a checkpoint larger than pebble's memory is flushed: pebble tries again
// for ever, and every writer waits. All calls return with the cause, Close too.
func TestFullDiskInAStall(t *testing.T) {
	flush := func(s *stalledTable) error { return s.Flush() }
	apply := func(s *stalledTable) error { return s.Apply(bigBatch(1 << 20)) }
	ingest := func(s *stalledTable) error { <-s.stalled; return s.Ingest(oneRun{}) } // behind another writer
	for _, calls := range [][]func(*stalledTable) error{{flush}, {apply}, {flush, ingest}} {
		s := newStalledTable(t)
		ended := make(chan error, len(calls))
		for _, call := range calls {
			go func() { ended <- call(s) }()
		}
		<-s.stalled
		close(s.fs.gate)
		for range calls {
			if err := <-ended; !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrDamaged) {
				t.Errorf("a call returns %v", err)
			}
		}
		for what, err := range map[string]error{"flush": s.Flush(), "apply": s.Apply(bigBatch(1)), "ingest": s.Ingest(oneRun{}), "health": s.Health()} {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%s afterwards: %v", what, err)
			}
		}
		if err := s.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("close: %v", err)
		}
		s.end(t)
	}
}

// TestCloseInAStall closes a table while a writer waits, and only then lets the disk be full.
func TestCloseInAStall(t *testing.T) {
	s := newStalledTable(t)
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush() }()
	<-s.stalled
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	close(s.fs.gate)
	for _, ended := range []chan error{flushed, closed} {
		if err := <-ended; !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
	s.end(t)
}

// TestCloseAfterAFailure closes a table that has failed while nobody waits for it: its directory can be opened anew.
func TestCloseAfterAFailure(t *testing.T) {
	mem := vfs.NewMem()
	for range 2 {
		table, err := OpenPebble(mem, "/t", PebbleOptions{})
		must(t, err)
		table.(*pebbleTable).failures.note(syscall.EIO)
		if err := table.Apply(bigBatch(1)); !errors.Is(err, syscall.EIO) {
			t.Errorf("apply: %v", err)
		}
		must(t, table.Close())
	}
}

// TestWriteAfterClose lets a checkpoint that nobody waited for come too late: it is told so.
func TestWriteAfterClose(t *testing.T) {
	table, err := OpenPebble(vfs.NewMem(), "/t", PebbleOptions{})
	must(t, err)
	must(t, table.Close())
	for what, err := range map[string]error{"apply": table.Apply(bigBatch(1)), "flush": table.Flush()} {
		if !errors.Is(err, pebble.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
