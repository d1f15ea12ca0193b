package linear

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// moved is an event of a transfer between account 5, which opens with 10, and one that is not recorded.
func moved(call, ret int64, amount int, outcome string) Event {
	e := Event{Kind: KindTransfer, Round: 1, Client: 1, From: "5", To: "6", Amount: fmt.Sprint(max(amount, -amount)), CallUs: call, ReturnUs: ret, Outcome: outcome}
	if amount > 0 {
		e.From, e.To = e.To, e.From
	}
	e.ID = fmt.Sprintf("%s-%d-%d", e.From, call, amount)
	if outcome == "refused" {
		e.Outcome, e.Reason = OutcomeAborted, "insufficient_funds"
	}
	return e
}

// later is what was found out about a transfer afterwards.
func later(e Event, at int64, outcome string) Event {
	s := Event{Kind: KindSettled, Round: 1, ID: e.ID, CallUs: at - 1, ReturnUs: at, Outcome: outcome}
	if outcome == "refused" {
		s.Outcome, s.Reason = OutcomeAborted, "insufficient_funds"
	}
	return s
}

var opened = Event{Kind: KindOpening, Round: 1, Account: "5", In: "10", Out: "0"}

// TestCheckRefusals has refusals of an account that opened with 10: false ones, such that the recording shows to be
// true, and such that it does not decide.
func TestCheckRefusals(t *testing.T) {
	unknown := moved(1, 5, -8, OutcomeUnknown)
	refused := moved(20, 29, -12, OutcomeUnknown)
	for _, c := range []struct {
		name   string
		events []Event
		want   string // "false", "shown" or "open"
	}{
		{"nothing else happened", []Event{moved(20, 29, -10, "refused")}, "false"},
		{"more than there was", []Event{moved(20, 29, -11, "refused")}, "shown"},
		{"a credit was told before", []Event{moved(1, 19, 5, OutcomeCommitted), moved(20, 29, -15, "refused")}, "false"},
		{"at the same time", []Event{moved(1, 20, 5, OutcomeCommitted), moved(20, 29, -15, "refused")}, "open"},
		{"a credit was sent after the answer", []Event{moved(30, 39, 5, OutcomeCommitted), moved(20, 29, -15, "refused")}, "shown"},
		{"a credit under way was aborted", []Event{moved(1, 39, 5, OutcomeAborted), moved(20, 29, -15, "refused")}, "shown"},
		{"a debit was told before", []Event{moved(1, 19, -5, OutcomeCommitted), moved(20, 29, -6, "refused")}, "shown"},
		{"but left enough", []Event{moved(1, 19, -5, OutcomeCommitted), moved(20, 29, -5, "refused")}, "false"},
		{"a debit was sent meanwhile", []Event{moved(29, 39, -5, OutcomeCommitted), moved(20, 29, -6, "refused")}, "open"},
		{"or aborted meanwhile: it may have held its amount", []Event{moved(1, 20, -5, OutcomeAborted), moved(20, 29, -6, "refused")}, "open"},
		{"a debit was told to be aborted before", []Event{moved(1, 19, -5, OutcomeAborted), moved(20, 29, -6, "refused")}, "false"},
		{"a debit was sent after the answer", []Event{moved(30, 39, -5, OutcomeCommitted), moved(20, 29, -6, "refused")}, "false"},
		{"an unknown debit may hold its amount for ever", []Event{unknown, moved(20, 29, -6, "refused")}, "open"},
		{"until it is told to be aborted", []Event{unknown, moved(20, 29, -6, "refused"), later(unknown, 19, OutcomeAborted)}, "false"},
		{"an unavailable one too: it may be sent again", []Event{moved(1, 5, -8, OutcomeUnavailable), moved(20, 29, -6, "refused")}, "open"},
		{"an unknown credit", []Event{moved(1, 5, 8, OutcomeUnknown), moved(20, 29, -12, "refused")}, "open"},
		{"the refusal was told later, a debit in between", []Event{refused, moved(50, 52, -3, OutcomeCommitted), moved(10, 11, 5, OutcomeCommitted), later(refused, 60, "refused")}, "false"},
		{"or one that is large enough", []Event{refused, moved(50, 52, -4, OutcomeCommitted), moved(10, 11, 5, OutcomeCommitted), later(refused, 60, "refused")}, "shown"},
		{"short for a moment only", []Event{moved(21, 22, -4, OutcomeCommitted), moved(24, 25, 4, OutcomeCommitted), moved(20, 29, -7, "refused")}, "shown"},
	} {
		r, err := CheckRefusals(append([]Event{opened}, c.events...))
		got := "open"
		switch {
		case len(r.False) == 1:
			got = "false"
		case r.Shown == 1:
			got = "shown"
		}
		if err != nil || r.Checked != 1 || got != c.want {
			t.Errorf("%s: %s, want %s (%+v, %v)", c.name, got, c.want, r, err)
		}
	}
}

// TestCheckRefusalsSaysWhat: the sentence has the numbers, and what is no refusal of a recorded account is left alone.
func TestCheckRefusalsSaysWhat(t *testing.T) {
	other := moved(20, 29, 4, "refused") // of account 6
	full := moved(20, 29, -4, OutcomeAborted)
	full.Reason = "overflow"
	r, err := CheckRefusals([]Event{opened, moved(1, 2, -3, OutcomeCommitted), moved(20, 29, -4, "refused"), other, full})
	// The 4 of the one that was aborted for another reason may have been held.
	if err != nil || r.Checked != 1 || len(r.False) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, _ := CheckRefusals([]Event{opened, moved(1, 2, -3, OutcomeCommitted), moved(20, 29, -4, "refused")}); len(r.False) != 1 ||
		!strings.Contains(r.False[0], "was refused 4 of account 5") || !strings.Contains(r.False[0], "could spend 7 or more") {
		t.Errorf("%+v", r)
	}
	bad := moved(1, 2, -3, OutcomeCommitted)
	bad.Amount = "much"
	if _, err := CheckRefusals([]Event{opened, bad}); !errors.Is(err, ErrHistory) {
		t.Errorf("a bad amount: %v", err)
	}
}

// step is an instant at which something happens to an account.
type step struct {
	at int64
	do func()
}

// TestTrueRefusalsPass lets an account act at random instants and tells of it with random delays: no refusal that was true
// at its instant is ever called false.
func TestTrueRefusalsPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		balance, held := 10, 0
		events := []Event{opened}
		var steps []step
		for i := range rapid.IntRange(1, 25).Draw(t, "n") {
			at := rapid.Int64Range(20, 200).Draw(t, "at")
			over := at + rapid.Int64Range(0, 20).Draw(t, "held for")
			call, known := at-rapid.Int64Range(0, 15).Draw(t, "before"), over+rapid.Int64Range(0, 15).Draw(t, "after")
			amount := rapid.IntRange(1, 6).Draw(t, "amount")
			sign := rapid.SampledFrom([]int{-1, -1, 1}).Draw(t, "sign")
			aborts, silent := rapid.IntRange(0, 3).Draw(t, "aborts") == 0, rapid.IntRange(0, 5).Draw(t, "silent") == 0
			e := moved(call, known, sign*amount, OutcomeCommitted)
			e.ID = fmt.Sprint(i)
			tell := func(outcome, reason string) {
				e.Outcome, e.Reason = outcome, reason
				if silent {
					e.Outcome, e.Reason = OutcomeUnknown, ""
				}
				events = append(events, e)
			}
			switch {
			case sign > 0 && aborts:
				tell(OutcomeAborted, "cancelled")
			case sign > 0:
				steps = append(steps, step{at, func() { balance += amount; tell(OutcomeCommitted, "") }})
			default:
				steps = append(steps, step{at, func() {
					if amount > balance-held {
						tell(OutcomeAborted, "insufficient_funds")
						return
					}
					held += amount
					steps = append(steps, step{over, func() {
						held -= amount
						if aborts {
							tell(OutcomeAborted, "cancelled")
							return
						}
						balance -= amount
						tell(OutcomeCommitted, "")
					}})
				}})
			}
		}
		for len(steps) > 0 {
			next := slices.MinFunc(steps, func(x, y step) int { return cmp.Compare(x.at, y.at) })
			i := slices.IndexFunc(steps, func(s step) bool { return s.at == next.at })
			steps = slices.Delete(steps, i, i+1)
			next.do()
		}
		r, err := CheckRefusals(events)
		if err != nil || len(r.False) > 0 {
			t.Fatalf("%v: %+v\n%+v", err, r, events)
		}
	})
}
