package sim

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guards are lines that only a faulty leader could reach: it would have proposed what it must not. They are
// reached by planted bugs, not by sound programs.
var guards = []string{
	"ledger: finish with insufficient facts",
	"ledger: finish(commit) of an unknown transfer",
	"ledger: ignored a bystander's fact",
}

// TestMarksAreThoseOfTheSource keeps the list of marks equal to the calls of invariant.Sometimes.
func TestMarksAreThoseOfTheSource(t *testing.T) {
	call := regexp.MustCompile(`invariant\.Sometimes\("([^"]+)"\)`)
	var found []string
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range call.FindAllSubmatch(text, -1) {
			found = append(found, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	listed := slices.Sorted(slices.Values(append(Marks(), guards...)))
	if !slices.Equal(found, listed) {
		t.Errorf("the source has the marks\n%s\nthe list\n%s", strings.Join(found, "\n"), strings.Join(listed, "\n"))
	}
}
