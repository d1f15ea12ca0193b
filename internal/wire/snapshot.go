package wire

import (
	"hash/crc32"

	"raftbank/internal/shard"
)

// Manifest says what a checkpoint consists of. It is the data of raft's snapshot message; the checkpoint itself
// is fetched with SnapshotAsk.
type Manifest struct {
	Index, Term uint64   // of the last applied entry
	Rows        uint64   // of history
	Pages       uint32   // of accounts
	HeadBytes   uint64   // of what the checkpoint holds beside rows and pages
	HeadSum     [32]byte // SHA-256 of the head, in which the accounts' state hash stands
}

// ManifestBytes is the encoded size of a Manifest.
const ManifestBytes = 8 + 8 + 8 + 4 + 8 + 32

// AppendTo appends the encoded manifest to b.
func (m *Manifest) AppendTo(b []byte) []byte {
	b = appendU64(b, m.Index)
	b = appendU64(b, m.Term)
	b = appendU64(b, m.Rows)
	b = appendU32(b, m.Pages)
	b = appendU64(b, m.HeadBytes)
	return append(b, m.HeadSum[:]...)
}

func (m *Manifest) decode(r *reader) {
	m.Index, m.Term, m.Rows = r.u64(), r.u64(), r.u64()
	m.Pages, m.HeadBytes = r.u32(), r.u64()
	copy(m.HeadSum[:], r.take(len(m.HeadSum)))
}

// DecodeManifest reads what AppendTo wrote; ok is false if b is anything else.
func DecodeManifest(b []byte) (m Manifest, ok bool) {
	r := &reader{rest: b}
	m.decode(r)
	return m, r.err == nil && len(r.rest) == 0
}

// PartKind says what a part of a checkpoint holds.
type PartKind uint8

// Kinds of parts, in the order in which they are fetched.
const (
	PartRows  PartKind = 1 // of history: Position is that of the first
	PartPages PartKind = 2 // of accounts: Position is the number of the first
	PartHead  PartKind = 3 // of the head: Position is a byte
	// PartNone is asked for to learn of which checkpoint parts can be had.
	PartNone PartKind = 4
)

// SnapshotAsk asks another replica of the shard for a part of its checkpoint at an index.
type SnapshotAsk struct {
	Shard    shard.ID
	From     uint64 // raft id of the asker
	Index    uint64
	Kind     PartKind
	Position uint64
}

// SnapshotPart answers SnapshotAsk. If the asked checkpoint cannot be had any more, Manifest is that of another, and
// there is no data.
type SnapshotPart struct {
	Shard    shard.ID
	From     uint64 // raft id of the sender
	Manifest Manifest
	Kind     PartKind
	Position uint64
	Sum      uint32 // CRC32C of Data, made where it was read
	Data     []byte
}

// Type implements Message.
func (*SnapshotAsk) Type() Type { return TypeSnapshotAsk }

// AppendTo implements Message.
func (m *SnapshotAsk) AppendTo(b []byte) []byte {
	b = appendU32(b, uint32(m.Shard))
	b = appendU64(b, m.From)
	b = appendU64(b, m.Index)
	b = append(b, byte(m.Kind))
	return appendU64(b, m.Position)
}

func (m *SnapshotAsk) decode(r *reader) {
	m.Shard = shard.ID(r.u32())
	m.From, m.Index = r.u64(), r.u64()
	m.Kind = PartKind(r.u8())
	m.Position = r.u64()
}

// Type implements Message.
func (*SnapshotPart) Type() Type { return TypeSnapshotPart }

// AppendTo implements Message.
func (m *SnapshotPart) AppendTo(b []byte) []byte {
	b = appendU32(b, uint32(m.Shard))
	b = appendU64(b, m.From)
	b = m.Manifest.AppendTo(b)
	b = append(b, byte(m.Kind))
	b = appendU64(b, m.Position)
	b = appendU32(b, m.Sum)
	return appendBytes(b, m.Data)
}

func (m *SnapshotPart) decode(r *reader) {
	m.Shard = shard.ID(r.u32())
	m.From = r.u64()
	m.Manifest.decode(r)
	m.Kind = PartKind(r.u8())
	m.Position = r.u64()
	m.Sum = r.u32()
	m.Data = r.bytes(MaxFrameBytes)
}

// SumPart returns the checksum that a part's data travels with.
func SumPart(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }
