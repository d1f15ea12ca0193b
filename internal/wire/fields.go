package wire

import (
	"encoding/binary"
	"fmt"
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// Bounds of fields. A frame's size bounds the lists that have no bound of their own.
const (
	maxTextBytes    = 64 << 10 // Reply.Text, HelloReply.Refuse, AdminRequest.Kind
	maxRaftMessages = 16 << 10 // Raft.Messages
	maxMembers      = 64       // ProbeReply.Members
	maxShards       = 1024     // Inquiry.Participants
)

// Encoded sizes, each the least that one element of a list takes.
const (
	idBytes      = 16
	digestBytes  = 32
	inquiryBytes = idBytes + digestBytes + 4
	voteBytes    = 54
	blockBytes   = 16 + 4 + 4 + 4 + 32
	resultBytes  = resultHeadBytes + 1 + 1
	balanceBytes = 8 + 1 + 5*16
	runBytes     = 4 + 4
)

// resultHeadBytes is the size of what every Result has, up to its truth values.
const resultHeadBytes = 4 + 3 + 8 + 16 + 4 + 8 + 8

func appendU32(b []byte, n uint32) []byte { return binary.LittleEndian.AppendUint32(b, n) }
func appendU64(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendBytes(b, v []byte) []byte { return append(appendU32(b, uint32(len(v))), v...) }

func appendText(b []byte, s string) []byte {
	if len(s) > maxTextBytes {
		s = s[:maxTextBytes]
	}
	return append(appendU32(b, uint32(len(s))), s...)
}

func appendAmount(b []byte, a ledger.Amount) []byte { return appendU64(appendU64(b, a.Lo), a.Hi) }

func appendIDs(b []byte, ids []ledger.TransferID) []byte {
	b = appendU32(b, uint32(len(ids)))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}

func appendRuns(b []byte, runs []Run) []byte {
	b = appendU32(b, uint32(len(runs)))
	for _, v := range runs {
		b = appendU32(appendU32(b, v.First), v.Count)
	}
	return b
}

func appendBlocks(b []byte, blocks []txn.Block) []byte {
	b = appendU32(b, uint32(len(blocks)))
	for i := range blocks {
		k := &blocks[i]
		b = append(b, k.Bank[:]...)
		b = appendU32(b, uint32(k.Shard))
		b = appendU32(b, uint32(k.KeyID))
		b = append(b, k.MAC[:]...)
		b = appendU32(b, uint32(len(k.Votes)))
		b = slices.Grow(b, len(k.Votes)*txn.VoteSize)
		for j := range k.Votes {
			b = txn.AppendVote(b, &k.Votes[j])
		}
	}
	return b
}

// reader takes fields off the front of a payload. After the first error every field reads as zero
// and every list as empty, so that callers check once, at the end.
type reader struct {
	rest   []byte
	err    error
	shared bool // bytes returned what shares memory with the payload
}

// take returns the next n bytes, or nil after an error.
func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if len(r.rest) < n {
		r.err = fmt.Errorf("%w: a field of %d bytes has %d", ErrTruncated, n, len(r.rest))
		return nil
	}
	v := r.rest[:n:n]
	r.rest = r.rest[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (r *reader) bool() bool {
	v := r.u8()
	if v > 1 && r.err == nil {
		r.err = fmt.Errorf("%w: truth value %d", ErrMalformed, v)
	}
	return v == 1
}

func (r *reader) amount() ledger.Amount { return ledger.Amount{Lo: r.u64(), Hi: r.u64()} }

// count reads the length of a list whose elements take at least size bytes each, so that a length
// that the payload cannot hold is refused before anything is allocated.
func (r *reader) count(size, bound int) int {
	n := r.u32()
	switch {
	case r.err != nil:
		return 0
	case uint64(n) > uint64(bound):
		r.err = fmt.Errorf("%w: list of %d, at most %d are allowed", ErrTooLarge, n, bound)
		return 0
	case uint64(n)*uint64(size) > uint64(len(r.rest)):
		r.err = fmt.Errorf("%w: list of %d needs %d bytes and has %d", ErrTruncated, n, uint64(n)*uint64(size), len(r.rest))
		return 0
	}
	return int(n)
}

// bytes reads a byte string that shares memory with the payload; nil if it is empty.
func (r *reader) bytes(bound int) []byte {
	n := r.count(1, bound)
	if n == 0 {
		return nil
	}
	r.shared = true
	return r.take(n)
}

func (r *reader) text() string { return string(r.take(r.count(1, maxTextBytes))) }

func (r *reader) records(n int) []ledger.Record {
	if n == 0 {
		return nil
	}
	out := make([]ledger.Record, n)
	for i := range out {
		if v := r.take(ledger.RecordSize); v != nil {
			out[i] = ledger.DecodeRecord(v)
		}
	}
	return out
}

func (r *reader) ids(bound int) []ledger.TransferID {
	n := r.count(idBytes, bound)
	if n == 0 {
		return nil
	}
	out := make([]ledger.TransferID, n)
	for i := range out {
		copy(out[i][:], r.take(idBytes))
	}
	return out
}

// runs reads runs of a batch's items and refuses what is empty, overlaps or is out of order.
func (r *reader) runs() []Run {
	n := r.count(runBytes, MaxBatch)
	if n == 0 {
		return nil
	}
	out := make([]Run, n)
	end := uint64(0)
	for i := range out {
		v := Run{First: r.u32(), Count: r.u32()}
		if r.err == nil && (v.Count == 0 || uint64(v.First) < end || uint64(v.First)+uint64(v.Count) > MaxBatch) {
			r.err = fmt.Errorf("%w: run of %d items from %d on, after %d", ErrMalformed, v.Count, v.First, end)
			return nil
		}
		out[i], end = v, uint64(v.First)+uint64(v.Count)
	}
	return out
}

func (r *reader) blocks() []txn.Block {
	n := r.count(blockBytes, MaxFrameBytes/blockBytes)
	if n == 0 {
		return nil
	}
	out := make([]txn.Block, n)
	for i := range out {
		r.block(&out[i])
	}
	return out
}

func (r *reader) block(k *txn.Block) {
	copy(k.Bank[:], r.take(len(k.Bank)))
	k.Shard = shard.ID(r.u32())
	k.KeyID = txn.KeyID(r.u32())
	copy(k.MAC[:], r.take(len(k.MAC)))
	n := r.count(voteBytes, MaxFrameBytes/voteBytes)
	if n == 0 {
		return
	}
	k.Votes = make([]txn.Vote, n)
	rest := r.take(n * voteBytes)
	for j := range k.Votes {
		// count has checked that n whole votes are there.
		k.Votes[j], rest, _ = txn.DecodeVote(rest)
	}
}

// refuseFlags sets the error if flags has bits outside known.
func (r *reader) refuseFlags(flags, known uint8) {
	if flags&^known != 0 && r.err == nil {
		r.err = fmt.Errorf("%w: unknown flags %#x", ErrMalformed, flags&^known)
	}
}

// refuseZeroDigest sets the error if a digest that is said to be there is zero: every message has
// one encoding only.
func (r *reader) refuseZeroDigest(d ledger.Digest) {
	if d == (ledger.Digest{}) && r.err == nil {
		r.err = fmt.Errorf("%w: a digest of zeros", ErrMalformed)
	}
}
