package storage

import (
	"math"
	"testing"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// TestOldHistoryLeavesTheCache writes back a file, and then asks the kernel which of its pages are in memory: the newest
// keptBytes, and not the older ones.
func TestOldHistoryLeavesTheCache(t *testing.T) {
	const size, page = keptBytes + 8<<20, 4096
	dir := t.TempDir()
	var on unix.Statfs_t
	must(t, unix.Statfs(dir, &on))
	if on.Type == unix.TMPFS_MAGIC {
		t.Skip("a file of tmpfs has no disk that its pages could go to: set TMPDIR to a directory on a disk")
	}
	f, err := vfs.Default.Create(vfs.Default.PathJoin(dir, "history"), vfs.WriteCategoryUnspecified)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(make([]byte, size), 0)
	must(t, err)
	must(t, f.Sync())

	resident := func(from, to int) (pages int) {
		b, err := unix.Mmap(int(f.Fd()), int64(from), to-from, unix.PROT_READ, unix.MAP_SHARED)
		must(t, err)
		defer func() { must(t, unix.Munmap(b)) }()
		in := make([]byte, len(b)/page)
		if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&in[0]))); e != 0 {
			t.Fatalf("mincore: %v", e)
		}
		for _, x := range in {
			pages += int(x & 1)
		}
		return pages
	}
	if n := resident(0, size); n < size/page/2 {
		t.Fatalf("%d of %d pages are in memory before anything is dropped", n, size/page)
	}
	var w writeBack
	w.step(math.MaxUint64, f, size)
	must(t, w.wait())
	if n := resident(0, size-keptBytes); n > 1 {
		t.Errorf("%d of %d old pages are in memory still", n, (size-keptBytes)/page)
	}
	if n := resident(size-keptBytes, size); n < keptBytes/page/2 {
		t.Errorf("%d of %d new pages are in memory", n, keptBytes/page)
	}
}
