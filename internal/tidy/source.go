package tidy

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// purity checks imports and statements of a pure package. Its walks over maps are MapOrder's.
func purity(t *Tree, p *Package) []Problem {
	l := layers[p.Dir]
	if !l.Pure {
		return nil
	}
	var ps []Problem
	for _, f := range p.source() {
		for _, spec := range f.AST.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			if under(name, impure) && !slices.Contains(l.Allow, name) {
				ps = append(ps, t.at(spec.Pos(), rulePurity, "%s is pure and must not import %s", p.Dir, name))
			}
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.GoStmt:
				ps = append(ps, t.at(n.Pos(), rulePurity, "%s is pure and must not start a goroutine", p.Dir))
			case *ast.SelectStmt:
				ps = append(ps, t.at(n.Pos(), rulePurity, "%s is pure and must not select: the choice is random", p.Dir))
			}
			return true
		})
	}
	return ps
}

// docs checks that a package says what it is, and every exported name what it means.
func docs(t *Tree, p *Package) []Problem {
	source := p.source()
	if len(source) == 0 {
		return nil
	}
	var ps []Problem
	name := p.name()
	isDocumented := false
	for _, f := range source {
		isDocFile := strings.HasSuffix(f.Path, "/doc.go") || name == "main"
		isDocumented = isDocumented || (isDocFile && f.AST.Doc != nil)
	}
	if !isDocumented {
		ps = append(ps, Problem{File: p.Dir, Rule: ruleDoc, Text: "has no doc.go with a package comment: what it is, its invariants, where to read first"})
	}
	if name == "main" {
		return ps
	}
	for _, f := range source {
		for _, d := range f.AST.Decls {
			ps = append(ps, docstrings(t, d)...)
		}
	}
	return ps
}

// docstrings checks one declaration. A comment on a group documents its members.
func docstrings(t *Tree, d ast.Decl) []Problem {
	missing := func(n *ast.Ident) Problem {
		return t.at(n.Pos(), ruleDoc, "exported %s has no docstring", n.Name)
	}
	var ps []Problem
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || ast.IsExported(receiver(d.Recv))) {
			ps = append(ps, missing(d.Name))
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					ps = append(ps, missing(s.Name))
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						ps = append(ps, missing(n))
					}
				}
			}
		}
	}
	return ps
}

// receiver returns the name of a method's type.
func receiver(recv *ast.FieldList) string {
	e := recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// unfinished matches the marks of work that is left to do.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XXX|HACK)\b`)

// words checks names and words that must not stand in the source.
func words(t *Tree, p *Package) []Problem {
	var ps []Problem
	if name := p.name(); slices.Contains(emptyNames, strings.TrimSuffix(name, "_test")) {
		ps = append(ps, Problem{File: p.Dir, Rule: ruleName, Text: "package " + name + " does not say what is inside"})
	}
	for _, f := range p.Files {
		for _, g := range f.AST.Comments {
			for _, c := range g.List {
				if m := unfinished.FindString(c.Text); m != "" {
					ps = append(ps, t.at(c.Pos(), ruleUnfinished, "%s: do it, or say in the documents what is missing", m))
				}
			}
		}
		if f.Test {
			ps = append(ps, sleeps(t, f)...)
		}
	}
	return ps
}

// sleeps finds time.Sleep in a test: a test waits for what it needs, not for a while.
func sleeps(t *Tree, f *File) []Problem {
	local := importName(f.AST, "time")
	if local == "" {
		return nil
	}
	var ps []Problem
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == local {
				ps = append(ps, t.at(s.Pos(), ruleSleep, "tests do not sleep: wait for the condition, or use ticks or testing/synctest"))
			}
		}
		return true
	})
	return ps
}

// importName returns under which name a file knows an import, "" if it has none.
func importName(f *ast.File, path string) string {
	for _, spec := range f.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	return ""
}

// maxFileLines is where a file fails the build. The sizes of the report are in sizes.go.
const maxFileLines = 800

func longFiles(t *Tree) []Problem {
	var ps []Problem
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if n := t.lines(f); n > maxFileLines {
				ps = append(ps, Problem{File: f.Path, Rule: ruleSize, Text: "has " + strconv.Itoa(n) + " lines; split it"})
			}
		}
	}
	return ps
}

func (t *Tree) lines(f *File) int { return t.Fset.File(f.AST.FileStart).LineCount() }

// line returns the line of a position.
func (t *Tree) line(pos token.Pos) int { return t.Fset.Position(pos).Line }
