package ledger

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"raftbank/internal/shard"
)

// randomBytes fills what has a fixed size.
func randomBytes(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

func randomFacts(rng *rand.Rand) []ShardFact {
	var facts []ShardFact
	for range rng.IntN(4) {
		facts = append(facts, ShardFact{Shard: shard.ID(rng.Uint32()), Fact: Fact(rng.IntN(5)), Epoch: rng.Uint32()})
	}
	return facts
}

// randomCommand is a command of a kind with n items; GENESIS always has one.
func randomCommand(rng *rand.Rand, kind CommandKind, n int) Command {
	c := Command{Kind: kind, Settled: rng.IntN(2) == 0}
	if kind == CmdGenesis {
		c.Genesis = testGenesis(shard.ID(rng.IntN(3)+1), rng.Uint64())
		return c
	}
	var record [RecordSize]byte
	for range n {
		var id TransferID
		var digest Digest
		randomBytes(rng, record[:])
		randomBytes(rng, id[:])
		randomBytes(rng, digest[:])
		switch kind {
		case CmdTransfer:
			c.Records = append(c.Records, DecodeRecord(record[:]))
		case CmdPrepare:
			c.Records, c.Digests = append(c.Records, DecodeRecord(record[:])), append(c.Digests, digest)
		case CmdFinish:
			c.Finishes = append(c.Finishes, Finish{
				ID: id, Digest: digest, Commit: rng.IntN(2) == 0, Reason: Reason(rng.IntN(13)), Facts: randomFacts(rng),
			})
		case CmdFinishVotes:
			c.Votes = append(c.Votes, FinishVotes{First: rng.Uint64(), Count: uint32(rng.IntN(MaxVotes) + 1), Facts: randomFacts(rng)})
		case CmdPoison:
			c.Poisons = append(c.Poisons, Poison{ID: id, Digest: digest, Reason: Reason(rng.IntN(13))})
		case CmdCancel:
			c.Cancels = append(c.Cancels, id)
		case CmdAllocate:
			c.Numbers = append(c.Numbers, 0)
		case CmdBarrier, CmdVoid, CmdRelease:
			c.Numbers = append(c.Numbers, rng.Uint32())
		}
	}
	return c
}

func randomEntry(rng *rand.Rand) *Entry {
	e := &Entry{Proposer: rng.Uint64(), Seq: rng.Uint64(), TimeNs: int64(rng.Uint64())}
	for range rng.IntN(8) {
		e.Commands = append(e.Commands, randomCommand(rng, CommandKind(rng.IntN(int(CmdFinishVotes))+1), rng.IntN(6)))
	}
	return e
}

// TestDecodeAgain decodes random entries into one that is used again, damaged ones between them: each is what a new one would be.
func TestDecodeAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	var used Entry
	for n := range 3000 {
		want := randomEntry(rng)
		data := EncodeEntry(want)
		if rng.IntN(4) == 0 {
			damaged := bytes.Clone(data)
			damaged[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			_ = used.Decode(damaged[:rng.IntN(len(data))+1])
		}
		fresh, err := DecodeEntry(data)
		if err != nil {
			t.Fatalf("entry %d: %v", n, err)
		}
		if err := used.Decode(data); err != nil {
			t.Fatalf("entry %d, again: %v", n, err)
		}
		if got := plain(&used); !reflect.DeepEqual(got, plain(fresh)) || !reflect.DeepEqual(got, plain(want)) {
			t.Fatalf("entry %d decoded to\n%+v, new to\n%+v, want\n%+v", n, got, fresh, want)
		}
	}
}

// plain is an entry with its contents alone: no memory, and no list that is empty and not nil.
func plain(e *Entry) Entry {
	return Entry{Proposer: e.Proposer, Seq: e.Seq, TimeNs: e.TimeNs, Commands: append([]Command(nil), e.Commands...)}
}

// TestDecodeOfAnotherVersion: what the entry held before is gone.
func TestDecodeOfAnotherVersion(t *testing.T) {
	var e Entry
	data := EncodeEntry(sampleEntry())
	if err := e.Decode(data); err != nil {
		t.Fatal(err)
	}
	data[0]++
	if err := e.Decode(data); err == nil || len(e.Commands) != 0 || e.Seq != 0 {
		t.Errorf("error %v, the entry still has %d commands", err, len(e.Commands))
	}
}

// TestDecodedItemsAreApart: who appends to a command's items does not write over those of the next.
func TestDecodedItemsAreApart(t *testing.T) {
	a, b := testRecord(1, 1, 2, 3), testRecord(2, 2, 3, 4)
	data := EncodeEntry(&Entry{Commands: []Command{
		{Kind: CmdTransfer, Records: []Record{a}}, {Kind: CmdTransfer, Settled: true, Records: []Record{b}},
	}})
	var e Entry
	for range 3 { // the first time each has a piece of its own
		if err := e.Decode(data); err != nil {
			t.Fatal(err)
		}
	}
	e.Commands[0].Records = append(e.Commands[0].Records, Record{})
	if e.Commands[1].Records[0] != b {
		t.Errorf("the next command has %+v", e.Commands[1].Records[0])
	}
}

// heapBytes is what lives on the heap.
func heapBytes() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestDecodeKeepsOneLargestEntry decodes entries whose large command stands at another position each time, for every kind of large
// command: what is kept is bounded by the size of an entry, not by that of an entry for each position.
func TestDecodeKeepsOneLargestEntry(t *testing.T) {
	const positions, items = 60, 8190
	rng := rand.New(rand.NewPCG(1, 1))
	small := [2]Command{randomCommand(rng, CmdCancel, 1), randomCommand(rng, CmdTransfer, 1)}
	fact := []ShardFact{{Shard: 2, Fact: FactYes}}
	manyFacts := Command{Kind: CmdFinish, Finishes: []Finish{{Facts: make([]ShardFact, MaxFacts)}}}
	large := []Command{
		randomCommand(rng, CmdPrepare, items), randomCommand(rng, CmdFinish, items), randomCommand(rng, CmdFinishVotes, items),
		randomCommand(rng, CmdPoison, items), randomCommand(rng, CmdCancel, items), randomCommand(rng, CmdBarrier, items), manyFacts,
	}
	var used Entry
	before, largest := heapBytes(), 0
	for position := positions - 1; position >= 0; position-- { // so that a large command's place is not written over
		for _, l := range large {
			e := &Entry{}
			for i := range positions {
				e.Commands = append(e.Commands, small[i%2], Command{Kind: CmdFinish, Finishes: []Finish{{Facts: fact}}})
			}
			e.Commands[2*position] = l
			data := EncodeEntry(e)
			if largest = max(largest, len(data)); used.Decode(data) != nil {
				t.Fatal("an entry cannot be decoded")
			}
		}
	}
	kept := heapBytes() - before
	runtime.KeepAlive(large)
	runtime.KeepAlive(used)
	t.Logf("%d bytes kept, the largest entry has %d", kept, largest)
	if kept > 8*largest {
		t.Errorf("%d bytes are kept of entries of at most %d", kept, largest)
	}
}

// TestDecodeAgainAllocatesNothing: for entry after entry of the same size, whatever the kind.
func TestDecodeAgainAllocatesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for kind := CmdTransfer; kind <= CmdFinishVotes; kind++ {
		var used Entry
		data := EncodeEntry(&Entry{Commands: []Command{randomCommand(rng, kind, 8190)}})
		allocations := testing.AllocsPerRun(10, func() {
			if err := used.Decode(data); err != nil {
				t.Fatal(err)
			}
		})
		if allocations > 0 {
			t.Errorf("kind %d: %.1f allocations per entry", kind, allocations)
		}
	}
}
