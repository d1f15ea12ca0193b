package ledger

import (
	"math/big"
	"slices"
	"testing"

	"raftbank/internal/shard"
)

func TestGenesis(t *testing.T) {
	s := New(2)
	if s.Genesis() != nil || s.Hash() != 0 {
		t.Errorf("before genesis: %+v, hash %x", s.Genesis(), s.Hash())
	}
	if _, ok := s.Participants(&Record{Debit: 1, Credit: 11}); ok {
		t.Error("participants before genesis")
	}
	m := &machine{State: s, next: 1}
	// Whatever comes before GENESIS has no effect.
	r := testRecord(1, 11, 12, 1)
	x := testRecord(2, 11, 1, 1)
	for i, got := range []Result{
		m.transfer(r), m.prepare(x), m.poison(x, ReasonTimedOut), m.cancel(x.ID),
		m.finish(x, false, ShardFact{Shard: 1, Fact: FactAborted}),
		m.do(Command{Kind: CmdGenesis, Genesis: testGenesis(1, 10)}), // another shard's
	} {
		if got != (Result{Code: ResultNoEffect}) {
			t.Errorf("command %d before genesis: %+v", i, got)
		}
	}
	if s.RowCount() != 0 {
		t.Errorf("%d rows before genesis", s.RowCount())
	}
	g := testGenesis(2, 10)
	if got := m.do(Command{Kind: CmdGenesis, Genesis: g}); got.Code != ResultState || got.State != Committed || got.Index != 7 {
		t.Errorf("genesis: %+v", got)
	}
	if got := m.do(Command{Kind: CmdGenesis, Genesis: testGenesis(2, 99)}); got.Code != ResultNoEffect {
		t.Errorf("second genesis: %+v", got)
	}
	g.Members[0] = 0 // the state has its own copy
	if got := s.Genesis(); got.OpeningBalance != 10 || got.Members[0] != 1<<32 || !got.Map.Equal(testMap()) {
		t.Errorf("genesis %+v", got)
	}
	wantAccount(t, s, 11, 10, 10, 0, 0)
	wantAccount(t, s, 20, 10, 10, 0, 0)
	wantAccount(t, s, shard.ID(2).Equity(), -100, 0, 0, 0)
	for _, a := range []shard.Account{0, 10, 21, shard.EquityBase, shard.ID(1).Equity(), ^shard.Account(0)} {
		if _, ok := s.Account(a); ok {
			t.Errorf("account %d exists", a)
		}
	}
	if s.Total().Int64() != 100 || s.Negative() != 0 {
		t.Errorf("total %s, %d negative", s.Total(), s.Negative())
	}
	row := s.Rows(0, 10)
	if len(row) != 1 || row[0].Kind != RowGenesis || row[0].Record.Debit != shard.ID(2).Equity() || row[0].Record.Amount != Units(100) {
		t.Errorf("rows %+v", row)
	}
}

func TestLargestSums(t *testing.T) {
	m := open(1, 0)
	big := testRecord(1, 11, 1, 1)
	big.Amount = MaxAmount
	m.prepare(big)
	m.finish(big, true, ShardFact{Shard: 2, Fact: FactYes})
	a, _ := m.Account(1)
	if a.Spendable() != MaxAmount || a.Balance().Cmp(MaxAmount.Big()) != 0 {
		t.Errorf("account 1: %+v", a)
	}
	if got := m.prepare(testRecord(2, 11, 1, 1)); got.Reason != ReasonOverflow || got.Account != 1 {
		t.Errorf("a unit more: %+v", got)
	}
	// The whole amount goes round inside the shard; the credits that an account ever had are bounded too.
	back := testRecord(3, 1, 2, 1)
	back.Amount = MaxAmount
	if got := m.transfer(back); got.State != Committed {
		t.Errorf("the whole amount on: %+v", got)
	}
	again := testRecord(4, 2, 1, 1)
	if got := m.transfer(again); got.Reason != ReasonOverflow || got.Account != 1 {
		t.Errorf("back: %+v", got)
	}
	if m.Total().Cmp(MaxAmount.Big()) != 0 {
		t.Errorf("total %s", m.Total())
	}
}

// TestDebitOverflow: the debits of an account with much turnover are bounded as well.
func TestDebitOverflow(t *testing.T) {
	m := open(1, 10)
	m.accounts.slots[0].DebitsPosted = MaxAmount
	m.accounts.slots[0].CreditsPosted = MaxAmount
	m.accounts.slots[0].CreditLine = Units(5)
	if got := m.transfer(testRecord(1, 1, 2, 6)); got.Reason != ReasonInsufficientFunds || got.Available != Units(5) {
		t.Errorf("over the credit line: %+v", got)
	}
	if got := m.transfer(testRecord(2, 1, 2, 5)); got.Reason != ReasonOverflow || got.Account != 1 {
		t.Errorf("within the credit line: %+v", got)
	}
}

func TestCreditLineAndClosed(t *testing.T) {
	m := open(1, 10)
	m.accounts.slots[0].CreditLine = Units(5)
	m.accounts.changed(0)
	if got := m.transfer(testRecord(1, 1, 2, 15)); got.State != Committed {
		t.Errorf("to the floor: %+v", got)
	}
	wantAccount(t, m.State, 1, -5, 0, 0, 0)
	if m.Negative() != 0 {
		t.Error("an account at its floor counts as negative")
	}
	m.accounts.slots[2].Closed = true
	m.accounts.changed(2)
	for id, accounts := range map[uint64][2]shard.Account{2: {3, 2}, 3: {2, 3}} {
		if got := m.transfer(testRecord(id, accounts[0], accounts[1], 1)); got.Reason != ReasonAccountClosed || got.Account != 3 {
			t.Errorf("closed: %+v", got)
		}
	}
	if got := m.prepare(testRecord(4, 11, 3, 1)); got.Reason != ReasonAccountClosed || got.State != Aborted {
		t.Errorf("closed, prepare: %+v", got)
	}
	m.accounts.slots[3].Currency = 2
	m.accounts.changed(3)
	for id, accounts := range map[uint64][2]shard.Account{5: {4, 2}, 6: {2, 4}} {
		if got := m.transfer(testRecord(id, accounts[0], accounts[1], 1)); got.Reason != ReasonBadCurrency || got.Account != 4 {
			t.Errorf("currency: %+v", got)
		}
	}
	back, err := Decode(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := back.Account(3); !a.Closed || back.Hash() != m.Hash() {
		t.Errorf("decoded %+v", a)
	}
}

// TestHashSeesEveryField: two states that differ in one field of one account differ in the hash.
func TestHashSeesEveryField(t *testing.T) {
	seen := map[uint64]int{}
	for i, a := range []Account{
		{}, {DebitsPosted: Units(1)}, {DebitsPosted: Amount{Hi: 1}}, {CreditsPosted: Units(1)}, {CreditsPosted: Amount{Hi: 1}},
		{DebitsPending: Units(1)}, {DebitsPending: Amount{Hi: 1}}, {CreditsPending: Units(1)}, {CreditsPending: Amount{Hi: 1}},
		{CreditLine: Units(1)}, {CreditLine: Amount{Hi: 1}}, {Currency: 1}, {Closed: true}, {Equity: true},
	} {
		for id := shard.Account(1); id <= 100; id++ {
			mix := mixAccount(id, &a)
			if was, twice := seen[mix]; twice {
				t.Errorf("account kind %d has the mix of kind %d", i, was)
			}
			seen[mix] = i
		}
	}
}

func TestHashIsOfTheAccountsAlone(t *testing.T) {
	a, b := open(1, 10), open(1, 10)
	// The same money by other ways: equal accounts except for turnover.
	a.transfer(testRecord(1, 1, 2, 3))
	a.transfer(testRecord(2, 3, 4, 3))
	b.transfer(testRecord(2, 3, 4, 3))
	b.transfer(testRecord(1, 1, 2, 3))
	if a.Hash() != b.Hash() {
		t.Error("equal accounts, other hash")
	}
	a.transfer(testRecord(3, 2, 1, 3))
	if a.Hash() == b.Hash() {
		t.Error("other accounts, equal hash")
	}
}

func TestRowsAndLookups(t *testing.T) {
	m := open(1, 10)
	x := testRecord(5, 1, 11, 2)
	m.prepare(x)
	m.transfer(testRecord(6, 1, 2, 1))
	m.finish(x, true, ShardFact{Shard: 2, Fact: FactYes})
	rows := m.RowsOf(x.ID)
	if len(rows) != 2 || rows[0].Kind != RowPrepare || rows[1].Kind != RowCommit || rows[1].Position != 3 || rows[1].TimeNs != 4 {
		t.Errorf("rows of 5: %+v", rows)
	}
	if got := m.RowsOf(testID(9)); got != nil {
		t.Errorf("rows of an unknown id: %+v", got)
	}
	if got := m.Rows(2, 1); len(got) != 1 || got[0].Record.ID != testID(6) {
		t.Errorf("rows 2 to 2: %+v", got)
	}
	if len(m.Rows(4, 10)) != 0 || len(m.Rows(1<<60, 1)) != 0 || len(m.Rows(0, 0)) != 0 || len(m.Rows(0, 1<<40)) != 4 {
		t.Error("rows out of range")
	}
	o, ok := m.Lookup(x.ID)
	if !ok || o.Record != x || o.Digest != DigestOf(x) || o.Index != 4 || o.VotePos != 1 || o.FinalPos != 3 {
		t.Errorf("outcome %+v", o)
	}
	for want, r := range map[string]Record{
		"[C1]":    testRecord(1, 1, 2, 1),
		"[C1 C3]": testRecord(1, 21, 1, 1),
	} {
		ids, ok := m.Participants(&r)
		if !ok || len(ids) != len(slices.Compact(ids)) || text(ids) != want {
			t.Errorf("participants %v %t, want %s", ids, ok, want)
		}
	}
	if ids, ok := m.Participants(&Record{Debit: 1, Credit: 99}); ok || text(ids) != "[C1]" {
		t.Errorf("participants with an unknown account: %v %t", ids, ok)
	}
}

func text(ids []shard.ID) string {
	s := "["
	for i, id := range ids {
		if i > 0 {
			s += " "
		}
		s += id.String()
	}
	return s + "]"
}

// TestTimesNeverDecrease: a leader whose clock is behind stamps no row earlier than the last.
func TestTimesNeverDecrease(t *testing.T) {
	s := New(1)
	s.Apply(1, 1, &Entry{TimeNs: 100, Commands: []Command{{Kind: CmdGenesis, Genesis: testGenesis(1, 10)}}})
	r := testRecord(1, 1, 2, 1)
	s.Apply(2, 1, &Entry{TimeNs: 50, Commands: []Command{{Kind: CmdTransfer, Records: []Record{r}}}})
	if got := s.RowsOf(r.ID); got[0].TimeNs != 100 {
		t.Errorf("time %d", got[0].TimeNs)
	}
}

func TestApplyOutOfOrderPanics(t *testing.T) {
	for _, at := range [][2]uint64{{5, 1}, {3, 1}, {6, 0}, {7, 1}} {
		s := New(1)
		s.Skip(5, 1)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("index %d term %d after 5, 1 is applied", at[0], at[1])
				}
			}()
			s.Skip(at[0], at[1])
		}()
	}
}

func TestOverdrawnAccountPanics(t *testing.T) {
	m := open(1, 10)
	defer func() {
		if recover() == nil {
			t.Error("an overdrawn account goes unnoticed")
		}
	}()
	m.accounts.slots[0].DebitsPosted = Units(11)
	m.accounts.changed(0)
}

// TestPreparedSetInAnyOrder takes transfers out of the middle and the ends of both lists.
func TestPreparedSetInAnyOrder(t *testing.T) {
	m := open(1, 1000)
	var want []TransferID
	step := func(id uint64) {
		r := testRecord(id, shard.Account(id%2+1), 11, 1)
		if i := slices.Index(want, r.ID); i >= 0 {
			m.finish(r, id%3 == 0, ShardFact{Shard: 2, Fact: FactYes}, ShardFact{Shard: 2, Fact: FactAborted})
			want = slices.Delete(want, i, i+1)
		} else if m.prepare(r).State == Prepared {
			want = append(want, r.ID)
		}
		var first, second []TransferID
		for _, id := range want {
			if id[15]%2 == 0 {
				first = append(first, id)
			} else {
				second = append(second, id)
			}
		}
		if !slices.Equal(m.Prepared(), want) || !slices.Equal(m.PreparedOn(1), first) || !slices.Equal(m.PreparedOn(2), second) {
			t.Fatalf("prepared %v, want %v", m.Prepared(), want)
		}
	}
	for i := range uint64(200) {
		step(i*37%53 + 1)
	}
	if m.Total().Cmp(big.NewInt(10000)) > 0 {
		t.Errorf("total %s", m.Total())
	}
}
