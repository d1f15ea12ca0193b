package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

func newBenchCompareCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Show the ratios of two results",
		Long: "Show the ratios of two results that bench --json or bench suite --json wrote, and what makes them hard\n" +
			"to compare.",
		Args:        arguments(2, 2, "A.json", "B.json"),
		Annotations: map[string]string{needsNoConfig: ""},
		RunE:        func(_ *cobra.Command, args []string) error { return a.runBenchCompare(args[0], args[1]) },
	}
}

// runBenchCompare prints the ratios of two files.
func (a *App) runBenchCompare(fileA, fileB string) error {
	resultsA, err := bench.ReadResults(fileA)
	if err != nil {
		return usageError("%v", err).hint("make one with: raftbank bench --spawn --json FILE")
	}
	resultsB, err := bench.ReadResults(fileB)
	if err != nil {
		return usageError("%v", err).hint("make one with: raftbank bench --spawn --json FILE")
	}
	v, err := bench.Compare(resultsA, resultsB)
	if err != nil {
		return usageError("%v", err)
	}
	v.A, v.B = fileA, fileB
	return a.print(&v, func(w io.Writer) { a.compareTable(w, &v) })
}

func (a *App) compareTable(w io.Writer, v *api.BenchCompare) {
	text := func(v *float64) string {
		if v == nil {
			return ""
		}
		return figureText(*v)
	}
	var rows [][]string
	suite := false
	for i := range v.Rows {
		r := &v.Rows[i]
		suite = suite || r.Row != ""
		ratio := ""
		if r.Ratio != nil {
			ratio = fmt.Sprintf("%.2f", *r.Ratio)
		}
		rows = append(rows, []string{r.Row, r.Figure, text(r.A), text(r.B), r.Unit, ratio, r.Better})
	}
	cols := columns("row", "figure", ">a", ">b", "unit", ">b/a", "better")
	if !suite {
		cols = cols[1:]
		for i := range rows {
			rows[i] = rows[i][1:]
		}
	}
	a.grid(w, cols, rows)
	for _, note := range v.Notes {
		a.notef("note: %s", note)
	}
}
