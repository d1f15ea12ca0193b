package linear

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// Bounds of a history that is searched; Cut leaves out what exceeds them.
const (
	// MaxOps is how many operations a history may have.
	MaxOps = 400
	// MaxOpen is how many transfers may be under way at once.
	MaxOpen = 10
	// searchNs bounds the search for the verdict, shrinkNs each one for the evidence, in nanoseconds.
	searchNs = 20_000_000_000
	shrinkNs = 1_000_000_000
)

// Never is the Return of an operation that nobody saw end.
const Never = math.MaxInt64

// Sums is an account as its readers see it: what was credited and debited so far, openings included.
type Sums struct{ In, Out ledger.Amount }

// String returns "in 12 out 4".
func (s Sums) String() string { return fmt.Sprintf("in %s out %s", s.In, s.Out) }

// plus adds; ok is false if a sum exceeds what the ledger allows, so no bank can have done it.
func (s Sums) plus(d Sums) (sum Sums, ok bool) {
	in, okIn := s.In.Add(d.In)
	out, okOut := s.Out.Add(d.Out)
	return Sums{In: in, Out: out}, okIn && okOut
}

// atLeast reports whether both sums are at least d's.
func (s Sums) atLeast(d Sums) bool { return s.In.Cmp(d.In) >= 0 && s.Out.Cmp(d.Out) >= 0 }

// Op is one operation on one account: a strong read, or one side of a transfer that may have been applied.
type Op struct {
	Client       int
	Name         string // for people: a transfer's id; of a read, who answered
	Call, Return int64  // in any unit; equal times count as concurrent
	Read         bool
	// Open says that nobody was told the outcome within the history: the transfer may come at any time after Call
	// or never, and the credits that pay for it may be missing here. Its Return is Never.
	Open bool
	// Sums are what a read saw, or what a transfer adds.
	Sums
}

// History is what is known of one account from an instant on.
type History struct {
	Round   int // of the recording; an account may have a history in each
	Account shard.Account
	// Opening is what the account had before the first operation.
	Opening Sums
	Ops     []Op
}

// Result is how a search ended.
type Result uint8

// Results.
const (
	Holds     Result = 1 + iota // there is an order that explains everything
	Violated                    // there is none
	Undecided                   // the search took too long
)

// Verdict is the result for one history.
type Verdict struct {
	History // as searched: within the bounds
	Result  Result
	// Left is how many operations were left out to keep within the bounds.
	Left int
	// Evidence, with Violated, is a smallest set of reads that no order explains.
	Evidence []Evidence
}

// Check searches for an order that explains the history, within the bounds.
func (h History) Check() Verdict {
	cut := h.Cut()
	v := Verdict{History: cut, Left: len(h.Ops) - len(cut.Ops)}
	v.Result = result(porcupine.CheckOperationsTimeout(model(cut.Opening), cut.operations(), searchNs))
	if v.Result == Violated {
		v.Evidence = cut.evidence()
	}
	return v
}

// Cut sorts the operations by their beginning and ends the history before there are too many, or too many
// transfers at once. What began before the cut and ended after it stays open; such reads are left out, since
// they may have seen what is left out.
func (h History) Cut() History {
	ops := slices.Clone(h.Ops)
	slices.SortStableFunc(ops, func(x, y Op) int { return cmp.Compare(x.Call, y.Call) })
	h.Ops = ops
	end := len(ops)
	var ends []int64 // of the transfers that are under way
	for i, op := range ops {
		ends = slices.DeleteFunc(ends, func(end int64) bool { return end < op.Call })
		if !op.Read {
			ends = append(ends, op.Return)
		}
		if i >= MaxOps || len(ends) > MaxOpen {
			end = i
			break
		}
	}
	if end == len(ops) {
		return h
	}
	last := ops[end].Call
	h.Ops = nil
	for _, op := range ops[:end] {
		if op.Return >= last {
			if op.Read {
				continue
			}
			op.Open, op.Return = true, Never
		}
		h.Ops = append(h.Ops, op)
	}
	return h
}

// violated is a short search for the evidence: one that takes too long proves nothing.
func (h History) violated() bool {
	return result(porcupine.CheckOperationsTimeout(model(h.Opening), h.operations(), shrinkNs)) == Violated
}

func result(r porcupine.CheckResult) Result {
	switch r {
	case porcupine.Ok:
		return Holds
	case porcupine.Illegal:
		return Violated
	}
	return Undecided
}

func (h History) operations() []porcupine.Operation {
	ops := make([]porcupine.Operation, len(h.Ops))
	for i, op := range h.Ops {
		ops[i] = porcupine.Operation{ClientId: op.Client, Call: op.Call, Return: op.Return, Input: op}
	}
	return ops
}

// Visualize writes a page that shows the history: who did what when, and how far an order was found.
// Errors: those of the writer.
func (h History) Visualize(w io.Writer) error {
	m := model(h.Opening)
	_, info := porcupine.CheckOperationsVerbose(m, h.shown().operations(), searchNs)
	return porcupine.Visualize(m, info, w)
}

// shown gives open operations an end that a picture can show, behind all others.
func (h History) shown() History {
	last := int64(0)
	for _, op := range h.Ops {
		if op.Return != Never {
			last = max(last, op.Return)
		}
		last = max(last, op.Call)
	}
	h.Ops = slices.Clone(h.Ops)
	for i := range h.Ops {
		if h.Ops[i].Return == Never {
			h.Ops[i].Return = last + 1
		}
	}
	return h
}

// model is the sequential specification of one account.
func model(opening Sums) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return opening },
		Step: func(state, input, _ any) (bool, any) {
			s, op := state.(Sums), input.(Op)
			if op.Read {
				return s == op.Sums, s
			}
			after, ok := s.plus(op.Sums)
			// Nobody pays out more than came in.
			return ok && (op.Open || after.In.Cmp(after.Out) >= 0), after
		},
		DescribeOperation: func(input, _ any) string { return input.(Op).String() },
		DescribeState:     func(state any) string { return state.(Sums).String() },
	}
}

// String tells the operation in a few words: "read: in 12 out 4", "in 3 (ID)".
func (o Op) String() string {
	switch {
	case o.Read:
		return "read: " + o.Sums.String()
	case o.In.IsZero():
		return fmt.Sprintf("out %s (%s)", o.Out, o.Name)
	}
	return fmt.Sprintf("in %s (%s)", o.In, o.Name)
}
