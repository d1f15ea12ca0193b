//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/test/process"
)

// TestItem4AllServersDieAtOnce kills all nine at once and restarts them: the same balances, and the
// same hashes at every index that both checks know.
func TestItem4AllServersDieAtOnce(t *testing.T) {
	b := newRunningBank(t)
	l := b.startLoad(6, mixed)
	await(t, settle, "a thousand transfers", func() (bool, string) {
		n := l.snapshot()[api.OutcomeCommitted]
		return n >= 1000, fmt.Sprint(n)
	})
	results := l.stop()
	b.awaitNothingPrepared()
	balances := b.balances()
	before := b.mustConserve()

	b.kill(1, 2, 3, 4, 5, 6, 7, 8, 9)
	start := time.Now()
	for n := 9; n >= 1; n-- {
		b.start(n)
	}
	b.awaitReady()
	t.Logf("all nine killed and ready again after %s", round(time.Since(start)))
	mustEqual(t, "balances after the restart", b.balances(), balances)
	after := b.mustConserve()
	compared := compareHashes(t, before, after)
	if compared == 0 {
		t.Errorf("no index with a hash from before and after")
	}
	t.Logf("%d hashes from before and after are equal", compared)
	b.mustAgree(results)
}

// compareHashes compares what both checks say of the same server and index.
func compareHashes(t *testing.T, before, after api.Check) int {
	t.Helper()
	known := map[string]api.HashAt{}
	for _, c := range before.Shards {
		for _, s := range c.Servers {
			for _, h := range append(s.Hashes, s.Hash) {
				known[fmt.Sprintf("server %d index %d", s.Server, h.Index)] = h
			}
		}
	}
	n := 0
	for _, c := range after.Shards {
		for _, s := range c.Servers {
			for _, h := range append(s.Hashes, s.Hash) {
				at := fmt.Sprintf("server %d index %d", s.Server, h.Index)
				if was, ok := known[at]; ok {
					n++
					if was != h {
						t.Errorf("%s: before %+v, after %+v", at, was, h)
					}
				}
			}
		}
	}
	return n
}

// TestItem4EmptiedDirectoryIsRefused empties one server's directory: it must not come back, and must
// not help the cluster to a majority.
func TestItem4EmptiedDirectoryIsRefused(t *testing.T) {
	b := newRunningBank(t)
	results := []client.Result{b.mustCommit(units(1, 2, 3)), b.mustCommit(units(3, 1003, 4))}

	b.kill(1)
	b.empty(1)
	b.start(1)
	b.mustBeRefused(1)
	results = append(results, b.mustCommit(units(2, 4, 1)))

	// With server 2 down, the emptied server would make the majority.
	b.kill(2)
	b.empty(1)
	b.start(1)
	b.mustBeRefused(1)
	await(t, leadBound, "C1 without a leader", func() (bool, string) {
		c := b.cluster(1)
		return c.LeadingServer() == nil, describe(c)
	})
	r := b.do(units(5, 6, 1))
	if r.Outcome == client.Committed {
		t.Errorf("a transfer was acknowledged by one member and an emptied directory")
	}
	results = append(results, r)
	b.restart(2)
	b.awaitLeader(1, 0)
	b.mustAgree(results)
}

// empty removes everything in a server's data directory.
func (b *bank) empty(n int) {
	b.t.Helper()
	names, err := filepath.Glob(filepath.Join(b.DataDir(n), "*"))
	if err != nil || len(names) == 0 {
		b.t.Fatalf("data of server %d: %v %v", n, names, err)
	}
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			b.t.Fatal(err)
		}
	}
}

// mustBeRefused waits for the end of a server that was started on an emptied directory.
func (b *bank) mustBeRefused(n int) {
	b.t.Helper()
	start := time.Now()
	code := awaitEnd(b.t, b.servers[n], leadBound)
	said := process.LastLines(b.Log(n), 4)
	if code == 0 || !strings.Contains(said, "data directory is empty, but "+process.ShardOf(n).String()+" already has a log") {
		b.t.Errorf("server %d on an emptied directory: exit %d, said: %s", n, code, said)
	}
	b.t.Logf("server %d on an emptied directory: exit %d after %s: %s", n, code, round(time.Since(start)), firstWith(said, "raftbank:"))
}

// firstWith returns the first line that begins with a prefix.
func firstWith(text, prefix string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line)
		}
	}
	return text
}
