package ledger

import (
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"raftbank/internal/shard"
)

// naive is the reference: the transition table once more, with maps and big integers, written to be
// read and not to be fast. It knows one shard of testMap.
type naive struct {
	self shard.ID
	acc  map[shard.Account]*naiveAccount
	ids  map[TransferID]*naiveOutcome
	// Of audits: the highest number given out, the epoch, and how each number stands.
	allocated, epoch uint32
	numbers          map[uint32]ResultCode
	rows             uint64                   // of history
	votes            map[uint64]*naiveOutcome // by the position of their rows
}

type naiveAccount struct {
	debits, credits, out, in *big.Int
	pending                  int
}

type naiveOutcome struct {
	state                   TransferState
	record                  Record
	digest                  Digest
	hasRecord, cross, isAny bool
	reason                  Reason
	account                 shard.Account
	available               *big.Int
	epoch                   uint32 // of the vote, then of the commit
}

func newNaive(self shard.ID, balance int64) *naive {
	n := &naive{self: self, acc: map[shard.Account]*naiveAccount{}, ids: map[TransferID]*naiveOutcome{}, numbers: map[uint32]ResultCode{}, rows: 1, votes: map[uint64]*naiveOutcome{}}
	r, _ := testMap().Range(self)
	for a := r.First; a <= r.Last; a++ {
		n.acc[a] = &naiveAccount{debits: new(big.Int), credits: big.NewInt(balance), out: new(big.Int), in: new(big.Int)}
	}
	return n
}

func (n *naive) where(a shard.Account) shard.ID { id, _ := testMap().Shard(a); return id } // 0: nowhere

func (a *naiveAccount) spendable() *big.Int {
	v := new(big.Int).Sub(a.credits, a.debits)
	return v.Sub(v, a.out)
}

func sumOf(ns ...*big.Int) *big.Int {
	s := new(big.Int)
	for _, x := range ns {
		s.Add(s, x)
	}
	return s
}

// submit is CmdTransfer (digest nil) and CmdPrepare.
func (n *naive) submit(r Record, digest *Digest, settled bool) (ResultCode, *naiveOutcome) {
	ds, cs := n.where(r.Debit), n.where(r.Credit)
	local := 0
	for _, s := range []shard.ID{ds, cs} {
		if s == n.self {
			local++
		}
	}
	if CheckRecord(&r) != ReasonNone {
		return ResultNoEffect, nil
	}
	if o := n.ids[r.ID]; o != nil {
		same := o.isAny || o.hasRecord && o.record == r || !o.hasRecord && o.digest == DigestOf(r)
		if !same {
			return ResultConflict, nil
		}
		return ResultState, o
	}
	if digest != nil && local != 1 || digest == nil && (ds != 0 && ds != n.self || cs != 0 && cs != n.self) {
		return ResultNoEffect, nil
	}
	o := &naiveOutcome{record: r, hasRecord: true, cross: digest != nil, digest: DigestOf(r), state: Committed, available: new(big.Int), epoch: n.epoch}
	if o.cross {
		o.state = Prepared
	}
	d, c, amount, limit := n.acc[r.Debit], n.acc[r.Credit], r.Amount.Big(), MaxAmount.Big()
	refuse := func(why Reason, a shard.Account) { o.state, o.reason, o.account = Aborted, why, a }
	switch {
	case ds == 0:
		refuse(ReasonNoAccount, r.Debit)
	case cs == 0:
		refuse(ReasonNoAccount, r.Credit)
	case d != nil && d.spendable().Cmp(amount) < 0:
		if d.pending > 0 && !settled {
			return ResultDefer, nil
		}
		refuse(ReasonInsufficientFunds, r.Debit)
		o.available = d.spendable()
	case d != nil && sumOf(d.debits, d.out, amount).Cmp(limit) > 0:
		refuse(ReasonOverflow, r.Debit)
	case c != nil && sumOf(c.credits, c.in, amount).Cmp(limit) > 0:
		refuse(ReasonOverflow, r.Credit)
	case o.cross && d != nil:
		d.out.Add(d.out, amount)
		d.pending++
	case o.cross:
		c.in.Add(c.in, amount)
		c.pending++
	default:
		d.debits.Add(d.debits, amount)
		c.credits.Add(c.credits, amount)
	}
	n.ids[r.ID], n.votes[n.rows] = o, o
	n.rows++
	return ResultState, o
}

// tombstone is CmdPoison and CmdCancel (isAny).
func (n *naive) tombstone(id TransferID, digest Digest, isAny bool, why Reason) (ResultCode, *naiveOutcome) {
	if o := n.ids[id]; o != nil {
		if !isAny && !o.isAny && o.digest != digest {
			return ResultConflict, nil
		}
		return ResultState, o
	}
	n.rows++
	n.ids[id] = &naiveOutcome{state: Aborted, reason: why, digest: digest, isAny: isAny, available: new(big.Int), epoch: n.epoch}
	return ResultState, n.ids[id]
}

func (n *naive) finish(f *Finish) (ResultCode, *naiveOutcome) {
	has := func(s shard.ID, kinds ...Fact) bool {
		return slices.ContainsFunc(f.Facts, func(x ShardFact) bool {
			return (s == 0 || x.Shard == s) && slices.Contains(kinds, x.Fact)
		})
	}
	o := n.ids[f.ID]
	switch {
	case o == nil && f.Commit:
		return ResultUnknownHere, nil
	case o == nil && has(0, FactAborted):
		return n.tombstone(f.ID, f.Digest, false, f.Reason)
	case o == nil:
		return ResultNoEffect, nil
	case !o.isAny && o.digest != f.Digest:
		return ResultConflict, nil
	case o.state != Prepared:
		return ResultState, o
	}
	other := n.where(o.record.Debit)
	if other == n.self {
		other = n.where(o.record.Credit)
	}
	commit := has(other, FactYes, FactCommitted) || has(n.self, FactCommitted)
	abort := has(other, FactAborted) || has(n.self, FactAborted)
	if f.Commit && !commit || !f.Commit && !abort {
		return ResultNoEffect, nil
	}
	n.rows++
	amount := o.record.Amount.Big()
	d, c := n.acc[o.record.Debit], n.acc[o.record.Credit]
	if d != nil {
		d.pending--
		d.out.Sub(d.out, amount)
	} else {
		c.pending--
		c.in.Sub(c.in, amount)
	}
	o.state, o.reason = Aborted, f.Reason
	if f.Commit {
		o.state, o.reason = Committed, ReasonNone
		for _, x := range f.Facts {
			if (x.Shard == n.self || x.Shard == other) && (x.Fact == FactYes || x.Fact == FactCommitted) {
				o.epoch = max(o.epoch, x.Epoch)
			}
		}
		if o.epoch > n.epoch {
			n.cut(o.epoch, ResultVoid)
		}
		if d != nil {
			d.debits.Add(d.debits, amount)
		} else {
			c.credits.Add(c.credits, amount)
		}
	}
	return ResultState, o
}

// cut is what a BARRIER or a FINISH from a later epoch does.
func (n *naive) cut(number uint32, code ResultCode) {
	if n.numbers[n.epoch] == ResultWithholding {
		n.numbers[n.epoch] = ResultVoid
	}
	n.epoch, n.numbers[number] = number, code
}

func (n *naive) audit(kind CommandKind, number uint32) ResultCode {
	switch {
	case kind == CmdAllocate:
		n.allocated = max(n.allocated, n.epoch) + 1
		return ResultAllocated
	case number == 0 || number > n.epoch && (kind != CmdBarrier || number > n.allocated):
		return ResultNoEffect
	case kind == CmdBarrier && number > n.epoch:
		n.cut(number, ResultWithholding)
	case n.numbers[number] == ResultWithholding && kind == CmdVoid:
		n.numbers[number] = ResultVoid
	case n.numbers[number] == ResultWithholding && kind == CmdRelease:
		n.numbers[number] = ResultReleased
	}
	if n.numbers[number] == 0 {
		return ResultVoid
	}
	return n.numbers[number]
}

// compareAudits checks the epoch and every snapshot that the state still knows.
func (n *naive) compareAudits(t failer, s *State) {
	t.Helper()
	held := uint32(0)
	if n.numbers[n.epoch] == ResultWithholding {
		held = n.epoch
	}
	if s.Epoch() != n.epoch || s.Withholding() != held {
		t.Fatalf("epoch %d withholding %d, want %d %d", s.Epoch(), s.Withholding(), n.epoch, held)
	}
	equity, _ := s.Account(n.self.Equity())
	for number := uint32(0); number <= n.epoch; number++ {
		got, ok := s.Snapshot(number)
		if !ok {
			continue
		}
		want := new(big.Int).Neg(equity.Balance())
		for _, o := range n.ids {
			if o.state != Committed || !o.cross || o.epoch >= number {
				continue
			}
			if n.where(o.record.Debit) == n.self {
				want.Sub(want, o.record.Amount.Big())
			} else {
				want.Add(want, o.record.Amount.Big())
			}
		}
		if got.Total().Cmp(want) != 0 {
			t.Fatalf("snapshot %d: total %s, want %s: %+v", number, got.Total(), want, got)
		}
	}
}

// drawCommand makes a command with one item from choices in [0, n).
func drawCommand(choose func(n int) int) Command {
	accounts := []shard.Account{1, 2, 3, 10, 11, 12, 21, 30, 31, 0, shard.ID(1).Equity()}
	amounts := []Amount{Units(1), Units(2), Units(3), Units(5), Units(7), Units(10), Units(11), Units(100), {}, MaxAmount, {Hi: 1 << 63}}
	pick := func(common, all int) int { // mostly the common ones
		if choose(8) > 0 {
			return choose(common)
		}
		return choose(all)
	}
	r := Record{
		ID: testID(uint64(choose(24)) + 1), Debit: accounts[pick(7, len(accounts))], Credit: accounts[pick(7, len(accounts))],
		Amount: amounts[pick(6, len(amounts))], Currency: DefaultCurrency,
	}
	switch choose(32) {
	case 0:
		r.Flags = FlagLinked
	case 1:
		r.Currency = 2
	case 2:
		r.Code = 1
	case 3, 4, 5, 6:
		kind := []CommandKind{CmdAllocate, CmdBarrier, CmdVoid, CmdRelease}[choose(4)]
		c := Command{Kind: kind, Numbers: []uint32{0}}
		if kind != CmdAllocate {
			c.Numbers[0] = uint32(choose(24))
		}
		return c
	}
	settled := choose(3) == 0
	switch choose(8) {
	case 0, 1:
		return Command{Kind: CmdTransfer, Settled: settled, Records: []Record{r}}
	case 2, 3, 4:
		return Command{Kind: CmdPrepare, Settled: settled, Records: []Record{r}, Digests: []Digest{DigestOf(r)}}
	case 5:
		return Command{Kind: CmdPoison, Poisons: []Poison{{ID: r.ID, Digest: DigestOf(r), Reason: ReasonTimedOut}}}
	case 6:
		return Command{Kind: CmdCancel, Cancels: []TransferID{r.ID}}
	}
	f := Finish{ID: r.ID, Digest: DigestOf(r), Commit: choose(2) == 0, Reason: ReasonCancelled}
	for range choose(4) {
		f.Facts = append(f.Facts, ShardFact{Shard: shard.ID(choose(3) + 1), Fact: Fact(choose(4)), Epoch: uint32(choose(12))})
	}
	if choose(2) == 0 {
		return Command{Kind: CmdFinishVotes, Votes: []FinishVotes{{First: uint64(choose(32)), Count: 1, Facts: f.Facts}}}
	}
	return Command{Kind: CmdFinish, Finishes: []Finish{f}}
}

// aim makes a FINISH name the content that is known, so that more than conflicts is tried.
func (n *naive) aim(c *Command) {
	if c.Kind == CmdFinish {
		if o := n.ids[c.Finishes[0].ID]; o != nil {
			c.Finishes[0].Digest = o.digest
		}
	}
}

// apply is the reference's Apply for one command with one item.
func (n *naive) apply(c *Command) (ResultCode, *naiveOutcome) {
	switch c.Kind {
	case CmdTransfer:
		return n.submit(c.Records[0], nil, c.Settled)
	case CmdPrepare:
		return n.submit(c.Records[0], &c.Digests[0], c.Settled)
	case CmdPoison:
		return n.tombstone(c.Poisons[0].ID, c.Poisons[0].Digest, false, c.Poisons[0].Reason)
	case CmdCancel:
		return n.tombstone(c.Cancels[0], Digest{}, true, ReasonCancelled)
	case CmdFinish:
		return n.finish(&c.Finishes[0])
	case CmdFinishVotes:
		o := n.votes[c.Votes[0].First]
		if o == nil || o.state != Prepared {
			return ResultNoEffect, nil
		}
		return n.finish(&Finish{ID: o.record.ID, Digest: o.digest, Commit: true, Facts: c.Votes[0].Facts})
	case CmdAllocate, CmdBarrier, CmdVoid, CmdRelease:
		return n.audit(c.Kind, c.Numbers[0]), nil
	}
	panic("unreachable: command kind")
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// compare checks a result and the whole state against the reference.
func (n *naive) compare(t failer, s *State, c *Command, got Result, code ResultCode, want *naiveOutcome) {
	t.Helper()
	if got.Code != code {
		t.Fatalf("%+v: code %s, want %s", c, got.Code, code)
	}
	if want != nil && (got.State != want.state || got.Reason != want.reason || got.Epoch != want.epoch ||
		want.state == Aborted && (got.Account != want.account || got.Available.Big().Cmp(want.available) != 0)) {
		t.Fatalf("%+v: %+v, want %+v", c, got, want)
	}
	n.compareAudits(t, s)
	total, pending := new(big.Int), 0
	for a, w := range n.acc {
		is, ok := s.Account(a)
		if !ok || is.DebitsPosted.Big().Cmp(w.debits) != 0 || is.CreditsPosted.Big().Cmp(w.credits) != 0 ||
			is.DebitsPending.Big().Cmp(w.out) != 0 || is.CreditsPending.Big().Cmp(w.in) != 0 ||
			len(s.PreparedOn(a)) != w.pending {
			t.Fatalf("%+v: account %d is %+v, want %+v", c, a, is, w)
		}
		if w.spendable().Sign() < 0 {
			t.Fatalf("%+v: account %d is overdrawn: %+v", c, a, w)
		}
		total.Add(total, is.Balance())
		pending += w.pending
	}
	if s.PreparedCount() != pending || s.Negative() != 0 || s.Total().Cmp(total) != 0 {
		t.Fatalf("%+v: %d prepared, %d negative, total %s; want %d, 0, %s", c, s.PreparedCount(), s.Negative(), s.Total(), pending, total)
	}
	// Conservation: what is not as opened crossed the shard's border in a committed transfer.
	equity, _ := s.Account(n.self.Equity())
	expected := new(big.Int).Neg(equity.Balance())
	for _, o := range n.ids {
		if o.state == Committed && o.cross {
			if n.where(o.record.Debit) == n.self {
				expected.Sub(expected, o.record.Amount.Big())
			} else {
				expected.Add(expected, o.record.Amount.Big())
			}
		}
	}
	if total.Cmp(expected) != 0 {
		t.Fatalf("%+v: total %s, want %s", c, total, expected)
	}
}

// runAgainstModel applies up to steps drawn commands to a State and to the reference, and compares
// after each; at the end it decodes what it encodes.
func runAgainstModel(t failer, steps int, choose func(n int) int) {
	m, ref := open(1, 10), newNaive(1, 10)
	for range steps {
		c := drawCommand(choose)
		if choose(8) > 0 {
			ref.aim(&c)
		}
		got := m.do(c)
		code, want := ref.apply(&c)
		ref.compare(t, m.State, &c, got, code, want)
	}
	data := m.Encode()
	back, err := Decode(data)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if string(back.Encode()) != string(data) || back.Hash() != m.Hash() || !slices.Equal(back.Prepared(), m.Prepared()) {
		t.Fatalf("the decoded state differs")
	}
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.IntRange(1, 150).Draw(t, "steps")
		runAgainstModel(t, steps, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
	})
}

// FuzzAgainstModel takes the choices from bytes.
func FuzzAgainstModel(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
	f.Add(slices.Repeat([]byte{7, 3, 31, 200, 64, 5, 1}, 60))
	f.Fuzz(func(t *testing.T, data []byte) {
		at := 0
		choose := func(n int) int {
			at++
			return int(data[(at-1)%len(data)]) % n
		}
		if len(data) == 0 {
			return
		}
		runAgainstModel(t, min(len(data)/8+1, 200), choose)
	})
}
