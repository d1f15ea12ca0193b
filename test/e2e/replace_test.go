//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"raftbank/client"
	"raftbank/internal/shard"
)

// TestReplaceServer empties a leader's directory under load and replaces the server, with a command that is given up in
// the middle and run again; then it kills another server of the cluster, so that the new one has to vote. Nothing that was
// acknowledged is lost.
func TestReplaceServer(t *testing.T) {
	b := newRunningBank(t)
	l := b.startLoad(8, mixed)
	l.awaitAck(t, 1)
	n, _ := b.awaitLeader(1, 0)
	if o := b.run("replace", fmt.Sprint(others(1, n)[0])); o.Code != 3 || !strings.Contains(o.Err, "nothing to replace") {
		t.Errorf("replace a healthy server: exit %d, %s", o.Code, o.Err)
	}
	b.kill(n)
	b.empty(n)
	b.start(n)
	b.mustBeRefused(n)
	l.awaitAck(t, 1)
	if o := b.run("replace", fmt.Sprint(n), "--timeout", "500ms"); o.Code != 4 || !strings.Contains(o.Err, "--replace") {
		t.Errorf("replace without the new process: exit %d, %s", o.Code, o.Err)
	}
	b.servers[n] = startProcess(b.t, b.LogPath(n), "server", fmt.Sprint(n), "--replace",
		"--config", b.Config, "--data-dir", b.DataDir(n), "--exit-with-stdin", "--log-level", "info")
	b.run("replace", fmt.Sprint(n), "--timeout", "300ms") // given up somewhere in the middle
	o := b.run("replace", fmt.Sprint(n), "--timeout", "30s")
	if o.Code != 0 || !strings.Contains(o.Out, "promoted") {
		t.Fatalf("replace: exit %d, %s%s", o.Code, o.Out, o.Err)
	}
	t.Logf("replaced: %s%s", o.Err, o.Out)
	l.awaitAck(t, 1)
	other := others(1, n)[0]
	b.kill(other)
	t.Logf("server %d killed: C1 acknowledges after %s", other, round(l.awaitAck(t, shard.ID(1))))
	b.restart(other)
	// A second start with the same command is no harm: the directory is not empty any more.
	b.kill(n)
	b.servers[n] = startProcess(b.t, b.LogPath(n), "server", fmt.Sprint(n), "--replace",
		"--config", b.Config, "--data-dir", b.DataDir(n), "--exit-with-stdin", "--log-level", "info")
	b.awaitCaughtUp(n)
	byHand := []client.Result{b.mustCommit(units(11, 12, 1))}
	results := append(byHand, l.stop()...)
	t.Logf("nothing prepared after %s; outcomes: %v", round(b.awaitNothingPrepared()), count(results))
	t.Logf("unknown ones resolved to: %v", b.mustAgree(results))
	b.mustConserve()
}
