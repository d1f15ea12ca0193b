//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is one server process. Its standard input is a pipe that closes with the test's process,
// and it runs with --exit-with-stdin: nothing outlives the test, however that ends.
type process struct {
	cmd  *exec.Cmd
	pipe io.Closer
	done chan struct{} // closed when the process has ended
}

// startProcess runs the program with its output appended to the file at logPath.
func startProcess(t testing.TB, logPath string, args ...string) *process {
	t.Helper()
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the child has its own handle
	fmt.Fprintf(log, "--- %s start: raftbank %s\n", time.Now().Format("15:04:05.000"), strings.Join(args, " "))
	cmd := exec.Command(binary, args...)
	cmd.Env = cleanEnviron()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test alone
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, pipe: pipe, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended stands in ProcessState
		close(p.done)
	}()
	return p
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill is kill -9; it waits until the process is gone. An ended process stays ended.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill() // it may end meanwhile by itself
		<-p.done
	}
	_ = p.pipe.Close()
}

// signal sends a signal to a running process.
func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %s to process %d: %v", s, p.cmd.Process.Pid, err)
	}
}

// awaitEnd waits until the process has ended by itself and returns its exit code.
func (p *process) awaitEnd(t testing.TB, bound time.Duration) int {
	t.Helper()
	await(t, bound, fmt.Sprintf("process %d ends", p.cmd.Process.Pid), func() (bool, string) { return !p.running(), "it runs" })
	return p.cmd.ProcessState.ExitCode()
}

// cleanEnviron is the environment without the program's own variables: a test's settings come from
// its flags alone.
func cleanEnviron() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "RAFTBANK_") {
			env = append(env, v)
		}
	}
	return env
}

// output is what a finished command printed.
type output struct {
	code        int // exit code; -1: ended by a signal
	out, err    string
	took        time.Duration
	commandLine string
}

// String shows everything, for failures.
func (o output) String() string {
	return fmt.Sprintf("raftbank %s: exit %d after %s\nstdout: %s\nstderr: %s", o.commandLine, o.code, round(o.took), o.out, o.err)
}

// command runs the program to its end, with in as standard input, and kills it at the bound.
func command(t testing.TB, in string, args ...string) output {
	t.Helper()
	o, err := tryCommand(in, args...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// tryCommand is command for goroutines other than the test's own. Error: it cannot run or end.
func tryCommand(in string, args ...string) (output, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Env = cleanEnviron()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return output{}, err
	}
	late := time.AfterFunc(runBound, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	inTime := late.Stop()
	o := output{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errs.String(),
		took: time.Since(start), commandLine: strings.Join(args, " ")}
	var exit *exec.ExitError
	switch {
	case !inTime:
		return o, fmt.Errorf("not ended after %s: %s", runBound, o)
	case err != nil && !errors.As(err, &exit):
		return o, err
	}
	return o, nil
}

// readText reads a whole file.
func readText(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
