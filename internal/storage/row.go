package storage

import (
	"encoding/binary"
	"errors"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
)

// rowSize is the size in bytes of a row of history on disk.
const rowSize = 128

// Flag bits of a row.
const (
	rowWildcard  = 1 << iota
	rowOfDebit   // the refusal is about the debit account
	rowOfCredit  // the refusal is about the credit account
	rowFlagsEnd  // above all flags
	rowCheckSize = 4
)

// errRow says that 128 bytes are no row; their block's checksum was right, so the writer was wrong.
var errRow = errors.New("row cannot be decoded")

// refused reports whether a row is a durable no: it changed no account, and needs room for the numbers that
// explain it.
func refused(r *ledger.Row) bool {
	return r.State == ledger.Aborted && (r.Kind == ledger.RowIntra || r.Kind == ledger.RowPrepare)
}

// hasDigest reports whether the row's digest is the one of its record. A leader proposes no other
// (replica: a request with another one is refused), so 4 bytes of it suffice to notice a fault.
func hasDigest(r *ledger.Row) bool {
	return r.Kind == ledger.RowPrepare || r.Kind == ledger.RowCommit || r.Kind == ledger.RowAbort
}

// encodeRow writes a row into b, which is rowSize long. Its position is where it stands.
//
// Layout, little endian: record 64 (of a tombstone id 16, digest 32); index 8, term 8, time 8, item 4,
// epoch 4, kind 1, state 1, reason 1, flags 1; of a refusal what could be spent 16, else the previous rows of
// debit and credit account 8 each; the id's previous row 8; the digest's first 4 bytes.
func encodeRow(b []byte, r *ledger.Row) {
	le := binary.LittleEndian
	_ = b[rowSize-1]
	if r.Kind == ledger.RowTombstone {
		clear(b[:ledger.RecordSize])
		copy(b, r.Record.ID[:])
		copy(b[16:], r.Digest[:])
	} else {
		r.Record.AppendTo(b[:0])
	}
	le.PutUint64(b[64:], r.Index)
	le.PutUint64(b[72:], r.Term)
	le.PutUint64(b[80:], uint64(r.TimeNs))
	le.PutUint32(b[88:], r.Item)
	le.PutUint32(b[92:], r.Epoch)
	b[96], b[97], b[98], b[99] = byte(r.Kind), byte(r.State), byte(r.Reason), rowFlags(r)
	if refused(r) {
		le.PutUint64(b[100:], r.Available.Lo)
		le.PutUint64(b[108:], r.Available.Hi)
	} else {
		le.PutUint64(b[100:], r.PrevDebit)
		le.PutUint64(b[108:], r.PrevCredit)
	}
	le.PutUint64(b[116:], r.Prev)
	clear(b[124:rowSize])
	if hasDigest(r) {
		copy(b[124:rowSize], r.Digest[:rowCheckSize])
	}
}

func rowFlags(r *ledger.Row) byte {
	var flags byte
	if r.Wildcard {
		flags = rowWildcard
	}
	switch r.Account {
	case 0:
	case r.Record.Debit:
		flags |= rowOfDebit
	case r.Record.Credit:
		flags |= rowOfCredit
	default:
		invariant.Fail("a refusal of %s is about account %d, which it does not touch", r.Record.ID, r.Account)
	}
	return flags
}

// decodeRow reads what encodeRow wrote. The position is the caller's to set.
func decodeRow(b []byte, r *ledger.Row) error {
	le := binary.LittleEndian
	_ = b[rowSize-1]
	*r = ledger.Row{
		Index: le.Uint64(b[64:]), Term: le.Uint64(b[72:]), TimeNs: int64(le.Uint64(b[80:])),
		Item: le.Uint32(b[88:]), Epoch: le.Uint32(b[92:]),
		Kind: ledger.RowKind(b[96]), State: ledger.TransferState(b[97]), Reason: ledger.Reason(b[98]),
		Prev: le.Uint64(b[116:]),
	}
	flags := b[99]
	if r.Kind < ledger.RowGenesis || r.Kind > ledger.RowTombstone || flags >= rowFlagsEnd {
		return errRow
	}
	r.Wildcard = flags&rowWildcard != 0
	if r.Kind == ledger.RowTombstone {
		copy(r.Record.ID[:], b)
		copy(r.Digest[:], b[16:])
	} else {
		r.Record = ledger.DecodeRecord(b)
	}
	switch {
	case flags&rowOfDebit != 0:
		r.Account = r.Record.Debit
	case flags&rowOfCredit != 0:
		r.Account = r.Record.Credit
	}
	if refused(r) {
		r.Available = ledger.Amount{Lo: le.Uint64(b[100:]), Hi: le.Uint64(b[108:])}
	} else {
		r.PrevDebit, r.PrevCredit = le.Uint64(b[100:]), le.Uint64(b[108:])
	}
	if hasDigest(r) {
		r.Digest = ledger.DigestOf(r.Record)
		if [rowCheckSize]byte(r.Digest[:]) != [rowCheckSize]byte(b[124:rowSize]) {
			return errRow
		}
	}
	return nil
}

// rowOutcome returns the id of an encoded row that holds the outcome of a transfer.
func rowOutcome(b []byte) (ledger.TransferID, bool) {
	return ledger.TransferID(b[:16]), ledger.RowKind(b[96]) != ledger.RowGenesis && ledger.TransferState(b[97]) != ledger.Prepared
}
