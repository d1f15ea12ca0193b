//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"testing"

	"raftbank/test/process"
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
	var args []string
	if os.Getenv("E2E_RACE") != "" {
		args = []string{"-race"}
	}
	if binary, err = process.Build(dir, args...); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}
