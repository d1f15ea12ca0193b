package cli

import (
	"fmt"
	"io"
	"slices"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

// baseRun returns the last run of the first row of a row's group, which was measured just before.
func baseRun(rows []bench.Row, i int, out *api.BenchSuite) (*api.BenchRow, *api.Bench) {
	base := slices.IndexFunc(rows, func(r bench.Row) bool { return r.Group == rows[i].Group })
	runs := out.Rows[base].Runs
	return &out.Rows[base], &runs[len(runs)-1]
}

// growthArgs fits the arguments of a run to a row of the growth table.
func growthArgs(args *benchArgs, rows []bench.Row, i int, out *api.BenchSuite) {
	row := &rows[i]
	if row.Accounts > 0 {
		args.Bank.Accounts = row.Accounts
	}
	if row.Replicas > 0 {
		args.Bank.Replicas = row.Replicas
	}
	if row.Share > 0 {
		_, closed := baseRun(rows, i, out)
		args.Load.Rate = float64(int(row.Share * closed.TPS))
	}
}

// growthTable prints medians of the runs, and the figure over that of the group's first row.
func (a *App) growthTable(w io.Writer, s *api.BenchSuite) {
	var rows [][]string
	base := map[string]float64{}
	for i := range s.Rows {
		r := &s.Rows[i]
		if len(r.Values) == 0 {
			continue
		}
		if _, ok := base[r.Group]; !ok {
			base[r.Group] = r.Median
		}
		ratio := ""
		if first := base[r.Group]; first > 0 {
			ratio = fmt.Sprintf("%.2f", r.Median/first)
		}
		of := func(figure func(*api.Bench) *float64) string {
			if v := medianOf(r.Runs, figure); v != nil {
				return figureText(*v)
			}
			return ""
		}
		rows = append(rows, []string{r.Name, r.Load, figureText(r.Median), r.Unit, ratio,
			of(func(b *api.Bench) *float64 { return &b.TPS }),
			of(func(b *api.Bench) *float64 { return answered(b, float64(b.LatencyUs.P50)) }),
			of(func(b *api.Bench) *float64 { return answered(b, float64(b.LatencyUs.P99)) }),
			of(func(b *api.Bench) *float64 { return b.CPUUsPerTransfer.Servers }),
			of(func(b *api.Bench) *float64 { return b.CPUUsPerTransfer.Client }),
			of(func(b *api.Bench) *float64 {
				if b.RSSBytes == nil {
					return nil
				}
				v := float64(*b.RSSBytes >> 20)
				return &v
			})})
	}
	a.grid(w, columns("row", "load", ">median", "unit", ">of the first", ">tps", ">p50 us", ">p99 us", ">servers' CPU us", ">client's CPU us", ">servers' MiB"), rows)
	if a.Format == FormatTable && s.Machine.Load1m != nil {
		_, _ = fmt.Fprintf(w, "%d cores, load average before: %.2f\n", s.Machine.Cores, *s.Machine.Load1m)
	}
}

// answered is a latency, nil if nothing was answered.
func answered(b *api.Bench, us float64) *float64 {
	if b.LatencyUs.Max == 0 {
		return nil
	}
	return &us
}

// medianOf is the median of a figure of those runs that have it; nil: none has.
func medianOf(runs []api.Bench, figure func(*api.Bench) *float64) *float64 {
	var values []float64
	for i := range runs {
		if v := figure(&runs[i]); v != nil && runs[i].Error == nil {
			values = append(values, *v)
		}
	}
	if len(values) == 0 {
		return nil
	}
	v := bench.Median(values)
	return &v
}
