package ledger

import (
	"math/big"
	"math/bits"

	"raftbank/internal/invariant"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// headroom returns credits posted + credit line - debits posted - debits pending, as magnitude and
// whether it is negative. The terms are below 2^127, so that sums of two fit 128 bits.
func (a *Account) headroom() (magnitude Amount, negative bool) {
	plus := wideAdd(a.CreditsPosted, a.CreditLine)
	minus := wideAdd(a.DebitsPosted, a.DebitsPending)
	if plus.Cmp(minus) >= 0 {
		magnitude, _ = plus.Sub(minus)
		return magnitude, false
	}
	magnitude, _ = minus.Sub(plus)
	return magnitude, true
}

// wideAdd adds two amounts below 2^127 without a bound on the sum.
func wideAdd(a, b Amount) Amount {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(a.Hi, b.Hi, carry)
	return Amount{Lo: lo, Hi: hi}
}

// Spendable returns what the account may still pay out: posted - reserved - floor; zero for the
// bank's own account, which nobody spends from, and never more than MaxAmount.
func (a Account) Spendable() Amount {
	magnitude, negative := a.headroom()
	switch {
	case negative || a.Equity:
		return Amount{}
	case magnitude.Cmp(MaxAmount) > 0:
		return MaxAmount
	}
	return magnitude
}

// Balance returns credits posted - debits posted; negative within a credit line, and for the
// bank's own account.
func (a Account) Balance() *big.Int {
	n := a.CreditsPosted.Big()
	return n.Sub(n, a.DebitsPosted.Big())
}

// belowFloor reports the state that must never be: an overdrawn account.
func (a *Account) belowFloor() bool {
	_, negative := a.headroom()
	return negative && !a.Equity
}

// slot is an account with what the ledger keeps beside it.
type slot struct {
	Account
	// mix stands for the account in the state hash. While dirty it is that of the account as it was.
	mix   uint64
	dirty bool
	// held lists the prepared transfers that touch the account, in vote order.
	held list
	// last is the position plus 1 of the newest row that changed the account.
	last uint64
}

// Odd constants of the mix, from the digits of pi (Blowfish's P-array, so nobody chose them).
const (
	mixK0 = 0x243f6a8885a308d3
	mixK1 = 0x13198a2e03707345
	mixK2 = 0xa4093822299f31d1
	mixK3 = 0x082efa98ec4e6c89
	mixK4 = 0x452821e638d01377
	mixK5 = 0xbe5466cf34e90c6d
)

// fold is the 64x64 to 128 bit multiply folded to 64 bits, as in wyhash.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// mixAccount maps an account and its number to 64 bits. The state hash is the sum of all mixes
// modulo 2^64: a guard against bugs, not against attackers.
func mixAccount(id shard.Account, a *Account) uint64 {
	meta := uint64(a.Currency)
	if a.Closed {
		meta |= 1 << 32
	}
	if a.Equity {
		meta |= 1 << 33
	}
	h := fold(uint64(id)^mixK0, meta^mixK1)
	h = fold(a.DebitsPosted.Lo^mixK2^h, a.DebitsPosted.Hi^mixK3) ^ bits.RotateLeft64(h, 17)
	h = fold(a.CreditsPosted.Lo^mixK3^h, a.CreditsPosted.Hi^mixK4) ^ bits.RotateLeft64(h, 17)
	h = fold(a.DebitsPending.Lo^mixK4^h, a.DebitsPending.Hi^mixK5) ^ bits.RotateLeft64(h, 17)
	h = fold(a.CreditsPending.Lo^mixK5^h, a.CreditsPending.Hi^mixK0) ^ bits.RotateLeft64(h, 17)
	h = fold(a.CreditLine.Lo^mixK1^h, a.CreditLine.Hi^mixK2) ^ bits.RotateLeft64(h, 17)
	return fold(h^mixK0, mixK5)
}

// accounts holds a shard's accounts densely: account first+i at i, the equity account last.
type accounts struct {
	first  shard.Account
	equity shard.Account
	slots  []slot
	// mixed is the sum of the slots' mixes; dirty are the slots that have changed since theirs was taken.
	mixed uint64
	dirty []int32
	// pages says of every pageSlots slots how they stand to the checkpoints; frozen is the one under way.
	pages  []pageState
	frozen *Frozen
	// warmed keeps the compiler from dropping the loads of warm.
	warmed uint64
}

// find returns the slot number of a, and whether this shard has it.
func (x *accounts) find(a shard.Account) (int, bool) {
	n := len(x.slots)
	if n == 0 {
		return 0, false
	}
	// Below first the difference wraps to a large number; the last slot is the equity account's.
	if i := uint64(a - x.first); i < uint64(n-1) {
		return int(i), true
	}
	if a == x.equity {
		return n - 1, true
	}
	return 0, false
}

// id returns the account's number of a slot.
func (x *accounts) id(i int) shard.Account {
	if i == len(x.slots)-1 {
		return x.equity
	}
	return x.first + shard.Account(i)
}

// warm loads the accounts of the records. The loads do not depend on each other, so that their cache misses overlap.
func (x *accounts) warm(records []Record) {
	for i := range records {
		for _, a := range [...]shard.Account{records[i].Debit, records[i].Credit} {
			if at, ok := x.find(a); ok {
				s := &x.slots[at]
				x.warmed += s.DebitsPosted.Lo + s.last
			}
		}
	}
}

// changed is called after every change of a slot's sums. The hash is brought up to date when it is asked for: a busy
// account changes many times in between.
func (x *accounts) changed(i int) {
	s := &x.slots[i]
	if s.belowFloor() && !planted.On(planted.FloorUnchecked) {
		invariant.Fail("account %d is below its floor: %+v", x.id(i), s.Account)
	}
	if !s.dirty {
		s.dirty = true
		x.dirty = append(x.dirty, int32(i))
	}
}

// hash returns the state hash of the accounts.
func (x *accounts) hash() uint64 {
	for _, i := range x.dirty {
		s := &x.slots[i]
		mix := mixAccount(x.id(int(i)), &s.Account)
		x.mixed += mix - s.mix
		s.mix, s.dirty = mix, false
	}
	x.dirty = x.dirty[:0]
	return x.mixed
}

// open fills the shard's accounts as GENESIS wants them and returns the sum that was opened.
func (x *accounts) open(id shard.ID, r shard.Range, balance uint64) Amount {
	n := int(r.Len())
	x.first, x.equity = r.First, id.Equity()
	x.slots = make([]slot, n+1)
	x.pages = make([]pageState, pagesOf(n+1))
	hi, lo := bits.Mul64(uint64(n), balance)
	sum := Amount{Lo: lo, Hi: hi}
	for i := range n {
		x.slots[i].Account = Account{CreditsPosted: Units(balance), Currency: DefaultCurrency}
		x.changed(i)
	}
	x.slots[n].Account = Account{DebitsPosted: sum, Currency: DefaultCurrency, Equity: true}
	x.changed(n)
	for p := range x.pages {
		x.pages[p] = pageDirty
	}
	return sum
}
