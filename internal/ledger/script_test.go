package ledger

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"raftbank/internal/shard"
)

// TestScripts runs the protocol's stories in testdata/scripts, one command per entry:
//
//	open shard=1 balance=10
//	transfer|prepare id=1 debit=1 credit=2 amount=3 [code=1] [settled]
//	finish id=1 commit|abort [facts=(2:yes,3:aborted)] [epochs=(4,5)] [code=1]
//	poison id=1 [code=1]
//	cancel id=1
//	allocate | barrier number=1 | void number=1 | release number=1
//	audit number=1
//	account id=1
//	lookup id=1
//	rows
//	prepared
//
// finish and poison name the content that the script last sent under the id, with the given code.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{records: map[uint64]Record{}}
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	m       *machine
	records map[uint64]Record
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	var id, number, balance uint64
	d.MaybeScanArgs(t, "id", &id)
	switch d.Cmd {
	case "open":
		d.ScanArgs(t, "shard", &number)
		d.ScanArgs(t, "balance", &balance)
		s.m = open(shard.ID(number), balance)
		g, _ := s.m.Account(s.m.Shard().Equity())
		return fmt.Sprintf("%s opened: users %s, equity %s\n", s.m.Shard(), s.m.Total(), g.Balance())
	case "genesis":
		return show(s.m.do(Command{Kind: CmdGenesis, Genesis: testGenesis(s.m.Shard(), 1000)}))
	case "transfer", "prepare":
		return s.submit(t, d, id)
	case "finish":
		return s.finish(t, d, s.content(t, d, id))
	case "poison":
		return show(s.m.poison(s.content(t, d, id), ReasonTimedOut))
	case "cancel":
		return show(s.m.cancel(testID(id)))
	case "allocate", "barrier", "void", "release":
		kinds := map[string]CommandKind{"allocate": CmdAllocate, "barrier": CmdBarrier, "void": CmdVoid, "release": CmdRelease}
		d.MaybeScanArgs(t, "number", &number)
		return show(s.m.do(Command{Kind: kinds[d.Cmd], Numbers: []uint32{uint32(number)}}))
	case "audit":
		d.ScanArgs(t, "number", &number)
		return s.audit(uint32(number))
	case "account":
		a, ok := s.m.Account(shard.Account(id))
		if !ok {
			return "no such account\n"
		}
		return fmt.Sprintf("balance %s, spendable %s, pending out %s, pending in %s, held by %s\n",
			a.Balance(), a.Spendable(), a.DebitsPending, a.CreditsPending, numbers(s.m.PreparedOn(shard.Account(id))))
	case "lookup":
		o, ok := s.m.Lookup(testID(id))
		if !ok {
			return "none\n"
		}
		return fmt.Sprintf("%s, reason %s, wildcard %t, record %t, epochs %d %d, rows %d %d\n",
			o.State, o.Reason, o.Wildcard, o.HasRecord, o.VoteEpoch, o.CommitEpoch, o.VotePos, o.FinalPos)
	case "rows":
		return s.rows()
	case "prepared":
		return numbers(s.m.Prepared()) + "\n"
	}
	t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
	return ""
}

func (s *script) audit(number uint32) string {
	out := fmt.Sprintf("epoch %d, withholding %d", s.m.Epoch(), s.m.Withholding())
	n, ok := s.m.Snapshot(number)
	if !ok {
		return out + "; no cut\n"
	}
	return out + fmt.Sprintf("; cut at index %d after %d rows: posted %s, in %s, out %s, unfinished %d, total %s; still prepared: %s\n",
		n.Cut.Index, n.Cut.Rows, n.Posted, n.In, n.Out, n.Unfinished, n.Total(), numbers(s.m.PreparedBefore(number)))
}

func (s *script) submit(t *testing.T, d *datadriven.TestData, id uint64) string {
	var debit, credit, code uint64
	var amount string
	d.ScanArgs(t, "debit", &debit)
	d.ScanArgs(t, "credit", &credit)
	d.ScanArgs(t, "amount", &amount)
	d.MaybeScanArgs(t, "code", &code)
	r := testRecord(id, shard.Account(debit), shard.Account(credit), 0)
	r.Code = uint16(code)
	if amount == "max" {
		r.Amount = MaxAmount
	} else if a, err := ParseAmount(amount); err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	} else {
		r.Amount = a
	}
	s.records[id] = r
	c := Command{Kind: CmdTransfer, Settled: d.HasArg("settled"), Records: []Record{r}}
	if d.Cmd == "prepare" {
		c.Kind, c.Digests = CmdPrepare, []Digest{DigestOf(r)}
	}
	return show(s.m.do(c))
}

func (s *script) content(t *testing.T, d *datadriven.TestData, id uint64) Record {
	r, ok := s.records[id]
	if !ok {
		r = testRecord(id, 1, 11, 1)
	}
	var code uint64
	d.MaybeScanArgs(t, "code", &code)
	r.Code = uint16(code)
	return r
}

func (s *script) finish(t *testing.T, d *datadriven.TestData, r Record) string {
	var facts []ShardFact
	for _, arg := range d.CmdArgs {
		for i, val := range arg.Vals {
			switch arg.Key {
			case "facts":
				number, word, _ := strings.Cut(val, ":")
				var f ShardFact
				fmt.Sscan(number, &f.Shard)
				for k := FactNone; k <= FactCommitted; k++ {
					if k.String() == word {
						f.Fact = k
					}
				}
				facts = append(facts, f)
			case "epochs":
				fmt.Sscan(val, &facts[i].Epoch)
			}
		}
	}
	return show(s.m.finish(r, d.HasArg("commit"), facts...))
}

func (s *script) rows() string {
	var b strings.Builder
	for _, r := range s.m.Rows(0, int(s.m.RowCount())) {
		fmt.Fprintf(&b, "%d: index %d, %s, id %s, %d -> %d, %s: %s", r.Position, r.Index, r.Kind,
			number(r.Record.ID), r.Record.Debit, r.Record.Credit, r.Record.Amount, r.State)
		if r.Reason != ReasonNone {
			fmt.Fprintf(&b, " (%s)", r.Reason)
		}
		if r.Prev != 0 {
			fmt.Fprintf(&b, ", after row %d", r.Prev-1)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func show(r Result) string {
	if r.Code != ResultState {
		out := r.Code.String()
		if r.Reason != ReasonNone {
			out += fmt.Sprintf(": %s", r.Reason)
		}
		if r.Account != 0 {
			out += fmt.Sprintf(", account %d can spend %s", r.Account, r.Available)
		}
		if r.Epoch != 0 {
			out += fmt.Sprintf(" %d", r.Epoch)
		}
		return out + "\n"
	}
	out := fmt.Sprintf("%s at index %d", r.State, r.Index)
	if r.State == Aborted {
		out += fmt.Sprintf(": %s", r.Reason)
	}
	if r.Account != 0 {
		out += fmt.Sprintf(", account %d can spend %s", r.Account, r.Available)
	}
	if r.Epoch != 0 {
		out += fmt.Sprintf(", epoch %d", r.Epoch)
	}
	return out + "\n"
}

// number is the inverse of testID.
func number(id TransferID) string {
	n := uint64(0)
	for _, b := range id[8:] {
		n = n<<8 | uint64(b)
	}
	return fmt.Sprint(n)
}

func numbers(ids []TransferID) string {
	if len(ids) == 0 {
		return "none"
	}
	out := make([]string, len(ids))
	for i := range ids {
		out[i] = number(ids[i])
	}
	return strings.Join(out, " ")
}
