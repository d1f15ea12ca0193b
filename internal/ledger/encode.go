package ledger

import (
	"encoding/binary"
)

// stateMagic begins every encoded state; its last byte is the version of the format.
const stateMagic = "RBSTATE\x02"

// Sizes in bytes of encoded parts.
const (
	accountSize = 5*16 + 4 + 1
	rowSize     = 8 + 8 + 4 + 8 + 4 + 4 + RecordSize + digestSize + 8 + 16 + 8
	pointSize   = 8 + 8 + 32
)

// Flag bits of an encoded account.
const (
	accountClosed = 1 << iota
	accountEquity
)

// Encode returns the whole state, history included. Equal states have equal bytes.
//
// Layout, little endian: magic 8, shard 4, index 8, term 8, time 8, genesis flag 1; after GENESIS:
// genesis, accounts in order of their numbers, equity account; audits; number of rows 8, rows; CRC 4,
// chain 32, number of hash points 4, hash points.
func (s *State) Encode() []byte {
	rows := s.history.Len()
	b := make([]byte, 0, 256+len(s.accounts.slots)*accountSize+int(rows)*rowSize+keptPoints*pointSize)
	b = append(b, stateMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.shard))
	b = binary.LittleEndian.AppendUint64(b, s.index)
	b = binary.LittleEndian.AppendUint64(b, s.term)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.timeNs))
	b = append(b, flag(s.genesis != nil))
	if s.genesis != nil {
		b = s.genesis.appendTo(b)
	}
	for i := range s.accounts.slots {
		b = s.accounts.slots[i].appendTo(b)
	}
	b = s.audit.appendTo(b)
	b = binary.LittleEndian.AppendUint64(b, rows)
	var r Row
	for i := range rows {
		s.history.Read(i, &r)
		b = r.appendTo(b)
	}
	return s.chain.appendTo(b)
}

func appendAmount(b []byte, a Amount) []byte {
	b = binary.LittleEndian.AppendUint64(b, a.Lo)
	return binary.LittleEndian.AppendUint64(b, a.Hi)
}

func (a *Account) appendTo(b []byte) []byte {
	b = appendAmount(b, a.DebitsPosted)
	b = appendAmount(b, a.CreditsPosted)
	b = appendAmount(b, a.DebitsPending)
	b = appendAmount(b, a.CreditsPending)
	b = appendAmount(b, a.CreditLine)
	b = binary.LittleEndian.AppendUint32(b, a.Currency)
	return append(b, flag(a.Closed)*accountClosed|flag(a.Equity)*accountEquity)
}

func (a *Account) decode(r *reader) {
	a.DebitsPosted, a.CreditsPosted = r.amount(), r.amount()
	a.DebitsPending, a.CreditsPending = r.amount(), r.amount()
	a.CreditLine = r.amount()
	a.Currency = r.u32()
	flags := r.u8()
	if flags&^(accountClosed|accountEquity) != 0 {
		r.fail("unknown account flags")
	}
	a.Closed, a.Equity = flags&accountClosed != 0, flags&accountEquity != 0
}

func (r *Row) appendTo(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, r.Index)
	b = binary.LittleEndian.AppendUint64(b, r.Term)
	b = binary.LittleEndian.AppendUint32(b, r.Item)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.TimeNs))
	b = append(b, byte(r.Kind), byte(r.State), byte(r.Reason), flag(r.Wildcard))
	b = binary.LittleEndian.AppendUint32(b, r.Epoch)
	b = r.Record.AppendTo(b)
	b = append(b, r.Digest[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Account))
	b = appendAmount(b, r.Available)
	return binary.LittleEndian.AppendUint64(b, r.Prev)
}
