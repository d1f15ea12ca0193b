//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the raftbank program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

// runTests builds the program and runs the tests. A function of its own, so that deferred calls run
// before the process ends.
func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "raftbank-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "raftbank")
	args := []string{"build", "-o", binary, "raftbank/cmd/raftbank"}
	if os.Getenv("E2E_RACE") != "" {
		args = append(args[:1:1], append([]string{"-race"}, args[1:]...)...)
	}
	build := exec.Command("go", args...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: build the program:", err)
		return 1
	}
	return m.Run()
}
