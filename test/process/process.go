//go:build unix

package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Build builds the program into dir, with further arguments of go build, and returns its path.
// Errors: those of go build, whose messages are on stderr.
func Build(dir string, args ...string) (string, error) {
	binary := filepath.Join(dir, "raftbank")
	build := exec.Command("go", append(append([]string{"build"}, args...), "-o", binary, "raftbank/cmd/raftbank")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build the program: %w", err)
	}
	return binary, nil
}

// Process is one server process. Its standard input is a pipe that closes with the test's process: with
// --exit-with-stdin nothing outlives the test, however that ends.
type Process struct {
	cmd  *exec.Cmd
	pipe io.Closer
	done chan struct{} // closed when the process has ended
}

// Start runs the program with its output appended to the file at logPath. env are further variables, "NAME=VALUE".
// Errors: those of the system.
func Start(binary, logPath string, env []string, args ...string) (*Process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own handle
	if _, err := fmt.Fprintf(log, "--- %s start: raftbank %s\n", time.Now().Format("15:04:05.000"), strings.Join(args, " ")); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(CleanEnviron(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test alone
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, pipe: pipe, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended stands in ProcessState
		close(p.done)
	}()
	return p, nil
}

// Running reports whether the process has not ended. A nil process has never run.
func (p *Process) Running() bool {
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

// Kill is kill -9; it waits until the process is gone. An ended process stays ended.
func (p *Process) Kill() {
	if p.Running() {
		_ = p.cmd.Process.Kill() // it may end meanwhile by itself
		<-p.done
	}
	_ = p.pipe.Close()
}

// Signal sends a signal to a running process. Errors: those of the system.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s to process %d: %w", s, p.Pid(), err)
	}
	return nil
}

// Pid is the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// ExitCode is the code of an ended process; -1: ended by a signal.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// CleanEnviron is the environment without the program's own variables.
func CleanEnviron() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "RAFTBANK_") {
			env = append(env, v)
		}
	}
	return env
}

// Output is what a finished command printed.
type Output struct {
	Code        int // exit code; -1: ended by a signal
	Out, Err    string
	Took        time.Duration
	CommandLine string
}

// String shows everything, for failures.
func (o Output) String() string {
	return fmt.Sprintf("raftbank %s: exit %d after %s\nstdout: %s\nstderr: %s", o.CommandLine, o.Code, o.Took.Round(time.Millisecond), o.Out, o.Err)
}

// Command runs the program to its end, with in as standard input, and kills it after bound.
// Errors: it cannot run, or did not end in time.
func Command(binary, in string, bound time.Duration, args ...string) (Output, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Env = CleanEnviron()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Output{}, err
	}
	late := time.AfterFunc(bound, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	inTime := late.Stop()
	o := Output{Code: cmd.ProcessState.ExitCode(), Out: out.String(), Err: errs.String(),
		Took: time.Since(start), CommandLine: strings.Join(args, " ")}
	var exit *exec.ExitError
	switch {
	case !inTime:
		return o, fmt.Errorf("not ended after %s: %s", bound, o)
	case err != nil && !errors.As(err, &exit):
		return o, err
	}
	return o, nil
}
