package storage

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// BenchmarkApply measures a transfer through the ledger, in entries of 8190, with history and index in memory
// and on disk. The ids are ordered by time but for a spread of a hundred thousand, as many clients make them, or
// random. Checkpoints are made as a server makes them, with the disk's work in the background.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name         string
		disk, random bool
	}{{"memory", false, false}, {"disk", true, false}, {"disk-random-ids", true, true}} {
		b.Run(c.name, func(b *testing.B) { benchApply(b, c.disk, c.random) })
	}
}

func benchApply(b *testing.B, disk, random bool) {
	const accounts, batch = 3000, 8190
	m, err := shard.NewMap(1, []shard.Assignment{{Shard: 1, Range: shard.Range{First: 1, Last: accounts}}})
	if err != nil {
		b.Fatal(err)
	}
	state := ledger.New(1)
	var s *Store
	if disk {
		state, s = benchStore(b)
	}
	state.Apply(1, 1, &ledger.Entry{Commands: []ledger.Command{{Kind: ledger.CmdGenesis, Genesis: &ledger.Genesis{Shard: 1, Map: m, OpeningBalance: 1 << 50}}}})
	rng := rand.New(rand.NewPCG(1, 1))
	records := make([]ledger.Record, batch)
	ended := make(chan error, 1)
	var job *Job
	n, index := 0, uint64(1)
	for b.Loop() {
		if n%batch == 0 {
			b.StopTimer()
			for i := range records {
				r := &records[i]
				*r = ledger.Record{Debit: shard.Account(1 + rng.IntN(accounts)), Amount: ledger.Units(1), Currency: ledger.DefaultCurrency}
				r.Credit = r.Debit%accounts + 1
				binary.BigEndian.PutUint64(r.ID[:], uint64(n+i+rng.IntN(100_000)))
				binary.BigEndian.PutUint64(r.ID[8:], rng.Uint64())
				if random {
					binary.BigEndian.PutUint64(r.ID[:], rng.Uint64())
				}
			}
			b.StartTimer()
			index++
			state.Apply(index, 1, &ledger.Entry{Commands: []ledger.Command{{Kind: ledger.CmdTransfer, Records: records}}})
			if s != nil {
				if !s.Busy() && s.history.Len() > s.last.Rows+1_000_000 {
					must(b, s.Begin(1))
				}
				select {
				case err := <-ended:
					must(b, err)
					s.Done(job)
				default:
				}
				if j := s.Step(32 + batch/32); j != nil {
					job = j
					go func() { ended <- j.Run() }()
				}
			}
		}
		n++
	}
	if s != nil && s.job != nil {
		must(b, <-ended)
		s.Done(job)
	}
	if s != nil {
		b.ReportMetric(float64(s.index.lookups)/float64(n), "lookups/op")
	}
}

// benchStore opens a store on disk, for as long as the benchmark runs.
func benchStore(b *testing.B) (*ledger.State, *Store) {
	d, err := OpenDir(vfs.Default, b.TempDir(), testIdentity())
	if err != nil {
		b.Fatal(err)
	}
	s, err := d.OpenStore(StoreOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { must(b, s.Close()) })
	state, err := s.State(1)
	if err != nil {
		b.Fatal(err)
	}
	return state, s
}

// BenchmarkApplyCross measures a cross-shard transfer through one replica's ledger, with history and index on disk: a
// PREPARE and a COMMIT, in entries of 4096.
func BenchmarkApplyCross(b *testing.B) {
	const accounts, batch = 3000, 4096
	m, err := shard.NewMap(1, []shard.Assignment{
		{Shard: 1, Range: shard.Range{First: 1, Last: accounts}}, {Shard: 2, Range: shard.Range{First: accounts + 1, Last: 2 * accounts}},
	})
	if err != nil {
		b.Fatal(err)
	}
	state, s := benchStore(b)
	state.Apply(1, 1, &ledger.Entry{Commands: []ledger.Command{{Kind: ledger.CmdGenesis, Genesis: &ledger.Genesis{Shard: 1, Map: m, OpeningBalance: 1 << 50}}}})
	rng := rand.New(rand.NewPCG(1, 1))
	prepare := ledger.Command{Kind: ledger.CmdPrepare, Records: make([]ledger.Record, batch), Digests: make([]ledger.Digest, batch)}
	facts := []ledger.ShardFact{{Shard: 2, Fact: ledger.FactYes}}
	n, index := 0, uint64(1)
	apply := func(c ledger.Command) {
		index++
		e := &ledger.Entry{Commands: []ledger.Command{c}}
		data := ledger.EncodeEntry(e)
		b.StartTimer()
		state.ApplyEncoded(index, 1, e, data)
		b.StopTimer()
	}
	for b.Loop() {
		if n%batch == 0 {
			b.StopTimer()
			for i := range prepare.Records {
				r := &prepare.Records[i]
				*r = ledger.Record{Debit: shard.Account(1 + rng.IntN(accounts)), Credit: accounts + 1, Amount: ledger.Units(1), Currency: ledger.DefaultCurrency}
				if i%2 == 0 {
					r.Debit, r.Credit = r.Credit, r.Debit
				}
				binary.BigEndian.PutUint64(r.ID[:], uint64(n/batch))
				binary.BigEndian.PutUint64(r.ID[8:], uint64(n+i))
				copy(prepare.Digests[i][:], r.ID[:])
			}
			first := state.RowCount()
			apply(prepare)
			apply(ledger.Command{Kind: ledger.CmdFinishVotes, Votes: []ledger.FinishVotes{{First: first, Count: batch, Facts: facts}}})
			if s.history.Len() > s.last.Rows+1_000_000 {
				must(b, s.Begin(1))
				s.Step(1 << 30).Run()
				s.Done(s.job)
			}
			b.StartTimer()
		}
		n++
	}
}

// BenchmarkIngest measures an id of a run of 262,144 that is sorted and taken in by pebble.
func BenchmarkIngest(b *testing.B) {
	p, err := OpenPebble(vfs.Default, b.TempDir(), PebbleOptions{})
	must(b, err)
	defer func() { must(b, p.Close()) }()
	rng := rand.New(rand.NewPCG(1, 1))
	run, sorted := make([]windowEntry, defaultWindow), make([]windowEntry, defaultWindow)
	n := 0
	for b.Loop() {
		if n%len(run) == 0 {
			b.StopTimer()
			for i := range run {
				run[i] = windowEntry{id: testID(uint64(n+i)<<16|rng.Uint64N(1<<16), rng.Uint64()), position: uint64(n + i)}
			}
			b.StartTimer()
			sortIDs(sorted, run)
			groups, err := newIDGroups(sorted, p, &idRanges{})
			must(b, err)
			must(b, p.Ingest(groups))
		}
		n++
	}
}
