package linear

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"

	"raftbank/internal/ledger"
)

// Refusals is what a recording says of its refusals for insufficient funds (docs/PROTOCOL.md, section 8).
type Refusals struct {
	Checked int // refusals of accounts whose opening was recorded
	Shown   int // of them: the recording alone shows that the funds were short at an instant of the request
	// False has a sentence for each refusal that was wrong: at every instant of its request the account could spend the amount.
	False []string
}

// CheckRefusals looks at every refusal for insufficient funds: were the funds short at some instant between the first
// sending of the transfer and the first answer? What an account can spend counts decided transfers, whether their
// FINISH has arrived or not, and the reservations of undecided ones.
//
// The recording must hold every transfer on its accounts since their openings. Then no true refusal is called false: of
// credits only those count that somebody had been told to be committed, and a debit takes its amount from its sending
// until somebody was told that it is aborted, whether it had reached its shard or not. What is neither false nor
// shown to be true, the recording does not decide.
// Errors: ErrHistory.
func CheckRefusals(events []Event) (Refusals, error) {
	histories, err := Collect(events)
	if err != nil {
		return Refusals{}, err
	}
	transfers, err := Transfers(events)
	if err != nil {
		return Refusals{}, err
	}
	accounts := map[key]*funds{}
	for i := range histories {
		h := &histories[i]
		opening := h.Opening.In.Big()
		opening.Sub(opening, h.Opening.Out.Big())
		accounts[key{h.Round, h.Account}] = &funds{least: timeline{opening: opening}, most: timeline{opening: opening}}
	}
	for i := range transfers {
		t := &transfers[i]
		if f := accounts[key{t.Round, t.From}]; f != nil {
			f.debit(t)
		}
		if f := accounts[key{t.Round, t.To}]; f != nil {
			f.credit(t)
		}
	}
	// order does not show: each account is worked out by itself
	for _, f := range accounts {
		f.least.add()
		f.most.add()
	}
	var out Refusals
	for i := range transfers {
		t := &transfers[i]
		f := accounts[key{t.Round, t.From}]
		if f == nil || t.Outcome != OutcomeAborted || t.Reason != ledger.ReasonInsufficientFunds.String() {
			continue
		}
		out.Checked++
		amount := t.Amount.Big()
		// The refused transfer's own amount is taken in least while it is asked for.
		least := f.least.lowest(t.Call, t.Known)
		least.Add(least, amount)
		switch {
		case least.Cmp(amount) >= 0:
			out.False = append(out.False, fmt.Sprintf("transfer %s of client %d was refused %s of account %s for insufficient funds; from its sending at %d us to the answer at %d us the account could spend %s or more at every instant",
				t.ID, t.Client, t.Amount, t.From, t.Call, t.Known, least))
		case f.most.lowest(t.Call, t.Known).Cmp(amount) < 0:
			out.Shown++
		}
	}
	return out, nil
}

// funds bounds what an account could spend over time.
type funds struct{ least, most timeline }

// debit: least is without the amount from the sending on, unless it is told to be aborted; most only once it is told to be committed.
func (f *funds) debit(t *Transfer) {
	minus := new(big.Int).Neg(t.Amount.Big())
	f.least.change(t.Call, minus)
	switch t.Outcome {
	case OutcomeAborted:
		f.least.after(t.Known, t.Amount.Big())
	case OutcomeCommitted:
		f.most.after(t.Known, minus)
	}
}

// credit: least has the amount once it is told to be committed, most from the sending on, unless it is aborted in the end.
func (f *funds) credit(t *Transfer) {
	if t.Outcome == OutcomeCommitted {
		f.least.after(t.Known, t.Amount.Big())
	}
	if t.MayBeCommitted() {
		f.most.change(t.Call, t.Amount.Big())
	}
}

// timeline is a sum that changes. Equal times count as concurrent: within one unit of time, least has the
// smallest value of the sum and most the largest.
type timeline struct {
	opening *big.Int
	changes []change // in the order of time, once add has been called
}

// change is a change of the sum, and the sum from then on.
type change struct {
	at      int64
	by, sum *big.Int
}

func (l *timeline) change(at int64, by *big.Int) {
	l.changes = append(l.changes, change{at: at, by: by})
}

// after is a change that counts only when the time is over.
func (l *timeline) after(at int64, by *big.Int) {
	if at != Never {
		l.change(at+1, by)
	}
}

// add works out the sums, those of one time as one.
func (l *timeline) add() {
	slices.SortStableFunc(l.changes, func(x, y change) int { return cmp.Compare(x.at, y.at) })
	sum := l.opening
	var out []change
	for _, c := range l.changes {
		sum = new(big.Int).Add(sum, c.by)
		if n := len(out); n > 0 && out[n-1].at == c.at {
			out[n-1].sum = sum
			continue
		}
		out = append(out, change{at: c.at, sum: sum})
	}
	l.changes = out
}

// lowest returns the lowest sum from one time to another, both included.
func (l *timeline) lowest(from, to int64) *big.Int {
	i, _ := slices.BinarySearchFunc(l.changes, from+1, func(c change, at int64) int { return cmp.Compare(c.at, at) })
	low := l.opening
	if i > 0 {
		low = l.changes[i-1].sum
	}
	for ; i < len(l.changes) && l.changes[i].at <= to; i++ {
		if l.changes[i].sum.Cmp(low) < 0 {
			low = l.changes[i].sum
		}
	}
	return new(big.Int).Set(low)
}
