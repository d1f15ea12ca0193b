package wire

import (
	"encoding/binary"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// Type implements Message.
func (*Reply) Type() Type { return TypeReply }

// AppendTo implements Message. A Text over 64 KiB is cut.
func (m *Reply) AppendTo(b []byte) []byte {
	b = appendU64(b, m.Request)
	b = append(b, byte(m.Status))
	b = appendU32(b, uint32(m.Leader))
	b = appendText(b, m.Text)
	b = appendRuns(appendRuns(b, m.Committed), m.Voted)
	b = appendU32(b, uint32(len(m.Results)))
	for i := range m.Results {
		b = m.Results[i].appendTo(b)
	}
	b = appendBlocks(b, m.Blocks)
	b = appendU32(b, uint32(len(m.Balances)))
	for i := range m.Balances {
		b = m.Balances[i].appendTo(b)
	}
	b = appendU64(b, m.Term)
	b = appendU64(b, m.Applied)
	b = append(b, m.Role)
	return appendBytes(b, m.Body)
}

func (m *Reply) decode(r *reader) {
	m.Request = r.u64()
	m.Status = Status(r.u8())
	m.Leader = shard.ServerID(r.u32())
	m.Text = r.text()
	m.Committed, m.Voted = r.runs(), r.runs()
	if n := r.count(resultBytes, MaxFrameBytes/resultBytes); n > 0 {
		m.Results = make([]Result, n)
		for i := range m.Results {
			m.Results[i].decode(r)
		}
	}
	m.Blocks = r.blocks()
	if n := r.count(balanceBytes, MaxBatch); n > 0 {
		m.Balances = make([]Balance, n)
		for i := range m.Balances {
			m.Balances[i].decode(r)
		}
	}
	m.Term, m.Applied = r.u64(), r.u64()
	m.Role = r.u8()
	m.Body = r.bytes(MaxFrameBytes)
}

func (v *Result) appendTo(b []byte) []byte {
	b = appendU32(b, v.Item)
	b = append(b, byte(v.Code), byte(v.State), byte(v.Reason))
	b = appendU64(b, uint64(v.Account))
	b = appendAmount(b, v.Available)
	b = appendU32(b, v.Epoch)
	b = appendU64(b, v.Index)
	b = appendU64(b, v.Term)
	if v.Content == nil {
		return append(b, 0, 0)
	}
	return v.Content.appendTo(b)
}

func (v *Content) appendTo(b []byte) []byte {
	b = appendBool(b, v.HasRecord)
	if v.HasRecord {
		b = v.Record.AppendTo(b)
	}
	hasDigest := v.Digest != ledger.Digest{}
	b = appendBool(b, hasDigest)
	if hasDigest {
		b = append(b, v.Digest[:]...)
	}
	return b
}

func (v *Result) decode(r *reader) {
	b := r.take(resultHeadBytes) // at once: a reply has thousands of results
	if b == nil {
		return
	}
	v.Item = binary.LittleEndian.Uint32(b)
	v.Code, v.State, v.Reason = ledger.ResultCode(b[4]), ledger.TransferState(b[5]), ledger.Reason(b[6])
	v.Account = shard.Account(binary.LittleEndian.Uint64(b[7:]))
	v.Available.Lo, v.Available.Hi = binary.LittleEndian.Uint64(b[15:]), binary.LittleEndian.Uint64(b[23:])
	v.Epoch = binary.LittleEndian.Uint32(b[31:])
	v.Index, v.Term = binary.LittleEndian.Uint64(b[35:]), binary.LittleEndian.Uint64(b[43:])
	// Nearly all results are without: both truth values are false.
	if len(r.rest) >= 2 && r.rest[0] == 0 && r.rest[1] == 0 {
		r.rest = r.rest[2:]
		return
	}
	v.Content = &Content{}
	v.Content.decode(r)
}

func (v *Content) decode(r *reader) {
	if v.HasRecord = r.bool(); v.HasRecord {
		if b := r.take(ledger.RecordSize); b != nil {
			v.Record = ledger.DecodeRecord(b)
		}
	}
	if r.bool() {
		copy(v.Digest[:], r.take(digestBytes))
		r.refuseZeroDigest(v.Digest)
	}
}

func (v *Balance) appendTo(b []byte) []byte {
	b = appendU64(b, uint64(v.Account))
	var flags byte
	if v.Exists {
		flags |= balanceExists
	}
	if v.Closed {
		flags |= balanceClosed
	}
	b = append(b, flags)
	b = appendAmount(b, v.DebitsPosted)
	b = appendAmount(b, v.CreditsPosted)
	b = appendAmount(b, v.DebitsPending)
	b = appendAmount(b, v.CreditsPending)
	return appendAmount(b, v.CreditLine)
}

// Flags of an encoded Balance.
const (
	balanceExists = 1 << iota
	balanceClosed
)

func (v *Balance) decode(r *reader) {
	v.Account = shard.Account(r.u64())
	flags := r.u8()
	r.refuseFlags(flags, balanceExists|balanceClosed)
	v.Exists = flags&balanceExists != 0
	v.Closed = flags&balanceClosed != 0
	v.DebitsPosted = r.amount()
	v.CreditsPosted = r.amount()
	v.DebitsPending = r.amount()
	v.CreditsPending = r.amount()
	v.CreditLine = r.amount()
}
