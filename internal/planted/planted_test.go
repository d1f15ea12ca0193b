package planted

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for i, b := range All() {
		if b.Bug != Bug(i+1) {
			t.Errorf("%s stands at %d in the list and is number %d", b.Name, i+1, b.Bug)
		}
		if seen[b.Name] || b.Name == "" || b.What == "" || b.Checker == "" {
			t.Errorf("%q is named twice, or lacks a field: %+v", b.Name, b)
		}
		seen[b.Name] = true
		if got, ok := Named(b.Name); !ok || got != b {
			t.Errorf("Named(%q) = %+v, %v", b.Name, got, ok)
		}
	}
	if _, ok := Named("no-such-bug"); ok {
		t.Error("a bug that does not exist has a description")
	}
}

// TestPlant shows that a build without the tag cannot plant anything, and that one with it plants one bug at a time.
func TestPlant(t *testing.T) {
	defer Plant(None)
	for _, b := range All() {
		if Plant(b.Bug) != Built {
			t.Fatalf("Plant(%s) in a build with planted bugs: %v", b.Name, Built)
		}
		for _, other := range All() {
			if want := Built && other.Bug == b.Bug; On(other.Bug) != want {
				t.Errorf("%s planted: On(%s) = %v, want %v", b.Name, other.Name, !want, want)
			}
		}
	}
}

// TestEveryBugHasAHook keeps the list equal to the hooks in the source.
func TestEveryBugHasAHook(t *testing.T) {
	hook := regexp.MustCompile(`planted\.On\(planted\.(\w+)\)`)
	hooked := map[string]int{}
	source(t, "..", ".go", func(text string) {
		for _, m := range hook.FindAllStringSubmatch(text, -1) {
			hooked[m[1]]++
		}
	})
	constants, err := os.ReadFile("bugs.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`(?m)^\t\t\{(\w+),\s+"`).FindAllStringSubmatch(string(constants), -1)
	if len(listed) != len(All()) {
		t.Fatalf("read %d bugs of %d from the source", len(listed), len(All()))
	}
	for _, m := range listed {
		if hooked[m[1]] == 0 {
			t.Errorf("%s has no hook", m[1])
		}
	}
}

// TestEveryFaultyModelIsPlanted: each faulty variant of the models is among the bugs.
func TestEveryFaultyModelIsPlanted(t *testing.T) {
	variant := regexp.MustCompile(`\bBUG_[A-Z]+\b`)
	var planted []string
	for _, b := range All() {
		planted = append(planted, strings.Split(b.Model, ", ")...)
	}
	names, err := filepath.Glob("../../models/*.pml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no models: %v", err)
	}
	for _, name := range names {
		model := filepath.Base(name)
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range variant.FindAllString(string(text), -1) {
			if !slices.Contains(planted, model+" "+v) {
				t.Errorf("%s %s is not planted", model, v)
			}
		}
	}
	// A variant that is searched in two kinds of configuration, with and without RESOLVE, is two bugs.
	cases, err := os.ReadFile("../../models/run.sh")
	if err != nil {
		t.Fatal(err)
	}
	resolving := regexp.MustCompile(`(?m)^\w+ fail (\w+\.pml) .*-DRESOLVE.*-D(BUG_[A-Z]+)`).FindAllStringSubmatch(string(cases), -1)
	if len(resolving) == 0 {
		t.Error("models/run.sh has no faulty variant with RESOLVE")
	}
	for _, m := range resolving {
		if want := m[1] + " RESOLVE " + m[2]; !slices.Contains(planted, want) {
			t.Errorf("%s is not planted", want)
		}
	}
	if !slices.Contains(planted, "refuse_debit.pml") {
		t.Error("refuse_debit.pml without -DFIXED is not planted")
	}
}

func source(t *testing.T, root, ext string, f func(text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ext) || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		f(string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
