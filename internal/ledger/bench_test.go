package ledger

import (
	"testing"

	"raftbank/internal/shard"
)

// benchBatch is how many transfers an entry of the benchmarks holds.
const benchBatch = 1000

func benchState(b *testing.B) *State {
	m, err := shard.NewMap(1, []shard.Assignment{
		{Shard: 1, Range: shard.Range{First: 1, Last: 1000}},
		{Shard: 2, Range: shard.Range{First: 1001, Last: 2000}},
	})
	if err != nil {
		b.Fatal(err)
	}
	s := New(1)
	s.Apply(1, 1, &Entry{Commands: []Command{{Kind: CmdGenesis, Genesis: &Genesis{Shard: 1, Map: m, OpeningBalance: 1 << 40}}}})
	return s
}

// benchIDs gives ids as ULIDs are: time-ordered in front, random behind.
func benchID(n uint64) TransferID {
	id := testID(n * 0x9e3779b97f4a7c15)
	id[0], id[1], id[2], id[3] = byte(n>>36), byte(n>>28), byte(n>>20), byte(n>>12)
	return id
}

// BenchmarkApplyTransfers reports the time per transfer of applying batches of 1,000 inside one
// shard, every id new, the history growing.
func BenchmarkApplyTransfers(b *testing.B) {
	s := benchState(b)
	e := &Entry{Commands: []Command{{Kind: CmdTransfer, Records: make([]Record, benchBatch)}}}
	n, index := uint64(0), uint64(1)
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	for range b.N {
		for i := range e.Commands[0].Records {
			n++
			r := testRecord(n, shard.Account(n%1000+1), shard.Account((n*7+1)%1000+1), 1)
			if r.Debit == r.Credit {
				r.Credit = r.Credit%1000 + 1
			}
			r.ID = benchID(n)
			e.Commands[0].Records[i] = r
		}
		data := EncodeEntry(e)
		index++
		b.StartTimer()
		s.ApplyEncoded(index, 1, e, data)
		b.StopTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/transfer")
}

// BenchmarkApplyPrepareFinish reports the time per cross-shard transfer: one PREPARE and one FINISH, which names it
// or is of all votes together.
func BenchmarkApplyPrepareFinish(b *testing.B) {
	b.Run("named", func(b *testing.B) { benchPrepareFinish(b, false) })
	b.Run("votes", func(b *testing.B) { benchPrepareFinish(b, true) })
}

func benchPrepareFinish(b *testing.B, votes bool) {
	s := benchState(b)
	e := &Entry{Commands: []Command{
		{Kind: CmdPrepare, Records: make([]Record, benchBatch), Digests: make([]Digest, benchBatch)},
		{Kind: CmdFinish, Finishes: make([]Finish, benchBatch)},
	}}
	facts := []ShardFact{{Shard: 2, Fact: FactYes}}
	n, index := uint64(0), uint64(1)
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	for range b.N {
		for i := range benchBatch {
			n++
			r := testRecord(n, shard.Account(n%1000+1), shard.Account(n%1000+1001), 1)
			r.ID = benchID(n)
			var d Digest
			copy(d[:], r.ID[:])
			e.Commands[0].Records[i], e.Commands[0].Digests[i] = r, d
			if !votes {
				e.Commands[1].Finishes[i] = Finish{ID: r.ID, Digest: d, Commit: true, Facts: facts}
			}
		}
		if votes {
			e.Commands[1] = Command{Kind: CmdFinishVotes, Votes: []FinishVotes{{First: s.RowCount(), Count: benchBatch, Facts: facts}}}
		}
		data := EncodeEntry(e)
		index++
		b.StartTimer()
		s.ApplyEncoded(index, 1, e, data)
		b.StopTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/transfer")
}

// BenchmarkDecodeEntry reports the time per record of decoding a batch of 1,000.
func BenchmarkDecodeEntry(b *testing.B) {
	e := &Entry{Commands: []Command{{Kind: CmdTransfer, Records: make([]Record, benchBatch)}}}
	data := EncodeEntry(e)
	for b.Loop() {
		if _, err := DecodeEntry(data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchBatch), "ns/record")
}
