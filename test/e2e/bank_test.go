//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// bank is one bank of real processes: three clusters of three servers.
type bank struct {
	*process.Bank // its Ports are for client servers
	t             testing.TB
	servers       map[int]*process.Process
	client        *client.Client
}

// newBank prepares a bank; nothing runs yet. Everything it starts ends with the test.
func newBank(t testing.TB) *bank {
	t.Helper()
	files, err := process.NewBank(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bank{Bank: files, t: t, servers: map[int]*process.Process{}}
	c, err := client.Open(client.Options{Topology: b.Topology})
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
	for _, bad := range b.Complaints("level=ERROR") {
		b.t.Error(bad)
	}
	if !b.t.Failed() {
		return
	}
	for n := 1; n <= 9; n++ {
		b.t.Logf("log of server %d, its end:\n%s", n, process.LastLines(b.Log(n), 40))
	}
}

// start runs server n on its data directory.
func (b *bank) start(n int) {
	b.t.Helper()
	if b.servers[n].Running() {
		b.t.Fatalf("server %d runs already", n)
	}
	b.servers[n] = startProcess(b.t, b.LogPath(n), "server", fmt.Sprint(n),
		"--config", b.Config, "--data-dir", b.DataDir(n), "--exit-with-stdin", "--log-level", "info")
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
	return command(b.t, "", append(args, "--config", b.Config)...)
}

// status looks at every server; one that does not answer soon counts as down.
func (b *bank) status() api.Status { return process.Look(b.client) }

// cluster looks at one cluster.
func (b *bank) cluster(id shard.ID) api.ShardStatus { return b.status().Cluster(int(id)) }

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
			ready = ready && c.LeadingServer() != nil
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
		l := c.LeadingServer()
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
	id := process.ShardOf(n)
	target := uint64(0)
	return await(b.t, leadBound, fmt.Sprintf("server %d catches up", n), func() (bool, string) {
		c := b.cluster(id)
		if l := c.LeadingServer(); l != nil && target == 0 {
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

// others lists the servers of the shard without one.
func others(id shard.ID, without int) []int {
	var list []int
	for _, n := range process.ServersOf(id) {
		if n != without {
			list = append(list, n)
		}
	}
	return list
}
