package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/planted"
)

// blockKind says why a block was written.
type blockKind uint8

const (
	// blockData carries a HardState, entries, or both.
	blockData blockKind = 1
	// blockMark proves that the blocks before it were synced; it may carry a HardState.
	blockMark blockKind = 2
	// blockSeal ends a segment: the log goes on in the next generation, which is there already.
	blockSeal blockKind = 3
	// blockReset says that the log begins anew behind its one entry, of which index and term alone count:
	// a checkpoint holds what was before.
	blockReset blockKind = 4
)

const (
	blockMagic uint32 = 0x4b4c4252 // "RBLK"
	// blockHeaderSize is magic, CRC, generation, number, end of the synced part, length, kind.
	blockHeaderSize = 4 + 4 + 8 + 8 + 8 + 4 + 4
	// blockAlign is the smallest unit that a disk writes. A block never shares one with another.
	blockAlign = 512
	// maxBlockBytes bounds a block's payload: far above what raft appends in one turn.
	maxBlockBytes = 256 << 20
)

// blockMeta is a block's header without its checksum.
type blockMeta struct {
	kind       blockKind
	generation uint64 // of the segment that it was written to
	number     uint64 // from 1, without gaps, over all segments
	// syncedEnd is the offset in this segment below which everything was synced when the block was
	// written; earlier segments were synced whole.
	syncedEnd int64
}

// finishBlock fills in the header of b, whose first blockHeaderSize bytes are free and whose rest is
// the payload.
func finishBlock(b []byte, seed uint32, m blockMeta) {
	le := binary.LittleEndian
	le.PutUint32(b, blockMagic)
	le.PutUint64(b[8:], m.generation)
	le.PutUint64(b[16:], m.number)
	le.PutUint64(b[24:], uint64(m.syncedEnd))
	le.PutUint32(b[32:], uint32(len(b)-blockHeaderSize))
	le.PutUint32(b[36:], uint32(m.kind))
	le.PutUint32(b[4:], crc32.Update(seed, castagnoli, b[8:]))
}

// ofGeneration reports whether a block was written to the segment of that generation, and not to the one that the file was
// before.
func ofGeneration(raw []byte, generation uint64) bool {
	return binary.LittleEndian.Uint64(raw[8:]) == generation || planted.On(planted.OldBlocksBelieved)
}

// blockLength returns what the header at the start of raw says of the payload's length, if it is one of that
// generation. Nothing is checked: the block may be torn.
func blockLength(raw []byte, generation uint64) (n int, ok bool) {
	le := binary.LittleEndian
	if len(raw) < blockHeaderSize || le.Uint32(raw) != blockMagic || !ofGeneration(raw, generation) {
		return 0, false
	}
	return int(min(le.Uint32(raw[32:]), maxBlockBytes)), true
}

// decodeBlock reads the block at the start of raw; ok is false if none of that generation is there.
// The payload is a part of raw.
func decodeBlock(raw []byte, seed uint32, generation uint64) (m blockMeta, payload []byte, ok bool) {
	le := binary.LittleEndian
	if len(raw) < blockHeaderSize || le.Uint32(raw) != blockMagic || !ofGeneration(raw, generation) {
		return blockMeta{}, nil, false
	}
	length := int64(le.Uint32(raw[32:]))
	if length > maxBlockBytes || length > int64(len(raw)-blockHeaderSize) {
		return blockMeta{}, nil, false
	}
	end := blockHeaderSize + int(length)
	if crc32.Update(seed, castagnoli, raw[8:end]) != le.Uint32(raw[4:]) && !planted.On(planted.BlockUnchecked) {
		return blockMeta{}, nil, false
	}
	kind := le.Uint32(raw[36:])
	if kind < uint32(blockData) || kind > uint32(blockReset) {
		return blockMeta{}, nil, false
	}
	m = blockMeta{kind: blockKind(kind), generation: generation, number: le.Uint64(raw[16:]), syncedEnd: int64(le.Uint64(raw[24:]))}
	return m, raw[blockHeaderSize:end:end], true
}

// blockSpace returns the bytes of a segment that a block with that payload takes.
func blockSpace(payload int) int64 {
	n := int64(blockHeaderSize + payload)
	return (n + blockAlign - 1) / blockAlign * blockAlign
}

// hardState is raft's HardState by value. The zero value says that none was stored.
type hardState struct {
	term, vote, commit uint64
}

func hardStateOf(hs *raftpb.HardState) hardState {
	return hardState{term: hs.GetTerm(), vote: hs.GetVote(), commit: hs.GetCommit()}
}

// appendPayload appends the content of a block: an optional HardState, then consecutive entries.
func appendPayload(b []byte, hs *hardState, entries []*raftpb.Entry) []byte {
	if hs == nil {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = binary.AppendUvarint(b, hs.term)
		b = binary.AppendUvarint(b, hs.vote)
		b = binary.AppendUvarint(b, hs.commit)
	}
	b = binary.AppendUvarint(b, uint64(len(entries)))
	if len(entries) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, entries[0].GetIndex())
	for _, e := range entries {
		b = binary.AppendUvarint(b, e.GetTerm())
		b = append(b, byte(e.GetType()))
		b = binary.AppendUvarint(b, uint64(len(e.GetData())))
		b = append(b, e.GetData()...)
	}
	return b
}

// errPayload says that a payload is not one; its block's checksum was right, so the writer was wrong.
var errPayload = errors.New("content cannot be decoded")

// payloadReader takes fields from a payload; after a failure it gives zeros.
type payloadReader struct {
	rest   []byte
	failed bool
}

func (r *payloadReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.failed, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *payloadReader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.failed, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *payloadReader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// decodePayload reads what appendPayload wrote. The entries' data is a part of p.
func decodePayload(p []byte) (hs *hardState, entries []*raftpb.Entry, err error) {
	r := &payloadReader{rest: p}
	switch r.byte() {
	case 0:
	case 1:
		hs = &hardState{term: r.uvarint(), vote: r.uvarint(), commit: r.uvarint()}
	default:
		return nil, nil, fmt.Errorf("%w: unknown flags", errPayload)
	}
	count := r.uvarint()
	// An entry takes at least three bytes, so a count above that is no reason to allocate.
	if r.failed || count > uint64(len(r.rest)) {
		return nil, nil, fmt.Errorf("%w: too short for its %d entries", errPayload, count)
	}
	if count > 0 {
		first := r.uvarint()
		entries = make([]*raftpb.Entry, count)
		for i := range entries {
			entries[i] = decodeEntry(r, first+uint64(i))
		}
	}
	if r.failed || len(r.rest) > 0 {
		return nil, nil, fmt.Errorf("%w: wrong length", errPayload)
	}
	return hs, entries, nil
}

// entrySlab holds an entry with what its pointers point to, in one allocation.
type entrySlab struct {
	entry       raftpb.Entry
	term, index uint64
	typ         raftpb.EntryType
}

func decodeEntry(r *payloadReader, index uint64) *raftpb.Entry {
	s := &entrySlab{index: index}
	s.term = r.uvarint()
	s.typ = raftpb.EntryType(r.byte())
	s.entry.Term, s.entry.Index = &s.term, &s.index
	if s.typ != raftpb.EntryType_EntryNormal {
		// raft leaves the type of a normal entry unset; so does the entry that comes back.
		s.entry.Type = &s.typ
	}
	if n := r.uvarint(); n > 0 {
		s.entry.Data = r.bytes(n)
	}
	return &s.entry
}
