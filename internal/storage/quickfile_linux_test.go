//go:build amd64 || arm64

package storage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestQuickFileWrites checks that small and large writes, between syncs of both kinds, stand where they belong.
func TestQuickFileWrites(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := vfs.Default.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	q, ok := quick(f).(*quickFile)
	if !ok {
		t.Fatalf("a file of the disk is a %T", quick(f))
	}
	var want []byte
	for i, size := range []int{1, 512, quickBytes - 512, 600, quickBytes + 1, 7, 3 * quickBytes, 100} {
		b := bytes.Repeat([]byte{byte(i + 1)}, size)
		n, err := q.WriteAt(b, int64(len(want)))
		if n != size || err != nil {
			t.Fatalf("write of %d bytes: %d, %v", size, n, err)
		}
		want = append(want, b...)
		q.slow = i%4 == 3
		if i%2 == 1 {
			if err := q.SyncData(); err != nil {
				t.Fatal(err)
			}
			if q.unsynced != 0 {
				t.Fatalf("%d bytes count as unsynced after a sync", q.unsynced)
			}
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, wrote %d, equal: %v, %v", len(got), len(want), bytes.Equal(got, want), err)
	}
}

// TestQuickFileFails checks that errors of the system calls come back, of the quick ones and of the others.
func TestQuickFileFails(t *testing.T) {
	f, err := vfs.Default.OpenReadWrite("/dev/full", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Skip("this machine has no /dev/full: ", err)
	}
	defer f.Close()
	q := quick(f)
	for _, size := range []int{100, 2 * quickBytes} {
		if n, err := q.WriteAt(make([]byte, size), 0); n != 0 || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write of %d bytes to a full disk: %d, %v", size, n, err)
		}
		if err := q.SyncData(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("sync of what cannot be synced, after %d bytes: %v", size, err)
		}
	}
}

// TestLogIsQuickOnDiskAlone checks that a layer above the disk sees every call.
func TestLogIsQuickOnDiskAlone(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   vfs.FS
		want bool
	}{
		{"disk", vfs.Default, true},
		{"layer", struct{ vfs.FS }{vfs.Default}, false},
		{"memory", vfs.NewMem(), false},
	} {
		d, err := OpenDir(c.fs, filepath.Join(t.TempDir(), "data"), testIdentity())
		if err != nil {
			t.Fatal(err)
		}
		l, err := openLog(d, LogOptions{Voters: []uint64{1}, SegmentBytes: 4096})
		if err != nil {
			t.Fatal(err)
		}
		if _, got := l.segment.file.(*quickFile); got != c.want {
			t.Errorf("%s: quick is %v", c.name, got)
		}
		if err := errors.Join(l.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}
}
