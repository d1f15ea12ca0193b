package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"raftbank/internal/planted"
	"raftbank/internal/sim"
)

// plantedFile is the file of known catching seeds.
func plantedFile(v *plantedResult) string {
	var b strings.Builder
	b.WriteString("# Planted bugs, with a seed that catches each, the number of seeds tried, and the checkers that fire at it; open: the bug\n" +
		"# has survived so many. Then, for each checker, a seed and a bug that it catches alone. Written by `make planted`, replayed by CI.\n")
	b.WriteString("# bug\tname\tseed\tms under faults\tseeds tried\tcheckers\tthe only kinds of faults, if it is not what the seed draws\n# checker\tname\tseed\tms under faults\tbug\n")
	for i := range v.Bugs {
		if g := &v.Bugs[i]; g.Caught {
			fmt.Fprintf(&b, "bug\t%s\t%d\t%d\t%d\t%s", g.Name, g.Seed, g.DurationMs, g.Tried, strings.Join(g.Checkers, ","))
			if len(g.Faults) > 0 {
				b.WriteString("\t" + strings.Join(g.Faults, ","))
			}
			b.WriteString("\n")
		} else {
			fmt.Fprintf(&b, "open\t%s\t0\t%d\t%d\n", g.Name, g.DurationMs, g.Tried)
		}
	}
	for i := range v.Checkers {
		if c := &v.Checkers[i]; c.Caught {
			fmt.Fprintf(&b, "checker\t%s\t%d\t%d\t%s\n", c.Check, c.Seed, c.DurationMs, c.Bug)
		}
	}
	return b.String()
}

// parsePlanted reads such a file.
func parsePlanted(text string) (*plantedResult, error) {
	v := &plantedResult{}
	for n, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) < 5 {
			return nil, fmt.Errorf("line %d: %d fields, want at least 5", n+1, len(fields))
		}
		seed, seedErr := strconv.ParseUint(fields[2], 10, 64)
		ms, msErr := strconv.ParseInt(fields[3], 10, 64)
		if err := errors.Join(seedErr, msErr); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		switch {
		case fields[0] == "checker":
			v.Checkers = append(v.Checkers, plantedChecker{Check: fields[1], Bug: fields[4], Seed: seed, DurationMs: ms, Caught: true})
			continue
		case fields[0] != "open" && (fields[0] != "bug" || len(fields) != 6 && len(fields) != 7):
			return nil, fmt.Errorf("line %d: neither a bug nor a checker: %q", n+1, line)
		}
		tried, err := strconv.Atoi(fields[4])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		b := plantedBug{Name: fields[1], Seed: seed, DurationMs: ms, Tried: tried, Caught: fields[0] == "bug"}
		if b.Caught {
			b.Checkers = strings.Split(fields[5], ",")
			if len(fields) == 7 {
				b.Faults = strings.Split(fields[6], ",")
			}
		}
		v.Bugs = append(v.Bugs, b)
	}
	return v, nil
}

func readPlanted(name string) (*plantedResult, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usageError("read the known seeds: %v", err)
	}
	v, err := parsePlanted(string(text))
	if err != nil {
		return nil, usageError("%s: %v", name, err)
	}
	return v, nil
}

// recordPlanted writes the file. What is known of bugs that were not planted this time is kept.
func recordPlanted(name string, v *plantedResult) error {
	all := &plantedResult{Checkers: v.Checkers}
	old := &plantedResult{}
	if _, err := os.Stat(name); err == nil {
		if old, err = readPlanted(name); err != nil {
			return err
		}
	}
	if len(all.Checkers) == 0 {
		all.Checkers = old.Checkers
	}
	for _, b := range planted.All() {
		if g := bugOf(v, b.Name); g != nil {
			all.Bugs = append(all.Bugs, *g)
		} else if g := bugOf(old, b.Name); g != nil {
			all.Bugs = append(all.Bugs, *g)
		}
	}
	if err := os.WriteFile(name, []byte(plantedFile(all)), 0o644); err != nil {
		return failure(codeInternal, "record the seeds: %v", err)
	}
	return nil
}

func bugOf(v *plantedResult, name string) *plantedBug {
	i := slices.IndexFunc(v.Bugs, func(b plantedBug) bool { return b.Name == name })
	if i < 0 {
		return nil
	}
	return &v.Bugs[i]
}

// replayPlanted runs the known seed of each bug. If it catches nothing any more, because the program has changed, a
// few more are tried; so if the seed fails without the bug too. A bug that is known to be open is not run, and not caught.
func (a *App) replayPlanted(ctx context.Context, crew *simCrew, p simArgs, known *plantedResult, bugs []planted.Info) ([]plantedBug, error) {
	var out []plantedBug
	var jobs []sim.Options
	of := map[int]int{} // the bug of a job, by their places
	for _, b := range bugs {
		k := bugOf(known, b.Name)
		switch {
		case k == nil:
			return nil, usageError("%s says nothing of %s: run `make planted`", p.planted.Replay, b.Name)
		case !k.Caught:
			a.notef("%s is open: it has survived %s", b.Name, plural(k.Tried, "seed"))
		}
		out = append(out, plantedBug{
			Name: b.Name, What: b.What, Model: b.Model, DurationMs: k.DurationMs, Faults: append([]string{}, k.Faults...), Tried: k.Tried, Checkers: []string{},
		})
		if !k.Caught {
			continue
		}
		job := p.plantedJob(b.Name, k.Seed)
		job.DurationMs, job.Faults = k.DurationMs, k.Faults
		of[len(jobs)] = len(out) - 1
		jobs = append(jobs, job)
	}
	reports, err := crew.runBeside(ctx, jobs)
	if err != nil {
		return nil, err
	}
	for i, job := range jobs {
		g := &out[of[i]]
		if g.take(reports[i]); g.Caught {
			continue
		}
		a.notef("%s: seed %d does not catch it any more; trying %d more", g.Name, job.Seed, plantedMore)
		info, _ := planted.Named(g.Name)
		more := p
		more.Options.DurationMs, more.Options.Faults = job.DurationMs, job.Faults
		if *g, err = a.searchOne(ctx, crew, more, info, job.Seed+1, plantedMore); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// runBeside runs jobs, and each seed without its bug: what fails then too is no catch, and its report is taken as one of
// a run in which nothing fired.
func (c *simCrew) runBeside(ctx context.Context, jobs []sim.Options) ([]*sim.Report, error) {
	reports, err := c.runAll(ctx, jobs)
	if err != nil {
		return nil, err
	}
	var sound []sim.Options
	at := map[string]int{}
	lines := make([]string, len(jobs))
	for i, o := range jobs {
		o.Planted, o.Checkers = "", nil
		lines[i] = o.Line()
		if _, known := at[lines[i]]; !known {
			at[lines[i]] = len(sound)
			sound = append(sound, o)
		}
	}
	without, err := c.runAll(ctx, sound)
	if err != nil {
		return nil, err
	}
	for i, line := range lines {
		if without[at[line]].Violation != nil {
			reports[i].Violation, reports[i].Fired = nil, nil
		}
	}
	return reports, nil
}

// replayCheckers runs for each checker alone the bug and the seed that it is known to catch.
func (a *App) replayCheckers(ctx context.Context, crew *simCrew, p simArgs, known *plantedResult) ([]plantedChecker, error) {
	out := []plantedChecker{}
	var jobs []sim.Options
	for _, c := range sim.Checks() {
		i := slices.IndexFunc(known.Checkers, func(k plantedChecker) bool { return k.Check == string(c.Name) })
		if i < 0 {
			return nil, usageError("%s knows no seed for checker %s: run `make planted`", p.planted.Replay, c.Name)
		}
		k := known.Checkers[i]
		out = append(out, plantedChecker{Check: k.Check, What: c.What, Bug: k.Bug, Seed: k.Seed, DurationMs: k.DurationMs})
		o := p.plantedJob(k.Bug, k.Seed)
		o.Checkers, o.DurationMs = []string{k.Check}, k.DurationMs
		jobs = append(jobs, o)
	}
	reports, err := crew.runBeside(ctx, jobs)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].Caught = reports[i].Violation != nil; out[i].Caught {
			continue
		}
		a.notef("checker %s: seed %d of %s does not make it fire any more; trying %d more", out[i].Check, out[i].Seed, out[i].Bug, plantedMore)
		alone := p
		alone.Options.Checkers, alone.Options.DurationMs = jobs[i].Checkers, jobs[i].DurationMs
		info, _ := planted.Named(out[i].Bug)
		found, err := a.searchOne(ctx, crew, alone, info, out[i].Seed+1, plantedMore)
		if err != nil {
			return nil, err
		}
		out[i].Seed, out[i].Caught = found.Seed, found.Caught
	}
	return out, nil
}
