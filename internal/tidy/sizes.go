package tidy

import (
	"fmt"
	"go/ast"
)

// Sizes that the report names: what fits a screen, is read in one sitting, or is remembered.
const (
	longFunctionLines = 70
	longFileLines     = 500
	manyFields        = 20
	manyParams        = 4
)

// Sizes reports what is larger than the house rules want. It fails nothing: some things are long
// because what they say is.
func Sizes(t *Tree) []Problem {
	var ps []Problem
	for _, p := range t.Packages {
		for _, f := range p.Files {
			if n := t.lines(f); n > longFileLines {
				ps = append(ps, Problem{File: f.Path, Rule: ruleSize, Text: fmt.Sprintf("file of %d lines", n)})
			}
			ast.Inspect(f.AST, func(n ast.Node) bool {
				ps = append(ps, sizeOf(t, f, n)...)
				return true
			})
		}
	}
	return ps
}

func sizeOf(t *Tree, f *File, n ast.Node) []Problem {
	var ps []Problem
	switch n := n.(type) {
	case *ast.FuncDecl:
		if lines := t.line(n.End()) - t.line(n.Pos()) + 1; lines > longFunctionLines {
			ps = append(ps, t.at(n.Pos(), ruleSize, "function %s of %d lines", n.Name.Name, lines))
		}
		if count := n.Type.Params.NumFields(); count > manyParams && !f.Test {
			ps = append(ps, t.at(n.Pos(), ruleSize, "function %s with %d parameters", n.Name.Name, count))
		}
	case *ast.TypeSpec:
		if s, ok := n.Type.(*ast.StructType); ok && s.Fields.NumFields() > manyFields {
			ps = append(ps, t.at(n.Pos(), ruleSize, "struct %s with %d fields", n.Name.Name, s.Fields.NumFields()))
		}
	}
	return ps
}
