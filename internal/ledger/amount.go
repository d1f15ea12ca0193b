package ledger

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
)

// Amount is an unsigned 128-bit number of minor units. Amounts and sums are bounded by MaxAmount.
type Amount struct {
	Lo, Hi uint64
}

// MaxAmount is 2^127-1, the bound of every amount and every sum.
var MaxAmount = Amount{Lo: ^uint64(0), Hi: 1<<63 - 1}

// Errors of ParseAmount.
var (
	ErrNotInteger     = errors.New("not an integer")
	ErrNegativeAmount = errors.New("negative")
	ErrAmountRange    = errors.New("larger than 2^127-1")
)

// Units returns n minor units.
func Units(n uint64) Amount { return Amount{Lo: n} }

// IsZero reports whether a is zero.
func (a Amount) IsZero() bool { return a == Amount{} }

// Cmp returns -1, 0 or 1.
func (a Amount) Cmp(b Amount) int {
	switch {
	case a.Hi < b.Hi || (a.Hi == b.Hi && a.Lo < b.Lo):
		return -1
	case a == b:
		return 0
	}
	return 1
}

// Add returns a+b; ok is false if the sum exceeds MaxAmount.
func (a Amount) Add(b Amount) (sum Amount, ok bool) {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, over := bits.Add64(a.Hi, b.Hi, carry)
	sum = Amount{Lo: lo, Hi: hi}
	return sum, over == 0 && sum.Cmp(MaxAmount) <= 0
}

// Sub returns a-b; ok is false if b is larger than a.
func (a Amount) Sub(b Amount) (diff Amount, ok bool) {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	hi, under := bits.Sub64(a.Hi, b.Hi, borrow)
	return Amount{Lo: lo, Hi: hi}, under == 0
}

// Big returns a as a big integer, for totals over many accounts.
func (a Amount) Big() *big.Int {
	n := new(big.Int).SetUint64(a.Hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(a.Lo))
}

// String returns the decimal digits without separators.
func (a Amount) String() string {
	if a.Hi == 0 {
		return fmt.Sprintf("%d", a.Lo)
	}
	return a.Big().String()
}

// ParseAmount reads a decimal integer of 0..2^127-1.
// Errors: ErrNotInteger, ErrNegativeAmount, ErrAmountRange.
func ParseAmount(s string) (Amount, error) {
	if s == "" || len(s) > 64 {
		return Amount{}, ErrNotInteger
	}
	for i, c := range s {
		if (c < '0' || c > '9') && !(i == 0 && (c == '-' || c == '+') && len(s) > 1) {
			return Amount{}, ErrNotInteger
		}
	}
	n, ok := new(big.Int).SetString(s, 10)
	switch {
	case !ok:
		return Amount{}, ErrNotInteger
	case n.Sign() < 0:
		return Amount{}, ErrNegativeAmount
	case n.Cmp(MaxAmount.Big()) > 0:
		return Amount{}, ErrAmountRange
	}
	low := new(big.Int).And(n, new(big.Int).SetUint64(^uint64(0)))
	return Amount{Lo: low.Uint64(), Hi: new(big.Int).Rsh(n, 64).Uint64()}, nil
}
