package sim

import (
	"sort"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// readFact is a finished strong read of one account.
type readFact struct {
	account shard.Account
	ask     *submission // reads of one request have it in common
	by      string
	client  int
	start   int64
	end     int64
	floor   uint64 // the last index that any replica had applied when the read began
	point   uint64 // the read point that the answer names
	in, out ledger.Amount
}

// readEnds takes the answer of a strong read: one fact for each account.
func (k *checker) readEnds(s *submission, by string, reply *wire.Reply) {
	for i := range reply.Balances {
		b := &reply.Balances[i]
		k.w.say(by, "%s: told +%s -%s on %d at index %d", s.name(), b.CreditsPosted, b.DebitsPosted, b.Account, reply.Applied)
		k.reads = append(k.reads, &readFact{
			account: b.Account, ask: s, by: by, client: s.client, start: s.start, end: k.w.now, floor: s.floor, point: reply.Applied,
			in: b.CreditsPosted, out: b.DebitsPosted,
		})
	}
}

// staleIsExact: what one replica shows is the account as it was at the index that it names.
func (k *checker) staleIsExact(by string, reply *wire.Reply) {
	b := &reply.Balances[0]
	if !b.Exists {
		return // before GENESIS
	}
	k.looked(CheckReads)
	if p, ok := k.sumsAt(b.Account, reply.Applied); !ok || p.in != b.CreditsPosted || p.out != b.DebitsPosted ||
		p.reserved != b.DebitsPending || p.incoming != b.CreditsPending {
		k.w.fail(CheckReads, "%s read account %d of one replica as +%s -%s, pending +%s -%s; at index %d it was +%s -%s, pending +%s -%s", by, b.Account,
			b.CreditsPosted, b.DebitsPosted, b.CreditsPending, b.DebitsPending, reply.Applied, p.in, p.out, p.incoming, p.reserved)
	}
}

// postedLeg is a committed transfer as one of its accounts has it.
type postedLeg struct {
	content  *content
	credit   bool
	voted    uint64 // at which the account's shard voted yes; an intra transfer's is that of its posting
	index    uint64 // at which the account's shard entered C
	postedAt int64  // when that index was first applied anywhere
}

// openAt says whether a leg was pending at a read's point, and posted before its answer: the answer may show
// it or not.
func (l *postedLeg) openAt(r *readFact) bool {
	return l.voted <= r.point && r.point < l.index && l.postedAt <= r.end
}

// knownCommits is when a transfer's commit was first known outside the servers, because somebody was told.
func (k *checker) knownCommits() map[*content]int64 {
	known := map[*content]int64{}
	for _, c := range k.w.load.order {
		if c.told == txn.DecidedCommitted {
			known[c] = c.toldAt
		}
	}
	return known
}

// readsAreRight: a strong read shows an account's sums at its read point, and some of the transfers that were pending
// there and have been posted since; its read point is not before anything that was applied when it began; and it
// shows every transfer that anybody was told to be committed, or that any finished read has shown on either of
// its accounts, before it began, or before a transfer was asked for that it shows (docs/PROTOCOL.md, section 7).
//
// known gets the transfers that reads make known; a violation is that of check.
func (k *checker) readsAreRight(known map[*content]int64, check Check) {
	legs := k.postedLegs()
	latest := k.latestShown(legs)
	for _, r := range k.reads { // by their ends: what a read learns of ended before it began
		k.looked(check)
		if r.point < r.floor {
			k.w.fail(check, "%s read account %d at index %d, though index %d was applied before it began at %d ms",
				r.by, r.account, r.point, r.floor, r.start/millisecond)
			return
		}
		if !k.explained(r, legs[r.account], nil) {
			k.w.fail(check, "%s read +%s -%s on account %d at index %d: it holds nothing of the kind there, whatever was pending",
				r.by, r.in, r.out, r.account, r.point)
			return
		}
		before := max(r.start, latest[r.ask])
		must := func(c *content) bool { at, ok := known[c]; return ok && at < before }
		if !k.explained(r, legs[r.account], must) {
			k.w.fail(check, "%s read +%s -%s on account %d at index %d: what was known to be committed is missing, at %d ms, before it or something that it shows was asked for",
				r.by, r.in, r.out, r.account, r.point, before/millisecond)
			return
		}
		for i := range legs[r.account] {
			l := &legs[r.account][i]
			if at, ok := known[l.content]; ok && at <= r.end {
				continue
			}
			if l.index <= r.point || l.openAt(r) && !k.explainedWithout(r, legs[r.account], must, l) {
				known[l.content] = r.end
			}
		}
	}
}

// latestShown is, for each request, when the newest transfer was asked for that its reads must have shown.
func (k *checker) latestShown(legs map[shard.Account][]postedLeg) map[*submission]int64 {
	latest := map[*submission]int64{}
	for _, r := range k.reads {
		for i := range legs[r.account] {
			l := &legs[r.account][i]
			if l.content.firstAsk > latest[r.ask] && k.showsLeg(r, legs[r.account], l) == showsIt {
				latest[r.ask] = l.content.firstAsk
			}
		}
	}
	return latest
}

// explained reports whether a read's sums are those at its point plus some of the transfers that were pending
// there, among them all that it must show; must nil: any.
func (k *checker) explained(r *readFact, legs []postedLeg, must func(*content) bool) bool {
	return k.explainedWithout(r, legs, must, nil)
}

// explainedWithout is explained with one leg left out.
func (k *checker) explainedWithout(r *readFact, legs []postedLeg, must func(*content) bool, without *postedLeg) bool {
	at, ok := k.sumsAt(r.account, r.point)
	in, out := at.in, at.out
	if !ok || less(r.in, in) || less(r.out, out) || r.in.Hi != in.Hi || r.out.Hi != out.Hi {
		return false
	}
	var left = [2]uint64{r.out.Lo - out.Lo, r.in.Lo - in.Lo} // debits, credits
	var free [2][]uint64
	for i := range legs {
		l := &legs[i]
		side, amount := 0, l.content.record.Amount.Lo
		if l.credit {
			side = 1
		}
		if l.index <= r.point {
			continue // in the sums at the point
		}
		required := must != nil && must(l.content)
		switch {
		case l == without || !l.openAt(r):
			if required && l != without {
				return false
			}
		case required && amount > left[side]:
			return false
		case required:
			left[side] -= amount
		default:
			free[side] = append(free[side], amount)
		}
	}
	return subsetSum(free[0], left[0]) && subsetSum(free[1], left[1])
}

// subsetSum reports whether some of the amounts add up to a sum.
func subsetSum(amounts []uint64, sum uint64) bool {
	total := uint64(0)
	for _, a := range amounts {
		total += a
	}
	if sum == 0 || sum >= total {
		return sum == 0 || sum == total
	}
	reached := make([]bool, sum+1)
	reached[0] = true
	for _, a := range amounts {
		for s := sum; s >= a && a > 0; s-- {
			reached[s] = reached[s] || reached[s-a]
		}
	}
	return reached[sum]
}

// sumsAt returns an account's sums at an index.
func (k *checker) sumsAt(a shard.Account, index uint64) (point, bool) {
	id, _ := k.w.topology.ShardOf(a)
	points := k.truth(id).model[a].points
	i := sort.Search(len(points), func(i int) bool { return points[i].index > index })
	if i == 0 {
		return point{}, false
	}
	return points[i-1], true
}

// postedLegs lists the committed transfers of every account.
func (k *checker) postedLegs() map[shard.Account][]postedLeg {
	legs := map[shard.Account][]postedLeg{}
	for _, c := range k.w.load.order {
		for _, a := range []shard.Account{c.record.Debit, c.record.Credit} {
			id, ok := k.w.topology.ShardOf(a)
			if !ok {
				continue
			}
			t := k.truth(id)
			if o, ok := t.state.Lookup(c.record.ID); ok && o.State == ledger.Committed && o.Record == c.record {
				legs[a] = append(legs[a], postedLeg{
					content: c, credit: a == c.record.Credit, voted: t.voted[c.record.ID], index: o.Index, postedAt: t.appliedAt[o.Index],
				})
			}
		}
	}
	return legs
}
