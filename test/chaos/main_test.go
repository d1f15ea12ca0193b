//go:build chaos && linux

package chaos

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"raftbank/internal/planted"
	"raftbank/test/process"
)

var (
	duration = flag.Duration("duration", 5*time.Minute, "how long faults strike")
	seed     = flag.Uint64("seed", 0, "draws the plan; 0: one is drawn and printed")
	plant    = flag.String("plant", "", "build the servers with a planted bug; the test must then fail")
)

// program is the raftbank binary under test, built once by TestMain.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

// runTests builds the program and runs the tests. A function of its own, so that deferred calls run
// before the process ends.
func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "raftbank-chaos-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tags := ""
	if *plant != "" {
		bug, ok := planted.Named(*plant)
		if !ok {
			fmt.Fprintf(os.Stderr, "chaos: no planted bug is called %q\n", *plant)
			return 1
		}
		tags = "planted"
		// The clients here have it too, if this test is built with the tag.
		fmt.Fprintf(os.Stderr, "chaos: planted: %s (in the clients too: %v)\n", bug.What, planted.Plant(bug.Bug))
	}
	if program, err = process.Build(dir, "-tags", tags); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", strings.TrimSpace(err.Error()))
		return 1
	}
	return m.Run()
}
