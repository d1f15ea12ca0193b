package sim

import (
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
	// late is what it shows beyond the sums at the index: transfers that were pending there.
	lateIn, lateOut ledger.Amount
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

// readsAreRight: a strong read shows the account as it was at its index, and transfers that were pending there; and it
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
			if at, ok := known[l.content]; l.index <= r.applied && (!ok || r.end < at) {
				known[l.content] = r.end
			}
		}
	}
	for _, r := range k.reads {
		k.w.report.Checked["strong reads are linearizable"]++
		var in, out ledger.Amount
		for _, l := range legs[r.account] {
			if at, ok := known[l.content]; !ok || at >= r.start || l.index <= r.applied {
				continue
			}
			if rec := &l.content.record; rec.Credit == r.account {
				in, _ = in.Add(rec.Amount)
			} else {
				out, _ = out.Add(rec.Amount)
			}
		}
		if in.Cmp(r.lateIn) > 0 || out.Cmp(r.lateOut) > 0 {
			k.w.fail("strong reads are linearizable", "%s read account %d at %d ms, at index %d, without +%s -%s, whose commit was known before",
				r.by, r.account, r.start/millisecond, r.applied, in, out)
			return
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

// place compares a read with the account's sums at its index.
func (k *checker) place(r *readFact) bool {
	id, _ := k.w.topology.ShardOf(r.account)
	var at point
	for _, p := range k.truth(id).model[r.account].points {
		if p.index <= r.applied {
			at = p
		}
	}
	var inOK, outOK bool
	r.lateIn, inOK = r.in.Sub(at.in)
	r.lateOut, outOK = r.out.Sub(at.out)
	if !inOK || !outOK {
		k.w.fail("strong reads are linearizable", "%s read +%s -%s on account %d, which had +%s -%s at index %d",
			r.by, r.in, r.out, r.account, at.in, at.out, r.applied)
		return false
	}
	return true
}
