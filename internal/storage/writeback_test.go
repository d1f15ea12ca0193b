package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// slowFile is a file whose SyncTo waits for its result.
type slowFile struct {
	vfs.File
	calls   chan int64
	results chan error
}

func (f *slowFile) SyncTo(offset int64) (bool, error) {
	f.calls <- offset
	return false, <-f.results
}

// TestWriteBack writes back after every 4 MiB, once at a time, and keeps the first error for ever.
func TestWriteBack(t *testing.T) {
	f := &slowFile{calls: make(chan int64, 9), results: make(chan error)}
	var w writeBack
	w.step(writeBackBytes-1, f, 1)
	if w.done != nil {
		t.Fatal("begins too early")
	}
	w.step(writeBackBytes, f, 2)
	if at := <-f.calls; at != 2 {
		t.Fatalf("writes back up to %d", at)
	}
	w.step(9*writeBackBytes, f, 3) // still under way
	f.results <- nil
	must(t, w.wait())
	w.step(9*writeBackBytes, f, 4)
	if at := <-f.calls; at != 4 {
		t.Fatalf("writes back up to %d", at)
	}
	f.results <- errors.New("broken disk")
	for range 2 {
		if err := w.wait(); err == nil || !strings.Contains(err.Error(), "broken disk") {
			t.Fatalf("the error is lost: %v", err)
		}
		w.step(99*writeBackBytes, f, 5)
	}
	if len(f.calls) > 0 {
		t.Error("goes on after an error")
	}
}
