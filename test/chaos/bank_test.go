//go:build chaos && linux

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// Bounds. They are generous: a loaded machine is no failure, a bank that hangs is.
const (
	startBound   = 2 * time.Minute
	recoverBound = 2 * time.Minute  // a fault is over: until the cluster acknowledges again
	goneBound    = 30 * time.Second // clients have closed: until servers have noticed
	settleBound  = 2 * time.Minute  // all faults are over: until nothing is prepared
	endBound     = time.Minute      // a server that must end by itself
)

// bank is nine server processes in one directory.
type bank struct {
	*process.Bank
	t     *testing.T
	admin *client.Client

	mu sync.Mutex
	// guarded by mu
	servers map[int]*process.Process
	data    map[int]string // data directories
}

func newBank(t *testing.T) *bank {
	t.Helper()
	dir, err := os.MkdirTemp("", "raftbank-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	b := &bank{t: t, servers: map[int]*process.Process{}, data: map[int]string{}}
	if b.Bank, err = process.NewBank(dir); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 9; n++ {
		b.data[n] = b.Bank.DataDir(n)
	}
	if b.admin, err = client.Open(client.Options{Topology: b.Topology}); err != nil {
		t.Fatal(err)
	}
	return b
}

// close ends every process and looks into the logs.
func (b *bank) close() {
	_ = b.admin.Close() // closing twice is harmless, and nothing else can fail
	for _, p := range b.servers {
		p.Kill()
	}
	for _, bad := range b.Complaints() {
		b.t.Error(bad)
	}
}

// dataDir is where server n keeps its data now.
func (b *bank) dataDir(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data[n]
}

// setDataDir is where server n starts next.
func (b *bank) setDataDir(n int, dir string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data[n] = dir
}

func (b *bank) server(n int) *process.Process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.servers[n]
}

// start runs server n on its data directory.
func (b *bank) start(n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var env []string
	if *plant != "" {
		env = []string{"RAFTBANK_PLANTED=" + *plant}
	}
	args := []string{"server", fmt.Sprint(n), "--config", b.Config, "--data-dir", b.data[n],
		"--exit-with-stdin", "--allow-faults", "--log-level", "info"}
	// A key file that is named must exist; the first server makes it, beside its data directory.
	if key := filepath.Join(b.Dir, "bank.key"); filepath.Dir(b.data[n]) != b.Dir {
		args = append(args, "--key-file", key)
	}
	p, err := process.Start(program, b.LogPath(n), env, args...)
	if err == nil {
		b.servers[n] = p
	}
	return err
}

// kill is kill -9 of servers, all at once; it waits until they are gone.
func (b *bank) kill(servers ...int) {
	for _, n := range servers {
		_ = b.server(n).Signal(syscall.SIGKILL)
	}
	for _, n := range servers {
		b.server(n).Kill()
	}
}

// endsByItself waits for the end of a server that must refuse to run, and for a word in its log.
func (b *bank) endsByItself(n int, word string) error {
	select {
	case <-b.server(n).Ended():
	case <-time.After(endBound):
		return fmt.Errorf("server %d still runs after %s; it had to end and say %q", n, endBound, word)
	}
	said := process.LastLines(b.Log(n), 6)
	if b.server(n).ExitCode() == 0 || !strings.Contains(said, word) {
		return fmt.Errorf("server %d ended with %d and does not say %q:\n%s", n, b.server(n).ExitCode(), word, said)
	}
	return nil
}

// status looks at every server; one that does not answer soon counts as down.
func (b *bank) status() api.Status { return process.Look(b.admin) }

func (b *bank) cluster(id shard.ID) api.ShardStatus { return b.status().Cluster(int(id)) }

// awaitServing waits until servers serve, have a leader and have applied what it had committed at the first look.
func (b *bank) awaitServing(servers ...int) (time.Duration, error) {
	target := map[int]uint64{}
	return process.Await(startBound, fmt.Sprintf("servers %v serve and catch up", servers), func() (bool, string) {
		ready, seen := 0, ""
		for _, c := range b.status().Shards {
			l := c.LeadingServer()
			if l != nil && target[c.Shard] == 0 {
				target[c.Shard] = max(l.Commit, 1)
			}
			for _, s := range c.Servers {
				if !slices.Contains(servers, s.Server) {
					continue
				}
				seen += fmt.Sprintf(" %d up=%v %s %d/%d %s;", s.Server, s.Up, s.Role, s.Applied, target[c.Shard], s.Note)
				if l != nil && s.Up && s.Note == "" && s.Applied >= target[c.Shard] {
					ready++
				}
			}
		}
		return ready == len(servers), seen
	})
}

// faults sets what a server's network does; a server that cannot be told is no error, it may be the one to suffer.
func (b *bank) faults(n int, f api.FaultRequest) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if f.Block == nil {
		f.Block = []int{}
	}
	_, err := b.admin.Fault(ctx, shard.ServerID(n), f)
	if err != nil {
		return fmt.Errorf("faults of server %d: %w", n, err)
	}
	return nil
}

// allServers lists the servers of the default layout.
func allServers() []int { return []int{1, 2, 3, 4, 5, 6, 7, 8, 9} }
