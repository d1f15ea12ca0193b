//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"raftbank/test/process"
)

// demoBound is how long the demo may take on a loaded machine; it aims at 25 s.
const demoBound = 90 * time.Second

// demoRun is a running demo.
type demoRun struct {
	cmd      *exec.Cmd
	log      string // path of what it prints
	temp     string // its TMPDIR
	done     chan struct{}
	children map[int]bool // every child process ever seen
}

// startDemo runs the demo with no input and an empty directory for temporary files.
func startDemo(t *testing.T) *demoRun {
	t.Helper()
	d := &demoRun{temp: t.TempDir(), log: filepath.Join(t.TempDir(), "demo.log"), done: make(chan struct{}), children: map[int]bool{}}
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the child has its own handle
	d.cmd = exec.Command(binary, "demo")
	d.cmd.Env = append(process.CleanEnviron(), "TMPDIR="+d.temp)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended stands in ProcessState
		close(d.done)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // if it runs: its children see their pipes close
		<-d.done
	})
	return d
}

// said returns what the demo has printed.
func (d *demoRun) said() string {
	text, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// look notes the demo's children and reports whether it still runs.
func (d *demoRun) look(t *testing.T) bool {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Skip("this system has no /proc")
	}
	for _, path := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if parent, ok := parentOf(pid); ok && parent == d.cmd.Process.Pid {
			d.children[pid] = true
		}
	}
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// parentOf reads a process's parent; ok is false if the process is gone or a zombie.
func parentOf(pid int) (parent int, ok bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	_, rest, found := strings.Cut(string(text), ") ") // the name before it may hold anything
	fields := strings.Fields(rest)
	if !found || len(fields) < 2 || fields[0] == "Z" {
		return 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, err == nil
}

// alive lists the children that still run this program.
func (d *demoRun) alive() []int {
	var pids []int
	for pid := range d.children {
		if _, ok := parentOf(pid); !ok {
			continue
		}
		// A pid can come back as another process.
		if program, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe")); err == nil && program == binary {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestDemoEndsClean runs the demo without input: exit 0, in bounded time, and nothing is left.
func TestDemoEndsClean(t *testing.T) {
	d := startDemo(t)
	start := time.Now()
	await(t, demoBound, "the demo ends", func() (bool, string) { return !d.look(t), "it runs" })
	took := time.Since(start)
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d\n%s", code, d.said())
	}
	if len(d.children) < 9 {
		t.Errorf("saw %d children; the demo has nine servers", len(d.children))
	}
	if left := d.alive(); len(left) > 0 {
		t.Errorf("still running after the demo: %v", left)
	}
	if files, err := os.ReadDir(d.temp); err != nil || len(files) > 0 {
		t.Errorf("the demo left files behind: %v %v", files, err)
	}
	t.Logf("the demo took %s (aim: under 25 s), %d child processes, none left; it ended with:\n%s",
		round(took), len(d.children), process.LastLines(d.said(), 6))
}

// TestDemoKilledLeavesNothing kills the demo with kill -9, as soon as its nine servers run and in the
// middle of its acts: the servers end too.
func TestDemoKilledLeavesNothing(t *testing.T) {
	for _, until := range []string{"raftbank", "[4/7]"} {
		d := startDemo(t)
		await(t, demoBound, "nine servers run, and the demo says "+until, func() (bool, string) {
			if !d.look(t) {
				t.Fatalf("the demo ended early\n%s", d.said())
			}
			return len(d.alive()) >= 8 && len(d.children) >= 9 && strings.Contains(d.said(), until), strconv.Itoa(len(d.alive()))
		})
		if err := d.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-d.done
		took := await(t, 5*time.Second, "the demo's servers end", func() (bool, string) {
			left := d.alive()
			return len(left) == 0, strconv.Itoa(len(left)) + " run"
		})
		t.Logf("kill -9 of the demo at %q: its %d servers were gone after %s", until, len(d.children), round(took))
	}
}
