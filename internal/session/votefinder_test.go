package session

import (
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// TestVoteFinder asks for votes in the order of the items, with gaps, backwards, and for those that are not there.
func TestVoteFinder(t *testing.T) {
	vote := func(n byte) txn.Vote {
		return txn.Vote{ID: ledger.TransferID{n}, Digest: ledger.Digest{n}, Fact: ledger.FactYes}
	}
	blocks := []txn.Block{
		{Shard: 1, Votes: []txn.Vote{vote(1), vote(2), vote(3), vote(4), vote(5)}},
		{Shard: 2, Votes: []txn.Vote{vote(6)}},
		{Shard: 1, Votes: []txn.Vote{vote(7), vote(8), vote(2)}},
	}
	for _, order := range [][]byte{{1, 2, 3, 4, 5, 7, 8}, {1, 3, 7, 5, 2, 4, 8}, {8, 7, 5, 4, 3, 2, 1}, {5, 5, 1, 1}} {
		f := voteFinder{blocks: blocks}
		for _, n := range order {
			v, b := f.find(1, ledger.TransferID{n}, ledger.Digest{n})
			if v == nil || v.ID[0] != n || b.Shard != 1 {
				t.Errorf("order %v: vote %d: %+v", order, n, v)
			}
		}
		for _, ask := range []struct {
			shard      shard.ID
			id, digest byte
		}{{1, 6, 6}, {2, 1, 1}, {1, 9, 9}, {1, 3, 4}, {3, 1, 1}} {
			if v, _ := f.find(ask.shard, ledger.TransferID{ask.id}, ledger.Digest{ask.digest}); v != nil {
				t.Errorf("order %v: %+v: %+v", order, ask, v)
			}
		}
	}
	if v, _ := (&voteFinder{}).find(1, ledger.TransferID{1}, ledger.Digest{1}); v != nil {
		t.Errorf("without blocks: %+v", v)
	}
}
