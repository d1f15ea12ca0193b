package linear

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// Kinds of events.
const (
	KindOpening  = "opening"  // an account's sums before anything else of the round
	KindRead     = "read"     // a strong read that was answered
	KindTransfer = "transfer" // a transfer and what its client was told
	KindSettled  = "settled"  // what was found out later about a transfer of unknown outcome
	KindForeign  = "foreign"  // a committed transfer on the account that is not of this recording
	KindUnasked  = "unasked"  // the account's history has no order, and who else used it could not be asked
)

// Outcomes in events.
const (
	OutcomeCommitted   = "committed"
	OutcomeAborted     = "aborted"
	OutcomeUnavailable = "unavailable" // surely not applied
	OutcomeUnknown     = "unknown"
	OutcomeNotFound    = "not_found" // of a settled transfer: no shard knows it
)

// maxLine bounds one line of a kept history, in bytes.
const maxLine = 1 << 16

// Event is one line of a recorded history. Times are microseconds since the recording began.
type Event struct {
	Kind   string `json:"kind"`
	Round  int    `json:"round"`
	Client int    `json:"client,omitempty"`

	// Of opening, read, foreign and unasked.
	Account string `json:"account,omitempty"`
	// Of opening and read: the sums of posted credits and debits.
	In  string `json:"in,omitempty"`
	Out string `json:"out,omitempty"`
	// Of read: which server answered, and at which index.
	Server  int    `json:"server,omitempty"`
	Term    uint64 `json:"term,omitempty"`
	Applied uint64 `json:"applied,omitempty"`

	// Of transfer; ID also of settled and foreign, Outcome also of settled, Reason also of settled and unasked.
	ID      string `json:"id,omitempty"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Amount  string `json:"amount,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	Reason  string `json:"reason,omitempty"`

	CallUs   int64 `json:"call_us"`
	ReturnUs int64 `json:"return_us"` // of a transfer of unknown outcome: when the client gave up
}

// ErrHistory says that a kept history cannot be read; the message names the line.
var ErrHistory = errors.New("not a history")

// ReadEvents reads a kept history, one JSON value per line.
// Errors: ErrHistory, those of the reader.
func ReadEvents(r io.Reader) ([]Event, error) {
	var events []Event
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields()
		var e Event
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrHistory, n, err)
		}
		if d.More() {
			return nil, fmt.Errorf("%w: line %d: more than one value", ErrHistory, n)
		}
		events = append(events, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: after line %d: %w", ErrHistory, len(events), err)
	}
	return events, nil
}

// WriteEvents writes events, one line each.
// Errors: those of the writer.
func WriteEvents(w io.Writer, events []Event) error {
	out := json.NewEncoder(w)
	for i := range events {
		if err := out.Encode(&events[i]); err != nil {
			return err
		}
	}
	return nil
}

// key names a history.
type key struct {
	round   int
	account shard.Account
}

// collector turns events into histories.
type collector struct {
	at      map[key]int // index in out
	out     []History
	settled map[string]*Event // the first that tells, by id
}

// Collect returns the histories of a recording, by account and round, in the order of their openings. A transfer
// is part of the histories that its round has for its accounts.
// Errors: ErrHistory, with the number of the event.
func Collect(events []Event) ([]History, error) {
	c := collector{at: map[key]int{}, settled: map[string]*Event{}}
	for i := range events {
		e := &events[i]
		var err error
		switch e.Kind {
		case KindOpening:
			err = c.opening(e)
		case KindSettled:
			// Unknown settles nothing.
			if _, known := c.settled[e.ID]; !known && e.Outcome != OutcomeUnknown {
				c.settled[e.ID] = e
			}
		case KindUnasked:
			if e.Reason == "" {
				err = errors.New("unasked, without a reason")
			}
		case KindRead, KindTransfer, KindForeign:
		default:
			err = fmt.Errorf("kind %q", e.Kind)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: event %d: %w", ErrHistory, i+1, err)
		}
	}
	for i := range events {
		var err error
		switch e := &events[i]; e.Kind {
		case KindRead:
			err = c.read(e)
		case KindTransfer:
			err = c.transfer(e)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: event %d: %w", ErrHistory, i+1, err)
		}
	}
	return c.out, nil
}

func (c *collector) opening(e *Event) error {
	a, err := parseAccount(e.Account)
	if err != nil {
		return err
	}
	s, err := e.sums()
	if err != nil {
		return err
	}
	k := key{e.Round, a}
	if _, twice := c.at[k]; twice {
		return fmt.Errorf("account %s opens twice in round %d", e.Account, e.Round)
	}
	c.at[k] = len(c.out)
	c.out = append(c.out, History{Round: e.Round, Account: a, Opening: s})
	return nil
}

func (c *collector) read(e *Event) error {
	a, err := parseAccount(e.Account)
	if err != nil {
		return err
	}
	s, err := e.sums()
	if err != nil {
		return err
	}
	i, known := c.at[key{e.Round, a}]
	if !known {
		return fmt.Errorf("account %s is read in round %d and has no opening there", e.Account, e.Round)
	}
	if e.CallUs < 0 || e.ReturnUs < e.CallUs {
		return fmt.Errorf("times %d and %d", e.CallUs, e.ReturnUs)
	}
	c.out[i].Ops = append(c.out[i].Ops, Op{Client: e.Client, Name: fmt.Sprintf("server %d", e.Server),
		Call: e.CallUs, Return: e.ReturnUs, Read: true, Sums: s})
	return nil
}

func (c *collector) transfer(e *Event) error {
	from, err := parseAccount(e.From)
	if err != nil {
		return err
	}
	to, err := parseAccount(e.To)
	if err != nil {
		return err
	}
	amount, err := ledger.ParseAmount(e.Amount)
	if err != nil {
		return fmt.Errorf("amount %q: %w", e.Amount, err)
	}
	if e.CallUs < 0 || e.ReturnUs < e.CallUs {
		return fmt.Errorf("times %d and %d", e.CallUs, e.ReturnUs)
	}
	op := Op{Client: e.Client, Name: e.ID, Call: e.CallUs, Return: e.ReturnUs}
	outcome := e.Outcome
	if outcome == OutcomeUnknown {
		if s := c.settled[e.ID]; s != nil {
			outcome, op.Return = s.Outcome, max(s.ReturnUs, e.CallUs)
		}
	}
	switch outcome {
	case OutcomeCommitted:
	case OutcomeUnknown:
		op.Open, op.Return = true, Never
	case OutcomeAborted, OutcomeUnavailable, OutcomeNotFound:
		return nil
	default:
		return fmt.Errorf("outcome %q", outcome)
	}
	if i, known := c.at[key{e.Round, from}]; known {
		op.Sums = Sums{Out: amount}
		c.out[i].Ops = append(c.out[i].Ops, op)
	}
	if i, known := c.at[key{e.Round, to}]; known {
		op.Sums = Sums{In: amount}
		c.out[i].Ops = append(c.out[i].Ops, op)
	}
	return nil
}

// sums parses the sums of an event.
func (e *Event) sums() (s Sums, err error) {
	if s.In, err = ledger.ParseAmount(e.In); err != nil {
		return s, fmt.Errorf("in %q: %w", e.In, err)
	}
	if s.Out, err = ledger.ParseAmount(e.Out); err != nil {
		return s, fmt.Errorf("out %q: %w", e.Out, err)
	}
	return s, nil
}

func parseAccount(text string) (shard.Account, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("account %q", text)
	}
	return shard.Account(n), nil
}
