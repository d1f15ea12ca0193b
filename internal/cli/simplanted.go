package cli

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"raftbank/internal/planted"
	"raftbank/internal/sim"
)

const (
	// plantedAll stands for every planted bug.
	plantedAll = "all"
	// plantedSeeds is how many seeds a planted bug may survive, unless --seeds says otherwise.
	plantedSeeds = 2000
	// plantedMore is how many more seeds a replay tries if the recorded one catches nothing any more.
	plantedMore = 40
)

// plantedArgs are the flags of sim that concern planted bugs.
type plantedArgs struct {
	Names  []string
	Record string // file to write
	Replay string // file to read
	Worker bool
}

func (p *plantedArgs) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&p.Names, "planted", nil, "plant these bugs, one after the other, and count the seeds until each is caught (default: all)")
	f.Lookup("planted").NoOptDefVal = plantedAll
	f.StringVar(&p.Record, "record", "", "with --planted: write the seeds that caught the bugs to this file")
	f.StringVar(&p.Replay, "replay", "", "with --planted: run the seeds of such a file only")
	f.BoolVar(&p.Worker, plantedWorkerFlag, false, "run the jobs on standard input")
	if err := f.MarkHidden(plantedWorkerFlag); err != nil {
		panic(err) // the flag is defined above
	}
}

// plantedBug is how one planted bug was caught.
type plantedBug struct {
	Name       string         `json:"name"`
	What       string         `json:"what"`
	Model      string         `json:"model,omitempty"`
	Caught     bool           `json:"caught"`
	Tried      int            `json:"tried"`       // seeds until it was caught, or all
	Seed       uint64         `json:"seed"`        // that caught it
	DurationMs int64          `json:"duration_ms"` // of each run, under faults
	Faults     []string       `json:"faults"`      // the only kinds; none: what each seed draws
	Checkers   []string       `json:"checkers"`    // that fired at this seed, in order
	Violation  *sim.Violation `json:"violation"`   // the first
	Repeat     string         `json:"repeat"`
}

// plantedChecker is a planted bug that a checker catches when it is the only one that looks.
type plantedChecker struct {
	Check      string `json:"check"`
	What       string `json:"what"`
	Bug        string `json:"bug"` // empty: none
	Seed       uint64 `json:"seed"`
	DurationMs int64  `json:"duration_ms"`
	Caught     bool   `json:"caught"`
}

// plantedResult is what sim --planted prints as JSON.
type plantedResult struct {
	OK       bool             `json:"ok"`
	Seconds  float64          `json:"seconds"`
	Seeds    int              `json:"seeds"` // bound
	Bugs     []plantedBug     `json:"bugs"`
	Checkers []plantedChecker `json:"checkers"`
}

// runPlanted plants bugs and prints how each was caught.
func (a *App) runPlanted(ctx context.Context, p simArgs) error {
	if !planted.Built {
		return usageError("%v", sim.Options{Planted: plantedAll}.Validate())
	}
	bugs, err := plantedBugs(p.planted.Names)
	if err != nil {
		return err
	}
	if p.Trace {
		return a.tracePlanted(ctx, p, bugs[0])
	}
	crew, err := a.newSimCrew(ctx, runtime.NumCPU())
	if err != nil {
		return err
	}
	defer crew.end()
	started := a.now()
	v := &plantedResult{Seeds: p.Seeds, Bugs: []plantedBug{}, Checkers: []plantedChecker{}}
	if err := a.catchPlanted(ctx, crew, p, bugs, v); err != nil {
		return err
	}
	v.Seconds = a.now().Sub(started).Seconds()
	survivors := v.survivors()
	v.OK = len(survivors) == 0
	if p.planted.Record != "" {
		if err := recordPlanted(p.planted.Record, v); err != nil {
			return err
		}
	}
	if err := a.print(v, func(w io.Writer) { a.plantedTables(w, v) }); err != nil {
		return err
	}
	if v.OK {
		return nil
	}
	e := failure(codeViolation, "not caught, or catches nothing: %s", strings.Join(survivors, ", "))
	e.printed = a.Format.json()
	return e
}

// tracePlanted tells what happens with one bug.
func (a *App) tracePlanted(ctx context.Context, p simArgs, b planted.Info) error {
	p.Options.Planted = b.Name
	var failed []*sim.Report
	if err := a.simSeeds(ctx, p, func(r *sim.Report) {
		if r.Violation != nil {
			failed = append(failed, r)
		}
	}); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	r := failed[0]
	return failure(codeViolation, "%d of %s failed with %s, seed %d first: %s: %s",
		len(failed), plural(p.Seeds, "seed"), b.Name, r.Seed, r.Violation.Check, r.Violation.Text)
}

// catchPlanted searches or replays, and looks at the checkers one by one if every bug was planted.
func (a *App) catchPlanted(ctx context.Context, crew *simCrew, p simArgs, bugs []planted.Info, v *plantedResult) (err error) {
	every := len(bugs) == len(planted.All())
	if p.planted.Replay == "" {
		if v.Bugs, err = a.searchPlanted(ctx, crew, p, bugs); err == nil && every {
			v.Checkers, err = a.checkersAlone(ctx, crew, p, v.Bugs)
		}
		return err
	}
	known, err := readPlanted(p.planted.Replay)
	if err != nil {
		return err
	}
	if v.Bugs, err = a.replayPlanted(ctx, crew, p, known, bugs); err == nil && every {
		v.Checkers, err = a.replayCheckers(ctx, crew, p, known)
	}
	return err
}

// plantedBugs returns the bugs of a list of names.
func plantedBugs(names []string) ([]planted.Info, error) {
	if slices.Equal(names, []string{plantedAll}) {
		return planted.All(), nil
	}
	var bugs []planted.Info
	for _, n := range names {
		b, ok := planted.Named(n)
		if !ok {
			return nil, usageError("unknown planted bug %q: --planted without a name plants all of them, one after the other", n)
		}
		bugs = append(bugs, b)
	}
	return bugs, nil
}

func (v *plantedResult) survivors() []string {
	var out []string
	for i := range v.Bugs {
		if !v.Bugs[i].Caught {
			out = append(out, v.Bugs[i].Name)
		}
	}
	for i := range v.Checkers {
		if !v.Checkers[i].Caught {
			out = append(out, "checker "+v.Checkers[i].Check)
		}
	}
	return out
}

// searchPlanted runs seeds for each bug until one catches it.
func (a *App) searchPlanted(ctx context.Context, crew *simCrew, p simArgs, bugs []planted.Info) ([]plantedBug, error) {
	var out []plantedBug
	for _, b := range bugs {
		found, err := a.searchOne(ctx, crew, p, b, p.Seed, p.Seeds)
		if err != nil {
			return nil, err
		}
		out = append(out, found)
	}
	return out, nil
}

// searchOne runs seeds from first on, as many at a time as there are workers, until one catches the bug.
func (a *App) searchOne(ctx context.Context, crew *simCrew, p simArgs, b planted.Info, first uint64, seeds int) (plantedBug, error) {
	found := plantedBug{
		Name: b.Name, What: b.What, Model: b.Model, DurationMs: p.Options.DurationMs, Faults: p.faults(), Checkers: []string{},
	}
	for found.Tried < seeds && !found.Caught {
		jobs := make([]sim.Options, min(len(crew.children), seeds-found.Tried))
		for i := range jobs {
			jobs[i] = p.plantedJob(b.Name, first+uint64(found.Tried+i))
		}
		reports, err := crew.run(ctx, jobs)
		if err != nil {
			return found, err
		}
		for i := 0; i < len(reports) && !found.Caught; i++ {
			found.Tried++
			if err := a.tookAlone(ctx, crew, p, &found, reports[i]); err != nil {
				return found, err
			}
		}
	}
	if found.Caught {
		a.notef("%s: caught by seed %d, the %s tried: %s", b.Name, found.Seed, ordinal(found.Tried), strings.Join(found.Checkers, ", "))
	} else {
		a.notef("%s: NOT caught by %s from %d", b.Name, plural(found.Tried, "seed"), first)
	}
	return found, nil
}

// tookAlone takes the report of a run that may have caught the bug, unless the same seed fails without the bug.
func (a *App) tookAlone(ctx context.Context, crew *simCrew, p simArgs, b *plantedBug, r *sim.Report) error {
	if r.Violation == nil {
		return nil
	}
	sound, err := crew.run(ctx, []sim.Options{p.plantedJob("", r.Seed)})
	if err != nil {
		return err
	}
	if v := sound[0].Violation; v != nil {
		a.notef("seed %d fails without a planted bug: %s: %s", r.Seed, v.Check, v.Text)
		return nil
	}
	b.take(r)
	return nil
}

// faults lists the kinds of faults that were asked for.
func (p *simArgs) faults() []string { return append([]string{}, p.Options.Faults...) }

func (p *simArgs) plantedJob(name string, seed uint64) sim.Options {
	o := p.Options
	o.Planted, o.Seed, o.KeepGoing = name, seed, true
	return o
}

// take takes the report of a run that may have caught the bug.
func (b *plantedBug) take(r *sim.Report) {
	if r.Violation == nil {
		return
	}
	b.Caught, b.Seed, b.Violation, b.Repeat = true, r.Seed, r.Violation, r.Repeat
	for _, v := range r.Fired {
		b.Checkers = append(b.Checkers, string(v.Check))
	}
}

func ordinal(n int) string {
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		return strconv.Itoa(n) + "st"
	case n%10 == 2:
		return strconv.Itoa(n) + "nd"
	case n%10 == 3:
		return strconv.Itoa(n) + "rd"
	}
	return strconv.Itoa(n) + "th"
}

// checkersAlone runs, for each checker, a seed at which it fired with that checker alone. For one that fired at none of
// them it runs seeds of the bug that it is there for.
func (a *App) checkersAlone(ctx context.Context, crew *simCrew, p simArgs, bugs []plantedBug) ([]plantedChecker, error) {
	out := []plantedChecker{}
	for _, c := range sim.Checks() {
		alone := plantedChecker{Check: string(c.Name), What: c.What}
		job := p
		job.Options.Checkers = []string{string(c.Name)}
		b, seed, seeds := firstCaughtBy(bugs, c.Name), p.Seed, p.Seeds
		if b != nil {
			seed, seeds, job.Options.DurationMs, job.Options.Faults = b.Seed, 1, b.DurationMs, b.Faults
		} else if b = meantFor(bugs, c.Name); b == nil {
			out = append(out, alone)
			continue
		}
		info, _ := planted.Named(b.Name)
		found, err := a.searchOne(ctx, crew, job, info, seed, seeds)
		if err != nil {
			return nil, err
		}
		alone.Bug, alone.Seed, alone.DurationMs, alone.Caught = b.Name, found.Seed, found.DurationMs, found.Caught
		out = append(out, alone)
	}
	return out, nil
}

// meantFor returns the bug that a checker is there for.
func meantFor(bugs []plantedBug, c sim.Check) *plantedBug {
	for i := range bugs {
		if info, _ := planted.Named(bugs[i].Name); info.Checker == string(c) {
			return &bugs[i]
		}
	}
	return nil
}

// firstCaughtBy returns a bug that a checker caught: one that it is there for, if there is one.
func firstCaughtBy(bugs []plantedBug, c sim.Check) *plantedBug {
	var first *plantedBug
	for i := range bugs {
		if !slices.Contains(bugs[i].Checkers, string(c)) || len(bugs[i].Faults) > 0 {
			continue
		}
		if info, _ := planted.Named(bugs[i].Name); info.Checker == string(c) {
			return &bugs[i]
		}
		if first == nil {
			first = &bugs[i]
		}
	}
	return first
}

// plantedTables prints how the bugs were caught, for people.
func (a *App) plantedTables(w io.Writer, v *plantedResult) {
	var rows [][]string
	for i := range v.Bugs {
		b := &v.Bugs[i]
		seed := "-"
		if b.Caught {
			seed = strconv.FormatUint(b.Seed, 10)
		}
		rows = append(rows, []string{b.Name, b.What, strconv.Itoa(b.Tried), seed, strings.Join(b.Checkers, " ")})
	}
	a.grid(w, columns("planted bug", "what", "#seeds", ">seed", "checkers that fired"), rows)
	rows = nil
	for i := range v.Checkers {
		c := &v.Checkers[i]
		caught := "no"
		if c.Caught {
			caught = "yes"
		}
		rows = append(rows, []string{c.Check, c.Bug, strconv.FormatUint(c.Seed, 10), caught})
	}
	if len(rows) > 0 {
		a.grid(w, columns("checker alone", "planted bug", ">seed", "caught"), rows)
	}
	if a.Format == FormatTable {
		_, _ = fmt.Fprintf(w, "%s in %.0f s\n", plural(len(v.Bugs), "planted bug"), v.Seconds)
	}
}

// simCrew is a few worker processes, one simulation each at a time.
type simCrew struct {
	children []*simChild
}

func (a *App) newSimCrew(ctx context.Context, n int) (*simCrew, error) {
	c := &simCrew{}
	for range n {
		child, err := a.startSimChild(ctx)
		if err != nil {
			c.end()
			return nil, err
		}
		c.children = append(c.children, child)
	}
	return c, nil
}

// run runs up to one job per child, and returns their reports in the order of the jobs.
func (c *simCrew) run(ctx context.Context, jobs []sim.Options) ([]*sim.Report, error) {
	reports, errs := make([]*sim.Report, len(jobs)), make([]error, len(jobs))
	var running sync.WaitGroup
	for i := range jobs {
		running.Go(func() { reports[i], errs[i] = c.children[i].run(jobs[i]) })
	}
	running.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return reports, nil
}

// runAll runs any number of jobs.
func (c *simCrew) runAll(ctx context.Context, jobs []sim.Options) ([]*sim.Report, error) {
	var all []*sim.Report
	for len(jobs) > 0 {
		n := min(len(c.children), len(jobs))
		reports, err := c.run(ctx, jobs[:n])
		if err != nil {
			return nil, err
		}
		all, jobs = append(all, reports...), jobs[n:]
	}
	return all, nil
}

func (c *simCrew) end() {
	for _, child := range c.children {
		child.end()
	}
}
