package ledger

import (
	"math/rand/v2"
	"slices"
	"testing"

	"raftbank/internal/shard"
)

// TestFinishVotesIsManyFinishes gives one state a FINISH for a run of votes, and another one a FINISH of its own for every
// transfer of them that is in P. Some votes of the run were refused, some have left P, some rows are no votes,
// and sometimes the facts do not suffice. Results, rows, accounts and P must come to the same.
func TestFinishVotesIsManyFinishes(t *testing.T) {
	finished, left := 0, 0
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 11))
		a, b := open(1, 20), open(1, 20)
		both := func(c Command) { a.do(c); b.do(c) }
		for n := range uint64(60) {
			r := testRecord(n+1, shard.Account(rng.IntN(10)+1), shard.Account(rng.IntN(10)+11), uint64(rng.IntN(9)+1))
			if rng.IntN(3) == 0 {
				r.Debit, r.Credit = r.Credit, r.Debit
			}
			if rng.IntN(8) == 0 {
				both(Command{Kind: CmdCancel, Cancels: []TransferID{testID(1000 + n)}})
			}
			both(Command{Kind: CmdPrepare, Settled: true, Records: []Record{r}, Digests: []Digest{DigestOf(r)}})
			if in := a.Prepared(); len(in) > 0 && rng.IntN(3) == 0 {
				o, _ := a.Lookup(in[rng.IntN(len(in))])
				both(Command{Kind: CmdFinish, Finishes: []Finish{{
					ID: o.Record.ID, Digest: o.Digest, Facts: []ShardFact{{Shard: 2, Fact: FactAborted}},
				}}})
			}
		}
		v := FinishVotes{First: uint64(rng.IntN(70)), Count: uint32(rng.IntN(70) + 1), Facts: []ShardFact{{Shard: 2, Fact: FactYes}}}
		if rng.IntN(10) == 0 {
			v.Facts[0].Shard = 3 // a bystander
		}
		single := Command{Kind: CmdFinish}
		var in []bool
		for i := range uint64(v.Count) {
			id, ok := b.VoteAt(v.First + i)
			if in = append(in, ok); ok {
				o, _ := b.Lookup(id)
				single.Finishes = append(single.Finishes, Finish{ID: id, Digest: o.Digest, Commit: true, Facts: v.Facts})
			}
		}
		got := a.Apply(a.next, 1, &Entry{TimeNs: 99, Commands: []Command{{Kind: CmdFinishVotes, Votes: []FinishVotes{v}}}})
		want := b.Apply(b.next, 1, &Entry{TimeNs: 99, Commands: []Command{single}})
		if len(got) != int(v.Count) {
			t.Fatalf("seed %d: %d results for %d votes", seed, len(got), v.Count)
		}
		var ids []TransferID
		for i, ok := range in {
			if !ok {
				if left++; got[i] != (Result{Code: ResultNoEffect}) {
					t.Fatalf("seed %d: row %d is no vote in P, and answers %+v", seed, v.First+uint64(i), got[i])
				}
				continue
			}
			if got[i] != want[0] {
				t.Fatalf("seed %d: row %d answers %+v, want %+v", seed, v.First+uint64(i), got[i], want[0])
			}
			if want[0].Code == ResultState {
				finished++
				ids = append(ids, single.Finishes[0].ID)
			}
			want, single.Finishes = want[1:], single.Finishes[1:]
		}
		if !slices.Equal(a.Finished(), ids) {
			t.Fatalf("seed %d: finished %v, want %v", seed, a.Finished(), ids)
		}
		if a.Hash() != b.Hash() || !slices.Equal(a.Prepared(), b.Prepared()) || a.RowCount() != b.RowCount() {
			t.Fatalf("seed %d: the states differ", seed)
		}
		for i, r := range a.Rows(0, int(a.RowCount())) {
			other := b.Rows(uint64(i), 1)[0]
			if r.Item, other.Item = 0, 0; r != other { // items count the votes that have left P, too
				t.Fatalf("seed %d: row %d is %+v, want %+v", seed, i, r, other)
			}
		}
	}
	if finished < 1000 || left < 1000 {
		t.Errorf("%d finished, %d were not in P: too few to say anything", finished, left)
	}
}

// TestVotesInOrder takes votes out of P in any order, also while P is small against what has left it, and looks for each.
func TestVotesInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	p := newPreparedSet()
	var held list
	in := map[uint64]TransferID{}
	position := uint64(0)
	for range 5000 {
		if len(in) == 0 || rng.IntN(2) == 0 {
			position += 1 + uint64(rng.IntN(3))
			id := testID(position)
			p.add(node{record: Record{ID: id}, position: position}, &held)
			in[position] = id
			if p.left > len(p.votes)/2 {
				t.Fatalf("%d of %d places are of votes that have left P", p.left, len(p.votes))
			}
			continue
		}
		for at, id := range in { // order does not show: any of them
			p.remove(p.at(id), -1, &held)
			delete(in, at)
			break
		}
	}
	var listed []uint64
	for n := range p.all {
		if in[n.position] != n.record.ID {
			t.Fatalf("row %d is listed with %s", n.position, n.record.ID)
		}
		listed = append(listed, n.position)
	}
	if len(listed) != len(in) || !slices.IsSorted(listed) || len(p.ids(held)) != len(in) {
		t.Fatalf("%d votes listed, %d of the account, want %d", len(listed), len(p.ids(held)), len(in))
	}
	for at := range in { // order does not show: each is looked for
		if i := p.search(at); p.votes[i].position != at || p.votes[i].at == 0 {
			t.Fatalf("the vote of row %d is not found", at)
		}
	}
}

// TestFinishVotesDecidesForEach gives one FinishVotes to votes with two participant sets in any order, and with cuts of
// audits between them. What it decides for one vote holds for the next of the same set and epoch alone: each commits with
// the highest epoch among its own participants' votes, or not at all if the facts are not its participants'.
func TestFinishVotesDecidesForEach(t *testing.T) {
	type vote struct {
		epoch uint32
		other shard.ID
	}
	committed, stayed, epochs := 0, 0, map[uint32]bool{}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 12))
		m := open(1, 1000)
		var votes []vote
		var epoch uint32
		// The run is of votes alone, so cuts come between, which write no row.
		first := m.RowCount()
		for n := range uint64(30) {
			if rng.IntN(6) == 0 {
				epoch = m.do(Command{Kind: CmdAllocate, Numbers: []uint32{0}}).Epoch
				m.do(Command{Kind: CmdBarrier, Numbers: []uint32{epoch}})
			}
			v := vote{epoch: epoch, other: shard.ID(2 + rng.IntN(2))}
			r := testRecord(n+1, shard.Account(rng.IntN(10)+1), shard.Account(10*(v.other-1))+1, 1)
			if got := m.prepare(r); got.State != Prepared || got.Epoch != v.epoch {
				t.Fatalf("seed %d: vote %d is %+v, want YES with epoch %d", seed, n, got, v.epoch)
			}
			votes = append(votes, v)
		}
		facts := map[shard.ID]uint32{2: uint32(rng.IntN(int(epoch) + 2)), 3: uint32(rng.IntN(int(epoch) + 2))}
		if rng.IntN(4) == 0 {
			delete(facts, shard.ID(2+rng.IntN(2))) // one set cannot commit
		}
		f := FinishVotes{First: first, Count: uint32(len(votes))}
		for _, id := range []shard.ID{3, 2} {
			if epoch, ok := facts[id]; ok {
				f.Facts = append(f.Facts, ShardFact{Shard: id, Fact: FactYes, Epoch: epoch})
			}
		}
		got := m.Apply(m.next, 1, &Entry{Commands: []Command{{Kind: CmdFinishVotes, Votes: []FinishVotes{f}}}})
		for i, v := range votes {
			code, state, want := ResultState, Committed, max(v.epoch, facts[v.other])
			if _, ok := facts[v.other]; !ok {
				code, state, want = ResultNoEffect, Prepared, v.epoch
				stayed++
			} else {
				committed++
				epochs[want] = true
			}
			if got[i].Code != code || got[i].State != state || got[i].Epoch != want {
				t.Fatalf("seed %d: vote %d of epoch %d with %s is %+v, want epoch %d of %s", seed, i, v.epoch, v.other, got[i], want, state)
			}
			if o, _ := m.Lookup(testID(uint64(i) + 1)); o.State != state || state == Committed && o.CommitEpoch != want {
				t.Fatalf("seed %d: vote %d is kept as %+v, want epoch %d of %s", seed, i, o, want, state)
			}
		}
	}
	if committed < 1000 || stayed < 300 || len(epochs) < 5 {
		t.Errorf("%d committed, %d stayed, %d epochs: too few to say anything", committed, stayed, len(epochs))
	}
}
