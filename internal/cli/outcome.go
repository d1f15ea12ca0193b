package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
)

// transferOf turns a result into what is printed.
func (a *App) transferOf(r client.Result) api.Transfer {
	t := api.Transfer{
		ID:        r.Transfer.ID.String(),
		Outcome:   outcomeName(r.Outcome),
		LatencyUs: r.Latency.Microseconds(),
	}
	if r.Transfer.From != 0 { // a tombstone knows no more than the id
		t.From, t.To = r.Transfer.From.String(), r.Transfer.To.String()
		t.Amount = r.Transfer.Amount.String()
	}
	if r.Kind != 0 {
		t.Kind = kindName(r.Kind)
	}
	for _, s := range r.Steps {
		t.Steps = append(t.Steps, api.Step{AtUs: s.At.Microseconds(), Actor: s.Actor, Text: s.Text})
	}
	t.Steps = foldSteps(t.Steps)
	switch r.Outcome {
	case client.Committed:
	case client.Aborted:
		t.Reason = r.Reason.String()
		t.Detail = reasonSentence(a.Topology, r)
		if !r.Available.IsZero() || r.Reason == ledger.ReasonInsufficientFunds {
			t.Available = r.Available.String()
		}
		t.Error = &api.Error{Code: codeRefused, Message: t.Detail, ID: t.ID}
	case client.Unavailable:
		t.Detail = r.Detail
		t.Error = a.unavailable(r)
	case client.Unknown:
		t.Detail = r.Detail
		next := a.command("Resolve "+t.ID, "resolve "+t.ID)
		t.Error = &api.Error{
			Code: codeUnknown, Message: "outcome unknown, nothing is lost: " + next,
			Shard: int(r.Shard), Phase: phaseOf(r), Retryable: true, Hint: next, ID: t.ID,
		}
	default:
		panic("unreachable: outcome of a result")
	}
	return t
}

// unavailable says that nothing was applied, why, and what to do.
func (a *App) unavailable(r client.Result) *api.Error {
	e := noServer(a.Topology, r.Shard)
	if r.Detail != "" && !strings.HasPrefix(r.Detail, "no server of ") {
		e.Message = "not applied: " + r.Detail
		e.Hint = "who is down: " + a.command("Leaders", "status")
	}
	e.Phase, e.ID = phaseOf(r), r.Transfer.ID.String()
	return e
}

func phaseOf(r client.Result) string {
	if r.Kind == client.Cross {
		return "prepare"
	}
	return "transfer"
}

// outcomeError gives an outcome its exit code; committed has none. printed says whether the error's
// text is on the output already.
func outcomeError(t api.Transfer, printed bool) error {
	if t.Error == nil {
		return nil
	}
	return &exitError{code: exitCodeOf(t.Error.Code), err: t.Error, printed: printed}
}

// transferColumns is the plain form of a transfer.
var transferColumns = columns("id", ">from", ">to", "#amount", "kind", "outcome", "reason", "#latency_us")

func transferRow(t api.Transfer) []string {
	return []string{t.ID, t.From, t.To, t.Amount, t.Kind, t.Outcome, t.Reason, fmt.Sprint(t.LatencyUs)}
}

// printTransfer writes one outcome and returns the error that goes with it.
func (a *App) printTransfer(t api.Transfer) error {
	err := a.print(t, func(w io.Writer) {
		if a.Format == FormatPlain {
			a.grid(w, transferColumns, [][]string{transferRow(t)})
			return
		}
		printSteps(w, t.Steps)
		_, _ = fmt.Fprintln(w, a.outcomeLine(t))
	})
	if err != nil {
		return err
	}
	if t.Outcome == api.OutcomeUnknown && t.Detail != "" && !a.Format.json() {
		a.notef("%s", t.Detail)
	}
	// The table tells the reason of an abort itself.
	told := a.Format.json() || a.Format == FormatTable && t.Outcome == api.OutcomeAborted
	return outcomeError(t, told)
}

// stepsShown bounds how many steps of one sort in a row are printed: a client that retries for
// seconds has more to do than to say.
const stepsShown = 3

// foldSteps keeps of many steps of one sort in a row, whichever server they went to, the first ones and says
// how many followed, until when.
func foldSteps(steps []api.Step) []api.Step {
	sort := func(s api.Step) string {
		text, _, _ := strings.Cut(s.Text, " (server ")
		return s.Actor + text
	}
	var folded []api.Step
	for i := 0; i < len(steps); {
		end := i + 1
		for end < len(steps) && sort(steps[end]) == sort(steps[i]) {
			end++
		}
		shown := end
		if end-i > stepsShown+1 {
			shown = i + stepsShown
		}
		folded = append(folded, steps[i:shown]...)
		if more := end - shown; more > 0 {
			folded = append(folded, api.Step{AtUs: steps[end-1].AtUs, Actor: steps[i].Actor, Times: more,
				Text: fmt.Sprintf("the same %d times more", more)})
		}
		i = end
	}
	return folded
}

func printSteps(w io.Writer, steps []api.Step) {
	for _, s := range steps {
		_, _ = fmt.Fprintf(w, "%s  %-8s %s\n", ms(s.AtUs), s.Actor, s.Text)
	}
}

// outcomeLine tells a transfer's outcome in one line:
//
//	0.81 ms  COMMITTED cross  3 -> 1003: 4  01J9ZQ6X3K4M8N2P5R7T9V1W3Y
func (a *App) outcomeLine(t api.Transfer) string {
	parts := []string{ms(t.LatencyUs) + " ", a.tint(strings.ToUpper(t.Outcome))}
	if t.Kind != "" {
		parts = append(parts, t.Kind)
	}
	if t.From != "" {
		parts = append(parts, fmt.Sprintf(" %s -> %s: %s", t.From, t.To, t.Amount))
	}
	line := strings.Join(append(parts, " "+t.ID), " ")
	if t.Outcome == api.OutcomeAborted {
		line += fmt.Sprintf("\n%12s%s: %s. Nothing moved", "", strings.ReplaceAll(t.Reason, "_", " "), t.Detail)
	}
	return line
}

// ms prints microseconds as milliseconds, right aligned.
func ms(us int64) string {
	return fmt.Sprintf("%7.2f ms", float64(us)/float64(time.Millisecond/time.Microsecond))
}
