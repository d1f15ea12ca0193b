//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/config"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// bank is one bank of real processes: three clusters of three servers.
type bank struct {
	t        testing.TB
	topology *shard.Topology
	dir      string // holds bank.toml, bank.key, one data directory and one log per server
	config   string // path of the configuration
	ports    []int  // two free ports for client servers
	servers  map[int]*process.Process
	client   *client.Client
}

// newBank prepares a bank; nothing runs yet. Everything it starts ends with the test.
func newBank(t testing.TB) *bank {
	t.Helper()
	b := &bank{t: t, dir: t.TempDir(), servers: map[int]*process.Process{}}
	var err error
	if b.topology, b.ports, err = process.FreeTopology(); err != nil {
		t.Fatal(err)
	}
	b.config = filepath.Join(b.dir, "bank.toml")
	if err := os.WriteFile(b.config, []byte(config.Format(b.topology)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(client.Options{Topology: b.topology})
	if err != nil {
		t.Fatal(err)
	}
	b.client = c
	t.Cleanup(b.end)
	return b
}

// newRunningBank starts all nine servers and waits until every cluster has a leader.
func newRunningBank(t testing.TB) *bank {
	t.Helper()
	b := newBank(t)
	for n := 1; n <= 9; n++ {
		b.start(n)
	}
	t.Logf("nine servers ready after %s", round(b.awaitReady()))
	return b
}

// end ends every process, by pid, and shows the logs of a failed test.
func (b *bank) end() {
	if err := b.client.Close(); err != nil {
		b.t.Logf("close the client: %v", err)
	}
	for _, p := range b.servers {
		p.Kill()
	}
	for n := 1; n <= 9; n++ {
		for _, bad := range []string{"panic:", "DATA RACE", "fatal error:", "level=ERROR"} {
			if strings.Contains(b.log(n), bad) {
				b.t.Errorf("the log of server %d has %q", n, bad)
			}
		}
	}
	if !b.t.Failed() {
		return
	}
	for n := 1; n <= 9; n++ {
		b.t.Logf("log of server %d, its end:\n%s", n, lastLines(b.log(n), 40))
	}
}

// dataDir is the data directory of server n.
func (b *bank) dataDir(n int) string { return filepath.Join(b.dir, fmt.Sprint(n)) }

func (b *bank) logPath(n int) string { return filepath.Join(b.dir, fmt.Sprintf("server-%d.log", n)) }

// log returns everything that server n has printed.
func (b *bank) log(n int) string {
	text, err := os.ReadFile(b.logPath(n))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// start runs server n on its data directory.
func (b *bank) start(n int) {
	b.t.Helper()
	if b.servers[n].Running() {
		b.t.Fatalf("server %d runs already", n)
	}
	b.servers[n] = startProcess(b.t, b.logPath(n), "server", fmt.Sprint(n),
		"--config", b.config, "--data-dir", b.dataDir(n), "--exit-with-stdin", "--log-level", "info")
}

// kill is kill -9 of servers; it waits until they are gone.
func (b *bank) kill(servers ...int) {
	for _, n := range servers {
		_ = b.servers[n].Signal(syscall.SIGKILL) // all at once; kill below waits
	}
	for _, n := range servers {
		b.servers[n].Kill()
	}
}

// restart starts a killed server and waits until it has applied what its leader had committed.
func (b *bank) restart(n int) time.Duration {
	b.t.Helper()
	b.start(n)
	return b.awaitCaughtUp(n)
}

// run runs a command of the program against this bank.
func (b *bank) run(args ...string) output {
	b.t.Helper()
	return command(b.t, "", append(args, "--config", b.config)...)
}

// status looks at every server; one that does not answer soon counts as down.
func (b *bank) status() api.Status {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := b.client.Status(ctx)
	if err != nil {
		return api.Status{}
	}
	return s
}

// cluster looks at one cluster.
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

// describe shows a status in a line.
func describe(clusters ...api.ShardStatus) string {
	var b strings.Builder
	for _, c := range clusters {
		fmt.Fprintf(&b, "%s:", c.Cluster)
		for _, s := range c.Servers {
			fmt.Fprintf(&b, " %d up=%v %s term %d applied %d/%d %s;", s.Server, s.Up, s.Role, s.Term, s.Applied, s.Commit, s.Note)
		}
		b.WriteString(" ")
	}
	return b.String()
}

// awaitReady waits until every running server serves and every cluster has a leader.
func (b *bank) awaitReady() time.Duration {
	b.t.Helper()
	return await(b.t, startBound, "every server serves and every cluster has a leader", func() (bool, string) {
		s := b.status()
		ready := len(s.Shards) == 3
		for _, c := range s.Shards {
			ready = ready && leader(c) != nil
			for _, server := range c.Servers {
				if b.servers[server.Server].Running() && (!server.Up || server.Note != "") {
					ready = false
				}
			}
		}
		return ready, describe(s.Shards...)
	})
}

// awaitLeader waits for a leader of the cluster other than not (0: any) and returns it.
func (b *bank) awaitLeader(id shard.ID, not int) (int, time.Duration) {
	b.t.Helper()
	found := 0
	took := await(b.t, leadBound, fmt.Sprintf("a leader of %s other than %d", id, not), func() (bool, string) {
		c := b.cluster(id)
		l := leader(c)
		if l == nil || l.Server == not {
			return false, describe(c)
		}
		found = l.Server
		return true, ""
	})
	return found, took
}

// awaitCaughtUp waits until server n has applied what its leader had committed at the first look.
func (b *bank) awaitCaughtUp(n int) time.Duration {
	b.t.Helper()
	id := shardOfServer(n)
	target := uint64(0)
	return await(b.t, leadBound, fmt.Sprintf("server %d catches up", n), func() (bool, string) {
		c := b.cluster(id)
		if l := leader(c); l != nil && target == 0 {
			target = l.Commit
		}
		for _, s := range c.Servers {
			if s.Server == n && target > 0 && s.Up && s.Note == "" && s.Applied >= target {
				return true, ""
			}
		}
		return false, fmt.Sprintf("wants index %d; %s", target, describe(c))
	})
}

// shardOfServer returns the shard of a server of the default layout.
func shardOfServer(n int) shard.ID { return shard.ID((n-1)/3 + 1) }

// serversOf lists the servers of a shard of the default layout.
func serversOf(id shard.ID) []int {
	first := int(id-1)*3 + 1
	return []int{first, first + 1, first + 2}
}

// others lists the servers of the shard without one.
func others(id shard.ID, without int) []int {
	var list []int
	for _, n := range serversOf(id) {
		if n != without {
			list = append(list, n)
		}
	}
	return list
}
