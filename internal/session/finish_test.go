package session

import (
	"slices"
	"testing"

	"raftbank/internal/txn"
)

// TestFinishChunkHoldsEachBlockOnce: whether a block came a moment ago or long before, it is sent once.
func TestFinishChunkHoldsEachBlockOnce(t *testing.T) {
	c := newFinishChunk()
	var pairs [][]*txn.Block
	for range 20 {
		pairs = append(pairs, []*txn.Block{{Votes: make([]txn.Vote, 3)}, {Votes: make([]txn.Vote, 2)}})
	}
	for _, pair := range slices.Concat(pairs, pairs, pairs[:1], pairs[:1], pairs[19:]) {
		if !c.add(pair) {
			t.Fatal("the blocks of a transfer do not fit")
		}
	}
	if want := slices.Concat(pairs...); !slices.Equal(c.blocks, want) || c.votes != 20*5 {
		t.Errorf("%d blocks with %d votes, want %d with 100", len(c.blocks), c.votes, len(want))
	}
	full := []*txn.Block{{Votes: make([]txn.Vote, maxFinishVotes)}}
	if c.add(full) {
		t.Error("more votes than a FINISH may have were added")
	}
	d := newFinishChunk()
	if fills, again, more := d.add(full), d.add(full), d.add(pairs[0]); !fills || !again || more {
		t.Error("a chunk takes what fills it, the same again, and no more")
	}
}
