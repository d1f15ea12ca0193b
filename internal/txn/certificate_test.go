package txn

import (
	"bytes"
	"errors"
	"testing"

	"raftbank/internal/ledger"
)

func ring() *KeyRing {
	return &KeyRing{Bank: BankID{1}, Keys: []Key{{ID: 2, Secret: [32]byte{2}}, {ID: 1, Secret: [32]byte{1}}}}
}

func someVotes() []Vote {
	return []Vote{
		{ID: ledger.TransferID{1}, Digest: ledger.Digest{2}, Fact: ledger.FactYes, Epoch: 3},
		{ID: ledger.TransferID{4}, Digest: ledger.Digest{5}, Fact: ledger.FactAborted, Reason: ledger.ReasonTimedOut},
	}
}

func TestSignedBlockVerifies(t *testing.T) {
	b := ring().Sign(1, someVotes())
	if b.KeyID != 2 {
		t.Errorf("signed with key %d, want the first of the ring", b.KeyID)
	}
	if err := ring().Verify(&b); err != nil {
		t.Error(err)
	}
}

// A key that is being replaced still vouches for what it signed.
func TestOldKeyIsAccepted(t *testing.T) {
	old := &KeyRing{Bank: BankID{1}, Keys: ring().Keys[1:]}
	b := old.Sign(1, someVotes())
	if err := ring().Verify(&b); err != nil {
		t.Error(err)
	}
}

func TestForeignBlocksAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Block)
		want   error
	}{
		"another bank":         {func(b *Block) { b.Bank[0]++ }, ErrForeignBank},
		"unknown key":          {func(b *Block) { b.KeyID = 9 }, ErrUnknownKey},
		"the other key's id":   {func(b *Block) { b.KeyID = 1 }, ErrForged},
		"another shard":        {func(b *Block) { b.Shard++ }, ErrForged},
		"other fact":           {func(b *Block) { b.Votes[1].Fact = ledger.FactYes }, ErrForged},
		"other reason":         {func(b *Block) { b.Votes[1].Reason = ledger.ReasonCancelled }, ErrForged},
		"other epoch":          {func(b *Block) { b.Votes[0].Epoch++ }, ErrForged},
		"other id":             {func(b *Block) { b.Votes[0].ID[15]++ }, ErrForged},
		"other content":        {func(b *Block) { b.Votes[0].Digest[0]++ }, ErrForged},
		"a vote less":          {func(b *Block) { b.Votes = b.Votes[:1] }, ErrForged},
		"a vote more":          {func(b *Block) { b.Votes = append(b.Votes, Vote{}) }, ErrForged},
		"votes in other order": {func(b *Block) { b.Votes[0], b.Votes[1] = b.Votes[1], b.Votes[0] }, ErrForged},
		"no MAC":               {func(b *Block) { b.MAC = [32]byte{} }, ErrForged},
	} {
		b := ring().Sign(1, someVotes())
		c.change(&b)
		if err := ring().Verify(&b); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// FuzzDecodeVote: any input decodes to a vote that encodes to the same bytes, or is refused.
func FuzzDecodeVote(f *testing.F) {
	f.Add(AppendVote(nil, &someVotes()[0]))
	f.Add(AppendVote(nil, &someVotes()[1])[:50])
	f.Fuzz(func(t *testing.T, in []byte) {
		v, rest, ok := DecodeVote(in)
		if !ok {
			if len(in) >= VoteSize {
				t.Fatalf("%d bytes refused", len(in))
			}
			return
		}
		if out := append(AppendVote(nil, &v), rest...); !bytes.Equal(out, in) {
			t.Fatalf("decoded %x, encoded %x", in, out)
		}
	})
}

// FuzzForgery: a block whose MAC a server did not make is refused, whatever it says.
func FuzzForgery(f *testing.F) {
	b := ring().Sign(1, someVotes())
	f.Add(AppendVote(nil, &b.Votes[0]), b.MAC[:], uint32(1), uint32(2))
	f.Fuzz(func(t *testing.T, vote, mac []byte, shardID, key uint32) {
		v, _, ok := DecodeVote(vote)
		if !ok {
			return
		}
		forged := Block{Bank: BankID{1}, Shard: b.Shard, KeyID: KeyID(key), Votes: []Vote{v}}
		copy(forged.MAC[:], mac)
		if shardID != 0 {
			forged.Shard = 2
		}
		if ring().Verify(&forged) == nil {
			t.Fatalf("accepted a block that nobody signed: %+v", forged)
		}
	})
}
