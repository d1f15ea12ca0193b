package txn

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

func coordinatorRecord() ledger.Record {
	return ledger.Record{
		ID: ledger.TransferID{1}, Debit: 1, Credit: 1001, Amount: ledger.Units(5), Currency: ledger.DefaultCurrency,
	}
}

// answerOf builds what a shard says: yes, no, committed, none, conflict, bare-no (without a
// certificate), other-content or bystander (certificates that must not count).
func answerOf(c *Coordinator, s shard.ID, what string) *Answer {
	v := Vote{ID: c.Record().ID, Digest: c.Digest()}
	b := &Block{Shard: s}
	a := &Answer{Vote: &v, Block: b}
	switch what {
	case "yes":
		a.State, v.Fact = ledger.Prepared, ledger.FactYes
	case "committed":
		a.State, v.Fact = ledger.Committed, ledger.FactCommitted
	case "no":
		a.State, a.Reason = ledger.Aborted, ledger.ReasonInsufficientFunds
		a.Account, a.Available = 1, ledger.Units(3)
		v.Fact, v.Reason = ledger.FactAborted, a.Reason
	case "bare-no":
		return &Answer{State: ledger.Aborted, Reason: ledger.ReasonCancelled}
	case "conflict":
		a.Code, v.Fact, v.Reason = ledger.ResultConflict, ledger.FactAborted, ledger.ReasonIDConflict
	case "bare-yes":
		return &Answer{State: ledger.Prepared}
	case "bare-committed":
		return &Answer{State: ledger.Committed}
	case "other-content":
		a.State, v.Fact, v.Digest = ledger.Prepared, ledger.FactYes, ledger.Digest{9}
	case "bystander":
		a.State, v.Fact, b.Shard = ledger.Aborted, ledger.FactAborted, 3
	case "none":
		return &Answer{State: ledger.None}
	default:
		panic("unknown answer " + what)
	}
	b.Votes = []Vote{v}
	return a
}

func showActions(actions []Action) string {
	var b strings.Builder
	names := map[ActionKind]string{
		ActTransfer: "TRANSFER", ActPrepare: "PREPARE", ActInquire: "INQUIRE(poison)", ActFinish: "FINISH", ActDone: "done",
	}
	for _, a := range actions {
		b.WriteString(names[a.Kind])
		if a.Shard != 0 {
			fmt.Fprintf(&b, " -> %s", a.Shard)
		}
		for _, k := range a.Blocks {
			fmt.Fprintf(&b, " %s:%s", k.Shard, k.Votes[0].Fact)
		}
		if a.Kind == ActInquire {
			fmt.Fprintf(&b, " %s", a.Reason)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestCoordinator runs testdata/coordinator.txt: new [intra|recovery], then sent, refused, expire,
// giveup and "C1 yes" (what a shard says), one a line.
func TestCoordinator(t *testing.T) {
	if _, err := os.Stat("testdata/coordinator.txt"); err != nil {
		t.Fatal(err)
	}
	datadriven.RunTest(t, "testdata/coordinator.txt", func(t *testing.T, d *datadriven.TestData) string {
		parts := []shard.ID{1, 2}
		if d.HasArg("intra") {
			parts = parts[:1]
		}
		c := NewCoordinator(coordinatorRecord(), parts)
		if d.HasArg("recovery") {
			c = NewRecovery(coordinatorRecord(), parts, ledger.ReasonCancelled)
		}
		out := showActions(c.Start(nil))
		for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
			f := strings.Fields(line)
			switch {
			case len(f) == 0:
			case f[0] == "sent":
				c.Sent()
			case f[0] == "refused":
				c.Refused()
			case f[0] == "expire":
				out += showActions(c.Expire(nil))
			case f[0] == "giveup":
				out += showActions(c.GiveUp(nil))
			default:
				s := shard.ID(f[0][1] - '0')
				out += showActions(c.OnAnswer(nil, s, answerOf(c, s, f[1])))
			}
		}
		decision, reason := c.Decision()
		return out + fmt.Sprintf("%s %s\n", decision, reason)
	})
}

// TestCoordinatorAnyOrder: whatever arrives in whatever order, the decision never changes, and
// success needs a certified YES of every participant or a certified COMMITTED of one.
func TestCoordinatorAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := NewCoordinator(coordinatorRecord(), []shard.ID{1, 2})
		c.Start(nil)
		c.Sent()
		yes := map[shard.ID]bool{}
		committed := false
		first := Undecided
		for range rapid.IntRange(1, 12).Draw(rt, "answers") {
			s := shard.ID(rapid.IntRange(1, 3).Draw(rt, "shard"))
			what := rapid.SampledFrom([]string{
				"yes", "yes", "no", "committed", "none", "bare-yes", "bare-committed", "bare-no", "other-content",
				"bystander", "conflict", "expire",
			}).Draw(rt, "what")
			before, _ := c.Decision()
			switch {
			case what == "expire":
				c.Expire(nil)
			default:
				c.OnAnswer(nil, s, answerOf(c, s, what))
			}
			if before == Undecided && s <= 2 {
				yes[s] = yes[s] || what == "yes"
				committed = committed || what == "committed"
			}
			d, _ := c.Decision()
			if first == Undecided {
				first = d
			}
			if d != first {
				rt.Fatalf("the decision changed from %s to %s", first, d)
			}
			if d == DecidedCommitted && !committed && !(yes[1] && yes[2]) {
				rt.Fatalf("success without every YES: %v", yes)
			}
			if d == DecidedUnavailable {
				rt.Fatal("unavailable although a copy had left")
			}
		}
	})
}
