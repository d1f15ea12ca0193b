package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/config"
	"raftbank/internal/shard"
)

// Bounds of the demo's waiting.
const (
	demoPoll       = 10 * time.Millisecond  // between two looks at the bank
	demoLook       = 250 * time.Millisecond // one look: a dead server must not hold it up
	demoStartWait  = 20 * time.Second
	demoFollowWait = 15 * time.Second // for what follows a fault
)

// demoBank is the bank of the demo: nine child processes, their directory, and a client.
type demoBank struct {
	topology *shard.Topology
	dir      string
	sup      *supervisor
	client   bank
	config   string // path of the configuration file

	mu sync.Mutex // guards blocked
	// blocked is whom each server must not see, to be set again when it restarts.
	blocked map[int][]int
}

// newDemoBank writes the configuration into dir; nothing runs yet.
func newDemoBank(dir string, t *shard.Topology, environ []string) (*demoBank, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	b := &demoBank{topology: t, dir: dir, config: filepath.Join(dir, "bank.toml"), blocked: map[int][]int{}}
	if err := os.WriteFile(b.config, []byte(config.Format(t)), 0o600); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	b.sup = &supervisor{executable: executable, args: b.serverArgs, env: environWithout(environ, "RAFTBANK_"), logs: dir}
	return b, nil
}

func (b *demoBank) serverArgs(n int) []string {
	return []string{"server", fmt.Sprint(n), "--config", b.config, "--data-dir", filepath.Join(b.dir, fmt.Sprint(n)),
		"--allow-faults", "--exit-with-stdin"}
}

// startAll starts every server and waits until all are up and every cluster has a leader.
func (b *demoBank) startAll(ctx context.Context) (api.Status, error) {
	for _, s := range b.topology.Servers() {
		if err := b.sup.start(int(s.ID)); err != nil {
			return api.Status{}, err
		}
	}
	// Strong reads first: they are answered once a leader has applied GENESIS.
	for _, c := range b.topology.Clusters {
		if err := b.awaitServing(ctx, c.Range.First); err != nil {
			return api.Status{}, err
		}
	}
	var last api.Status
	err := b.await(ctx, demoStartWait, func(s api.Status) bool {
		last = s
		for _, c := range s.Shards {
			leader := c.LeadingServer()
			if leader == nil {
				return false
			}
			for _, server := range c.Servers {
				if !server.Up || server.Note != "" || server.Term != leader.Term || server.Applied < leader.Commit {
					return false
				}
			}
		}
		return len(s.Shards) == len(b.topology.Clusters)
	}, b.allRunning)
	if err != nil {
		return last, fmt.Errorf("the bank does not start: %w", err)
	}
	return last, nil
}

// awaitServing waits until an account can be read strongly.
func (b *demoBank) awaitServing(ctx context.Context, account shard.Account) error {
	ctx, cancel := context.WithTimeout(ctx, demoStartWait)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, demoLook)
		_, err := b.client.Balance(one, account)
		done()
		if err == nil {
			return nil
		}
		if err := b.allRunning(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("account %s cannot be read: %w", account, err)
		case <-time.After(demoPoll):
		}
	}
}

// allRunning says which server has ended, and its last words.
func (b *demoBank) allRunning() error {
	for _, s := range b.topology.Servers() {
		if n := int(s.ID); !b.sup.serving(n) {
			return fmt.Errorf("server %d has ended; its log %s ends with:\n%s", n, b.sup.logPath(n), b.sup.lastWords(n, 3))
		}
	}
	return nil
}

// await looks at the bank until done says so, broken (nil: never) gives an error, or bound is over.
func (b *demoBank) await(ctx context.Context, bound time.Duration, done func(api.Status) bool, broken func() error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	tick := time.NewTicker(demoPoll)
	defer tick.Stop()
	for {
		if broken != nil {
			if err := broken(); err != nil {
				return err
			}
		}
		if s, err := b.look(ctx); err == nil && done(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			if context.Cause(ctx) == context.DeadlineExceeded {
				return fmt.Errorf("gave up after %s", bound)
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// look asks every server for its state; one that does not answer soon counts as down.
func (b *demoBank) look(ctx context.Context) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, demoLook)
	defer cancel()
	return b.client.Status(ctx)
}

// shardOf returns a server's cluster, or an error that names the servers there are.
func (b *demoBank) shardOf(n int) (*shard.Cluster, error) {
	_, c, ok := b.topology.Server(shard.ServerID(n))
	if !ok {
		return nil, usageError("no server %d: this bank has %s", n, serverNumbers(b.topology))
	}
	return c, nil
}

// Leader returns who leads a cluster, waiting for an election that is under way.
func (b *demoBank) Leader(ctx context.Context, id shard.ID) (int, error) {
	c := b.topology.Cluster(id)
	if c == nil {
		return 0, usageError("no cluster %s: this bank has %s", id, serverNumbers(b.topology))
	}
	if serving, of, enough := b.majority(c); !enough {
		return 0, failure(codeRefused, "%s has no leader: %d of %d servers run", id, serving, of).hint("bring the others back: Restart %s", id)
	}
	l, err := b.awaitLeader(ctx, id, 0, 0)
	if err != nil {
		return 0, asExit(err)
	}
	return l.Server, nil
}

// Servers returns a cluster's servers that are in a state, in order.
func (b *demoBank) Servers(id shard.ID, in serverState) ([]int, error) {
	c := b.topology.Cluster(id)
	if c == nil {
		return nil, usageError("no cluster %s: this bank has %s", id, serverNumbers(b.topology))
	}
	var list []int
	for _, s := range c.Servers {
		if n := int(s.ID); in == serverAny || b.sup.state(n) == in {
			list = append(list, n)
		}
	}
	return list, nil
}

// awaitLeader waits until a server of the cluster other than not leads in a term above minTerm.
func (b *demoBank) awaitLeader(ctx context.Context, id shard.ID, not int, minTerm uint64) (api.ServerStatus, error) {
	var found api.ServerStatus
	err := b.await(ctx, demoFollowWait, func(s api.Status) bool {
		l := s.Cluster(int(id)).LeadingServer()
		if l == nil || l.Server == not || l.Term <= minTerm {
			return false
		}
		found = *l
		return true
	}, nil)
	if err != nil {
		return found, fmt.Errorf("no new leader of %s: %w", id, err)
	}
	return found, nil
}

// awaitCaughtUp waits until server n has applied what its leader had committed at the first look
// that found a leader.
func (b *demoBank) awaitCaughtUp(ctx context.Context, id shard.ID, n int) (api.ServerStatus, error) {
	var found api.ServerStatus
	var target uint64
	err := b.await(ctx, demoFollowWait, func(s api.Status) bool {
		c := s.Cluster(int(id))
		if l := c.LeadingServer(); target == 0 && l != nil {
			target = l.Commit
		}
		for _, server := range c.Servers {
			if server.Server == n {
				found = server
			}
		}
		return target > 0 && found.Up && found.Note == "" && found.Applied >= target
	}, nil)
	if err != nil {
		return found, fmt.Errorf("server %d does not catch up with %s: %w", n, id, err)
	}
	return found, nil
}

// majority reports how many servers of a cluster serve, of how many, and whether they suffice.
func (b *demoBank) majority(c *shard.Cluster) (serving, of int, enough bool) {
	for _, s := range c.Servers {
		if b.sup.serving(int(s.ID)) {
			serving++
		}
	}
	return serving, len(c.Servers), serving > len(c.Servers)/2
}

// serverStatus picks one server of a cluster; the zero value if the answer lacks it.
func serverStatus(c api.ShardStatus, n int) api.ServerStatus {
	for _, s := range c.Servers {
		if s.Server == n {
			return s
		}
	}
	return api.ServerStatus{}
}
