package txn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// BankID names the bank; drawn when its key file is made.
type BankID [16]byte

// KeyID names one key of the bank's key file.
type KeyID uint32

// Key is one key known to servers alone.
type Key struct {
	ID     KeyID
	Secret [32]byte
}

// KeyRing holds the keys of a bank: it signs with the first and accepts any.
type KeyRing struct {
	Bank BankID
	Keys []Key
}

// Vote is one certified fact about a transfer at the block's shard.
type Vote struct {
	ID     ledger.TransferID
	Digest ledger.Digest
	Fact   ledger.Fact
	Reason ledger.Reason // why it aborted, for display
	Epoch  uint32
}

// Block is a list of facts stated by one shard under one MAC, so that a batch pays one MAC and not
// thousands. Votes of one block share a participant set, so that forwarding a block tells a shard
// nothing of strangers. Facts are permanent: a copy of any age is valid.
type Block struct {
	Bank  BankID
	Shard shard.ID
	KeyID KeyID
	Votes []Vote
	MAC   [32]byte
}

// Errors of Verify.
var (
	ErrUnknownKey  = errors.New("certificate: key id is not in the key file")
	ErrForeignBank = errors.New("certificate: issued by another bank")
	ErrForged      = errors.New("certificate: MAC does not match")
)

// blockContext separates these MACs from any other use of the key.
const blockContext = "raftbank/1 block"

// Sign returns a block of votes stated by a shard. It panics if the ring holds no key.
func (r *KeyRing) Sign(s shard.ID, votes []Vote) Block {
	b := Block{Bank: r.Bank, Shard: s, KeyID: r.Keys[0].ID, Votes: votes}
	b.MAC = b.mac(&r.Keys[0])
	return b
}

// Verify checks that a server of this bank stated the block.
// Errors: ErrForeignBank, ErrUnknownKey, ErrForged.
func (r *KeyRing) Verify(b *Block) error {
	if b.Bank != r.Bank && !planted.On(planted.ForeignBankAccepted) {
		return ErrForeignBank
	}
	for i := range r.Keys {
		if r.Keys[i].ID != b.KeyID {
			continue
		}
		want := b.mac(&r.Keys[i])
		if !hmac.Equal(want[:], b.MAC[:]) {
			return ErrForged
		}
		return nil
	}
	if planted.On(planted.UnknownKeyAccepted) {
		return nil
	}
	return ErrUnknownKey
}

// macVotes is how many votes are encoded at a time for their MAC: few enough to be still near when they are hashed.
const macVotes = 32

func (b *Block) mac(k *Key) [32]byte {
	var room [macVotes * VoteSize]byte
	buf := append(room[:0], blockContext...)
	buf = append(buf, b.Bank[:]...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(b.Shard))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(b.KeyID))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(b.Votes)))
	h := hmac.New(sha256.New, k.Secret[:])
	h.Write(buf)
	for votes := range slices.Chunk(b.Votes, macVotes) {
		buf = room[:0]
		for i := range votes {
			buf = AppendVote(buf, &votes[i])
		}
		h.Write(buf)
	}
	var out [32]byte
	h.Sum(out[:0])
	return out
}

// VoteSize is the size in bytes of an encoded Vote.
const VoteSize = 16 + 32 + 1 + 1 + 4

// AppendVote appends the fixed encoding of v, which is also what the MAC covers.
func AppendVote(b []byte, v *Vote) []byte {
	b = append(b, v.ID[:]...)
	b = append(b, v.Digest[:]...)
	b = append(b, byte(v.Fact), byte(v.Reason))
	return binary.LittleEndian.AppendUint32(b, v.Epoch)
}

// DecodeVote reads what AppendVote wrote and returns the rest; ok is false if b is too short.
func DecodeVote(b []byte) (v Vote, rest []byte, ok bool) {
	if len(b) < VoteSize {
		return Vote{}, nil, false
	}
	copy(v.ID[:], b)
	copy(v.Digest[:], b[16:])
	v.Fact, v.Reason = ledger.Fact(b[48]), ledger.Reason(b[49])
	v.Epoch = binary.LittleEndian.Uint32(b[50:])
	return v, b[VoteSize:], true
}
