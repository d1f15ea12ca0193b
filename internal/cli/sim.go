package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"raftbank/internal/sim"
)

// simWorkerFlag makes the command a worker: seeds on its input, one report per line on its output.
const simWorkerFlag = "worker"

// simGCPercent lets a worker's heap grow to a multiple: a simulated bank is small and makes much garbage.
const simGCPercent = 800

// simArgs are the flags of sim.
type simArgs struct {
	Seed     uint64
	HaveSeed bool
	Seeds    int
	Options  sim.Options // without the seed
	Trace    bool
	Twice    bool
	Worker   bool
	planted  plantedArgs
}

// simResult is what sim prints as JSON.
type simResult struct {
	OK             bool          `json:"ok"`
	FirstSeed      uint64        `json:"first_seed"`
	Seconds        float64       `json:"seconds"`
	SeedsPerSecond float64       `json:"seeds_per_second"`
	Interrupted    bool          `json:"interrupted,omitempty"` // these are the seeds that ran until then
	Totals         *sim.Totals   `json:"totals"`
	Failures       []*sim.Report `json:"failures"`
	NeverReached   []string      `json:"never_reached"`
}

// simFaultNames lists the kinds of faults, one a line.
func simFaultNames() string {
	var lines []string
	for _, f := range sim.Faults() {
		lines = append(lines, fmt.Sprintf("  %-12s %s", f.Name, f.What))
	}
	return strings.Join(lines, "\n")
}

func newSimCmd(a *App) *cobra.Command {
	p := simArgs{Seeds: 10}
	duration := 60 * time.Second
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Simulate whole banks under faults, from seeds, and check that nothing goes wrong",
		Long: "Simulate whole banks in one deterministic goroutine each: servers, clients, network, disks and clocks,\n" +
			"with faults drawn from the seed. The code under test is the code that the server runs. The same seed\n" +
			"gives the same run. Without --seed one is drawn and printed; without sizes they are drawn too.\n" +
			"Exit 0: every check held in every run; 7: one did not.\n\nFaults:\n" + simFaultNames(),
		Args:        arguments(0, 0),
		Annotations: map[string]string{needsNoConfig: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.HaveSeed = cmd.Flags().Changed("seed")
			if p.Options.DurationMs = duration.Milliseconds(); p.Options.DurationMs < 1 {
				return usageError("--duration %s: want at least 1ms of simulated time; without the flag it is 60s", duration)
			}
			for flag, names := range map[string][]string{"faults": p.Options.Faults, "checkers": p.Options.Checkers} { // the order does not matter
				if cmd.Flags().Changed(flag) && len(names) == 0 {
					return usageError("--%s is empty: leave it out for all, or name some", flag)
				}
			}
			if p.planted.Names != nil && !cmd.Flags().Changed("seeds") {
				p.Seeds = plantedSeeds
			}
			return a.runSim(cmd.Context(), p)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&p.Seed, "seed", 0, "`FIRST` seed (default: one is drawn)")
	f.IntVar(&p.Seeds, "seeds", p.Seeds, "run `COUNT` seeds, counting up")
	f.IntVar(&p.Options.Shards, "shards", 0, "number of shards (default: drawn from the seed)")
	f.IntVar(&p.Options.Replicas, "replicas", 0, "replicas per shard: 1, 3 or 5 (default: drawn from the seed)")
	f.IntVar(&p.Options.Clients, "clients", 0, "number of clients (default: drawn from the seed)")
	f.StringSliceVar(&p.Options.Faults, "faults", nil, "kinds of faults, separated by commas, or none (default: all, drawn from the seed)")
	f.StringSliceVar(&p.Options.Checkers, "checkers", nil, "checkers that look, separated by commas (default: all)")
	f.DurationVar(&duration, "duration", duration, "simulated time under faults")
	f.BoolVar(&p.Trace, "trace", false, "print what happens: time, actor, message, state change")
	f.BoolVar(&p.Twice, "twice", false, "run every seed twice in one process and once in another, and compare the trace hashes")
	f.BoolVar(&p.Worker, simWorkerFlag, false, "run the seeds on standard input")
	p.planted.flags(cmd)
	if err := f.MarkHidden(simWorkerFlag); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// validate says whether the flags fit together.
func (p *simArgs) validate() error {
	planting := p.planted.Names != nil
	switch {
	case p.Seeds < 1:
		return usageError("--seeds %d: want at least 1", p.Seeds)
	case !planting && (p.planted.Record != "" || p.planted.Replay != ""):
		return usageError("--record and --replay are files of planted bugs: add --planted")
	case p.Twice && p.Trace:
		return usageError("--twice compares runs and tells no story: leave --twice or --trace out")
	case planting && p.Twice:
		return usageError("--twice compares runs of the sound program: leave --twice or --planted out")
	case planting && p.Trace && (p.planted.Record != "" || p.planted.Replay != ""):
		return usageError("--trace tells one story: leave --record and --replay out")
	case planting && p.Trace && (len(p.planted.Names) != 1 || p.planted.Names[0] == plantedAll):
		return usageError("--trace tells the story of one planted bug: --planted=NAME --seed N --seeds 1 --trace")
	}
	if err := p.Options.Validate(); err != nil {
		return usageError("%v", err)
	}
	return nil
}

// runSim runs the seeds on all cores and prints what came out.
func (a *App) runSim(ctx context.Context, p simArgs) error {
	if err := p.validate(); err != nil {
		return err
	}
	if p.Worker {
		return a.simWorker(ctx, p)
	}
	if p.planted.Worker {
		return a.simJobs(ctx)
	}
	if p.planted.Names != nil {
		p.Seed = max(p.Seed, 1)
		return a.runPlanted(ctx, p)
	}
	if !p.HaveSeed && p.Seed == 0 {
		p.Seed = uint64(rand.Uint32())
		a.notef("seed %d", p.Seed)
	}
	started := a.now()
	v := &simResult{FirstSeed: p.Seed, Totals: sim.NewTotals(), Failures: []*sim.Report{}}
	reached := map[string]bool{}
	bar := a.simBar(p)
	collect := func(r *sim.Report) {
		v.Totals.Add(r)
		for _, m := range r.Marks {
			reached[m] = true
		}
		if r.Violation != nil {
			v.Failures = append(v.Failures, r)
			a.notef("seed %d failed: %s\n  repeat: %s --trace", r.Seed, r.Violation.Check, r.Repeat)
		}
		if bar != nil {
			_ = bar.Add(1) // a bar that cannot be drawn must not stop the run
		}
	}
	run := a.simSeeds
	if p.Twice {
		run = a.simTwice
	}
	err := run(ctx, p, collect)
	if v.Interrupted = errors.Is(err, context.Canceled); err != nil && !v.Interrupted {
		return err
	}
	v.Seconds = a.now().Sub(started).Seconds()
	return a.simEnds(p, v, reached)
}

// simEnds prints what came out.
func (a *App) simEnds(p simArgs, v *simResult, reached map[string]bool) error {
	slices.SortFunc(v.Failures, func(a, b *sim.Report) int {
		if a.Seed < b.Seed {
			return -1
		}
		return 1
	})
	v.OK = len(v.Failures) == 0 && !v.Interrupted
	v.SeedsPerSecond = float64(v.Totals.Seeds) / max(v.Seconds, 1e-9)
	v.NeverReached = slices.DeleteFunc(sim.Marks(), func(m string) bool { return reached[m] })
	if err := a.print(v, func(w io.Writer) { a.simTables(w, v) }); err != nil {
		return err
	}
	if v.OK {
		return nil
	}
	e := failure(codeInterrupted, "interrupted after %d of %s, %d of which failed", v.Totals.Seeds, plural(p.Seeds, "seed"), len(v.Failures))
	if !v.Interrupted {
		e = failure(codeViolation, "%d of %s failed", len(v.Failures), plural(v.Totals.Seeds, "seed")).
			hint("see what happened: %s --trace", v.Failures[0].Repeat)
	}
	e.printed = a.Format.json()
	return e
}

func (a *App) simBar(p simArgs) *progressbar.ProgressBar {
	if a.Quiet || p.Trace || !isTerminal(a.Err) {
		return nil
	}
	return progressbar.NewOptions(p.Seeds,
		progressbar.OptionSetWriter(a.Err), progressbar.OptionSetWidth(40), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("seeds"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// simSeeds runs the seeds: here if there is one, or a story to tell, else in one process per core,
// because a simulation replaces what is global in its process.
func (a *App) simSeeds(ctx context.Context, p simArgs, collect func(*sim.Report)) error {
	workers := min(runtime.NumCPU(), p.Seeds)
	if workers > 1 && !p.Trace {
		return a.simWorkers(ctx, p, workers, collect)
	}
	var story io.Writer
	if p.Trace {
		to := a.Out
		if a.Format.json() {
			to = a.Err // the output is one JSON value
		}
		buffered := bufio.NewWriter(to)
		defer func() { _ = buffered.Flush() }() // what is lost is a part of the story
		story = buffered
	}
	for i := range p.Seeds {
		if err := ctx.Err(); err != nil {
			return err
		}
		o := p.Options
		o.Seed = p.Seed + uint64(i)
		collect(sim.Run(o, story))
	}
	return nil
}

// simWorkers spreads the seeds over processes of this program.
func (a *App) simWorkers(ctx context.Context, p simArgs, workers int, collect func(*sim.Report)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seeds, reports, failed := make(chan uint64), make(chan *sim.Report), make(chan error, workers)
	go func() {
		defer close(seeds)
		for i := range p.Seeds {
			select {
			case seeds <- p.Seed + uint64(i):
			case <-ctx.Done():
				return
			}
		}
	}()
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			if err := a.simProcess(ctx, p, seeds, reports); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	go func() {
		running.Wait()
		close(reports)
	}()
	for r := range reports {
		collect(r)
	}
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

// workerArgs is the command line of a worker.
func (p *simArgs) workerArgs() []string {
	args := []string{
		"sim", "--" + simWorkerFlag, "--shards", strconv.Itoa(p.Options.Shards), "--replicas", strconv.Itoa(p.Options.Replicas),
		"--clients", strconv.Itoa(p.Options.Clients), "--duration", fmt.Sprintf("%dms", p.Options.DurationMs),
	}
	if len(p.Options.Faults) > 0 {
		args = append(args, "--faults", strings.Join(p.Options.Faults, ","))
	}
	if len(p.Options.Checkers) > 0 {
		args = append(args, "--checkers", strings.Join(p.Options.Checkers, ","))
	}
	return args
}

// simProcess feeds one worker process with seeds and passes its reports on.
func (a *App) simProcess(ctx context.Context, p simArgs, seeds <-chan uint64, reports chan<- *sim.Report) error {
	exe, err := os.Executable()
	if err != nil {
		return failure(codeInternal, "find this program: %v", err)
	}
	cmd := exec.CommandContext(ctx, exe, p.workerArgs()...)
	cmd.Stderr = a.Err
	in, err := cmd.StdinPipe()
	if err != nil {
		return failure(codeInternal, "start a worker: %v", err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return failure(codeInternal, "start a worker: %v", err)
	}
	decoder := json.NewDecoder(out)
	times := 1
	if p.Twice {
		times = 2
	}
	for seed := range seeds {
		for range times {
			var r sim.Report
			if _, err = fmt.Fprintln(in, seed); err == nil {
				err = decoder.Decode(&r)
			}
			if err != nil {
				break
			}
			reports <- &r
		}
		if err != nil {
			break
		}
	}
	closed := in.Close()
	waited := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return failure(codeInternal, "a worker ended: %v (%v)", err, waited)
	case closed != nil || waited != nil:
		return failure(codeInternal, "end a worker: %v, %v", closed, waited)
	}
	return nil
}

// simWorker is a worker process: it runs the seeds on its input one after the other.
func (a *App) simWorker(ctx context.Context, p simArgs) error {
	debug.SetGCPercent(simGCPercent)
	lines := bufio.NewScanner(a.In)
	out := json.NewEncoder(a.Out)
	for lines.Scan() && ctx.Err() == nil {
		o := p.Options
		var err error
		if o.Seed, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
			return usageError("not a seed: %q", lines.Text())
		}
		if err := out.Encode(sim.Run(o, nil)); err != nil {
			return failure(codeInternal, "write a report: %v", err)
		}
	}
	return nil // if it was interrupted, its parent says so
}

// simTables prints the figures of a run for people.
func (a *App) simTables(w io.Writer, v *simResult) {
	var rows [][]string
	row := func(what, item string, n int) { rows = append(rows, []string{what, item, strconv.Itoa(n)}) }
	each := func(what string, m map[string]int) {
		for _, item := range slices.Sorted(maps.Keys(m)) {
			row(what, item, m[item])
		}
	}
	each("fault", v.Totals.Faults)
	each("recovery", v.Totals.Recoveries)
	each("transfer", v.Totals.Outcomes)
	each("check", v.Totals.Checked)
	row("bank", "elections", int(v.Totals.Elections))
	row("bank", "starts of servers", int(v.Totals.Starts))
	row("bank", "checkpoints", int(v.Totals.Checkpoints))
	row("bank", "log entries", int(v.Totals.Entries))
	row("bank", "simulated seconds", int(v.Totals.SimulatedMs/1000))
	for _, m := range v.NeverReached {
		row("never reached", m, 0)
	}
	for _, r := range v.Failures {
		row("failed", fmt.Sprintf("seed %d, %s: %s", r.Seed, r.Violation.Check, r.Violation.Text), 1)
	}
	a.grid(w, columns("what", "item", "#count"), rows)
	sum := fmt.Sprintf("%s from %d, %d failed, in %.1f s: %.2f seeds/s",
		plural(v.Totals.Seeds, "seed"), v.FirstSeed, v.Totals.Failed, v.Seconds, v.SeedsPerSecond)
	if a.Format == FormatTable {
		_, _ = fmt.Fprintln(w, sum)
		return
	}
	a.notef("%s", sum) // beside the columns
}
