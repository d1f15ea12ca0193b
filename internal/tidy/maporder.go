package tidy

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// orderMark is what a comment says, with the reason, on a walk over a map that is harmless, or on the
// line above it.
const orderMark = "order does not show"

// MapOrder type-checks the packages of dirs, without their tests, and returns every walk over a map
// that does not say why its order cannot show: a range over a map, or an iterator of package maps
// that is not sorted at once.
// Errors: the go command, which gives the types of what is imported, or the type checker.
func MapOrder(t *Tree, dirs ...string) ([]Problem, error) {
	exports, err := exportData(t, dirs)
	if err != nil {
		return nil, err
	}
	imp := importer.ForCompiler(t.Fset, "gc", func(path string) (io.ReadCloser, error) {
		name, ok := exports[path]
		if !ok {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(name)
	})
	var ps []Problem
	for _, dir := range dirs {
		found, err := mapOrder(t, t.Package(dir), imp)
		if err != nil {
			return nil, err
		}
		ps = append(ps, found...)
	}
	return ps, nil
}

// exportData asks the go command for the compiled form of what the packages import. It comes from
// the build cache, so this is quick after a build.
func exportData(t *Tree, dirs []string) (map[string]string, error) {
	paths := []string{}
	for _, dir := range dirs {
		for _, f := range t.Package(dir).source() {
			for _, spec := range f.AST.Imports {
				path := strings.Trim(spec.Path.Value, `"`)
				if path != "unsafe" && !slices.Contains(paths, path) {
					paths = append(paths, path)
				}
			}
		}
	}
	args := append([]string{"list", "-export", "-deps", "-f", "{{if .Export}}{{.ImportPath}}={{.Export}}{{end}}", "--"}, paths...)
	cmd := exec.Command("go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -export: %w: %s", err, stderr.String())
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, file, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			exports[path] = file
		}
	}
	return exports, nil
}

func mapOrder(t *Tree, p *Package, imp types.Importer) ([]Problem, error) {
	var files []*ast.File
	for _, f := range p.source() {
		if built(f.AST) {
			files = append(files, f.AST)
		}
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	var errs []error
	conf := types.Config{Importer: imp, Error: func(err error) { errs = append(errs, err) }}
	_, _ = conf.Check(t.Module+"/"+p.Dir, t.Fset, files, info)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("type-check %s: %w", p.Dir, err)
	}
	var ps []Problem
	for _, f := range files {
		ps = append(ps, walks(t, f, info)...)
	}
	return ps, nil
}

// built reports whether a build without tags on this machine has the file.
func built(f *ast.File) bool {
	for _, g := range f.Comments {
		for _, c := range g.List {
			if !constraint.IsGoBuild(c.Text) {
				continue
			}
			x, err := constraint.Parse(c.Text)
			return err == nil && x.Eval(func(tag string) bool { return tag == runtime.GOOS || tag == runtime.GOARCH })
		}
	}
	return true
}

// walks finds the unexplained walks over maps in one file.
func walks(t *Tree, f *ast.File, info *types.Info) []Problem {
	marks := markedLines(t, f)
	var ps []Problem
	complain := func(pos token.Pos, what string) {
		if line := t.line(pos); !marks[line] && !marks[line-1] {
			ps = append(ps, t.at(pos, ruleMapOrder, "%s: sort the keys, or say why in a comment: // %s: ...", what, orderMark))
		}
	}
	sorted := map[ast.Node]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.RangeStmt:
			if isMap(info.Types[n.X].Type) {
				complain(n.Pos(), "a range over a map")
			}
		case *ast.CallExpr:
			switch name := calledFrom(info, n); name {
			case "slices.Sorted", "slices.SortedFunc", "slices.SortedStableFunc":
				sorted[ast.Unparen(n.Args[0])] = true
			case "maps.Keys", "maps.Values", "maps.All", "maps.DeleteFunc":
				if !sorted[n] {
					complain(n.Pos(), name+" goes in map order")
				}
			}
		}
		return true
	})
	return ps
}

// isMap reports whether ranging over a type goes in map order.
func isMap(t types.Type) bool {
	if t == nil {
		return false
	}
	if p, ok := types.Unalias(t).(*types.TypeParam); ok {
		return isMapConstraint(p.Constraint())
	}
	_, ok := t.Underlying().(*types.Map)
	return ok
}

// isMapConstraint reports whether a type parameter with this constraint is a map, as in ~map[K]V.
func isMapConstraint(constraint types.Type) bool {
	set, ok := constraint.Underlying().(*types.Interface)
	for i := 0; ok && i < set.NumEmbeddeds(); i++ {
		e := set.EmbeddedType(i)
		if u, isUnion := e.(*types.Union); isUnion {
			e = u.Term(0).Type() // a union that can be ranged over has one underlying type
		}
		if isMap(e) {
			return true
		}
	}
	return false
}

// calledFrom returns "package.Func" of a call to another package's function.
func calledFrom(info *types.Info, call *ast.CallExpr) string {
	fun := ast.Unparen(call.Fun)
	switch x := fun.(type) {
	case *ast.IndexExpr:
		fun = x.X
	case *ast.IndexListExpr:
		fun = x.X
	}
	sel, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	f, ok := info.Uses[sel.Sel].(*types.Func)
	if !ok || f.Pkg() == nil {
		return ""
	}
	return f.Pkg().Path() + "." + f.Name()
}

// markedLines returns the lines with a comment that says that order does not show.
func markedLines(t *Tree, f *ast.File) map[int]bool {
	lines := map[int]bool{}
	for _, g := range f.Comments {
		for _, c := range g.List {
			if strings.Contains(c.Text, orderMark) {
				// A reason may take more than one line: the walk follows the comment's last.
				lines[t.line(c.Pos())] = true
				lines[t.line(g.End())] = true
			}
		}
	}
	return lines
}
