package txn

import (
	"encoding/binary"
	"fmt"
	"reflect"
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

// Lookup has the vote of the n-th id in row n.
func (preparedLedger) Lookup(id ledger.TransferID) (ledger.Outcome, bool) {
	return ledger.Outcome{
		State: ledger.Prepared, HasRecord: true, Record: ledger.Record{ID: id}, Digest: ledger.Digest{1},
		VotePos: binary.BigEndian.Uint64(id[:]),
	}, true
}

func (n preparedLedger) VoteAt(position uint64) (id ledger.TransferID, ok bool) {
	binary.BigEndian.PutUint64(id[:], position)
	return id, position > 0 && position <= uint64(n)
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
	p := leaderOf(3)
	p.Facts([]Block{votesOf(2, ledger.FactAborted, 0, 1), votesOf(2, ledger.FactYes, 0, 2, 3)})
	wantFinishes := func() {
		t.Helper()
		e := p.Take()
		if len(e.Finishes) != 1 || len(e.Votes) != 1 || e.Votes[0].First != 2 || e.Votes[0].Count != 2 {
			t.Fatalf("aborts %+v, commits %+v", e.Finishes, e.Votes)
		}
	}
	wantFinishes()
	p.Tick()
	if p.HasEffects() {
		t.Fatal("what is on its way is proposed again")
	}
	p.Withdrawn(preparedLedger(3).Prepared()[0])
	p.WithdrawnVotes(&ledger.FinishVotes{First: 2, Count: 2})
	p.Tick()
	wantFinishes()
}

// votesOf is a block in which a shard says the same of the transfers of some rows.
func votesOf(from shard.ID, fact ledger.Fact, epoch uint32, rows ...uint64) Block {
	var votes []Vote
	for _, n := range rows {
		id, _ := preparedLedger(n).VoteAt(n)
		votes = append(votes, Vote{ID: id, Digest: ledger.Digest{1}, Fact: fact, Epoch: epoch})
	}
	return ring().Sign(from, votes)
}

// TestCommitsOfVotesTogether checks which commits are proposed together: votes that follow each other, with the same facts.
func TestCommitsOfVotesTogether(t *testing.T) {
	p := leaderOf(3 * ledger.MaxVotes)
	p.Facts([]Block{votesOf(2, ledger.FactYes, 0, 1, 2, 3, 5, 4), votesOf(2, ledger.FactYes, 7, 6, 7), votesOf(2, ledger.FactCommitted, 7, 8)})
	yes := func(epoch uint32) []ledger.ShardFact {
		return []ledger.ShardFact{{Shard: 2, Fact: ledger.FactYes, Epoch: epoch}}
	}
	want := []ledger.FinishVotes{
		{First: 1, Count: 3, Facts: yes(0)}, {First: 5, Count: 1, Facts: yes(0)}, {First: 4, Count: 1, Facts: yes(0)},
		{First: 6, Count: 2, Facts: yes(7)}, {First: 8, Count: 1, Facts: []ledger.ShardFact{{Shard: 2, Fact: ledger.FactCommitted, Epoch: 7}}},
	}
	if e := p.Take(); !reflect.DeepEqual(e.Votes, want) || len(e.Finishes) > 0 {
		t.Fatalf("proposes %+v and %+v, want %+v", e.Votes, e.Finishes, want)
	}
	var rows []uint64
	for n := range uint64(2*ledger.MaxVotes + 1) {
		rows = append(rows, n+9)
	}
	p.Facts([]Block{votesOf(2, ledger.FactYes, 0, rows...)})
	e := p.Take()
	if len(e.Votes) != 3 || e.Votes[0].Count != ledger.MaxVotes || e.Votes[1].First != 9+ledger.MaxVotes || e.Votes[2].Count != 1 {
		t.Errorf("of %d votes it makes %+v", len(rows), e.Votes)
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
