package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftbank/internal/storage"
)

// TestDamagedTableStopsTheServer flips a byte of every table of a stopped server's applied state: started again, it ends by
// itself with words that say what is damaged, while the others serve.
func TestDamagedTableStopsTheServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.memory = Memory{SegmentSize: 128 << 10, CheckpointSize: 128 << 10, MaxLogSize: 1, SilentAfter: 200 * time.Millisecond}
	for _, s := range c.topology.Clusters[0].Servers {
		c.start(s.ID)
	}
	leader := c.transfer(1, 10)
	damaged := leader%3 + 1
	next := 1
	c.waitFor("the log is cut", func() (bool, string) {
		c.load(next, 4)
		next += 4
		_, err := os.Stat(filepath.Join(c.dir, damaged.String(), "log-0000000001.seg"))
		return err != nil, ""
	})
	c.running[damaged].cancel()
	if err := c.ended(damaged); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(c.dir, damaged.String(), "state", "index", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, name := range tables {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/3] ^= 8
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.start(damaged)
	if err := c.ended(damaged); !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), ".sst is damaged") {
		t.Fatalf("ended with %v", err)
	}
	c.transfer(3, 10)
}
