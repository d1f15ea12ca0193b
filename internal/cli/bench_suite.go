package cli

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

// benchSuiteArgs are the flags of bench suite.
type benchSuiteArgs struct {
	Quick bool
	// Growth makes the table of how cost grows, of which Rows name groups.
	Growth bool
	Runs   int
	Rows   []string // names; none: all
	Seed   uint64
	JSON   string
	Bank   benchBankArgs
}

func newBenchSuiteCmd(a *App) *cobra.Command {
	p := benchSuiteArgs{Runs: 3}
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "Measure the standard table of loads, each several times, and take medians",
		Long: "Measure the standard table of loads on banks of its own, each several times, and take medians. The runs\n" +
			"of a row are spread over the whole time, so that a disturbance does not hit one row alone.",
		Example:     "  raftbank bench suite --json after.json\n  raftbank bench suite --quick --rows one,cross-one\n  raftbank bench suite --growth --json growth.json",
		Args:        arguments(0, 0),
		Annotations: map[string]string{needsNoConfig: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.Quick && !cmd.Flags().Changed("runs") {
				p.Runs = 1
			}
			return a.runBenchSuite(cmd.Context(), p)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&p.Quick, "quick", false, "short windows, one run each: a look, not a measurement")
	f.BoolVar(&p.Growth, "growth", false, "instead the table of how cost grows: with accounts, shards, cross-shard share, skew, hot accounts, replicas, reads, load, overload, history")
	f.IntVar(&p.Runs, "runs", p.Runs, "runs of every row")
	f.StringSliceVar(&p.Rows, "rows", nil, "only these rows, by name; with --growth these groups (default: all)")
	f.Uint64Var(&p.Seed, "seed", 0, "seed of accounts and amounts (default: one is drawn)")
	f.StringVar(&p.JSON, "json", "", "write the table with all its runs to this file as JSON")
	f.IntVar(&p.Bank.Replicas, "replicas", 3, "replicas per shard")
	f.Uint64Var(&p.Bank.Accounts, "accounts", 3000, "accounts of every bank")
	f.IntVar(&p.Bank.ServerProcs, "server-procs", 0, "GOMAXPROCS of the servers (default: 1 if they outnumber the cores)")
	return cmd
}

// runBenchSuite runs the table.
func (a *App) runBenchSuite(ctx context.Context, p benchSuiteArgs) error {
	drawn := p.Seed == 0
	if drawn {
		p.Seed = uint64(rand.Uint32())
	}
	rows, err := chosenRows(p)
	if err != nil {
		return err
	}
	if err := writable(p.JSON); err != nil {
		return err
	}
	if drawn {
		a.notef("seed %d", p.Seed)
	}
	out := api.BenchSuite{Quick: p.Quick, Growth: p.Growth, Versions: bench.Versions(a.Version), Machine: bench.Machine(), Rows: make([]api.BenchRow, len(rows))}
	failed := a.suiteRuns(ctx, p, rows, &out)
	if out = measuredRows(out); len(out.Rows) == 0 && failed != nil {
		return failed
	}
	if failed != nil {
		out.Error = failed.err
	}
	table := a.suiteTable
	if p.Growth {
		table = a.growthTable
	}
	printed := a.print(&out, func(w io.Writer) { table(w, &out) })
	return a.benchEnd(out.Error, printed, writeJSON(p.JSON, &out))
}

// suiteRuns makes all runs, and writes the file after each: what fails late, or is interrupted, loses no earlier run.
func (a *App) suiteRuns(ctx context.Context, p benchSuiteArgs, rows []bench.Row, out *api.BenchSuite) *exitError {
	for run := range p.Runs {
		for i := range rows {
			if rows[i].Window <= 1 {
				a.notef("run %d of %d: %s", run+1, p.Runs, rows[i].Load)
			}
			if err := a.suiteRun(ctx, p, rows, i, out); err != nil {
				e := *asExit(err).err // the run keeps its own words
				e.Message = fmt.Sprintf("row %s: %s", rows[i].Name, e.Message)
				return withError(&e)
			}
			if err := writeJSON(p.JSON, measuredRows(*out)); err != nil {
				return asExit(err)
			}
		}
	}
	return nil
}

// measuredRows is a table without the rows of which there is no run.
func measuredRows(s api.BenchSuite) api.BenchSuite {
	s.Rows = slices.DeleteFunc(slices.Clone(s.Rows), func(r api.BenchRow) bool { return len(r.Runs) == 0 && len(r.Values) == 0 })
	return s
}

// chosenRows returns the rows of the table that were asked for.
func chosenRows(p benchSuiteArgs) ([]bench.Row, error) {
	if p.Runs < 1 {
		return nil, usageError("--runs %d: want at least 1", p.Runs)
	}
	rows, nameOf := bench.Standard(p.Quick, p.Seed), func(r *bench.Row) string { return r.Name }
	if p.Growth {
		rows, nameOf = bench.Growth(p.Quick, p.Seed), func(r *bench.Row) string { return r.Group }
	}
	var names []string
	for i := range rows {
		names = append(names, nameOf(&rows[i]))
	}
	names = slices.Compact(names)
	for _, name := range p.Rows {
		if !slices.Contains(names, name) {
			return nil, usageError("--rows: no row %q: the table has %s", name, strings.Join(names, ", "))
		}
	}
	if len(p.Rows) == 0 {
		return rows, nil
	}
	return slices.DeleteFunc(rows, func(r bench.Row) bool { return !slices.Contains(p.Rows, nameOf(&r)) }), nil
}

// suiteRun makes one run of a row and adds it to the table.
func (a *App) suiteRun(ctx context.Context, p benchSuiteArgs, rows []bench.Row, i int, suite *api.BenchSuite) error {
	row, out := &rows[i], &suite.Rows[i]
	args := benchArgs{Load: row.Options, Deadline: benchDeadline, Spawn: true, Bank: p.Bank}
	args.Bank.Shards = row.Shards
	growthArgs(&args, rows, i, suite)
	out.Name, out.Group, out.Load, out.Figure, out.Unit = row.Name, row.Group, row.Load, row.Figure, row.Unit
	out.Command = benchCommand(&args)
	var value float64
	if row.Restart > 0 || row.Spread {
		out.Command = suiteCommand(p, row.Name)
	}
	switch {
	case row.Window > 1: // of the run of the group's first row, in which it is kept
		out.Runs = []api.Bench{}
		base, run := baseRun(rows, i, suite)
		out.Command, value = base.Command, bench.WindowTPS(run, row.Window)
	case row.Restart > 0:
		seconds, result, err := a.restartRun(ctx, args, row.Restart)
		if err != nil {
			return err
		}
		if err := keepRun(out, result); err != nil {
			return err
		}
		value = seconds
	case row.Spread:
		hot, err := a.benchOnce(ctx, args)
		if err == nil {
			err = keepRun(out, hot)
		}
		if err != nil {
			return err
		}
		args.Load.Hot = 0
		spread, err := a.benchOnce(ctx, args)
		if err == nil {
			err = keepRun(out, spread)
		}
		if err != nil {
			return err
		}
		value = hot.TPS / max(spread.TPS, 1)
	default:
		result, err := a.benchOnce(ctx, args)
		if err == nil {
			err = keepRun(out, result)
		}
		if err != nil {
			return err
		}
		if value = row.Value(result); row.Window == 1 {
			value = bench.WindowTPS(result, 1)
		}
	}
	out.Values = append(out.Values, value)
	out.Median = bench.Median(out.Values)
	return nil
}

// keepRun adds a run to a row; a failed one is kept and told, and gives no value.
func keepRun(out *api.BenchRow, run *api.Bench) error {
	out.Runs = append(out.Runs, *run)
	if run.Error != nil {
		return withError(run.Error)
	}
	return nil
}

// benchCommand is the command that makes a run of the arguments.
func benchCommand(p *benchArgs) string {
	o := &p.Load
	text := fmt.Sprintf("raftbank bench --spawn --shards %d --replicas %d --accounts %d --clients %d --batch %d --in-flight %d --warmup %s --duration %s --seed %d",
		p.Bank.Shards, p.Bank.Replicas, p.Bank.Accounts, o.Clients, o.Batch, o.InFlight, o.Warmup, o.Duration, o.Seed)
	flag := func(set bool, name string, value any) {
		if set {
			text += fmt.Sprintf(" --%s %v", name, value)
		}
	}
	flag(o.Cross != bench.AsPairsFall, "cross", o.Cross)
	flag(o.Skew != 0, "skew", o.Skew)
	flag(o.Hot != 0, "hot", o.Hot)
	flag(o.Reads != 0, "reads", o.Reads)
	flag(o.Rate != 0, "rate", o.Rate)
	flag(o.Queue != 0, "queue", o.Queue)
	flag(p.Deadline != 0 && p.Deadline != benchDeadline, "deadline", p.Deadline)
	flag(p.Bank.ServerProcs != 0, "server-procs", p.Bank.ServerProcs)
	return text
}

// suiteCommand is the command that makes one row, of which a run is more than one load.
func suiteCommand(p benchSuiteArgs, row string) string {
	text := fmt.Sprintf("raftbank bench suite --rows %s --runs 1 --replicas %d --accounts %d --seed %d", row, p.Bank.Replicas, p.Bank.Accounts, p.Seed)
	if p.Bank.ServerProcs != 0 {
		text += fmt.Sprintf(" --server-procs %d", p.Bank.ServerProcs)
	}
	if p.Quick {
		text += " --quick"
	}
	return text
}

// suiteTable prints the table.
func (a *App) suiteTable(w io.Writer, s *api.BenchSuite) {
	var rows [][]string
	for i := range s.Rows {
		r := &s.Rows[i]
		var values []string
		for _, v := range r.Values {
			values = append(values, figureText(v))
		}
		median := "" // of a row whose only run failed
		if len(values) > 0 {
			median = figureText(r.Median)
		}
		rows = append(rows, []string{r.Name, r.Load, r.Figure, median, r.Unit, strings.Join(values, " ")})
	}
	a.grid(w, columns("row", "load", "figure", ">median", "unit", "runs"), rows)
	if a.Format == FormatTable && s.Machine.Load1m != nil {
		_, _ = fmt.Fprintf(w, "%d cores, load average before: %.2f\n", s.Machine.Cores, *s.Machine.Load1m)
	}
}

// figureText prints a figure with as many digits as it deserves.
func figureText(v float64) string {
	if v >= 100 {
		return thousands(fmt.Sprintf("%.0f", v))
	}
	return fmt.Sprintf("%.3g", v)
}
