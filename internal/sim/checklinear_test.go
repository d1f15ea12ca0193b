package sim

import (
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"
)

// randomHistory draws transfers of 1 and 2 and reads of sums near what they could be, all from few instants.
func randomHistory(r *rand.Rand) []porcupine.Operation {
	var ops []porcupine.Operation
	call := int64(0)
	for range 2 + r.IntN(9) {
		call += r.Int64N(3)
		in := linearOp{read: true, sums: sums{in: 3 + r.Uint64N(4), out: r.Uint64N(3)}}
		if r.IntN(3) == 0 {
			in = linearOp{sums: sums{in: 1 + r.Uint64N(2)}}
			if r.IntN(2) == 0 {
				in.sums = sums{out: 1 + r.Uint64N(2)}
			}
		}
		ops = append(ops, porcupine.Operation{Call: call, Return: call + r.Int64N(6), Input: in})
	}
	return ops
}

// TestFewerReads: a history without the reads that say nothing more has the verdict of the whole one.
func TestFewerReads(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	verdicts, dropped := map[bool]int{}, 0
	for range 3000 {
		ops := randomHistory(r)
		few := fewerReads(ops)
		want, decided := linearizable(3, ops)
		got, _ := linearizable(3, few)
		if got != want || decided != len(ops) {
			t.Fatalf("%v with all reads, %v without some:\n%v\n%v", want, got, ops, few)
		}
		verdicts[want]++
		dropped += len(ops) - len(few)
	}
	if verdicts[true] < 100 || verdicts[false] < 100 || dropped < 100 {
		t.Errorf("the histories prove little: verdicts %v, %d reads dropped", verdicts, dropped)
	}
}

// TestSearchIsBounded: a search that would try the orders of 24 transfers ends and says so; what a beginning of the history shows is still found.
func TestSearchIsBounded(t *testing.T) {
	hard := func(first uint64) []porcupine.Operation {
		ops := []porcupine.Operation{{Call: 0, Return: 1, Input: linearOp{read: true, sums: sums{in: first}}}}
		for i := range 24 {
			ops = append(ops, porcupine.Operation{Call: 2, Return: 100, Input: linearOp{sums: sums{in: 1 << i}}})
		}
		return append(ops, porcupine.Operation{Call: 101, Return: 102, Input: linearOp{read: true, sums: sums{in: 1}}})
	}
	if ok, decided := linearizable(3, hard(3)); !ok || decided == 0 || decided >= 26 {
		t.Errorf("a history that cannot be decided as a whole: %v, %d operations of 26 decided", ok, decided)
	}
	if ok, decided := linearizable(3, hard(4)); ok || decided != 26 {
		t.Errorf("a history whose first read is wrong: %v, %d operations of 26 decided", ok, decided)
	}
}
