package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"raftbank/internal/planted"
	"raftbank/internal/sim"
)

// plantedFile is the file of known catching seeds.
func plantedFile(p simArgs, v *plantedResult) string {
	var b strings.Builder
	b.WriteString("# Planted bugs, with the first seed that catches each and the checkers that fire at it; and for each checker a bug and\n" +
		"# a seed that it catches alone. Written by `make planted`, replayed by CI.\n")
	fmt.Fprintf(&b, "# Each run has %d ms under faults.\n", p.Options.DurationMs)
	b.WriteString("# bug\tname\tseed\tseeds tried\tcheckers\n# checker\tname\tseed\tbug\n")
	for i := range v.Bugs {
		if g := &v.Bugs[i]; g.Caught {
			fmt.Fprintf(&b, "bug\t%s\t%d\t%d\t%s\n", g.Name, g.Seed, g.Tried, strings.Join(g.Checkers, ","))
		}
	}
	for i := range v.Checkers {
		if c := &v.Checkers[i]; c.Caught {
			fmt.Fprintf(&b, "checker\t%s\t%d\t%s\n", c.Check, c.Seed, c.Bug)
		}
	}
	return b.String()
}

// knownSeeds is such a file, read.
type knownSeeds struct {
	bugs     map[string]uint64
	checkers map[string]knownChecker
}

// knownChecker is a bug and a seed that a checker catches alone.
type knownChecker struct {
	bug  string
	seed uint64
}

func parseKnownSeeds(text string) (*knownSeeds, error) {
	k := &knownSeeds{bugs: map[string]uint64{}, checkers: map[string]knownChecker{}}
	for n, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) < 4 {
			return nil, fmt.Errorf("line %d: %d fields, want at least 4", n+1, len(fields))
		}
		seed, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: not a seed: %q", n+1, fields[2])
		}
		switch fields[0] {
		case "bug":
			k.bugs[fields[1]] = seed
		case "checker":
			k.checkers[fields[1]] = knownChecker{bug: fields[3], seed: seed}
		default:
			return nil, fmt.Errorf("line %d: want bug or checker, not %q", n+1, fields[0])
		}
	}
	return k, nil
}

func readKnownSeeds(name string) (*knownSeeds, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usageError("read the known seeds: %v", err)
	}
	k, err := parseKnownSeeds(string(text))
	if err != nil {
		return nil, usageError("%s: %v", name, err)
	}
	return k, nil
}

// replayPlanted runs the known seed of each bug. If it catches nothing any more, because the program has changed, a
// few more are tried.
func (a *App) replayPlanted(ctx context.Context, crew *simCrew, p simArgs, known *knownSeeds, bugs []planted.Info) ([]plantedBug, error) {
	out := make([]plantedBug, len(bugs))
	jobs := make([]sim.Options, len(bugs))
	for i, b := range bugs {
		seed, ok := known.bugs[b.Name]
		if !ok {
			return nil, usageError("%s knows no seed for %s: run `make planted`", p.planted.Replay, b.Name)
		}
		out[i] = plantedBug{Name: b.Name, What: b.What, Model: b.Model, Tried: 1, Checkers: []string{}}
		jobs[i] = p.plantedJob(b.Name, seed)
	}
	reports, err := crew.runAll(ctx, jobs)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].take(reports[i]); out[i].Caught {
			continue
		}
		a.notef("%s: seed %d does not catch it any more; trying %d more", out[i].Name, jobs[i].Seed, plantedMore)
		if out[i], err = a.searchOne(ctx, crew, p, bugs[i], jobs[i].Seed+1, plantedMore); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// replayCheckers runs for each checker alone the bug and the seed that it is known to catch.
func (a *App) replayCheckers(ctx context.Context, crew *simCrew, p simArgs, known *knownSeeds) ([]plantedChecker, error) {
	out := []plantedChecker{}
	var jobs []sim.Options
	for _, c := range sim.Checks() {
		k, ok := known.checkers[string(c.Name)]
		if !ok {
			return nil, usageError("%s knows no seed for checker %s: run `make planted`", p.planted.Replay, c.Name)
		}
		out = append(out, plantedChecker{Check: string(c.Name), What: c.What, Bug: k.bug, Seed: k.seed})
		o := p.plantedJob(k.bug, k.seed)
		o.Checkers = []string{string(c.Name)}
		jobs = append(jobs, o)
	}
	reports, err := crew.runAll(ctx, jobs)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].Caught = reports[i].Violation != nil; out[i].Caught {
			continue
		}
		a.notef("checker %s: seed %d of %s does not make it fire any more; trying %d more", out[i].Check, out[i].Seed, out[i].Bug, plantedMore)
		alone := p
		alone.Options.Checkers = jobs[i].Checkers
		info, _ := planted.Named(out[i].Bug)
		found, err := a.searchOne(ctx, crew, alone, info, out[i].Seed+1, plantedMore)
		if err != nil {
			return nil, err
		}
		out[i].Seed, out[i].Caught = found.Seed, found.Caught
	}
	return out, nil
}
