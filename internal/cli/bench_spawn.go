package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"raftbank/client"
	"raftbank/internal/freeport"
	"raftbank/internal/shard"
)

// benchOpening is the opening balance of a spawned bank: far more than a run can take from an account.
const benchOpening = 1_000_000_000_000

// benchServers is the bank that a benchmark spawned: processes that end with this one.
type benchServers struct {
	topology *shard.Topology
	bank     *demoBank
	procs    int // GOMAXPROCS of the servers; 0: not set
	undo     []func()
}

// newBenchServers prepares directory and configuration; nothing runs yet.
func newBenchServers(p benchArgs, getenv func(string) string) (s *benchServers, err error) {
	s = &benchServers{procs: serverProcs(p.Bank)}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.topology, err = benchTopology(p.Bank); err != nil {
		return s, err
	}
	dir := p.Bank.DataDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "raftbank-bench-"); err == nil {
			s.undo = append(s.undo, func() { _ = os.RemoveAll(dir) })
		}
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return s, usageError("data directory: %v", err)
	}
	if s.bank, err = newDemoBank(dir, s.topology, os.Environ()); err != nil {
		return s, err
	}
	if s.procs > 0 && getenv("GOMAXPROCS") == "" {
		s.bank.sup.env = append(s.bank.sup.env, fmt.Sprintf("GOMAXPROCS=%d", s.procs))
	}
	s.bank.sup.args = func(n int) []string {
		args := []string{"server", fmt.Sprint(n), "--config", s.bank.config, "--data-dir", filepath.Join(dir, fmt.Sprint(n)), "--exit-with-stdin",
			"--log-segment", fmt.Sprint(benchSegmentMiB)}
		if p.Profile != "" {
			args = append(args, "--cpu-profile", filepath.Join(p.Profile, fmt.Sprintf("server-%d.pprof", n)))
		}
		return args
	}
	s.undo = append(s.undo, s.bank.sup.stopAll)
	return s, nil
}

// benchSegmentMiB is the size of the log's files in a bank of the bench: large loads fill the default every 50,000 transfers.
const benchSegmentMiB = 64

// serverProcs returns GOMAXPROCS of every server: if they outnumber the cores, more threads per server
// only take turns.
func serverProcs(b benchBankArgs) int {
	if b.ServerProcs == 0 && b.Shards*b.Replicas > runtime.NumCPU() {
		return 1
	}
	return b.ServerProcs
}

// benchTopology returns a bank on free ports of this machine, with accounts dealt evenly.
func benchTopology(b benchBankArgs) (*shard.Topology, error) {
	if b.ServerProcs < 0 {
		return nil, usageError("--server-procs %d: want a number of processors, or 0 to have it chosen", b.ServerProcs)
	}
	if b.Shards < 1 || b.Shards > shard.MaxClusters || (b.Replicas != 1 && b.Replicas != 3 && b.Replicas != 5) {
		return nil, usageError("--shards %d --replicas %d: want at least one shard of 1, 3 or 5 replicas", b.Shards, b.Replicas)
	}
	if b.Accounts < uint64(2*b.Shards) || b.Accounts > shard.MaxAccounts {
		return nil, usageError("--accounts %d: want two or more per shard, %d at most", b.Accounts, shard.MaxAccounts)
	}
	ports, err := freeport.Take(b.Shards * b.Replicas)
	if err != nil {
		return nil, failure(codeInternal, "%v", err)
	}
	t := &shard.Topology{OpeningBalance: benchOpening}
	first, id := shard.Account(1), shard.ServerID(0)
	for i := range b.Shards {
		n := b.Accounts / uint64(b.Shards)
		if uint64(i) < b.Accounts%uint64(b.Shards) {
			n++
		}
		c := shard.Cluster{Shard: shard.ID(i + 1), Range: shard.Range{First: first, Last: first + shard.Account(n) - 1}}
		first += shard.Account(n)
		for range b.Replicas {
			id++
			c.Servers = append(c.Servers, shard.Server{ID: id, Addr: fmt.Sprintf("127.0.0.1:%d", ports[id-1])})
		}
		t.Clusters = append(t.Clusters, c)
	}
	return t, nil
}

// start starts every server and waits until the bank serves.
func (s *benchServers) start(ctx context.Context) error {
	c, err := client.Open(client.Options{Topology: s.topology})
	if err != nil {
		return err
	}
	s.bank.client = c
	s.undo = append(s.undo, func() { _ = c.Close() }) // nothing depends on it then
	_, err = s.bank.startAll(ctx)
	return err
}

// pids returns the servers' processes; of no servers, none.
func (s *benchServers) pids() []int {
	if s == nil {
		return nil
	}
	var pids []int
	for _, server := range s.topology.Servers() {
		if c, err := s.bank.sup.child(int(server.ID)); err == nil {
			pids = append(pids, c.cmd.Process.Pid)
		}
	}
	return pids
}

// died says which server has ended, how, and its last words in one line; nil: none, or there are no servers.
func (s *benchServers) died() error {
	if s == nil {
		return nil
	}
	for _, server := range s.topology.Servers() {
		n := int(server.ID)
		if how, ended := s.bank.sup.end(n); ended {
			words := strings.ReplaceAll(s.bank.sup.lastWords(n, 3), "\n", " / ")
			return fmt.Errorf("server %d ended during the run: %s; last in its log: %s", n, how, words)
		}
	}
	return nil
}

// stop ends everything; without servers it does nothing.
func (s *benchServers) stop() {
	if s == nil {
		return
	}
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.undo = nil
}

// end says how the last process of server n ended; false: it runs, or there was none.
func (s *supervisor) end(n int) (how string, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.children[n]
	if c == nil || !c.ended() {
		return "", false
	}
	return c.cmd.ProcessState.String(), true
}
