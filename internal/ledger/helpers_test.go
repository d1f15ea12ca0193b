package ledger

import (
	"encoding/binary"
	"testing"

	"raftbank/internal/shard"
)

// testMap is the map of the tests: C1 1-10, C2 11-20, C3 21-30.
func testMap() shard.Map {
	m, err := shard.NewMap(1, []shard.Assignment{
		{Shard: 1, Range: shard.Range{First: 1, Last: 10}},
		{Shard: 2, Range: shard.Range{First: 11, Last: 20}},
		{Shard: 3, Range: shard.Range{First: 21, Last: 30}},
	})
	if err != nil {
		panic(err)
	}
	return m
}

func testGenesis(id shard.ID, balance uint64) *Genesis {
	return &Genesis{Bank: [16]byte{7}, Shard: id, Map: testMap(), Members: []uint64{1 << 32, 2 << 32, 3 << 32}, OpeningBalance: balance}
}

func testID(n uint64) TransferID {
	var id TransferID
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

// testRecord is a well-formed record.
func testRecord(id uint64, debit, credit shard.Account, amount uint64) Record {
	return Record{ID: testID(id), Debit: debit, Credit: credit, Amount: Units(amount), Currency: DefaultCurrency}
}

// machine applies commands one entry at a time.
type machine struct {
	*State
	next uint64
}

// open returns a shard after GENESIS, every account with the balance.
func open(id shard.ID, balance uint64) *machine {
	m := &machine{State: New(id), next: 1}
	m.do(Command{Kind: CmdGenesis, Genesis: testGenesis(id, balance)})
	return m
}

// do applies one entry and returns its first result.
func (m *machine) do(c ...Command) Result {
	rs := m.Apply(m.next, 1, &Entry{Proposer: 1 << 32, Seq: m.next, TimeNs: int64(m.next), Commands: c})
	m.next++
	return rs[0]
}

func (m *machine) transfer(r Record) Result {
	return m.do(Command{Kind: CmdTransfer, Records: []Record{r}})
}

func (m *machine) prepare(r Record) Result {
	return m.do(Command{Kind: CmdPrepare, Records: []Record{r}, Digests: []Digest{DigestOf(r)}})
}

func (m *machine) finish(r Record, commit bool, facts ...ShardFact) Result {
	return m.do(Command{Kind: CmdFinish, Finishes: []Finish{{
		ID: r.ID, Digest: DigestOf(r), Commit: commit, Reason: ReasonTimedOut, Facts: facts,
	}}})
}

func (m *machine) poison(r Record, why Reason) Result {
	return m.do(Command{Kind: CmdPoison, Poisons: []Poison{{ID: r.ID, Digest: DigestOf(r), Reason: why}}})
}

func (m *machine) cancel(id TransferID) Result {
	return m.do(Command{Kind: CmdCancel, Cancels: []TransferID{id}})
}

// wantAccount checks posted balance, spendable and the pending sums.
func wantAccount(t *testing.T, s *State, a shard.Account, balance int64, spendable, out, in uint64) {
	t.Helper()
	acc, ok := s.Account(a)
	if !ok {
		t.Fatalf("account %d does not exist", a)
	}
	if got := acc.Balance().Int64(); got != balance || acc.Spendable() != Units(spendable) ||
		acc.DebitsPending != Units(out) || acc.CreditsPending != Units(in) {
		t.Errorf("account %d: balance %d spendable %s out %s in %s, want %d %d %d %d", a, got, acc.Spendable(),
			acc.DebitsPending, acc.CreditsPending, balance, spendable, out, in)
	}
}
