package linear

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"raftbank/internal/ledger"
)

func units(in, out uint64) Sums { return Sums{In: ledger.Units(in), Out: ledger.Units(out)} }

func read(call, ret int64, in, out uint64) Op {
	return Op{Client: 1, Call: call, Return: ret, Read: true, Sums: units(in, out)}
}

func credit(call, ret int64, n uint64) Op {
	return Op{Client: 2, Name: fmt.Sprintf("c%d", call), Call: call, Return: ret, Sums: units(n, 0)}
}

func debit(call, ret int64, n uint64) Op {
	return Op{Client: 3, Name: fmt.Sprintf("d%d", call), Call: call, Return: ret, Sums: units(0, n)}
}

func open(op Op) Op {
	op.Open, op.Return = true, Never
	return op
}

// TestCheck has histories of an account that opened with 10, good and bad.
func TestCheck(t *testing.T) {
	tests := []struct {
		name string
		ops  []Op
		want Result
		// evidence is a part of what is said of the first read of a violation; "none": no read is needed.
		evidence string
	}{
		{"nothing", nil, Holds, ""},
		{"one after the other", []Op{read(1, 2, 10, 0), credit(3, 4, 5), read(5, 6, 15, 0), debit(7, 8, 15), read(9, 9, 15, 15)}, Holds, ""},
		{"a read during a transfer sees it", []Op{credit(1, 9, 5), read(2, 3, 15, 0)}, Holds, ""},
		{"or does not", []Op{credit(1, 9, 5), read(2, 3, 10, 0)}, Holds, ""},
		{"equal times are concurrent", []Op{credit(1, 3, 5), read(3, 4, 10, 0)}, Holds, ""},
		{"two transfers seen one by one", []Op{credit(1, 9, 5), debit(1, 9, 3), read(2, 3, 10, 3), read(4, 5, 15, 3)}, Holds, ""},
		{"unknown and seen", []Op{open(credit(1, 2, 5)), read(3, 4, 15, 0)}, Holds, ""},
		{"unknown and never seen", []Op{open(credit(1, 2, 5)), read(3, 4, 10, 0), read(90, 91, 10, 0)}, Holds, ""},
		{"unknown and seen late", []Op{open(credit(1, 2, 5)), read(3, 4, 10, 0), read(90, 91, 15, 0)}, Holds, ""},
		{"paid out of what comes in at the same time", []Op{credit(1, 9, 5), debit(2, 8, 15)}, Holds, ""},

		{"stale read", []Op{credit(1, 2, 5), read(3, 4, 10, 0)}, Violated, "but in 15 out 0 had been acknowledged"},
		{"lost transfer", []Op{debit(1, 2, 4), read(3, 4, 10, 4), read(50, 60, 10, 0)}, Violated, "saw in 10 out 0"},
		{"applied twice", []Op{credit(1, 2, 5), read(3, 4, 20, 0)}, Violated, "no more than in 15 out 0"},
		{"refused and applied all the same", []Op{read(3, 4, 10, 3)}, Violated, "no more than in 10 out 0"},
		{"seen before it was submitted", []Op{read(1, 2, 15, 0), credit(3, 4, 5)}, Violated, "no more than in 10 out 0"},
		{"wrong amount", []Op{credit(1, 2, 5), read(3, 4, 14, 0)}, Violated, "but in 15 out 0"},
		{"overdraft", []Op{debit(1, 2, 6), debit(3, 4, 5)}, Violated, "none"},
		{"paid out of what comes in later", []Op{debit(1, 2, 11), credit(3, 4, 5)}, Violated, "none"},
		{"reads that go back", []Op{open(credit(1, 2, 5)), read(3, 4, 15, 0), read(5, 6, 10, 0)}, Violated, "alone it could be from in 10 out 0 to in 15 out 0"},
		{"two readers see two orders", []Op{open(credit(1, 2, 5)), open(debit(1, 2, 3)), read(3, 9, 15, 0), read(3, 9, 10, 3)}, Violated, "alone it could be"},
		{"half of a transfer", []Op{credit(1, 9, 5), read(2, 3, 12, 0)}, Violated, "alone it could be"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := History{Account: 7, Opening: units(10, 0), Ops: test.ops}.Check()
			if v.Result != test.want {
				t.Fatalf("result %d, want %d", v.Result, test.want)
			}
			switch {
			case test.evidence == "none":
				if len(v.Evidence) != 0 || len(v.Excerpt()) == 0 {
					t.Errorf("evidence %v, excerpt %v", v.Evidence, v.Excerpt())
				}
			case test.evidence != "":
				if len(v.Evidence) == 0 || !strings.Contains(v.Evidence[0].String(), test.evidence) {
					t.Errorf("evidence %v, want %q", v.Evidence, test.evidence)
				}
			case len(v.Evidence) > 0:
				t.Errorf("evidence %v of no violation", v.Evidence)
			}
		})
	}
}

// TestOverdraft names the debit that nothing can have paid for.
func TestOverdraft(t *testing.T) {
	h := History{Opening: units(10, 0), Ops: []Op{debit(1, 2, 6), credit(3, 9, 1), debit(4, 8, 5), debit(5, 12, 4), credit(20, 21, 50)}}
	d, acknowledged, submitted, ok := h.Overdraft()
	if !ok || d.Name != "d5" || acknowledged != units(10, 15) || submitted != units(11, 0) {
		t.Errorf("%v: %v, %v, %v", ok, d, acknowledged, submitted)
	}
	if v := h.Check(); v.Result != Violated || len(v.Evidence) != 0 || len(v.Excerpt()) != 4 {
		t.Errorf("result %d, evidence %v, excerpt %v", v.Result, v.Evidence, v.Excerpt())
	}
	h.Ops = h.Ops[:3]
	if _, _, _, ok := h.Overdraft(); ok || h.Check().Result != Holds {
		t.Error("an account that was just emptied counts as overdrawn")
	}
}

// TestEvidenceIsSmall hides two contradicting reads among many good ones.
func TestEvidenceIsSmall(t *testing.T) {
	h := History{Account: 7, Opening: units(10, 0)}
	h.Ops = append(h.Ops, open(credit(1, 2, 5)))
	for i := range int64(100) {
		h.Ops = append(h.Ops, credit(10+20*i, 13+20*i, 2), read(14+20*i, 15+20*i, uint64(12+2*i), 0))
	}
	h.Ops = append(h.Ops, read(1011, 1012, 10+2*51+5, 0)) // sees the open one, and the transfer under way
	v := h.Check()
	if v.Result != Violated || len(v.Evidence) != 2 {
		t.Fatalf("result %d, evidence %v", v.Result, v.Evidence)
	}
	if v.Evidence[0].Read.Call != 1011 {
		t.Errorf("the first read of the evidence began at %d", v.Evidence[0].Read.Call)
	}
	if x := v.Excerpt(); len(x) > 2+nearby || len(x) < 3 {
		t.Errorf("excerpt of %d operations", len(x))
	}
}

// TestRandomHistories executes transfers and reads at instants inside their intervals: such histories hold, within
// all bounds. Then one read is changed by one unit: that never holds, unless it was left out.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		n := rapid.IntRange(1, 600).Draw(t, "operations")
		h := randomHistory(rand.New(rand.NewPCG(seed, 1)), n, rapid.IntRange(1, 12).Draw(t, "at once"))
		v := h.Check()
		if v.Result != Holds {
			t.Fatalf("a history that was executed: result %d", v.Result)
		}
		if len(v.Ops) > MaxOps || len(v.Ops)+v.Left != n {
			t.Fatalf("%d operations searched, %d left out of %d", len(v.Ops), v.Left, n)
		}
		for i, op := range v.Ops {
			if !op.Read {
				continue
			}
			bad := v.History
			bad.Ops = append([]Op(nil), v.Ops...)
			// Nobody ever moves an odd amount.
			bad.Ops[i].In, _ = op.In.Add(ledger.Units(1))
			if r := bad.Check(); r.Result != Violated || len(r.Evidence) != 1 {
				t.Fatalf("a read of an odd sum: result %d, evidence %v", r.Result, r.Evidence)
			}
			break
		}
	})
}

// randomHistory draws operations with instants, executes them in that order, and lists them by their beginning.
func randomHistory(r *rand.Rand, n, atOnce int) History {
	h := History{Account: 7, Opening: units(1_000_000, 0)}
	state := h.Opening
	for i := range int64(n) {
		at := 100 * (i + 1)
		width := 100 * r.Int64N(int64(atOnce))
		op := Op{Client: int(i) % 8, Call: at - r.Int64N(width+1), Return: at + r.Int64N(width+1)}
		op.Call = max(op.Call, 0)
		switch r.IntN(3) {
		case 0:
			op.Read, op.Sums = true, state
		case 1:
			op.Sums = units(2*uint64(r.IntN(5)+1), 0)
		default:
			op.Sums = units(0, 2*uint64(r.IntN(5)+1))
		}
		if !op.Read {
			if state, _ = state.plus(op.Sums); r.IntN(100) == 0 {
				op.Open, op.Return = true, Never
			}
		}
		h.Ops = append(h.Ops, op)
	}
	return h
}

const kept = `{"kind":"opening","round":1,"account":"5","in":"10","out":"0","call_us":0,"return_us":0}
{"kind":"opening","round":1,"account":"1005","in":"10","out":"0","call_us":0,"return_us":0}
{"kind":"transfer","round":1,"client":1,"id":"A","from":"5","to":"1005","amount":"4","outcome":"committed","call_us":10,"return_us":20}
{"kind":"transfer","round":1,"client":1,"id":"B","from":"5","to":"1005","amount":"3","outcome":"unknown","call_us":30,"return_us":40}
{"kind":"transfer","round":1,"client":1,"id":"C","from":"1005","to":"5","amount":"99","outcome":"aborted","reason":"insufficient_funds","call_us":41,"return_us":45}
{"kind":"transfer","round":1,"client":1,"id":"D","from":"5","to":"1005","amount":"1","outcome":"unknown","call_us":46,"return_us":47}
{"kind":"read","round":1,"client":1,"account":"5","in":"10","out":"7","server":2,"term":1,"applied":9,"call_us":50,"return_us":60}
{"kind":"settled","round":1,"id":"D","outcome":"unknown","call_us":70,"return_us":75}
{"kind":"settled","round":1,"id":"B","outcome":"committed","call_us":70,"return_us":80}
{"kind":"settled","round":1,"id":"D","outcome":"not_found","call_us":90,"return_us":95}
{"kind":"read","round":1,"client":2,"account":"1005","in":"17","out":"0","server":4,"term":1,"applied":9,"call_us":81,"return_us":90}
`

func TestKeptHistory(t *testing.T) {
	events, err := ReadEvents(strings.NewReader(kept))
	if err != nil {
		t.Fatal(err)
	}
	histories, err := Collect(events)
	if err != nil || len(histories) != 2 {
		t.Fatalf("%d histories, %v", len(histories), err)
	}
	for i, want := range []string{"out 4 (A); out 3 (B); read: in 10 out 7", "in 4 (A); in 3 (B); read: in 17 out 0"} {
		v := histories[i].Check()
		var texts []string
		for _, op := range v.Ops {
			texts = append(texts, op.String())
		}
		if got := strings.Join(texts, "; "); got != want || v.Result != Holds {
			t.Errorf("account %s: %s, result %d; want %s", v.Account, got, v.Result, want)
		}
	}
	var again bytes.Buffer
	if err := WriteEvents(&again, events); err != nil || again.String() != kept {
		t.Errorf("written again (%v):\n%s", err, again.String())
	}
	if text, err := Sessions(events); text != "" || err != nil {
		t.Errorf("sessions: %q, %v", text, err)
	}
}

func TestSettledTransfersEndWhenTheyAreSettled(t *testing.T) {
	// Settled as committed at 80: a read that begins later must see it.
	bad := strings.Replace(kept, `"in":"17","out":"0"`, `"in":"14","out":"0"`, 1)
	events, err := ReadEvents(strings.NewReader(bad))
	if err != nil {
		t.Fatal(err)
	}
	histories, err := Collect(events)
	if err != nil {
		t.Fatal(err)
	}
	if v := histories[1].Check(); v.Result != Violated {
		t.Errorf("result %d", v.Result)
	}
	// Found nowhere: nobody can have seen it.
	bad = strings.Replace(kept, `"in":"10","out":"7"`, `"in":"10","out":"8"`, 1)
	if events, err = ReadEvents(strings.NewReader(bad)); err != nil {
		t.Fatal(err)
	}
	if histories, err = Collect(events); err != nil {
		t.Fatal(err)
	}
	if v := histories[0].Check(); v.Result != Violated {
		t.Errorf("result %d", v.Result)
	}
}

func TestSessionsCanFail(t *testing.T) {
	const opening = `{"kind":"opening","round":1,"account":"5","in":"10","out":"0"}` + "\n"
	tests := []struct{ name, lines, want string }{
		{"goes back", `{"kind":"read","round":1,"client":1,"account":"5","in":"15","out":"0","call_us":1,"return_us":2}
{"kind":"read","round":1,"client":1,"account":"5","in":"10","out":"0","call_us":3,"return_us":4}`, "after it had read in 15 out 0"},
		{"another client may see less meanwhile", `{"kind":"read","round":1,"client":1,"account":"5","in":"15","out":"0","call_us":1,"return_us":2}
{"kind":"read","round":1,"client":2,"account":"5","in":"10","out":"0","call_us":3,"return_us":4}`, ""},
		{"own write missed", `{"kind":"transfer","round":1,"client":1,"id":"A","from":"5","to":"6","amount":"4","outcome":"committed","call_us":1,"return_us":2}
{"kind":"read","round":1,"client":1,"account":"5","in":"10","out":"0","call_us":3,"return_us":4}`, "its own committed transfers alone make in 10 out 4"},
		{"below the opening", `{"kind":"read","round":1,"client":1,"account":"5","in":"9","out":"0","call_us":3,"return_us":4}`, "in 10 out 0"},
	}
	for _, test := range tests {
		events, err := ReadEvents(strings.NewReader(opening + test.lines))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Sessions(events)
		if err != nil || (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}

func TestBadHistoriesAreRefused(t *testing.T) {
	const opening = `{"kind":"opening","round":1,"account":"5","in":"10","out":"0"}` + "\n"
	for _, test := range []struct{ name, text, want string }{
		{"no JSON", "hello", "line 1"},
		{"two values", opening + `{"kind":"foreign"} {}`, "line 2: more than one"},
		{"unknown field", `{"kindd":"read"}`, "kindd"},
		{"unasked why", opening + `{"kind":"unasked","round":1,"account":"5"}`, "event 2: unasked, without a reason"},
		{"unknown kind", `{"kind":"dance"}`, `event 1: kind "dance"`},
		{"opens twice", opening + opening, "event 2: account 5 opens twice"},
		{"read without opening", `{"kind":"read","round":1,"account":"5","in":"1","out":"0"}`, "no opening"},
		{"ends before it begins", opening + `{"kind":"read","round":1,"account":"5","in":"1","out":"0","call_us":5,"return_us":4}`, "times 5 and 4"},
		{"no account", `{"kind":"opening","round":1,"account":"x","in":"1","out":"0"}`, `account "x"`},
		{"no amount", opening + `{"kind":"transfer","round":1,"from":"5","to":"6","amount":"-1","outcome":"committed"}`, "negative"},
		{"no outcome", opening + `{"kind":"transfer","round":1,"from":"5","to":"6","amount":"1","outcome":"perhaps"}`, `outcome "perhaps"`},
	} {
		events, err := ReadEvents(strings.NewReader(test.text))
		if err == nil {
			_, err = Collect(events)
		}
		if !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestVisualize(t *testing.T) {
	var page bytes.Buffer
	h := History{Account: 7, Opening: units(10, 0), Ops: []Op{open(credit(1, 2, 5)), read(3, 4, 11, 0)}}
	if err := h.Visualize(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<html", "in 5 (c1)", "read: in 11 out 0"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// FuzzReadEvents feeds the reader of kept histories with anything.
func FuzzReadEvents(f *testing.F) {
	f.Add([]byte(kept))
	f.Add([]byte(`{"kind":"opening","round":1,"account":"5","in":"340282366920938463463374607431768211456","out":"0"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		events, err := ReadEvents(bytes.NewReader(text))
		if err != nil {
			return
		}
		histories, err := Collect(events)
		if err != nil {
			return
		}
		for _, h := range histories {
			if n := len(h.Cut().Ops); n > MaxOps {
				t.Fatalf("%d operations after the cut", n)
			}
		}
	})
}
