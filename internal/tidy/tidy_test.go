package tidy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the module's root, seen from this package.
const root = "../.."

func load(t *testing.T, dir string) *Tree {
	t.Helper()
	tree, err := Load(dir, "raftbank")
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestRepository holds this repository to every rule.
func TestRepository(t *testing.T) {
	tree := load(t, root)
	ps := Check(tree)
	ordered := OrderedDirs(tree)
	if len(ordered) < 9 {
		t.Errorf("only %d pure and ordered packages found: %v", len(ordered), ordered)
	}
	found, err := MapOrder(tree, ordered...)
	if err != nil {
		t.Fatal(err)
	}
	ps = append(ps, found...)
	dead, err := Links(tree)
	if err != nil {
		t.Fatal(err)
	}
	ps = append(ps, dead...)
	document, err := os.ReadFile(filepath.Join(root, "docs", "CLI.md"))
	if err != nil {
		t.Fatal(err)
	}
	ps = append(ps, Commands(tree, "internal/cli", "internal/api", string(document))...)
	for _, p := range ps {
		t.Error(p)
	}
}

// TestSizes prints what is larger than the house rules want; see the package comment.
func TestSizes(t *testing.T) {
	ps := Sizes(load(t, root))
	t.Logf("%d sizes above the house rules (a report, not a failure):\n%s", len(ps), Report(ps))
}

// wanted reads the marks "// want rule ..." of a tree's files as "file:line: rule".
func wanted(t *testing.T, tree *Tree) []string {
	t.Helper()
	var out []string
	for _, p := range tree.Packages {
		for _, f := range p.Files {
			text, err := os.ReadFile(filepath.Join(tree.Root, f.Path))
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(string(text), "\n") {
				if _, rules, ok := strings.Cut(line, "// want "); ok {
					for _, rule := range strings.Fields(rules) {
						out = append(out, fmt.Sprintf("%s:%d: %s", f.Path, i+1, rule))
					}
				}
			}
		}
	}
	return out
}

// TestRulesFire shows that each rule finds exactly what is planted for it.
func TestRulesFire(t *testing.T) {
	tree := load(t, "testdata/planted")
	ps := Check(tree)
	found, err := MapOrder(tree, "internal/shard")
	if err != nil {
		t.Fatal(err)
	}
	ps = append(ps, found...)
	dead, err := Links(tree)
	if err != nil {
		t.Fatal(err)
	}
	ps = append(ps, dead...)
	ps = append(ps, Commands(tree, "internal/cli", "internal/api", "`raftbank known --known-flag` gives `known_field`; secret")...)

	want := append(wanted(t, tree),
		"internal/shard: doc", "internal/stray: doc", "internal/util: doc",
		"internal/stray: table", "internal/util: table", "internal/util: name",
		"guide.md:2: link", "guide.md:3: link", "guide.md:3: link",
		// A mark beside these would be their docstring.
		"internal/shard/bad.go:24: doc", "internal/shard/bad.go:33: doc")
	var got []string
	for _, p := range ps {
		line := fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Rule)
		if p.Line == 0 {
			line = fmt.Sprintf("%s: %s", p.File, p.Rule)
		}
		got = append(got, line)
		if p.Text == "" {
			t.Errorf("%s says nothing", line)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("not found: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("found, but not planted: %s", line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("found %d problems, %d are planted:\n%s", len(got), len(want), Report(ps))
	}
}

// plant writes one source file into a fresh tree.
func plant(t *testing.T, text string) *Tree {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "internal", "api")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "doc.go"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return load(t, filepath.Join(dir, "..", ".."))
}

func TestLongFileFails(t *testing.T) {
	head := "// Package api is long.\npackage api\n"
	if ps := Check(plant(t, head+strings.Repeat("\n", 790))); len(ps) != 0 {
		t.Errorf("792 lines: %v", ps)
	}
	ps := Check(plant(t, head+strings.Repeat("\n", 820)))
	if len(ps) != 1 || ps[0].Rule != ruleSize {
		t.Errorf("822 lines: %v", ps)
	}
}

func TestSizesReport(t *testing.T) {
	var b strings.Builder
	b.WriteString("// Package api is large.\npackage api\n\ntype wide struct {\n")
	for i := range 21 {
		fmt.Fprintf(&b, "\tf%d int\n", i)
	}
	b.WriteString("}\n\nfunc long(a, b, c, d, e int) {\n" + strings.Repeat("\t_ = a\n", 80) + "}\n\nfunc fine(a, b, c, d int) {}\n")
	b.WriteString(strings.Repeat("\n", 400))
	var got []string
	for _, p := range Sizes(plant(t, b.String())) {
		got = append(got, p.Text)
	}
	want := []string{"file of 511 lines", "struct wide with 21 fields", "function long of 82 lines", "function long with 5 parameters"}
	if !slices.Equal(got, want) {
		t.Errorf("report %q, want %q", got, want)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte("package"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, "m"); err == nil {
		t.Error("a file that does not parse was loaded")
	}
	if _, err := Load(filepath.Join(dir, "nowhere"), "m"); err == nil {
		t.Error("a tree that does not exist was loaded")
	}
}
