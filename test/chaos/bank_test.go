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
	"raftbank/internal/config"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// Bounds. They are generous: a loaded machine is no failure, a bank that hangs is.
const (
	pollEvery    = 20 * time.Millisecond
	startBound   = 2 * time.Minute
	recoverBound = 2 * time.Minute // a fault is over: until the cluster acknowledges again
	settleBound  = 2 * time.Minute // all faults are over: until nothing is prepared
	endBound     = time.Minute     // a server that must end by itself
)

// bank is nine server processes in one directory.
type bank struct {
	t        *testing.T
	topology *shard.Topology
	dir      string // holds bank.toml, bank.key, one data directory and one log per server
	config   string
	admin    *client.Client

	mu sync.Mutex
	// guarded by mu
	servers map[int]*process.Process
	data    map[int]string // data directories
}

func newBank(t *testing.T) *bank {
	t.Helper()
	b := &bank{t: t, servers: map[int]*process.Process{}, data: map[int]string{}}
	var err error
	if b.dir, err = os.MkdirTemp("", "raftbank-chaos-"); err != nil {
		t.Fatal(err)
	}
	if b.topology, _, err = process.FreeTopology(); err != nil {
		t.Fatal(err)
	}
	b.config = filepath.Join(b.dir, "bank.toml")
	if err := os.WriteFile(b.config, []byte(config.Format(b.topology)), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 9; n++ {
		b.data[n] = filepath.Join(b.dir, fmt.Sprint(n))
	}
	if b.admin, err = client.Open(client.Options{Topology: b.topology}); err != nil {
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
	for n := 1; n <= 9; n++ {
		for _, bad := range []string{"panic:", "DATA RACE", "fatal error:"} {
			if strings.Contains(b.log(n), bad) {
				b.t.Errorf("the log of server %d has %q", n, bad)
			}
		}
	}
}

func (b *bank) logPath(n int) string { return filepath.Join(b.dir, fmt.Sprintf("server-%d.log", n)) }

func (b *bank) log(n int) string {
	text, err := os.ReadFile(b.logPath(n))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// dataDir is the data directory of server n.
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
	args := []string{"server", fmt.Sprint(n), "--config", b.config, "--data-dir", b.data[n],
		"--exit-with-stdin", "--allow-faults", "--log-level", "info"}
	// A key file that is named must exist; the first server makes it, beside its data directory.
	if key := filepath.Join(b.dir, "bank.key"); filepath.Dir(b.data[n]) != b.dir {
		args = append(args, "--key-file", key)
	}
	p, err := process.Start(program, b.logPath(n), env, args...)
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
	lines := strings.Split(strings.TrimSpace(b.log(n)), "\n")
	said := strings.Join(lines[max(0, len(lines)-6):], "\n")
	if b.server(n).ExitCode() == 0 || !strings.Contains(said, word) {
		return fmt.Errorf("server %d ended with %d and does not say %q:\n%s", n, b.server(n).ExitCode(), word, said)
	}
	return nil
}

// status looks at every server; one that does not answer soon counts as down.
func (b *bank) status() api.Status {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := b.admin.Status(ctx)
	if err != nil {
		return api.Status{}
	}
	return s
}

func (b *bank) cluster(id shard.ID) api.ShardStatus {
	for _, c := range b.status().Shards {
		if c.Shard == int(id) {
			return c
		}
	}
	return api.ShardStatus{}
}

// leader returns who leads in the highest term, or nil.
func leader(c api.ShardStatus) *api.ServerStatus {
	var found *api.ServerStatus
	for i := range c.Servers {
		s := &c.Servers[i]
		if s.Up && s.Role == "leader" && (found == nil || s.Term > found.Term) {
			found = s
		}
	}
	return found
}

// await polls until done and returns how long it took, or an error that says what the last look saw.
func await(bound time.Duration, what string, done func() (ok bool, sees string)) (time.Duration, error) {
	start := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, sees := done()
		took := time.Since(start)
		if ok {
			return took, nil
		}
		if took > bound {
			return took, fmt.Errorf("gave up after %s: %s; the last look saw: %s", bound, what, sees)
		}
		<-tick.C
	}
}

// awaitServing waits until servers serve, have a leader and have applied what it had committed at the first look.
func (b *bank) awaitServing(servers ...int) (time.Duration, error) {
	target := map[int]uint64{}
	return await(startBound, fmt.Sprintf("servers %v serve and catch up", servers), func() (bool, string) {
		ready, seen := 0, ""
		for _, c := range b.status().Shards {
			l := leader(c)
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

// shardOfServer returns the shard of a server of the default layout.
func shardOfServer(n int) shard.ID { return shard.ID((n-1)/3 + 1) }

// serversOf lists the servers of a shard of the default layout.
func serversOf(id shard.ID) []int {
	first := int(id-1)*3 + 1
	return []int{first, first + 1, first + 2}
}

// allServers lists the servers of the default layout.
func allServers() []int { return []int{1, 2, 3, 4, 5, 6, 7, 8, 9} }
