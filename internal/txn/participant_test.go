package txn

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// preparedLedger is a shard with n prepared transfers between shards 1 and 2.
type preparedLedger int

func (n preparedLedger) Prepared() []ledger.TransferID {
	ids := make([]ledger.TransferID, n)
	for i := range ids {
		binary.BigEndian.PutUint64(ids[i][:], uint64(i+1))
	}
	return ids
}

func (preparedLedger) Lookup(id ledger.TransferID) (ledger.Outcome, bool) {
	return ledger.Outcome{State: ledger.Prepared, HasRecord: true, Record: ledger.Record{ID: id}, Digest: ledger.Digest{1}}, true
}

func (preparedLedger) Participants(*ledger.Record) ([]shard.ID, bool) { return []shard.ID{1, 2}, true }

func leaderOf(n int) *Participant {
	return NewParticipant(ParticipantOptions{Shard: 1, Term: 1, Keys: ring(), State: preparedLedger(n), Timing: DefaultTiming})
}

// TestAsksAreSpread takes over more prepared transfers than one tick asks about: each is asked about once
// before any is asked about again, and after t2 with poison.
func TestAsksAreSpread(t *testing.T) {
	const n = 3*maxAskPerTick + 10
	p := leaderOf(n)
	asked := map[ledger.TransferID]int{}
	poisoned := 0
	for p.now < DefaultTiming.InquireTicks+4 {
		p.Tick()
		items := 0
		for _, a := range p.Take().Asks {
			if len(a.Items) > maxAsk {
				t.Fatalf("an inquiry of %d items", len(a.Items))
			}
			for i := range a.Items {
				asked[a.Items[i].ID]++
			}
			items += len(a.Items)
		}
		if items > maxAskPerTick {
			t.Fatalf("tick %d asks about %d transfers", p.now, items)
		}
	}
	if len(asked) != n {
		t.Fatalf("asked about %d of %d transfers", len(asked), n)
	}
	for id, times := range asked {
		if times != 1 {
			t.Fatalf("asked %d times about %s", times, id)
		}
	}
	for p.now < DefaultTiming.PoisonTicks+2*DefaultTiming.InquireTicks {
		p.Tick()
		for _, a := range p.Take().Asks {
			if a.Poison {
				poisoned += len(a.Items)
			}
		}
	}
	if poisoned < n {
		t.Errorf("asked with poison about %d of %d", poisoned, n)
	}
}

// TestWithdrawnFinishIsProposedAgain checks that a FINISH that raft did not take comes with the next tick.
func TestWithdrawnFinishIsProposedAgain(t *testing.T) {
	p := leaderOf(1)
	id := preparedLedger(1).Prepared()[0]
	p.Facts([]Block{ring().Sign(2, []Vote{{ID: id, Digest: ledger.Digest{1}, Fact: ledger.FactYes}})})
	if n := len(p.Take().Finishes); n != 1 {
		t.Fatalf("%d FINISHes, want 1", n)
	}
	p.Withdrawn(id)
	p.Tick()
	if n := len(p.Take().Finishes); n != 1 {
		t.Errorf("%d FINISHes after one was not taken, want 1", n)
	}
}

// TestReaskedAtOnce checks that what a server that does not lead was asked is asked again with the next tick.
func TestReaskedAtOnce(t *testing.T) {
	p := leaderOf(1)
	var first []Ask
	for len(first) == 0 {
		p.Tick()
		first = p.Take().Asks
	}
	p.Reask(first[0].Seq)
	p.Tick()
	if n := len(p.Take().Asks); n != 1 {
		t.Errorf("%d inquiries, want 1", n)
	}
}

// BenchmarkSilentPeers reports the time per tick, on average and at most, of a leader that takes over n prepared
// transfers and asks about them for 10 s without an answer.
func BenchmarkSilentPeers(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			const ticks = 200
			var longest time.Duration
			for range b.N {
				b.StopTimer()
				p := leaderOf(n)
				b.StartTimer()
				for range ticks {
					began := b.Elapsed()
					p.Tick()
					p.Take()
					longest = max(longest, b.Elapsed()-began)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/ticks, "us/tick")
			b.ReportMetric(float64(longest.Microseconds()), "us/tick-at-most")
		})
	}
}
