//go:build chaos && linux

package chaos

import (
	"context"
	"errors"
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
	// ended is told of a server that has ended and had not to, and how; any goroutine may call it.
	ended func(n int, how string)
	watch sync.WaitGroup // of the watchers of processes

	mu sync.Mutex
	// guarded by mu
	servers map[int]*server
	data    map[int]string // data directories
}

// server is a process, and whether it may end: it is to be killed, or has to refuse to run.
type server struct {
	*process.Process
	mayEnd bool // guarded by the bank's mu
}

func newBank(t *testing.T) *bank {
	t.Helper()
	dir, err := os.MkdirTemp("", "raftbank-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	b := &bank{t: t, servers: map[int]*server{}, data: map[int]string{}}
	b.ended = func(n int, how string) { t.Errorf("server %d has ended by itself: %s", n, how) }
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
	b.mu.Lock()
	for _, s := range b.servers {
		s.mayEnd = s.mayEnd || s.Running()
	}
	b.mu.Unlock()
	for _, s := range b.servers {
		s.Kill()
	}
	b.watch.Wait()
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

// server is the process of server n; nil before its first start.
func (b *bank) server(n int) *server {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.servers[n]
}

// start runs server n on its data directory. Should it end before it is killed, the run fails.
func (b *bank) start(n int) error { return b.launch(n, false) }

// startDoomed runs server n, which has to end by itself, sooner or later.
func (b *bank) startDoomed(n int) error { return b.launch(n, true) }

func (b *bank) launch(n int, mayEnd bool) error {
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
	if err != nil {
		return err
	}
	s := &server{Process: p, mayEnd: mayEnd}
	b.servers[n] = s
	b.watch.Go(func() {
		<-s.Ended()
		b.mu.Lock()
		mayEnd := s.mayEnd
		b.mu.Unlock()
		if !mayEnd {
			b.ended(n, b.howEnded(n, s))
		}
	})
	return nil
}

// howEnded tells an ended process's exit code and its last words.
func (b *bank) howEnded(n int, s *server) string {
	return fmt.Sprintf("exit code %d (-1: by a signal); the end of its log:\n%s", s.ExitCode(), process.LastLines(b.Log(n), 6))
}

// kill is kill -9 of servers, all at once; it waits until they are gone. A server that had ended already, or ends by itself
// before the signal reaches it, is an error: its end was no fault's doing.
func (b *bank) kill(servers ...int) error {
	var errs []error
	var running []int
	b.mu.Lock()
	for _, n := range servers {
		s := b.servers[n]
		if !s.Running() {
			errs = append(errs, fmt.Errorf("server %d was to be killed and had ended by itself: %s", n, b.howEnded(n, s)))
			continue
		}
		s.mayEnd = true
		running = append(running, n)
	}
	b.mu.Unlock()
	for _, n := range running {
		_ = b.server(n).Signal(syscall.SIGKILL) // if it has ended meanwhile, its exit code says so
	}
	for _, n := range servers {
		s := b.server(n)
		s.Kill()
		if slices.Contains(running, n) && s.ExitCode() != -1 {
			errs = append(errs, fmt.Errorf("server %d was to be killed and ended by itself at that moment: %s", n, b.howEnded(n, s)))
		}
	}
	return errors.Join(errs...)
}

// endsByItself waits for the end of a server that must refuse to run, and for a word in its log.
func (b *bank) endsByItself(n int, word string) error {
	s := b.server(n)
	select {
	case <-s.Ended():
	case <-time.After(endBound):
		return fmt.Errorf("server %d still runs after %s; it had to end and say %q", n, endBound, word)
	}
	s.Kill() // closes what is left of it
	said := process.LastLines(b.Log(n), 6)
	if s.ExitCode() == 0 || !strings.Contains(said, word) {
		return fmt.Errorf("server %d ended with %d and does not say %q:\n%s", n, s.ExitCode(), word, said)
	}
	return nil
}

// status looks at every server; one that does not answer soon counts as down.
func (b *bank) status() api.Status { return process.Look(b.admin) }

func (b *bank) cluster(id shard.ID) api.ShardStatus { return b.status().Cluster(int(id)) }

// awaitServing waits until servers serve, have a leader and have applied what it had committed at the first look.
func (b *bank) awaitServing(servers ...int) (time.Duration, error) {
	target := map[int]uint64{}
	var gone error
	took, err := process.Await(startBound, fmt.Sprintf("servers %v serve and catch up", servers), func() (bool, string) {
		for _, n := range servers {
			if s := b.server(n); !s.Running() {
				gone = fmt.Errorf("server %d had to serve and has ended: %s", n, b.howEnded(n, s))
				return true, ""
			}
		}
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
	return took, errors.Join(gone, err)
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

// TestUnexpectedEnd: a server that ends and had not to is told of at once, and is no longer there to be killed; one that may
// end is not, nor one that is killed.
func TestUnexpectedEnd(t *testing.T) {
	b := newBank(t)
	defer func() { _ = os.RemoveAll(b.Dir) }()
	defer b.close()
	told := make(chan string, 9)
	b.ended = func(n int, how string) { told <- fmt.Sprintf("server %d: %s", n, how) }
	for _, err := range []error{b.start(1), b.start(2), b.startDoomed(3)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b.server(3).Kill()
	if err := b.kill(2); err != nil {
		t.Error(err)
	}
	b.server(1).Kill() // behind the bank's back
	select {
	case text := <-told:
		if !strings.HasPrefix(text, "server 1: exit code -1") || !strings.Contains(text, "start: raftbank server 1") {
			t.Error(text)
		}
	case <-time.After(endBound):
		t.Errorf("not told in %s", endBound)
	}
	if err := b.kill(1, 3); err == nil || !strings.Contains(err.Error(), "server 1 was to be killed and had ended by itself: exit code -1") ||
		!strings.Contains(err.Error(), "server 3 was to be killed and had ended by itself") {
		t.Errorf("killed all the same: %v", err)
	}
	b.watch.Wait()
	if len(told) > 0 {
		t.Error(<-told)
	}
}

// allServers lists the servers of the default layout.
func allServers() []int { return []int{1, 2, 3, 4, 5, 6, 7, 8, 9} }
