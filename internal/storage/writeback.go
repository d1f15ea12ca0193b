package storage

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writeBackBytes is after how much of history the kernel is told to write it to the disk. What a checkpoint syncs at
// its end is little then: the log's syncs wait behind it.
const writeBackBytes = 4 << 20

// keptBytes is how much of the newest history stays in the kernel's cache. What is older is dropped once it is on the disk, so that
// the kernel uses its pages again: pages that were never used, or long ago, cost a virtual machine more than all else that is done
// for a transfer (docs/PERFORMANCE.md).
const keptBytes = 16 << 20

// writeBack has the kernel write files early, on a goroutine of its own, once at a time. It makes nothing durable.
type writeBack struct {
	done chan error // nil: nothing is under way
	from uint64     // bytes that were written when the last one began
	err  error      // what failed: the pages may be lost, and a later sync may say nothing of it
}

// step begins to write a file back, up to an offset, once enough has been written since the last time.
func (w *writeBack) step(written uint64, f vfs.File, offset int64) {
	if w.done != nil {
		select {
		case err := <-w.done:
			w.ended(err)
		default:
			return
		}
	}
	if w.err != nil || written-w.from < writeBackBytes {
		return
	}
	w.from = written
	done := make(chan error, 1)
	w.done = done
	go func() {
		_, err := f.SyncTo(offset)
		dropCache(f, offset-keptBytes)
		done <- err
	}()
}

func (w *writeBack) ended(err error) {
	w.done = nil
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("write back the history: %w (this server must stop)", err)
	}
}

// wait returns once nothing is under way.
func (w *writeBack) wait() error {
	if w.done != nil {
		w.ended(<-w.done)
	}
	return w.err
}
