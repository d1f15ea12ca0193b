//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raftbank/client"
	"raftbank/internal/shard"
	"raftbank/test/process"
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
	b.startReplacing(n)
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
	b.startReplacing(n)
	b.awaitCaughtUp(n)
	byHand := []client.Result{b.mustCommit(units(11, 12, 1))}
	results := append(byHand, l.stop()...)
	t.Logf("nothing prepared after %s; outcomes: %v", round(b.awaitNothingPrepared()), count(results))
	t.Logf("unknown ones resolved to: %v", b.mustAgree(results))
	b.mustConserve()
}

// startReplacing runs server n with --replace.
func (b *bank) startReplacing(n int) {
	b.t.Helper()
	b.servers[n] = startProcess(b.t, b.LogPath(n), "server", fmt.Sprint(n), "--replace",
		"--config", b.Config, "--data-dir", b.DataDir(n), "--exit-with-stdin", "--log-level", "info")
}

// TestReplaceDamagedServer flips a bit in the log of a stopped server and does, word for word, what its refusal says: the directory
// is moved away, the server started with an empty one, and replaced. In the end it is promoted, and all hashes are equal.
func TestReplaceDamagedServer(t *testing.T) {
	b := newRunningBank(t)
	l := b.startLoad(8, mixed)
	for range 20 {
		l.awaitAck(t, 1)
	}
	leader, _ := b.awaitLeader(1, 0)
	n := others(1, leader)[0]
	b.kill(n)
	b.flipBit(n)
	b.start(n)
	said := b.mustBeDamaged(n)
	for _, step := range []string{"move the directory away", "(raftbank server N --replace)", "run raftbank replace N"} {
		if !strings.Contains(said, step) {
			t.Errorf("the refusal does not say %q: %s", step, said)
		}
	}
	b.startReplacing(n) // with the damaged directory still there: it says the same
	if again := b.mustBeDamaged(n); again != said {
		t.Errorf("with --replace it says something else: %s", again)
	}
	if err := os.Rename(b.DataDir(n), b.DataDir(n)+"-damaged"); err != nil {
		t.Fatal(err)
	}
	b.startReplacing(n)
	o := b.run("replace", fmt.Sprint(n), "--timeout", "60s")
	if o.Code != 0 || !strings.Contains(o.Out, "promoted") {
		t.Fatalf("replace: exit %d, %s%s", o.Code, o.Out, o.Err)
	}
	results := l.stop()
	b.awaitCaughtUp(n)
	b.awaitNothingPrepared()
	b.mustAgree(results)
	b.mustConserve()
}

// flipBit changes a bit in the first block of a stopped server's log.
func (b *bank) flipBit(n int) {
	b.t.Helper()
	names, err := filepath.Glob(filepath.Join(b.DataDir(n), "log-*.seg"))
	if err != nil || len(names) == 0 {
		b.t.Fatalf("log of server %d: %v %v", n, names, err)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		b.t.Fatal(err)
	}
	if bytes.Count(raw, []byte("RBLK")) < 5 {
		b.t.Fatalf("%s has few blocks: the last cannot be told from a torn tail", names[0])
	}
	raw[bytes.Index(raw, []byte("RBLK"))+16] ^= 1 // in the block's number: what fills up a sector bears no meaning
	if err := os.WriteFile(names[0], raw, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// mustBeDamaged waits for the end of a server with a damaged log, and returns why it has refused.
func (b *bank) mustBeDamaged(n int) string {
	b.t.Helper()
	code := awaitEnd(b.t, b.servers[n], leadBound)
	said := firstWith(process.LastLines(b.Log(n), 4), "raftbank:")
	if code != 1 || !strings.Contains(said, "damaged") {
		b.t.Fatalf("server %d with a bit of its log flipped: exit %d, said: %s", n, code, said)
	}
	return said
}
