package linear

import (
	"cmp"
	"fmt"
	"slices"
)

// nearby bounds how many transfers are shown beside the reads of a violation.
const nearby = 12

// Evidence is one read of a violation, and the bounds that the rest of the history sets to it.
type Evidence struct {
	Read Op
	// Least is what the read must have seen: the opening and what was told as committed before it began.
	// Most is what it can have seen: the opening and what was submitted before it ended.
	Least, Most Sums
}

// String says what was read and what could have been.
func (e Evidence) String() string {
	saw := fmt.Sprintf("read by client %d: saw %s", e.Read.Client, e.Read.Sums)
	switch {
	case !e.Read.atLeast(e.Least):
		return fmt.Sprintf("%s, but %s had been acknowledged before it began", saw, e.Least)
	case !e.Most.atLeast(e.Read.Sums):
		return fmt.Sprintf("%s, but no more than %s had been submitted when it ended", saw, e.Most)
	}
	return fmt.Sprintf("%s (alone it could be from %s to %s)", saw, e.Least, e.Most)
}

// evidence returns a smallest set of reads that contradicts the transfers: no read of it can be spared. None at all
// means that the transfers alone have no order, so the account paid out what it did not have.
func (h History) evidence() []Evidence {
	reads := slices.DeleteFunc(slices.Clone(h.Ops), func(op Op) bool { return !op.Read })
	slices.SortStableFunc(reads, func(x, y Op) int { return cmp.Compare(x.Return, y.Return) })
	for size := max(len(reads)/2, 1); len(reads) > 0; size /= 2 {
		// From the end: what is left is then the earliest contradiction.
		for end := len(reads); end > 0; end -= size {
			rest := slices.Delete(slices.Clone(reads), max(end-size, 0), min(end, len(reads)))
			if h.with(rest).violated() {
				reads = rest
			}
		}
		if size == 1 {
			break
		}
	}
	out := make([]Evidence, len(reads))
	for i, r := range reads {
		out[i] = Evidence{Read: r, Least: h.Opening, Most: h.Opening}
		for _, op := range h.Ops {
			if op.Read {
				continue
			}
			if op.Return < r.Call {
				out[i].Least, _ = out[i].Least.plus(op.Sums)
			}
			if op.Call <= r.Return {
				out[i].Most, _ = out[i].Most.plus(op.Sums)
			}
		}
	}
	return out
}

// with returns the history with other reads.
func (h History) with(reads []Op) History {
	transfers := slices.DeleteFunc(slices.Clone(h.Ops), func(op Op) bool { return op.Read })
	h.Ops = append(transfers, reads...)
	return h
}

// Overdraft returns the first debit, by its end, that nothing can have paid for: the debits that had been
// acknowledged by then exceed the opening and all credits that had been submitted. ok is false if there is none.
func (h History) Overdraft() (debit Op, acknowledged, submitted Sums, ok bool) {
	debits := slices.DeleteFunc(slices.Clone(h.Ops), func(op Op) bool { return op.Read || op.Open || op.Out.IsZero() })
	slices.SortStableFunc(debits, func(x, y Op) int { return cmp.Compare(x.Return, y.Return) })
	acknowledged = h.Opening
	for _, d := range debits {
		acknowledged, _ = acknowledged.plus(Sums{Out: d.Out})
		submitted = h.Opening
		for _, op := range h.Ops {
			if !op.Read && op.Call <= d.Return {
				submitted, _ = submitted.plus(Sums{In: op.In})
			}
		}
		if acknowledged.Out.Cmp(submitted.In) > 0 {
			return d, acknowledged, submitted, true
		}
	}
	return Op{}, Sums{}, Sums{}, false
}

// Excerpt lists, in the order of their beginning, the reads of a violation and the transfers around them: those
// under way meanwhile, and the last ones before.
func (v *Verdict) Excerpt() []Op {
	var out, around []Op
	to := int64(Never)
	if d, _, _, ok := v.Overdraft(); ok {
		to = d.Return
	}
	if len(v.Evidence) > 0 {
		to = 0
	}
	for _, e := range v.Evidence {
		out = append(out, e.Read)
		to = max(to, e.Read.Return)
	}
	for _, op := range v.Ops {
		if !op.Read && op.Call <= to {
			around = append(around, op)
		}
	}
	// Those that ended last matter most: the older ones are in both bounds.
	slices.SortStableFunc(around, func(x, y Op) int { return cmp.Compare(min(x.Return, to), min(y.Return, to)) })
	out = append(out, around[max(len(around)-nearby, 0):]...)
	slices.SortStableFunc(out, func(x, y Op) int { return cmp.Compare(x.Call, y.Call) })
	return out
}
