package sim

import (
	"math/big"

	"raftbank/internal/ledger"
)

// postedOnce: an id is posted at most once at a shard, and what it ended as stays.
func (k *checker) postedOnce(t *shardTruth, r *ledger.Row) {
	if r.Kind == ledger.RowGenesis {
		return
	}
	k.looked(CheckOnce)
	before, known := t.ended[r.Record.ID]
	switch {
	case known && before == ledger.Committed && r.State == ledger.Committed:
		k.w.fail(CheckOnce, "%s posts %s a second time, at index %d", t.id, r.Record.ID, r.Index)
	case known && before != ledger.Prepared && before != r.State:
		k.w.fail(CheckOnce, "%s turns %s from %s to %s at index %d", t.id, r.Record.ID, before, r.State, r.Index)
	}
	t.ended[r.Record.ID] = r.State
}

// answersAsModelled: each item answers what the naive model of the table says.
func (k *checker) answersAsModelled(t *shardTruth, index uint64, entry *ledger.Entry, results []ledger.Result) {
	n := 0
	for i := range entry.Commands {
		c := &entry.Commands[i]
		for j, want := range t.ref.apply(c) {
			k.looked(CheckModel)
			got := verdict{results[n].Code, results[n].State, results[n].Reason}
			if got != want {
				k.w.fail(CheckModel, "entry %d of %s, %s: code %d, %s %s; the model says code %d, %s %s", index, t.id, itemText(c, j),
					got.code, got.state, reasonText(got.reason), want.code, want.state, reasonText(want.reason))
			}
			n++
		}
	}
}

// conservation: the bank holds what it was opened with. What is committed at one shard and still prepared at
// the other counts as posted there.
func (k *checker) conservation() {
	sum := new(big.Int)
	for _, t := range k.shards {
		if t.state.Genesis() == nil {
			return
		}
		sum.Add(sum, t.state.Total())
		for _, id := range t.state.Prepared() {
			k.addHalf(sum, t, id)
		}
	}
	k.looked(CheckConservation)
	if sum.Cmp(k.expected) != 0 {
		k.w.fail(CheckConservation, "the bank holds %s, and was opened with %s", sum, k.expected)
	}
}

// addHalf counts a leg that is prepared at t as posted, if the transfer is committed elsewhere.
func (k *checker) addHalf(sum *big.Int, t *shardTruth, id ledger.TransferID) {
	o, _ := t.state.Lookup(id)
	c := k.w.load.contents[o.Record]
	if c == nil {
		return
	}
	for _, p := range c.parts {
		if p == t.id || k.truth(p).stateOf(c) != ledger.Committed {
			continue
		}
		if t.model[o.Record.Debit] != nil {
			sum.Sub(sum, o.Record.Amount.Big())
		} else {
			sum.Add(sum, o.Record.Amount.Big())
		}
	}
}
