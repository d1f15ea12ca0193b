package cli

import (
	"context"
	"fmt"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

// benchCheckWait bounds the check after a run: replicas may still have a backlog.
const benchCheckWait = 60 * time.Second

// benchCheck checks the bank after a load, puts the verdict into the result, and says there what makes it a
// failure. died tells a server of a spawned bank that has ended; nobody waits for its answer.
func (a *App) benchCheck(ctx context.Context, ask func(context.Context) (api.Check, error), result *api.Bench, died func() error) {
	if ctx.Err() != nil {
		result.CheckNote = noteInterrupted
		result.Error = verdictOf(result, died())
		return
	}
	within, cancel := context.WithTimeout(ctx, benchCheckWait)
	defer cancel()
	clear := a.benchWaiting("checking that no money was lost and that replicas agree")
	defer clear()
	for looked := false; ; looked = true {
		check, err := ask(within)
		switch {
		case err == nil:
			bench.Checked(result, check)
		case !looked: // what an earlier look found stays
			bench.Checked(result, api.Check{Note: "not checked: " + err.Error()})
		}
		if ctx.Err() != nil && !proven(result) {
			result.ConservationOK, result.HashesOK, result.CheckNote = nil, nil, noteInterrupted
		}
		dead := died()
		if err != nil || dead != nil || within.Err() != nil || settled(result) {
			result.Error = verdictOf(result, dead)
			return
		}
	}
}

// noteInterrupted stands in the place of a verdict.
const noteInterrupted = "interrupted: not checked"

// proven reports whether a check proved a violation.
func proven(r *api.Bench) bool {
	bad := func(ok *bool) bool { return ok != nil && !*ok }
	return bad(r.ConservationOK) || bad(r.HashesOK)
}

// settled reports whether asking again would tell no more.
func settled(r *api.Bench) bool {
	if proven(r) {
		return true // a proof stays one
	}
	if !r.Config.Spawned {
		return r.ConservationOK != nil
	}
	return incomplete(r) == ""
}

// incomplete says what the check of a spawned bank did not reach, though nobody else uses the bank; "": nothing.
func incomplete(r *api.Bench) string {
	switch {
	case r.ConservationOK == nil || r.CheckNote != "":
		return r.CheckNote
	case r.HashesOK == nil && r.Config.Replicas > 1:
		return "not all replicas could be compared"
	}
	return ""
}

// verdictOf is what makes a result a failure: a violation, a server that died, a spawned bank that could not be
// checked to the end. nil: nothing does.
func verdictOf(r *api.Bench, died error) *api.Error {
	switch {
	case proven(r):
		return failure(codeViolation, "after the load: %s", r.CheckNote).hint("look closer with: raftbank check conservation").err
	case died != nil:
		return failure(codeInternal, "these are not the figures of a whole bank: %v", died).
			hint("run it again; with --data-dir DIR the server's log stays there").err
	case r.CheckNote == noteInterrupted:
		return failure(codeInterrupted, "interrupted after %.1f s of the %.1f s to measure; what was answered by then is shown, and the bank was not checked",
			r.Seconds, float64(r.Config.DurationMs)/1000).err
	case r.Config.Spawned && incomplete(r) != "":
		return failure(codeUnavailable, "the bank was not checked after the load: %s", incomplete(r)).
			hint("run it again; a shorter --duration leaves less to catch up with").err
	}
	return nil
}

// benchWaiting says what is waited for: on a terminal in a line with the time, until clear takes it away; elsewhere
// as a note.
func (a *App) benchWaiting(what string) (clear func()) {
	if a.Quiet || !isTerminal(a.Err) {
		a.notef("%s", what)
		return func() {}
	}
	began := time.Now()
	stop, ended := make(chan struct{}), make(chan struct{})
	show := func() { _, _ = fmt.Fprintf(a.Err, "\r\x1b[K%s: %.0f s", what, time.Since(began).Seconds()) }
	show()
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show()
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
		_, _ = fmt.Fprint(a.Err, "\r\x1b[K")
	}
}
