package linear

import (
	"fmt"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// Transfer is one recorded transfer, with everything that the recording tells of it.
type Transfer struct {
	ID       string
	Client   int // who sent it first
	Round    int
	From, To shard.Account
	Amount   ledger.Amount
	// Outcome is the first definite answer that anybody had, OutcomeCommitted or OutcomeAborted; else what its client was told.
	Outcome string
	Reason  string // with OutcomeAborted
	// Call is when it was first sent, Known when the definite answer was there; Never: there is none.
	Call, Known int64
}

// MayBeCommitted reports whether nothing that was told rules out that the transfer was applied.
func (t *Transfer) MayBeCommitted() bool { return t.Outcome != OutcomeAborted }

// Transfers lists the transfers of a recording, in its order.
// Errors: ErrHistory, with the number of the event.
func Transfers(events []Event) ([]Transfer, error) {
	settled := map[string]*Event{}
	for i := range events {
		e := &events[i]
		if _, known := settled[e.ID]; e.Kind == KindSettled && !known && definite(e.Outcome) {
			settled[e.ID] = e
		}
	}
	var out []Transfer
	for i := range events {
		if events[i].Kind != KindTransfer {
			continue
		}
		t, err := transferOf(&events[i], settled)
		if err != nil {
			return nil, fmt.Errorf("%w: event %d: %w", ErrHistory, i+1, err)
		}
		out = append(out, t)
	}
	return out, nil
}

// definite reports whether an outcome is for ever: a transfer that was unavailable, or that no shard knew, may be sent again.
func definite(outcome string) bool { return outcome == OutcomeCommitted || outcome == OutcomeAborted }

func transferOf(e *Event, settled map[string]*Event) (t Transfer, err error) {
	t = Transfer{ID: e.ID, Client: e.Client, Round: e.Round, Outcome: e.Outcome, Reason: e.Reason, Call: e.CallUs, Known: Never}
	if t.From, err = parseAccount(e.From); err != nil {
		return t, err
	}
	if t.To, err = parseAccount(e.To); err != nil {
		return t, err
	}
	if t.Amount, err = ledger.ParseAmount(e.Amount); err != nil {
		return t, fmt.Errorf("amount %q: %w", e.Amount, err)
	}
	if e.CallUs < 0 || e.ReturnUs < e.CallUs {
		return t, fmt.Errorf("times %d and %d", e.CallUs, e.ReturnUs)
	}
	if definite(e.Outcome) {
		t.Known = e.ReturnUs
	} else if s := settled[e.ID]; s != nil {
		t.Outcome, t.Reason, t.Known = s.Outcome, s.Reason, max(s.ReturnUs, e.CallUs)
	}
	return t, nil
}
