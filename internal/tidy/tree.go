package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Problem is one broken rule.
type Problem struct {
	File string // relative to the root; a directory if the whole package is meant
	Line int    // 0: the whole file or directory
	Rule string
	Text string
}

// String returns "file:line: rule: text".
func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", p.File, p.Rule, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Rule, p.Text)
}

// File is one parsed source file.
type File struct {
	Path string // relative to the root, with slashes
	Test bool   // *_test.go
	AST  *ast.File
}

// Package is the Go files of one directory, its tests included.
type Package struct {
	Dir   string // relative to the root, with slashes
	Files []*File
}

// Tree is a module's source.
type Tree struct {
	Root     string
	Module   string // module path: imports below it are the tree's own
	Fset     *token.FileSet
	Packages []*Package // by directory
}

// Load parses every Go file of the module at root, but for testdata and hidden directories.
func Load(root, module string) (*Tree, error) {
	t := &Tree{Root: root, Module: module, Fset: token.NewFileSet()}
	byDir := map[string]*Package{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || isModule(name)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		return t.add(byDir, name)
	})
	if err != nil {
		return nil, fmt.Errorf("load the source below %s: %w", root, err)
	}
	for _, p := range byDir {
		t.Packages = append(t.Packages, p)
	}
	slices.SortFunc(t.Packages, func(a, b *Package) int { return strings.Compare(a.Dir, b.Dir) })
	return t, nil
}

// isModule reports whether a directory is the root of a module: below another, it is not part of that.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func (t *Tree) add(byDir map[string]*Package, name string) error {
	rel, err := filepath.Rel(t.Root, name)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	// The file set knows files by their relative name, so that positions can be printed as they are.
	f, err := parser.ParseFile(t.Fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(rel)
	p := byDir[dir]
	if p == nil {
		p = &Package{Dir: dir}
		byDir[dir] = p
	}
	p.Files = append(p.Files, &File{Path: rel, Test: strings.HasSuffix(rel, "_test.go"), AST: f})
	return nil
}

// Package returns the package of a directory, or nil.
func (t *Tree) Package(dir string) *Package {
	for _, p := range t.Packages {
		if p.Dir == dir {
			return p
		}
	}
	return nil
}

// name returns the package's name, from its source or else its tests.
func (p *Package) name() string {
	for _, f := range p.Files {
		if !f.Test {
			return f.AST.Name.Name
		}
	}
	return p.Files[0].AST.Name.Name
}

// source returns the files that are no tests.
func (p *Package) source() []*File {
	return slices.DeleteFunc(slices.Clone(p.Files), func(f *File) bool { return f.Test })
}

// at makes a Problem at a position.
func (t *Tree) at(pos token.Pos, rule, format string, args ...any) Problem {
	p := t.Fset.Position(pos)
	return Problem{File: p.Filename, Line: p.Line, Rule: rule, Text: fmt.Sprintf(format, args...)}
}
