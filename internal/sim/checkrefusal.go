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

// effectOf: a vote reserves until somebody aborts; a credit counts once every participant has voted yes. It also
// notes when the transfer was voted on and decided.
func (k *checker) effectOf(c *content) effect {
	amount := int64(c.record.Amount.Lo)
	debitShard, _ := k.w.topology.ShardOf(c.record.Debit)
	yes, aborted, held := 0, false, false
	for _, p := range c.parts {
		switch k.truth(p).stateOf(c) {
		case ledger.Prepared, ledger.Committed:
			if _, voted := c.votedAt[p]; !voted {
				c.votedAt[p] = k.w.now
			}
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
	if c.decidedAt == 0 && (aborted || yes == len(c.parts)) {
		c.decidedAt = k.w.now
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

// refusalIsJustified: a refusal for insufficient funds must not rest on a transfer that was decided and pending here
// before the refused one was first asked for (docs/PROTOCOL.md, section 8). What was decided meanwhile may
// still be missing: the leader settles once, and then refuses. That is counted.
func (k *checker) refusalIsJustified(t *shardTruth, r *ledger.Row) {
	c := k.w.load.contents[r.Record]
	if r.State != ledger.Aborted || r.Reason != ledger.ReasonInsufficientFunds || c == nil || r.Record.Amount.Hi != 0 {
		return
	}
	k.looked(CheckRefusal)
	a := r.Record.Debit
	left := r.Available // as the entry found it; the account may have changed by the entry's end
	for _, id := range t.state.PreparedOn(a) {
		o, _ := t.state.Lookup(id)
		p := k.w.load.contents[o.Record]
		if p == nil || p.decidedAt == 0 || p.decidedAt >= c.firstAsk || p.votedAt[t.id] >= c.firstAsk {
			continue
		}
		if committed := k.refusals.effect[p].credit != 0; committed == (p.record.Credit == a) {
			left, _ = left.Add(p.record.Amount)
		}
	}
	if left.Cmp(r.Record.Amount) >= 0 {
		k.w.fail(CheckRefusal, "%s was refused %s of account %d, which can spend %s by what was decided before %d ms, when it was first asked for",
			r.Record.ID, r.Record.Amount, a, left, c.firstAsk/millisecond)
	}
	if least := k.leastSince(a, c.firstAsk); least >= 0 && uint64(least) >= r.Record.Amount.Lo {
		k.w.report.Checked["refusals that only what was decided meanwhile could have spared"]++
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
