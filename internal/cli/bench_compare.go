package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

func newBenchCompareCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Show the ratios of two results",
		Long: "Show the ratios of two results that bench --json or bench suite --json wrote, and what makes them hard\n" +
			"to compare. A side is better only if three or more runs of each lie all on one side of the other's.",
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
		rows = append(rows, []string{r.Row, r.Figure, text(r.A), text(r.B), r.Unit, ratio, rangeText(r.RangeA), rangeText(r.RangeB), cmp.Or(r.Better, r.Undecided)})
	}
	cols := columns("row", "figure", ">a", ">b", "unit", ">b/a", "runs of a", "runs of b", "better")
	if !suite { // single runs have neither a row nor a range
		cols = slices.Delete(cols[1:], 5, 7)
		for i := range rows {
			rows[i] = slices.Delete(rows[i][1:], 5, 7)
		}
	}
	a.grid(w, cols, rows)
	for _, note := range v.Notes {
		a.notef("note: %s", note)
	}
}

// rangeText prints the least and the most of several runs.
func rangeText(r *api.BenchRange) string {
	if r == nil {
		return ""
	}
	return figureText(r.Least) + " to " + figureText(r.Most)
}
