package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"raftbank/internal/sim"
)

// checkSameHash is the name under which a seed fails whose runs differ.
const checkSameHash sim.Check = "same-hash"

// simTwice runs every seed twice in one process and once in another, and reports one run of each; one with another
// trace hash is a violation.
func (a *App) simTwice(ctx context.Context, p simArgs, collect func(*sim.Report)) error {
	workers := min(runtime.NumCPU(), p.Seeds)
	runs := map[uint64][]*sim.Report{}
	gather := func(r *sim.Report) { runs[r.Seed] = append(runs[r.Seed], r) }
	err := a.simWorkers(ctx, p, workers, gather)
	if err == nil {
		once := p
		once.Twice = false
		err = a.simWorkers(ctx, once, workers, gather)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	for i := range p.Seeds {
		seed := p.Seed + uint64(i)
		of := runs[seed]
		if len(of) < 3 {
			continue // interrupted
		}
		r := of[0]
		for _, o := range of[1:] {
			if o.TraceHash != r.TraceHash && r.Violation == nil {
				r.Violation = &sim.Violation{Check: checkSameHash, Text: fmt.Sprintf("trace hash %s, then %s", r.TraceHash, o.TraceHash)}
			}
		}
		collect(r)
	}
	return err
}
