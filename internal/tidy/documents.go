package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// link matches the target of a Markdown link.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// testName matches a test that a document names; dots after it stand for the rest of the name.
var testName = regexp.MustCompile(`\b((?:Test|Fuzz|Example)[A-Z][A-Za-z0-9]+)(\.\.\.)?`)

// Links returns what the Markdown files of a tree point to and is not there: linked files, and tests
// that they name.
func Links(t *Tree) ([]Problem, error) {
	root := t.Root
	tests := t.testNames()
	var ps []Problem
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".md") {
			return nil
		}
		found, err := deadLinks(root, name, tests)
		ps = append(ps, found...)
		return err
	})
	return ps, err
}

// testNames lists the functions of the tree's tests.
func (t *Tree) testNames() []string {
	var names []string
	for _, p := range t.Packages {
		for _, f := range p.Files {
			for _, d := range f.AST.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && f.Test && fn.Recv == nil {
					names = append(names, fn.Name.Name)
				}
			}
		}
	}
	return names
}

func deadLinks(root, name string, tests []string) ([]Problem, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return nil, err
	}
	var ps []Problem
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), filepath.FromSlash(target))); err != nil {
				ps = append(ps, Problem{File: filepath.ToSlash(rel), Line: number, Rule: ruleLink, Text: "nothing is at " + target})
			}
		}
		for _, m := range testName.FindAllStringSubmatch(line, -1) {
			if !slices.ContainsFunc(tests, func(test string) bool {
				return test == m[1] || m[2] != "" && strings.HasPrefix(test, m[1])
			}) {
				ps = append(ps, Problem{File: filepath.ToSlash(rel), Line: number, Rule: ruleLink, Text: "no test is called " + m[0]})
			}
		}
	}
	return ps, nil
}

// Commands returns the commands and flags of package cli and the JSON fields of package api that a
// document does not name in backquotes.
func Commands(t *Tree, cli, api, document string) []Problem {
	named := map[string]bool{}
	for _, span := range regexp.MustCompile("`[^`\n]+`").FindAllString(document, -1) {
		for _, word := range regexp.MustCompile(`[A-Za-z0-9_-]+`).FindAllString(span, -1) {
			named[strings.TrimLeft(word, "-")] = true
		}
	}
	var ps []Problem
	want := func(pos token.Pos, what, name string) {
		if !named[name] {
			ps = append(ps, t.at(pos, ruleCommand, "%s %s is not in docs/CLI.md", what, name))
		}
	}
	inspect := func(dir string, visit func(ast.Node)) {
		if p := t.Package(dir); p != nil {
			for _, f := range p.source() {
				ast.Inspect(f.AST, func(n ast.Node) bool { visit(n); return true })
			}
		}
	}
	inspect(cli, func(n ast.Node) {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Use" {
				if use := literal(n.Value); use != "" {
					want(n.Pos(), "command", strings.Fields(use)[0])
				}
			}
		case *ast.CallExpr:
			if name := flagOf(n); name != "" {
				want(n.Pos(), "flag", name)
			}
		}
	})
	inspect(api, func(n ast.Node) {
		if f, ok := n.(*ast.Field); ok && f.Tag != nil {
			tag, _ := strconv.Unquote(f.Tag.Value)
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if name != "" && name != "-" {
				want(n.Pos(), "field", name)
			}
		}
	})
	return ps
}

// flagOf returns the name of the flag that a call such as fs.StringVar(&x, "name", ...) defines.
func flagOf(call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	name := strings.TrimSuffix(sel.Sel.Name, "P")
	kind, isVar := strings.CutSuffix(name, "Var")
	if !slices.Contains([]string{"String", "Bool", "Int", "Int64", "Uint", "Uint16", "Uint32", "Uint64", "Float64", "Duration", "StringSlice", "IntSlice"}, kind) {
		return ""
	}
	at := 0
	if isVar {
		at = 1
	}
	// A flag has name, default and usage: fewer arguments are a call of something else.
	if len(call.Args) < at+3 {
		return ""
	}
	return literal(call.Args[at])
}

// literal returns the value of a string literal, "" for anything else.
func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		s, _ := strconv.Unquote(l.Value)
		return s
	}
	return ""
}

// Report joins problems to lines.
func Report(ps []Problem) string {
	var b strings.Builder
	for _, p := range ps {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}
