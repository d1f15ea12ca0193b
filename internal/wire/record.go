package wire

import (
	"encoding/binary"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

func appendRecord(b []byte, r *ledger.Record) []byte {
	b = append(b, r.ID[:]...)
	b = appendU64(b, uint64(r.Debit))
	b = appendU64(b, uint64(r.Credit))
	b = appendAmount(b, r.Amount)
	b = appendU64(b, r.UserData)
	b = appendU32(b, r.Currency)
	b = binary.LittleEndian.AppendUint16(b, r.Code)
	return binary.LittleEndian.AppendUint16(b, uint16(r.Flags))
}

func decodeRecord(b []byte) (r ledger.Record) {
	copy(r.ID[:], b)
	r.Debit = shard.Account(binary.LittleEndian.Uint64(b[16:]))
	r.Credit = shard.Account(binary.LittleEndian.Uint64(b[24:]))
	r.Amount.Lo = binary.LittleEndian.Uint64(b[32:])
	r.Amount.Hi = binary.LittleEndian.Uint64(b[40:])
	r.UserData = binary.LittleEndian.Uint64(b[48:])
	r.Currency = binary.LittleEndian.Uint32(b[56:])
	r.Code = binary.LittleEndian.Uint16(b[60:])
	r.Flags = ledger.Flags(binary.LittleEndian.Uint16(b[62:]))
	return r
}
