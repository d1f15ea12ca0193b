package storage

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// unsyncedFS refuses the n-th sync of a directory, and those after it.
type unsyncedFS struct {
	vfs.FS
	dir  string
	left atomic.Int64
}

func (u *unsyncedFS) OpenDir(name string) (vfs.File, error) {
	f, err := u.FS.OpenDir(name)
	if name == u.dir {
		f = unsyncedDir{f, u}
	}
	return f, err
}

type unsyncedDir struct {
	vfs.File
	fs *unsyncedFS
}

func (d unsyncedDir) Sync() error {
	if d.fs.left.Add(-1) <= 0 {
		return syscall.EIO
	}
	return d.File.Sync()
}

// TestDirectoryOfATableCannotBeSynced refuses every sync of a table's directory in turn, whoever wants it: pebble's
// opening, a marker, a flush, a run. The call that needs it returns with the cause, and nothing panics.
func TestDirectoryOfATableCannotBeSynced(t *testing.T) {
	refused := 0
	for n := int64(1); ; n++ {
		fs := &unsyncedFS{FS: vfs.NewMem(), dir: "/t"}
		fs.left.Store(n)
		err := useTable(fs)
		if fs.left.Load() > 0 {
			must(t, err)
			break
		}
		if refused++; !errors.Is(err, syscall.EIO) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "/t") {
			t.Errorf("sync %d: %v", n, err)
		}
	}
	if refused < 6 {
		t.Errorf("only %d syncs", refused)
	}
}

// useTable opens a table twice, and writes to it.
func useTable(fs vfs.FS) error {
	for range 2 {
		table, err := OpenPebble(fs, "/t", PebbleOptions{})
		if err != nil {
			return err
		}
		err = errors.Join(table.Apply(bigBatch(1)), table.Flush(), table.Ingest(oneRun{}), table.Health(), table.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// TestMarkerCannotBeSynced moves a marker as pebble does when it begins a new MANIFEST.
func TestMarkerCannotBeSynced(t *testing.T) {
	fs := &unsyncedFS{FS: vfs.NewMem(), dir: "/t"}
	fs.left.Store(2) // the first is that of what is before the marker
	must(t, fs.MkdirAll("/t", 0o755))
	p := &pebbleTable{path: "/t", failures: newPebbleFailures("/t")}
	defer p.failures.close()
	marker, _, err := atomicfs.LocateMarker(markersFS{fs, p.failures, p.kept}, "/t", "manifest")
	must(t, err)
	if err := p.call("test", func() error { return marker.Move("MANIFEST-000001") }); !errors.Is(err, syscall.EIO) || !errors.Is(p.Health(), syscall.EIO) {
		t.Error(err)
	}
}

// TestMarkersAreNeverLost follows the order of a table's names: what a marker follows is synced before it is created, and a
// marker is removed only once the one that follows it is.
func TestMarkersAreNeverLost(t *testing.T) {
	var unsynced []string // names that were created since the last sync
	created, removed := 0, 0
	fs := &imagesFS{FS: vfs.NewMem()}
	fs.before = func(op, name string) {
		marker := strings.HasPrefix(name, "/t/marker.")
		switch {
		case op == "sync" && name == "/t":
			unsynced = nil
			return
		case marker && op == "create":
			created++
		case marker && op == "remove":
			removed++
		case op == "create" || op == "rename" || op == "link":
			unsynced = append(unsynced, name)
			return
		default:
			return
		}
		for _, other := range unsynced {
			if op == "create" && strings.Contains(other, "MANIFEST") || op == "remove" && strings.HasPrefix(other, "/t/marker.") {
				t.Errorf("%s %s while %s is not durable", op, name, other)
			}
		}
		if op == "create" {
			unsynced = append(unsynced, name)
		}
	}
	for range 3 {
		must(t, useTable(fs))
	}
	if created < 6 || removed < 5 {
		t.Errorf("%d markers were created and %d removed", created, removed)
	}
}

// TestObsoleteFilesGoWithTheFirstWrite has a file of a table's that no manifest names: it outlives an opening, and no write.
func TestObsoleteFilesGoWithTheFirstWrite(t *testing.T) {
	const name = "/t/000900.sst"
	mem := vfs.NewMem()
	use := func(write bool) (there bool) {
		table, err := OpenPebble(mem, "/t", PebbleOptions{})
		must(t, err)
		if write {
			var b Batch
			b.Set([]byte("k"), []byte("v"))
			must(t, table.Apply(&b))
		}
		must(t, table.Close()) // waits for what pebble removes
		_, err = mem.Stat(name)
		return err == nil
	}
	use(true)
	overwrite(t, mem, name, []byte("left behind"))
	if !use(false) {
		t.Error("the opening removed it")
	}
	names, err := mem.List("/t")
	must(t, err)
	if n := len(slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "marker.manifest.") })); n != 1 {
		t.Errorf("%d markers after an opening", n)
	}
	if use(true) {
		t.Error("it is still there after a write")
	}
}
