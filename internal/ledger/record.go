package ledger

import (
	"crypto/sha256"
	"encoding/binary"

	"raftbank/internal/shard"
)

// AppendTo appends the record's canonical 64 bytes to b.
func (r *Record) AppendTo(b []byte) []byte {
	b = append(b, r.ID[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Debit))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Credit))
	b = binary.LittleEndian.AppendUint64(b, r.Amount.Lo)
	b = binary.LittleEndian.AppendUint64(b, r.Amount.Hi)
	b = binary.LittleEndian.AppendUint64(b, r.UserData)
	b = binary.LittleEndian.AppendUint32(b, r.Currency)
	b = binary.LittleEndian.AppendUint16(b, r.Code)
	return binary.LittleEndian.AppendUint16(b, uint16(r.Flags))
}

// DecodeRecord reads the RecordSize bytes that AppendTo wrote. It panics if b is shorter: callers
// bound their input first. Every 64 bytes decode to some record; CheckRecord says whether it is valid.
func DecodeRecord(b []byte) Record {
	var r Record
	r.decode(b)
	return r
}

func (r *Record) decode(b []byte) {
	_ = b[RecordSize-1]
	copy(r.ID[:], b)
	r.Debit = shard.Account(binary.LittleEndian.Uint64(b[16:]))
	r.Credit = shard.Account(binary.LittleEndian.Uint64(b[24:]))
	r.Amount.Lo = binary.LittleEndian.Uint64(b[32:])
	r.Amount.Hi = binary.LittleEndian.Uint64(b[40:])
	r.UserData = binary.LittleEndian.Uint64(b[48:])
	r.Currency = binary.LittleEndian.Uint32(b[56:])
	r.Code = binary.LittleEndian.Uint16(b[60:])
	r.Flags = Flags(binary.LittleEndian.Uint16(b[62:]))
}

// DigestOf returns the digest of a cross-shard transfer: the SHA-256 of its records' encodings.
func DigestOf(records ...Record) Digest {
	var stack [8 * RecordSize]byte
	b := stack[:0]
	for i := range records {
		b = records[i].AppendTo(b)
	}
	return sha256.Sum256(b)
}

// CheckRecord checks what needs no state: id, flags, amount, accounts and currency. A record that
// fails is refused before the log and leaves no trace. ReasonNone: the record is well-formed.
func CheckRecord(r *Record) Reason {
	switch {
	case r.ID.IsZero():
		return ReasonBadID
	case r.Flags != 0:
		// LINKED is in the format, and refused by this version like an unknown flag.
		return ReasonBadFlags
	case r.Amount.IsZero() || r.Amount.Cmp(MaxAmount) > 0:
		return ReasonBadAmount
	case r.Debit >= shard.EquityBase || r.Credit >= shard.EquityBase:
		return ReasonNoAccount
	case r.Debit == r.Credit:
		return ReasonSameAccount
	case r.Currency != DefaultCurrency:
		return ReasonBadCurrency
	}
	return ReasonNone
}
