//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"raftbank/test/process"
)

// output is what a finished command printed.
type output = process.Output

// startProcess runs the program with its output appended to the file at logPath.
func startProcess(t testing.TB, logPath string, args ...string) *process.Process {
	t.Helper()
	p, err := process.Start(binary, logPath, nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signal sends a signal to a running process.
func signal(t testing.TB, p *process.Process, s syscall.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits until the process has ended by itself and returns its exit code.
func awaitEnd(t testing.TB, p *process.Process, bound time.Duration) int {
	t.Helper()
	await(t, bound, fmt.Sprintf("process %d ends", p.Pid()), func() (bool, string) { return !p.Running(), "it runs" })
	return p.ExitCode()
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
	return process.Command(binary, in, runBound, args...)
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
