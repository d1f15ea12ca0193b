package sim

import (
	"math"
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// readFact is a finished strong read of one account.
type readFact struct {
	account shard.Account
	by      string
	start   int64
	end     int64
	applied uint64 // of the replica that answered
	in, out ledger.Amount
	// from..before are the indexes at which the account had these sums.
	from, before uint64
}

// readEnds takes the answer of a strong read.
func (k *checker) readEnds(s *submission, by string, reply *wire.Reply) {
	b := &reply.Balances[0]
	k.reads = append(k.reads, &readFact{
		account: s.account, by: by, start: s.start, end: k.w.now, applied: reply.Applied, in: b.CreditsPosted, out: b.DebitsPosted,
	})
}

// postedLeg is a committed transfer as one of its accounts has it.
type postedLeg struct {
	content *content
	index   uint64 // at which the account's shard entered C
}

// readsAreRight: a strong read shows the account as it was at one index, not after the answer; and it
// shows every transfer that anybody was told to be committed, or that any finished read has shown on either
// of its accounts, before it began (docs/PROTOCOL.md, section 7).
func (k *checker) readsAreRight() {
	legs := k.postedLegs()
	// known is when a transfer's commit was first known outside the servers.
	known := map[*content]int64{}
	for _, c := range k.w.load.order {
		if c.told == txn.DecidedCommitted {
			known[c] = c.toldAt
		}
	}
	for _, r := range k.reads {
		if !k.place(r) {
			return
		}
		for _, l := range legs[r.account] {
			if at, ok := known[l.content]; l.index <= r.from && (!ok || r.end < at) {
				known[l.content] = r.end
			}
		}
	}
	for _, r := range k.reads {
		k.w.report.Checked["strong reads are linearizable"]++
		for _, l := range legs[r.account] {
			if at, ok := known[l.content]; ok && at < r.start && l.index >= r.before {
				k.w.fail("strong reads are linearizable", "%s read account %d at %d ms without transfer %s (index %d), whose commit was known at %d ms",
					r.by, r.account, r.start/millisecond, l.content.record.ID, l.index, at/millisecond)
				return
			}
		}
	}
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
			if o, ok := k.truth(id).state.Lookup(c.record.ID); ok && o.State == ledger.Committed && o.Record == c.record {
				legs[a] = append(legs[a], postedLeg{content: c, index: o.Index})
			}
		}
	}
	return legs
}

// place finds the indexes at which an account had the sums of a read.
func (k *checker) place(r *readFact) bool {
	id, _ := k.w.topology.ShardOf(r.account)
	points := k.truth(id).model[r.account].points
	i := slices.IndexFunc(points, func(p point) bool { return p.in == r.in && p.out == r.out })
	if i < 0 || points[i].index > r.applied {
		k.w.fail("strong reads are linearizable", "%s read +%s -%s on account %d at index %d: it never held that until then",
			r.by, r.in, r.out, r.account, r.applied)
		return false
	}
	r.from, r.before = points[i].index, math.MaxUint64
	// Sums only grow: equal ones stand beside each other.
	for _, p := range points[i:] {
		if p.in != r.in || p.out != r.out {
			r.before = p.index
			break
		}
	}
	return true
}
