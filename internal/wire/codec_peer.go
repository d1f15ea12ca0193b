package wire

import (
	"slices"

	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// Type implements Message.
func (*Hello) Type() Type { return TypeHello }

// AppendTo implements Message.
func (m *Hello) AppendTo(b []byte) []byte {
	b = append(b, byte(m.Role))
	b = append(b, m.Bank[:]...)
	b = appendU32(b, uint32(m.KeyID))
	b = appendU32(b, uint32(m.Server))
	return append(b, m.Nonce[:]...)
}

func (m *Hello) decode(r *reader) {
	m.Role = Role(r.u8())
	copy(m.Bank[:], r.take(len(m.Bank)))
	m.KeyID = txn.KeyID(r.u32())
	m.Server = shard.ServerID(r.u32())
	copy(m.Nonce[:], r.take(len(m.Nonce)))
}

// Type implements Message.
func (*HelloReply) Type() Type { return TypeHelloReply }

// AppendTo implements Message.
func (m *HelloReply) AppendTo(b []byte) []byte {
	b = append(b, m.Bank[:]...)
	b = appendU32(b, uint32(m.Server))
	b = appendU32(b, uint32(m.Shard))
	b = appendU32(b, m.Epoch)
	b = append(b, m.Nonce[:]...)
	b = append(b, m.Proof[:]...)
	return appendText(b, m.Refuse)
}

func (m *HelloReply) decode(r *reader) {
	copy(m.Bank[:], r.take(len(m.Bank)))
	m.Server = shard.ServerID(r.u32())
	m.Shard = shard.ID(r.u32())
	m.Epoch = r.u32()
	copy(m.Nonce[:], r.take(len(m.Nonce)))
	copy(m.Proof[:], r.take(len(m.Proof)))
	m.Refuse = r.text()
}

// Type implements Message.
func (*Proof) Type() Type { return TypeProof }

// AppendTo implements Message.
func (m *Proof) AppendTo(b []byte) []byte { return append(b, m.MAC[:]...) }

func (m *Proof) decode(r *reader) { copy(m.MAC[:], r.take(len(m.MAC))) }

// Type implements Message.
func (*Raft) Type() Type { return TypeRaft }

// AppendTo implements Message.
func (m *Raft) AppendTo(b []byte) []byte {
	size := 24 + 4*len(m.Messages)
	for i := range m.Messages {
		size += m.Size(i)
	}
	b = slices.Grow(b, size)
	b = appendU32(b, uint32(m.Shard))
	b = appendU64(b, m.From)
	b = appendU64(b, m.To)
	b = appendU32(b, uint32(len(m.Messages)))
	for i, v := range m.Messages {
		b = append(appendU32(b, uint32(m.Size(i))), v...)
		if m.Data == nil {
			continue
		}
		for _, part := range m.Data[i] {
			b = append(b, part...)
		}
	}
	return b
}

func (m *Raft) decode(r *reader) {
	m.Shard = shard.ID(r.u32())
	m.From, m.To = r.u64(), r.u64()
	n := r.count(4, maxRaftMessages)
	if n == 0 {
		return
	}
	m.Messages = make([][]byte, n)
	for i := range m.Messages {
		m.Messages[i] = r.bytes(MaxFrameBytes)
	}
}

// Type implements Message.
func (*Checkpoint) Type() Type { return TypeCheckpoint }

// AppendTo implements Message.
func (m *Checkpoint) AppendTo(b []byte) []byte {
	b = appendU32(b, uint32(m.Shard))
	b = appendU64(b, m.From)
	b = appendU64(b, m.Index)
	return appendU64(b, m.Term)
}

func (m *Checkpoint) decode(r *reader) {
	m.Shard = shard.ID(r.u32())
	m.From, m.Index, m.Term = r.u64(), r.u64(), r.u64()
}

// Type implements Message.
func (*Probe) Type() Type { return TypeProbe }

// AppendTo implements Message.
func (m *Probe) AppendTo(b []byte) []byte {
	b = appendU32(b, uint32(m.Shard))
	b = appendU32(b, uint32(m.Server))
	b = appendU32(b, m.Incarnation)
	b = append(b, byte(m.State))
	b = appendU64(b, m.Term)
	b = appendU64(b, m.LastIndex)
	return appendMembers(b, m.Founding)
}

func (m *Probe) decode(r *reader) {
	m.Shard = shard.ID(r.u32())
	m.Server = shard.ServerID(r.u32())
	m.Incarnation = r.u32()
	m.State = ReplicaState(r.u8())
	m.Term, m.LastIndex = r.u64(), r.u64()
	m.Founding = r.members()
}

func appendMembers(b []byte, ids []uint64) []byte {
	b = appendU32(b, uint32(len(ids)))
	for _, id := range ids {
		b = appendU64(b, id)
	}
	return b
}

func (r *reader) members() []uint64 {
	n := r.count(8, maxMembers)
	if n == 0 {
		return nil
	}
	ids := make([]uint64, n)
	for i := range ids {
		ids[i] = r.u64()
	}
	return ids
}

// Type implements Message.
func (*ProbeReply) Type() Type { return TypeProbeReply }

// AppendTo implements Message.
func (m *ProbeReply) AppendTo(b []byte) []byte {
	b = appendU32(b, uint32(m.Shard))
	b = appendU32(b, uint32(m.Server))
	b = appendU32(b, m.Incarnation)
	b = append(b, byte(m.State))
	b = appendU64(b, m.Term)
	b = appendU64(b, m.LastIndex)
	b = appendMembers(b, m.Members)
	b = appendMembers(b, m.Founding)
	b = appendU64(b, m.About)
	b = append(b, byte(m.Verdict))
	b = appendU64(b, m.RememberedTerm)
	return appendU64(b, m.RememberedIndex)
}

func (m *ProbeReply) decode(r *reader) {
	m.Shard = shard.ID(r.u32())
	m.Server = shard.ServerID(r.u32())
	m.Incarnation = r.u32()
	m.State = ReplicaState(r.u8())
	m.Term, m.LastIndex = r.u64(), r.u64()
	m.Members, m.Founding = r.members(), r.members()
	m.About = r.u64()
	m.Verdict = Verdict(r.u8())
	m.RememberedTerm, m.RememberedIndex = r.u64(), r.u64()
}
