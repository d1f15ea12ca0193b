//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLessonsRun runs every lesson of the examples in the demo, as docs/LABS.md says, and looks for
// the line that each ends with: the check.
func TestLessonsRun(t *testing.T) {
	lessons, err := filepath.Glob("../../examples/lessons/*.txt")
	if err != nil || len(lessons) == 0 {
		t.Fatalf("no lessons: %v", err)
	}
	for _, path := range lessons {
		t.Run(filepath.Base(path), func(t *testing.T) {
			o := command(t, readText(t, path), "demo", "--acts=false")
			wantCode(t, o, 0)
			wantText(t, o, "in flight 0   9 replicas   OK")
			for _, bad := range []string{"unknown command", "VIOLATION", "FAILED", "panic"} {
				if strings.Contains(o.Out+o.Err, bad) {
					t.Errorf("the lesson says %q\n%s", bad, o)
				}
			}
			t.Logf("ran in %s", round(o.Took))
		})
	}
}
