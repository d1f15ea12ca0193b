package sim

import (
	"math"
	"slices"

	"github.com/anishathalye/porcupine"

	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// Bounds of a history that Porcupine is given. With more transfers under way at once it would try too many
// orders; the rest of the account's history is then left out.
const (
	linearOps  = 400
	linearOpen = 9
	// linearSteps bounds the steps of one search, about a second of it.
	linearSteps = 1 << 20
)

// sums is an account as its readers see it: what was credited and debited so far.
type sums struct{ in, out uint64 }

// linearOp is a read of sums, or what a transfer adds to them.
type linearOp struct {
	read bool
	// cut says that the transfer did not end within the history: the credits that paid for it may be missing.
	cut bool
	sums
}

// account is the sequential specification of one account: reads show the sums, transfers add to them. It counts its steps,
// and takes none behind the bound.
func account(opening uint64, steps *int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return sums{in: opening} },
		Step: func(state, input, _ any) (bool, any) {
			if *steps++; *steps > linearSteps {
				return false, state
			}
			s, op := state.(sums), input.(linearOp)
			if op.read {
				return s == op.sums, s
			}
			s.in, s.out = s.in+op.in, s.out+op.out
			return op.cut || s.out <= s.in, s
		},
	}
}

// accountsAreLinear gives every account's history to Porcupine. A committed transfer takes effect between its
// submission and the first answer that tells of it; if nobody was told, any time later.
func (k *checker) accountsAreLinear() {
	if !k.w.enabled[CheckLinear] {
		return
	}
	legs := k.postedLegs()
	for _, a := range k.w.load.accounts {
		all := k.historyOf(a, legs[a])
		if len(all) == 0 {
			continue
		}
		k.looked(CheckLinear)
		ops := cutHistory(all)
		ok, decided := linearizable(k.w.plan.opening, ops)
		if decided < len(ops) {
			k.w.report.Checked[undecided]++
		}
		k.w.report.Checked[linearGiven] += decided
		k.w.report.Checked[linearLeftOut] += len(all) - decided
		if !ok {
			k.w.fail(CheckLinear, "the history of account %d, %d operations, is not linearizable", a, len(ops))
			return
		}
	}
}

// Among what was checked: histories of which only a beginning was small enough to decide; operations that were in
// what was decided; and those that were left out, by the bounds or behind such a beginning. Reads that say nothing more count nowhere.
const (
	undecided     = "linear-in-part"
	linearGiven   = "linear operations"
	linearLeftOut = "linear operations left out"
)

// linearizable reports whether a history is linearizable, or if its search takes too many steps, the longest of its halves,
// quarters and so on from its beginning that can be decided; decided is how many operations that has.
func linearizable(opening uint64, ops []porcupine.Operation) (ok bool, decided int) {
	for part := ops; ; part = endAt(ops, len(part)/2) {
		steps := 0
		if ok := porcupine.CheckOperations(account(opening, &steps), part); steps <= linearSteps {
			return ok, len(part)
		}
	}
}

// historyOf lists an account's operations by their beginning.
func (k *checker) historyOf(a shard.Account, legs []postedLeg) []porcupine.Operation {
	var ops []porcupine.Operation
	reads := 0
	for _, r := range k.reads {
		if r.account == a && r.in.Hi == 0 && r.out.Hi == 0 {
			reads++
			ops = append(ops, porcupine.Operation{
				Call: r.start, Return: r.end, Input: linearOp{read: true, sums: sums{in: r.in.Lo, out: r.out.Lo}},
			})
		}
	}
	if reads == 0 {
		return nil
	}
	for _, l := range legs {
		c := l.content
		op := porcupine.Operation{Call: c.firstAsk, Return: math.MaxInt64, Input: linearOp{sums: sums{in: c.record.Amount.Lo}}}
		if c.record.Debit == a {
			op.Input = linearOp{sums: sums{out: c.record.Amount.Lo}}
		}
		if c.told == txn.DecidedCommitted {
			op.Return = c.toldAt
		}
		ops = append(ops, op)
	}
	slices.SortStableFunc(ops, func(x, y porcupine.Operation) int {
		switch {
		case x.Call < y.Call:
			return -1
		case x.Call > y.Call:
			return 1
		}
		return 0
	})
	return fewerReads(ops)
}

// fewerReads drops reads that say nothing more. Sums only grow, so that an account shows given ones in one stretch of time. It
// has begun when the first read of them has ended, and not ended when the last one begins: then every other read of them meets it.
func fewerReads(ops []porcupine.Operation) []porcupine.Operation {
	type ends struct{ first, last int } // positions
	of := map[sums]ends{}
	for i, op := range ops {
		in := op.Input.(linearOp)
		if !in.read {
			continue
		}
		e, ok := of[in.sums]
		if !ok {
			e = ends{i, i}
		}
		if op.Return < ops[e.first].Return {
			e.first = i
		}
		if op.Call >= ops[e.last].Call {
			e.last = i
		}
		of[in.sums] = e
	}
	var kept []porcupine.Operation
	for i, op := range ops {
		in := op.Input.(linearOp)
		if e := of[in.sums]; !in.read || i == e.first || i == e.last {
			kept = append(kept, op)
		}
	}
	return kept
}

// cutHistory ends a history where Porcupine's bounds are reached: before too many operations, or too many transfers at once.
// What begins before the cut and ends after it stays open.
func cutHistory(ops []porcupine.Operation) []porcupine.Operation {
	for i, op := range ops {
		open := 0
		for _, o := range ops[:i] {
			if o.Return >= op.Call && !o.Input.(linearOp).read {
				open++
			}
		}
		if i >= linearOps || open > linearOpen {
			return endAt(ops, i)
		}
	}
	return ops
}

// endAt ends a history before its n-th operation begins. What has begun by then and not ended stays open.
func endAt(ops []porcupine.Operation, n int) []porcupine.Operation {
	if n >= len(ops) {
		return ops
	}
	var kept []porcupine.Operation
	for _, o := range ops[:n] {
		if o.Return >= ops[n].Call {
			op := o.Input.(linearOp)
			if op.read {
				continue
			}
			op.cut = true
			o.Return, o.Input = math.MaxInt64, op
		}
		kept = append(kept, o)
	}
	return kept
}
