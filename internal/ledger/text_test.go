package ledger

import (
	"errors"
	"math/big"
	"strings"
	"testing"
)

func TestTexts(t *testing.T) {
	for r := ReasonNone; r <= ReasonBadID; r++ {
		got, err := ParseReason(r.String())
		if err != nil || got != r || r.String() == "" {
			t.Errorf("reason %d: %q reads as %d, %v", r, r, got, err)
		}
	}
	if _, err := ParseReason("tired"); err == nil || err.Error() != `"tired" is not a reason` {
		t.Errorf("%v", err)
	}
	for got, want := range map[string]string{
		ReasonInsufficientFunds.String(): "insufficient_funds",
		Reason(200).String():             "reason_200",
		Prepared.String():                "prepared",
		TransferState(9).String():        "state_9",
		RowTombstone.String():            "tombstone",
		RowKind(0).String():              "kind_0",
		RowKind(77).String():             "kind_77",
		FactCommitted.String():           "committed",
		Fact(8).String():                 "fact_8",
		ResultUnknownHere.String():       "unknown_here",
		ResultVoid.String():              "void",
		ResultCode(9).String():           "code_9",
		CmdAllocate.String():             "allocate",
		CommandKind(0).String():          "command_0",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestParseTransferID(t *testing.T) {
	for text, want := range map[string]string{
		"01ARZ3NDEKTSV4RRFFQ69G5FAV":           "01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"01arz3ndektsv4rrffq69g5fav":           "01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"123e4567-e89b-12d3-a456-426614174000": "0J7S2PFT4V2B9T8NJ2CRA1EG00",
		"123E4567E89B12D3A456426614174000":     "0J7S2PFT4V2B9T8NJ2CRA1EG00",
	} {
		if id, err := ParseTransferID(text); err != nil || id.String() != want {
			t.Errorf("%q reads as %s, %v; want %s", text, id, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                     `not a transfer id: "": want a ULID (26 characters) or a UUID`,
		"01ARZ3NDEKTSV4RRFFQ69G5FAU!":          `not a transfer id: "01ARZ3NDEKTSV4RRFFQ69G5FAU!": want a ULID (26 characters) or a UUID`,
		"81ARZ3NDEKTSV4RRFFQ69G5FAV":           `not a transfer id: "81ARZ3NDEKTSV4RRFFQ69G5FAV" is not a ULID`,
		"01ARZ3NDEKTSV4RRFFQ69G5FAI":           `not a transfer id: "01ARZ3NDEKTSV4RRFFQ69G5FAI" is not a ULID`,
		"00000000000000000000000000":           `not a transfer id: "00000000000000000000000000" is zero`,
		"123e4567e-89b-12d3-a456-426614174000": `not a transfer id: "123e4567e-89b-12d3-a456-426614174000" is not a UUID`,
		"123e4567e89b12d3a4564266141740001234": `not a transfer id: "123e4567e89b12d3a4564266141740001234" is not a UUID`,
	} {
		if id, err := ParseTransferID(text); err == nil || err.Error() != want || !errors.Is(err, ErrBadID) {
			t.Errorf("%q reads as %s, %v; want %s", text, id, err, want)
		}
	}
	if testID(1).Compare(testID(2)) != -1 || testID(2).Compare(testID(2)) != 0 {
		t.Error("Compare")
	}
}

func FuzzParseTransferID(f *testing.F) {
	for _, s := range []string{
		"", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01arz3ndektsv4rrffq69g5fav", "00000000000000000000000000",
		"8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000",
		"--------------------------------1234", "01ARZ3NDEKTSV4RRFFQ69G5FAU!",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseTransferID(s)
		if err != nil {
			if !errors.Is(err, ErrBadID) || !id.IsZero() {
				t.Fatalf("%q: %v, %s", s, err, id)
			}
			return
		}
		if back, err := ParseTransferID(id.String()); err != nil || back != id || id.IsZero() {
			t.Fatalf("%q reads as %s, which reads as %s, %v", s, id, back, err)
		}
		if len(s) == 26 && !strings.EqualFold(s, id.String()) {
			t.Fatalf("%q reads as %s", s, id)
		}
	})
}

func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{
		"", "0", "-1", "+7", "-", "007", "1e3", "1_000", "340282366920938463463374607431768211456",
		"170141183460469231731687303715884105727", "170141183460469231731687303715884105728",
		strings.Repeat("0", 65), "١٢",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAmount(s)
		if err != nil {
			if a != (Amount{}) {
				t.Fatalf("%q: %s with %v", s, a, err)
			}
			return
		}
		want, ok := new(big.Int).SetString(s, 10)
		if !ok || a.Big().Cmp(want) != 0 || a.Cmp(MaxAmount) > 0 || a.String() != want.String() {
			t.Fatalf("%q reads as %s", s, a)
		}
	})
}

func TestAmountArithmetic(t *testing.T) {
	one := Units(1)
	low := Amount{Lo: ^uint64(0)}
	if got, ok := low.Add(one); !ok || got != (Amount{Hi: 1}) {
		t.Errorf("carry: %s %t", got, ok)
	}
	if _, ok := MaxAmount.Add(one); ok {
		t.Error("the largest amount plus one fits")
	}
	if _, ok := (Amount{Lo: 1, Hi: ^uint64(0)}).Add(Amount{Hi: 1}); ok {
		t.Error("a sum above 2^128 fits")
	}
	if got, ok := (Amount{Hi: 1}).Sub(one); !ok || got != low {
		t.Errorf("borrow: %s %t", got, ok)
	}
	if _, ok := one.Sub(Units(2)); ok {
		t.Error("1 - 2 fits")
	}
}
