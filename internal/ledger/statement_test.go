package ledger

import (
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"raftbank/internal/shard"
)

// replay keeps what every account's statement must say: a line whenever the reference's account changes.
type replay struct {
	*naive
	lines map[shard.Account][]replayLine // oldest first
}

type replayLine struct {
	id   TransferID // zero: the opening
	sums Sums
}

func newReplay(balance int64) *replay {
	r := &replay{naive: newNaive(1, balance), lines: map[shard.Account][]replayLine{}}
	r.note(TransferID{})
	return r
}

func (r *replay) note(id TransferID) {
	for a, w := range r.acc {
		now := Sums{
			DebitsPosted: testAmount(w.debits.String()), CreditsPosted: testAmount(w.credits.String()),
			DebitsPending: testAmount(w.out.String()), CreditsPending: testAmount(w.in.String()),
		}
		if l := r.lines[a]; len(l) == 0 || l[len(l)-1].sums != now {
			r.lines[a] = append(l, replayLine{id, now})
		}
	}
}

func testAmount(text string) Amount {
	if text == "0" {
		return Amount{}
	}
	a, err := ParseAmount(text)
	if err != nil {
		panic(err)
	}
	return a
}

// idOf is asked before the command is applied.
func (r *replay) idOf(c *Command) TransferID {
	switch c.Kind {
	case CmdTransfer, CmdPrepare:
		return c.Records[0].ID
	case CmdFinish:
		return c.Finishes[0].ID
	case CmdFinishVotes:
		if o := r.votes[c.Votes[0].First]; o != nil {
			return o.record.ID
		}
	case CmdGenesis, CmdPoison, CmdCancel, CmdBarrier, CmdVoid, CmdRelease, CmdAllocate:
	}
	return TransferID{}
}

// statementOf reads a whole statement in pages of n lines; the cursors go through their text.
func statementOf(t *testing.T, s *State, a shard.Account, n int) []StatementLine {
	t.Helper()
	var all []StatementLine
	var from *Cursor
	for {
		lines, next, err := s.Statement(a, from, n)
		if err != nil {
			t.Fatalf("account %s, %d lines read: %v", a, len(all), err)
		}
		all = append(all, lines...)
		if next == nil {
			return all
		}
		if len(lines) != n {
			t.Fatalf("account %s: a page of %d lines, asked were %d, and there are more", a, len(lines), n)
		}
		if from, err = ParseCursor(next.String()); err != nil || *from != *next {
			t.Fatalf("cursor %+v comes back as %+v (%v)", next, from, err)
		}
	}
}

// check compares every account's statement with the reference's.
func (r *replay) check(t *testing.T, s *State, n int) {
	t.Helper()
	for a, want := range r.lines {
		got := statementOf(t, s, a, n)
		if len(got) != len(want) {
			t.Fatalf("account %s: %d lines, want %d", a, len(got), len(want))
		}
		for i := range got {
			l, w := &got[i], &want[len(want)-1-i]
			if l.After.sums() != w.sums || l.Row.Record.ID != w.id || l.Opening != (i == len(got)-1) ||
				!l.Opening && l.Debit != (l.Row.Record.Debit == a) {
				t.Fatalf("account %s, line %d: %+v, want %+v", a, i, l, w)
			}
		}
		if now, _ := s.Account(a); got[0].After != now {
			t.Fatalf("account %s is %+v, its newest line says %+v", a, now, got[0].After)
		}
	}
}

// TestStatementEqualsReplay applies drawn transfers of all kinds to a shard that is restarted and restored from
// checkpoints all the while: every statement must be what the reference writes down as it goes.
func TestStatementEqualsReplay(t *testing.T) {
	cross, votes, aborted, restored := 0, 0, 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 4))
		m, ref := open(1, 1000), newReplay(1000)
		pages, fresh := pagesOfCheckpoints{}, uint64(1000)
		for range 400 {
			c := drawCommand(rng.IntN)
			if rng.IntN(4) > 0 && (c.Kind == CmdTransfer || c.Kind == CmdPrepare) { // most ids are new
				fresh++
				c.Records[0].ID = testID(fresh)
				if c.Kind == CmdPrepare {
					c.Digests[0] = DigestOf(c.Records[0])
				}
			}
			if c.Kind == CmdFinish && rng.IntN(8) > 0 { // most finish something
				if open := m.Prepared(); len(open) > 0 {
					c.Finishes[0].ID = open[rng.IntN(len(open))]
				}
				ref.aim(&c)
			}
			if open := m.Prepared(); c.Kind == CmdFinishVotes && rng.IntN(8) > 0 && len(open) > 0 {
				o, _ := m.Lookup(open[rng.IntN(len(open))])
				c.Votes[0].First = o.VotePos
			}
			id := ref.idOf(&c)
			m.do(c)
			code, o := ref.apply(&c)
			ref.note(id)
			if (c.Kind == CmdFinish || c.Kind == CmdFinishVotes) && o != nil && o.cross {
				if cross++; o.state == Aborted {
					aborted++
				}
				if c.Kind == CmdFinishVotes && code == ResultState {
					votes++
				}
			}
			switch rng.IntN(60) {
			case 0:
				back, err := Decode(m.Encode())
				if err != nil {
					t.Fatal(err)
				}
				m.State = back
			case 1:
				f := m.Freeze()
				for !f.Step(1) {
				}
				m.State = restoreFrom(t, m.State, f.Rows, pages.take(f))
				restored++
			case 2:
				ref.check(t, m.State, 1+rng.IntN(7))
			}
		}
		ref.check(t, m.State, 1+rng.IntN(50))
	}
	if cross < 400 || votes < 100 || aborted < 100 || restored < 100 {
		t.Errorf("%d cross-shard transfers finished, %d by their votes, %d aborted, %d checkpoints: too little was tried", cross, votes, aborted, restored)
	}
}

// TestCursorStaysGood reads a page, lets the account go on, and reads the next.
func TestCursorStaysGood(t *testing.T) {
	m := open(1, 100)
	for i := range uint64(10) {
		m.transfer(testRecord(i+1, 1, 2, i+1))
	}
	want := statementOf(t, m.State, 1, 100)
	first, next, err := m.Statement(1, nil, 4)
	if err != nil || next == nil {
		t.Fatalf("next %+v, %v", next, err)
	}
	for i := range uint64(5) {
		m.transfer(testRecord(i+100, 2, 1, 3))
		m.prepare(testRecord(i+200, 1, 11, 1))
	}
	rest, next, err := m.Statement(1, next, 100)
	if err != nil || next != nil || !slices.EqualFunc(append(first, rest...), want, func(a, b StatementLine) bool {
		return a.Row == b.Row && a.After.sums() == b.After.sums()
	}) {
		t.Errorf("the pages do not make the statement of before: next %+v, %v", next, err)
	}
}

// TestStatementRefuses gives cursors that fit no statement.
func TestStatementRefuses(t *testing.T) {
	m := open(1, 100)
	m.transfer(testRecord(1, 1, 2, 10))
	m.transfer(testRecord(2, 3, 4, 10))
	m.transfer(testRecord(3, 1, 2, 10))
	_, good, err := m.Statement(1, nil, 1)
	if err != nil || good == nil {
		t.Fatalf("cursor %+v, %v", good, err)
	}
	change := func(f func(c *Cursor)) *Cursor {
		c := *good
		f(&c)
		return &c
	}
	for _, c := range []struct {
		name string
		from *Cursor
		want error
	}{
		{"another account", change(func(c *Cursor) { c.Account = 2 }), ErrCursor},
		{"another account's row", change(func(c *Cursor) { c.Row = 3 }), ErrCursor},
		{"a row that is not there yet", change(func(c *Cursor) { c.Row = 99 }), ErrCursor},
		{"no row", change(func(c *Cursor) { c.Row = 0 }), ErrStatement},
		{"too much money", change(func(c *Cursor) { c.Sums.CreditsPosted = Units(101) }), ErrStatement},
		{"too little paid", change(func(c *Cursor) { c.Sums.DebitsPosted = Units(9) }), ErrStatement},
	} {
		if lines, next, err := m.Statement(1, c.from, 10); !errors.Is(err, c.want) || lines != nil || next != nil {
			t.Errorf("%s: %d lines, next %+v, %v; want %v", c.name, len(lines), next, err, c.want)
		}
	}
	if lines, next, err := m.Statement(999, nil, 10); lines != nil || next != nil || err != nil {
		t.Errorf("an account that is not here: %v %v %v", lines, next, err)
	}
	text := good.String()
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	for i := range raw {
		bad := slices.Clone(raw)
		bad[i]++
		if c, err := ParseCursor(base64.RawURLEncoding.EncodeToString(bad)); !errors.Is(err, ErrCursor) {
			t.Errorf("byte %d changed: %+v, %v", i, c, err)
		}
		if c, err := ParseCursor(base64.RawURLEncoding.EncodeToString(raw[:i])); !errors.Is(err, ErrCursor) {
			t.Errorf("cut to %d bytes: %+v, %v", i, c, err)
		}
	}
	if c, err := ParseCursor("what?"); !errors.Is(err, ErrCursor) {
		t.Errorf("%+v, %v", c, err)
	}
}

// FuzzCursor: any text either is refused or names a cursor that its own text names again.
func FuzzCursor(f *testing.F) {
	f.Add((&Cursor{Account: 7, Row: 3, Sums: Sums{CreditsPosted: MaxAmount, DebitsPending: Units(300)}}).String())
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text)
		if err != nil {
			return
		}
		if again, err := ParseCursor(c.String()); err != nil || *again != *c {
			t.Fatalf("%q: %+v, again %+v, %v", text, c, again, err)
		}
	})
}
