package ledger

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"raftbank/internal/shard"
)

// ErrCursor is wrapped by errors about a statement's cursor that fits no place in the account's history.
var ErrCursor = errors.New("this cursor does not belong here")

// ErrStatement says that an account's rows do not add up to its sums: the state is damaged, or the cursor that
// brought sums along was forged.
var ErrStatement = errors.New("the account's rows do not add up")

// rowOf reads a row of an account's statement, by its position plus 1, and returns that of the one before;
// false: the row did not change the account.
func (s *State) rowOf(a shard.Account, at uint64, r *Row) (before uint64, ok bool) {
	if at == 0 || at > s.history.Len() {
		return 0, false
	}
	s.history.Read(at-1, r)
	switch {
	case r.Kind == RowGenesis:
		return 0, true
	case r.moves() && r.Record.Debit == a:
		return r.PrevDebit, true
	case r.moves() && r.Record.Credit == a:
		return r.PrevCredit, true
	}
	return 0, false
}

// Sums are what an account's rows add up to. An account's balance is CreditsPosted - DebitsPosted.
type Sums struct {
	DebitsPosted, CreditsPosted, DebitsPending, CreditsPending Amount
}

func (a *Account) sums() Sums {
	return Sums{
		DebitsPosted: a.DebitsPosted, CreditsPosted: a.CreditsPosted,
		DebitsPending: a.DebitsPending, CreditsPending: a.CreditsPending,
	}
}

// with returns the account as it was when its sums were these.
func (a Account) with(s Sums) Account {
	a.DebitsPosted, a.CreditsPosted = s.DebitsPosted, s.CreditsPosted
	a.DebitsPending, a.CreditsPending = s.DebitsPending, s.CreditsPending
	return a
}

// before returns the sums that the row changed into s.
func (s Sums) before(r *Row, debit bool) (Sums, bool) {
	posted, pending := &s.CreditsPosted, &s.CreditsPending
	if debit {
		posted, pending = &s.DebitsPosted, &s.DebitsPending
	}
	ok := true
	switch r.Kind {
	case RowIntra:
		*posted, ok = posted.Sub(r.Record.Amount)
	case RowPrepare:
		*pending, ok = pending.Sub(r.Record.Amount)
	case RowCommit:
		if *posted, ok = posted.Sub(r.Record.Amount); ok {
			*pending, ok = pending.Add(r.Record.Amount)
		}
	case RowAbort:
		*pending, ok = pending.Add(r.Record.Amount)
	case RowGenesis, RowTombstone:
		ok = false
	}
	return s, ok
}

// StatementLine is a row that changed an account.
type StatementLine struct {
	Row     Row
	Debit   bool    // the account paid
	Opening bool    // the row of GENESIS: the account began with After
	After   Account // as it was when this row had changed it, Closed and CreditLine as they are now
}

// Cursor says where a statement goes on. Rows before it never change, so it is good for ever, on every replica of
// the shard that has come as far.
type Cursor struct {
	Account shard.Account
	Row     uint64 // position plus 1 of the next row to tell
	Sums    Sums   // of the account when that row had changed it
}

// Statement returns up to n lines, n at least 1, newest first: the newest of all, or those from a cursor on.
// Next is where the following page begins; nil: the last line is the opening. It reads n rows.
// Errors: ErrCursor, ErrStatement; no lines and no error for an account that is not here.
func (s *State) Statement(a shard.Account, from *Cursor, n int) (lines []StatementLine, next *Cursor, err error) {
	i, ok := s.accounts.find(a)
	if !ok {
		return nil, nil, nil
	}
	account := s.accounts.slots[i].Account
	at := Cursor{Account: a, Row: s.accounts.slots[i].last, Sums: account.sums()}
	if from != nil {
		at = *from
		if from.Account != a || from.Row > s.history.Len() {
			return nil, nil, fmt.Errorf("%w: it is of account %s and row %d; asked is account %s, and %s has %d rows",
				ErrCursor, from.Account, from.Row, a, s.shard, s.history.Len())
		}
	}
	for at.Row > 0 && len(lines) < n {
		l := StatementLine{After: account.with(at.Sums)}
		row := at.Row
		before, ok := s.rowOf(a, row, &l.Row)
		if !ok {
			return nil, nil, fmt.Errorf("%w: row %d of %s is not of account %s", ErrCursor, row-1, s.shard, a)
		}
		l.Debit, l.Opening = l.Row.Record.Debit == a, l.Row.Kind == RowGenesis
		if lines = append(lines, l); l.Opening {
			if !account.Equity && at.Sums != (Sums{CreditsPosted: Units(s.genesis.OpeningBalance)}) {
				return nil, nil, fmt.Errorf("%w: account %s opened with %d, its rows say %+v", ErrStatement, a, s.genesis.OpeningBalance, at.Sums)
			}
			return lines, nil, nil
		}
		if at.Sums, ok = at.Sums.before(&l.Row, l.Debit); !ok {
			return nil, nil, fmt.Errorf("%w: before row %d of %s, account %s would be below zero", ErrStatement, row-1, s.shard, a)
		}
		at.Row = before
	}
	if at.Row == 0 {
		return nil, nil, fmt.Errorf("%w: the rows of account %s end before its opening", ErrStatement, a)
	}
	return lines, &at, nil
}

// cursorVersion is the first byte of a cursor.
const cursorVersion = 1

// String returns the cursor as one word that ParseCursor reads. People pass it on and need not understand it.
func (c *Cursor) String() string {
	b := binary.AppendUvarint([]byte{cursorVersion}, uint64(c.Account))
	b = binary.AppendUvarint(b, c.Row)
	for _, v := range []Amount{c.Sums.DebitsPosted, c.Sums.CreditsPosted, c.Sums.DebitsPending, c.Sums.CreditsPending} {
		b = binary.AppendUvarint(binary.AppendUvarint(b, v.Lo), v.Hi)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor reads what String wrote. Errors: ErrCursor.
func ParseCursor(text string) (*Cursor, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 5 || b[0] != cursorVersion ||
		binary.LittleEndian.Uint32(b[len(b)-4:]) != crc32.ChecksumIEEE(b[:len(b)-4]) {
		return nil, fmt.Errorf("%w: %q is not one that a statement gave", ErrCursor, text)
	}
	b = b[1 : len(b)-4]
	var fields [10]uint64
	for i := range fields {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("%w: %q is cut short", ErrCursor, text)
		}
		fields[i], b = v, b[n:]
	}
	if len(b) > 0 || fields[1] == 0 || (fields[3]|fields[5]|fields[7]|fields[9])>>63 != 0 {
		return nil, fmt.Errorf("%w: %q is not one that a statement gave", ErrCursor, text)
	}
	amount := func(i int) Amount { return Amount{Lo: fields[i], Hi: fields[i+1]} }
	return &Cursor{Account: shard.Account(fields[0]), Row: fields[1], Sums: Sums{
		DebitsPosted: amount(2), CreditsPosted: amount(4), DebitsPending: amount(6), CreditsPending: amount(8),
	}}, nil
}
