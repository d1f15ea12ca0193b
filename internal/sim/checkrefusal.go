package sim

import (
	"sort"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// spendable is what an account can truly spend from a time on: everything decided counts, whether its
// FINISH has arrived or not, and so do the reservations of what is undecided.
type spendable struct {
	at    int64
	units int64
}

// effect is what a transfer does at present to the spendable sums of its accounts.
type effect struct {
	debit, credit int64
}

// refusals holds every account's spendable sum over time.
type refusals struct {
	series map[shard.Account][]spendable
	effect map[*content]effect
}

// reconsider follows what a new row may have decided, for every content under its id.
func (k *checker) reconsider(id ledger.TransferID) {
	for _, c := range k.w.load.byID[id] {
		want := k.effectOf(c)
		have := k.refusals.effect[c]
		if want == have {
			continue
		}
		k.refusals.effect[c] = want
		k.shift(c.record.Debit, want.debit-have.debit)
		k.shift(c.record.Credit, want.credit-have.credit)
	}
}

// effectOf: a vote reserves until somebody aborts; a credit counts once every participant has voted yes.
func (k *checker) effectOf(c *content) effect {
	amount := int64(c.record.Amount.Lo)
	debitShard, _ := k.w.topology.ShardOf(c.record.Debit)
	yes, aborted, held := 0, false, false
	for _, p := range c.parts {
		switch k.truth(p).stateOf(c) {
		case ledger.Prepared, ledger.Committed:
			yes++
			held = held || p == debitShard
		case ledger.Aborted:
			aborted = true
		case ledger.None:
		}
	}
	var e effect
	if held && !aborted {
		e.debit = -amount
	}
	if yes == len(c.parts) {
		e.credit = amount
	}
	return e
}

func (k *checker) shift(a shard.Account, by int64) {
	if by == 0 {
		return
	}
	s := k.refusals.series[a]
	last := int64(k.w.plan.opening)
	if len(s) > 0 {
		last = s[len(s)-1].units
	}
	k.refusals.series[a] = append(s, spendable{at: k.w.now, units: last + by})
}

// refusalIsJustified: insufficient funds may be said only if the account was short at an instant since the refused
// transfer was first asked for, with all that was decided counted in (docs/PROTOCOL.md, section 8).
func (k *checker) refusalIsJustified(r *ledger.Row) {
	c := k.w.load.contents[r.Record]
	if r.State != ledger.Aborted || r.Reason != ledger.ReasonInsufficientFunds || c == nil || r.Record.Amount.Hi != 0 {
		return
	}
	k.looked(CheckRefusal)
	if least := k.leastSince(r.Record.Debit, c.firstAsk); least >= 0 && uint64(least) >= r.Record.Amount.Lo {
		k.w.fail(CheckRefusal, "%s was refused %s of account %d, which could spend %d at every instant since %d ms, when it was first asked for",
			r.Record.ID, r.Record.Amount, r.Record.Debit, least, c.firstAsk/millisecond)
	}
}

// leastSince returns the least that an account could truly spend since a time.
func (k *checker) leastSince(a shard.Account, since int64) int64 {
	s := k.refusals.series[a]
	// The last change before that time gives what could be spent then.
	i := sort.Search(len(s), func(i int) bool { return s[i].at >= since })
	least := int64(k.w.plan.opening)
	if i > 0 {
		least = s[i-1].units
	}
	for _, p := range s[i:] {
		least = min(least, p.units)
	}
	return least
}
