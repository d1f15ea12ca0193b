//go:build chaos && linux

package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// Layout of the log, docs/ARCHITECTURE.md, Storage.
const (
	blockAlign  = 512
	blockHeader = 40
	blockLength = 32 // offset of the payload's length
	fewBlocks   = 10
)

// keepCopy copies a data directory beside it and returns the copy's path.
func (r *run) keepCopy(n int) (string, error) {
	kept := r.bank.dataDir(n) + ".kept"
	if err := os.RemoveAll(kept); err != nil {
		return "", err
	}
	return kept, os.CopyFS(kept, os.DirFS(r.bank.dataDir(n)))
}

// putBack replaces a data directory by its copy.
func (r *run) putBack(n int, kept string) error {
	if err := os.RemoveAll(r.bank.dataDir(n)); err != nil {
		return err
	}
	return os.Rename(kept, r.bank.dataDir(n))
}

// refused starts a server on a spoilt directory: it has to end by itself and say why. Then its own copy from before
// is put back and it is started again.
func (r *run) refused(n int, kept, word string) error {
	if err := r.bank.startDoomed(n); err != nil {
		return err
	}
	if err := r.bank.endsByItself(n, word); err != nil {
		return err
	}
	if err := r.putBack(n, kept); err != nil {
		return err
	}
	return r.startAgain(n)
}

func (r *run) strikeEmptied(_ *rand.Rand, n int) error {
	if err := r.kill(n); err != nil {
		return err
	}
	kept := r.bank.dataDir(n) + ".kept"
	if err := os.Rename(r.bank.dataDir(n), kept); err != nil {
		return err
	}
	if err := os.Mkdir(r.bank.dataDir(n), 0o700); err != nil {
		return err
	}
	return r.refused(n, kept, "data directory is empty, but "+process.ShardOf(n).String()+" already has a log")
}

func (r *run) strikeBitFlip(random *rand.Rand, n int) error {
	// Early in a run the log may not have blocks enough yet.
	_, err := process.Await(startBound, fmt.Sprintf("the log of server %d has %d blocks", n, fewBlocks), func() (bool, string) {
		_, _, blocks, err := r.firstSegment(n)
		return err == nil && len(blocks) >= fewBlocks, fmt.Sprintf("%d %v", len(blocks), err)
	})
	if err != nil {
		return err
	}
	if err := r.kill(n); err != nil {
		return err
	}
	kept, err := r.keepCopy(n)
	if err != nil {
		return err
	}
	if err := r.flipBit(random, n); err != nil {
		return err
	}
	return r.refused(n, kept, "damaged")
}

// firstSegment returns the oldest segment of a server's log, and the offsets of its blocks.
func (r *run) firstSegment(n int) (name string, raw []byte, blocks []int, err error) {
	names, err := filepath.Glob(filepath.Join(r.bank.dataDir(n), "log-*.seg"))
	if err != nil || len(names) == 0 {
		return "", nil, nil, fmt.Errorf("no segments in %s: %w", r.bank.dataDir(n), err)
	}
	if raw, err = os.ReadFile(names[0]); err != nil {
		return "", nil, nil, err
	}
	for off := blockAlign; off+blockAlign <= len(raw); off += blockAlign {
		if bytes.HasPrefix(raw[off:], []byte("RBLK")) {
			blocks = append(blocks, off)
		}
	}
	return names[0], raw, blocks, nil
}

// flipBit changes one bit of a block of the log that others follow: the last one cannot be told from a torn tail.
func (r *run) flipBit(random *rand.Rand, n int) error {
	name, raw, blocks, err := r.firstSegment(n)
	if err != nil {
		return err
	}
	off := blocks[random.IntN(len(blocks)-2)]
	length := blockHeader + int(binary.LittleEndian.Uint32(raw[off+blockLength:]))
	at := off + random.IntN(length)
	raw[at] ^= 1 << random.IntN(8)
	r.note("server %d: %s, a bit of byte %d", n, filepath.Base(name), at)
	return os.WriteFile(name, raw, 0o600)
}

// Sizes of the disk that gets full.
const (
	fullSpare  = 12 << 20 // beside the data: room for one segment more
	fullLeaves = 1 << 20  // left free by the filler: less than a segment
)

// strikeDiskFull moves a server to a small disk, fills it, and drives the log until it needs another segment: the
// server has to end. With room again it goes on with what it has.
func (r *run) strikeDiskFull(_ *rand.Rand, n int) error {
	mount := filepath.Join(r.bank.Dir, fmt.Sprintf("disk-%d", n))
	if err := os.Mkdir(mount, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := r.kill(n); err != nil {
		return err
	}
	home := r.bank.dataDir(n)
	small := filepath.Join(mount, "data")
	size := dirBytes(home) + fullSpare
	if err := syscall.Mount("none", mount, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		if err := r.startAgain(n); err != nil {
			return err
		}
		return fmt.Errorf("%w: no small disk can be mounted here: %w", errSkipped, err)
	}
	r.mounts.Store(mount, true)
	if err := os.CopyFS(small, os.DirFS(home)); err != nil {
		return err
	}
	r.bank.setDataDir(n, small)
	filler := filepath.Join(mount, "filler")
	if err := os.WriteFile(filler, make([]byte, fullSpare-fullLeaves), 0o600); err != nil {
		return err
	}
	if err := r.bank.startDoomed(n); err != nil {
		return err
	}
	// The load may fill what is left before the server has caught up.
	if _, err := r.bank.awaitServing(n); err != nil && r.bank.server(n).Running() {
		return err
	}
	stop := r.flood(process.ShardOf(n))
	err := r.bank.endsByItself(n, "no space left on device")
	stop()
	if err != nil {
		return err
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := r.startAgain(n); err != nil {
		return err
	}
	// Home again.
	if err := r.kill(n); err != nil {
		return err
	}
	if err := os.RemoveAll(home); err != nil {
		return err
	}
	if err := os.CopyFS(home, os.DirFS(small)); err != nil {
		return err
	}
	r.bank.setDataDir(n, home)
	if err := syscall.Unmount(mount, 0); err != nil {
		return err
	}
	r.mounts.Delete(mount)
	return r.startAgain(n)
}

func dirBytes(dir string) int64 {
	total := int64(0)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

// flood makes many transfers within a shard, between accounts that nothing else uses, until it is stopped. What
// they do shows in the bank's total alone.
func (r *run) flood(id shard.ID) (stop func()) {
	const many = 2000
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	c := r.load.flood
	for i := range many {
		from := shard.Account(1000*int(id) - i%20)
		to := shard.Account(1000*int(id) - (i+1)%20)
		wait.Go(func() {
			for ctx.Err() == nil {
				_, err := c.Transfer(ctx, client.Transfer{ID: client.NewID(), From: from, To: to, Amount: ledger.Units(1)})
				if err != nil {
					return
				}
			}
		})
	}
	began := time.Now()
	return func() {
		cancel()
		wait.Wait()
		r.note("flooded %s for %s", id, time.Since(began).Round(time.Millisecond))
	}
}
