package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"raftbank/internal/shard"
)

// sampleEntry has every kind of command.
func sampleEntry() *Entry {
	a, b := testRecord(1, 1, 2, 3), testRecord(2, 1, 11, 4)
	return &Entry{Proposer: 1<<32 | 9, Seq: 77, TimeNs: 1234567890, Commands: []Command{
		{Kind: CmdGenesis, Genesis: testGenesis(1, 10)},
		{Kind: CmdTransfer, Settled: true, Records: []Record{a}},
		{Kind: CmdPrepare, Records: []Record{b}, Digests: []Digest{DigestOf(b)}},
		{Kind: CmdFinish, Finishes: []Finish{
			{ID: b.ID, Digest: DigestOf(b), Commit: true, Facts: []ShardFact{{Shard: 2, Fact: FactYes, Epoch: 3}}},
			{ID: b.ID, Digest: DigestOf(b), Reason: ReasonTimedOut},
		}},
		{Kind: CmdFinishVotes, Votes: []FinishVotes{
			{First: 2, Count: 3, Facts: []ShardFact{{Shard: 2, Fact: FactYes, Epoch: 3}, {Shard: 3, Fact: FactYes}}},
			{First: 1 << 40, Count: MaxVotes},
		}},
		{Kind: CmdPoison, Poisons: []Poison{{ID: testID(3), Digest: Digest{1}, Reason: ReasonCancelled}}},
		{Kind: CmdCancel, Cancels: []TransferID{testID(4), testID(5)}},
		{Kind: CmdAllocate, Numbers: []uint32{0, 0}},
		{Kind: CmdBarrier, Numbers: []uint32{1}},
		{Kind: CmdVoid, Numbers: []uint32{1, 7}},
		{Kind: CmdBarrier, Numbers: []uint32{2}},
		{Kind: CmdRelease, Numbers: []uint32{2}},
	}}
}

func TestEntryRoundTrip(t *testing.T) {
	want := sampleEntry()
	data := EncodeEntry(want)
	got, err := DecodeEntry(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	for n := range data {
		if _, err := DecodeEntry(data[:n]); !errors.Is(err, ErrBadEntry) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := DecodeEntry(append(slices.Clone(data), 0)); !errors.Is(err, ErrBadEntry) {
		t.Fatalf("with a byte more: %v", err)
	}
	data[0] = 2
	if _, err := DecodeEntry(data); err == nil || err.Error() != "not a ledger entry: version 2, this program reads version 1" {
		t.Fatalf("of a newer version: %v", err)
	}
}

// TestRecordLayout pins the 64 bytes that clients send, logs hold and digests cover.
func TestRecordLayout(t *testing.T) {
	r := Record{
		ID:    TransferID{0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xaf},
		Debit: 0x0102030405060708, Credit: 0x1112131415161718,
		Amount: Amount{Lo: 0x2122232425262728, Hi: 0x3132333435363738}, UserData: 0x4142434445464748,
		Currency: 0x51525354, Code: 0x6162, Flags: 0x7172,
	}
	want := "a00102030405060708090a0b0c0d0eaf" + "0807060504030201" + "1817161514131211" +
		"2827262524232221" + "3837363534333231" + "4847464544434241" + "54535251" + "6261" + "7271"
	got := r.AppendTo(nil)
	if hex.EncodeToString(got) != want || len(got) != RecordSize {
		t.Errorf("encoded %x, want %s", got, want)
	}
	if back := DecodeRecord(got); back != r {
		t.Errorf("decoded %+v", back)
	}
}

// mixed applies a fixed mixture of commands, several per entry.
func mixed(entries int, apply func(index uint64, e *Entry)) {
	seed := uint64(1)
	choose := func(n int) int {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int(seed>>33) % n
	}
	apply(1, &Entry{TimeNs: 5, Commands: []Command{{Kind: CmdGenesis, Genesis: testGenesis(1, 1000)}}})
	for i := range entries {
		e := &Entry{Proposer: 7, Seq: uint64(i), TimeNs: int64(choose(1000))}
		for range choose(4) {
			c := drawCommand(choose)
			for j := range c.Records {
				c.Records[j].ID = testID(uint64(choose(entries)) + 1)
				if c.Digests != nil {
					c.Digests[j] = DigestOf(c.Records[j])
				}
			}
			e.Commands = append(e.Commands, c)
		}
		apply(uint64(i)+2, e)
	}
}

// TestDeterminism: the same entries give the same state to the byte, also through the log's
// encoding, and also to a replica that was restored half-way.
func TestDeterminism(t *testing.T) {
	a, b, c := New(1), New(1), New(1)
	mixed(500, func(index uint64, e *Entry) {
		want := a.Apply(index, 2, e)
		data := EncodeEntry(e)
		decoded, err := DecodeEntry(data)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.ApplyEncoded(index, 2, decoded, data); !slices.Equal(got, want) {
			t.Fatalf("index %d: results %+v and %+v", index, got, want)
		}
		if index == 250 {
			if c, err = Decode(a.Encode()); err != nil {
				t.Fatal(err)
			}
		} else if got := c.Apply(index, 2, e); index > 250 && !slices.Equal(got, want) {
			t.Fatalf("restored, index %d: results %+v and %+v", index, got, want)
		}
	})
	for _, s := range []*State{b, c} {
		crcA, sumA := a.Chain()
		crcB, sumB := s.Chain()
		if a.Hash() != s.Hash() || crcA != crcB || sumA != sumB || !slices.Equal(a.Hashes(), s.Hashes()) {
			t.Errorf("hash %x, chain %x; want %x, %x", s.Hash(), sumB, a.Hash(), sumA)
		}
		if !bytes.Equal(a.Encode(), s.Encode()) {
			t.Error("encodings differ")
		}
	}
}

// TestChainTellsEntriesApart: whatever differs shows in the chain, an empty entry's term too.
func TestChainTellsEntriesApart(t *testing.T) {
	e := sampleEntry()
	other := sampleEntry()
	other.Seq++
	seen := map[[32]byte]string{}
	for name, run := range map[string]func(*State){
		"entry":       func(s *State) { s.Apply(1, 1, e) },
		"later term":  func(s *State) { s.Apply(1, 2, e) },
		"later index": func(s *State) { s.Apply(2, 1, e) },
		"other entry": func(s *State) { s.Apply(1, 1, other) },
		"empty":       func(s *State) { s.Skip(1, 1) },
		"empty later": func(s *State) { s.Skip(1, 2) },
	} {
		s := New(1)
		run(s)
		crc, sum := s.Chain()
		if was, twice := seen[sum]; twice || crc == 0 {
			t.Errorf("%s has the chain of %s, CRC %x", name, was, crc)
		}
		seen[sum] = name
	}
}

// TestChainSeesResults: replicas that read the same entry and come to other results differ.
func TestChainSeesResults(t *testing.T) {
	var a, b chain
	a.extend(1, 1, []byte("entry"), []Result{{State: Committed}})
	b.extend(1, 1, []byte("entry"), []Result{{State: Aborted}})
	if a.sum == b.sum || a.crc == b.crc {
		t.Error("other results, same chain")
	}
}

func TestHashPoints(t *testing.T) {
	s := New(1)
	for i := uint64(1); i <= 64*3000; i++ {
		s.Skip(i, 1)
	}
	points := s.Hashes()
	if len(points) != 1024 || points[0].Index != 64*1977 || points[1023].Index != 64*3000 {
		t.Errorf("%d points, %d to %d", len(points), points[0].Index, points[len(points)-1].Index)
	}
	back, err := Decode(s.Encode())
	if err != nil || !slices.Equal(back.Hashes(), points) {
		t.Errorf("decoded: %v", err)
	}
}

// TestDecodeDamage: a cut is refused, and a flipped bit gives an error or another state that
// again encodes to what was read; never a panic.
func TestDecodeDamage(t *testing.T) {
	s := New(1)
	mixed(12, func(index uint64, e *Entry) { s.Apply(index, 1, e) })
	data := s.Encode()
	for n := 0; n < len(data); n += 1 + n/64 {
		if _, err := Decode(data[:n]); !errors.Is(err, ErrBadState) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for i := range data {
		for _, bit := range []int{0, i % 7, 7} {
			damaged := slices.Clone(data)
			damaged[i] ^= 1 << bit
			if back, err := Decode(damaged); err == nil && !bytes.Equal(back.Encode(), damaged) {
				t.Fatalf("bit %d of byte %d: decoded, but encodes differently", bit, i)
			}
		}
	}
}

func TestDecodeEmptyState(t *testing.T) {
	s := New(3)
	back, err := Decode(s.Encode())
	if err != nil || back.Shard() != 3 || back.Genesis() != nil || back.RowCount() != 0 {
		t.Errorf("decoded %+v, %v", back, err)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(EncodeEntry(sampleEntry()))
	f.Add(EncodeEntry(&Entry{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := DecodeEntry(data)
		if err != nil {
			return
		}
		if got := EncodeEntry(e); !bytes.Equal(got, data) {
			t.Fatalf("re-encoded %x, want %x", got, data)
		}
		// Whatever decodes can be applied.
		s := New(1)
		if got := s.ApplyEncoded(1, 1, e, data); s.Negative() != 0 {
			t.Fatalf("applied: %+v", got)
		}
	})
}

func FuzzDecode(f *testing.F) {
	s := New(1)
	f.Add(s.Encode())
	mixed(20, func(index uint64, e *Entry) { s.Apply(index, 1, e) })
	f.Add(s.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(data)
		if err != nil {
			return
		}
		if got := s.Encode(); !bytes.Equal(got, data) {
			t.Fatalf("re-encoded %x, want %x", got, data)
		}
		index, term := s.Applied()
		if index < 1<<63 {
			r := testRecord(99, 1, 2, 1)
			s.Apply(index+1, term, &Entry{Commands: []Command{{Kind: CmdTransfer, Records: []Record{r}}}})
		}
	})
}

// TestIndexAgainstMap: the index in memory is a map from id to newest position.
func TestIndexAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &memoryHistory{}
		x, want := newMemoryIndex(h), map[TransferID]uint64{}
		for range rapid.IntRange(0, 3000).Draw(t, "puts") {
			id := testID(uint64(h.Len()*2654435761%1500) + 1)
			r := Row{Record: Record{ID: id}}
			want[id] = h.Append(&r)
			x.Put(id, want[id])
		}
		for n := range uint64(1600) {
			position, ok := x.Get(testID(n + 1))
			if wanted, has := want[testID(n+1)]; ok != has || ok && position != wanted {
				t.Fatalf("id %d: %d %t, want %d %t", n+1, position, ok, wanted, has)
			}
		}
	})
}

func TestIndexSameHash(t *testing.T) {
	h := &memoryHistory{}
	x := newMemoryIndex(h)
	a, b := testID(1), testID(2)
	var table indexTable
	table.grow()
	for i, id := range []TransferID{a, b} {
		r := Row{Record: Record{ID: id}}
		h.Append(&r)
		*x.probe(&table, 42, &id) = indexEntry{hash: 42, next: uint64(i) + 1}
	}
	for i, id := range []TransferID{a, b} {
		if e := x.probe(&table, 42, &id); e.next != uint64(i)+1 {
			t.Errorf("id %d found at %d", i, e.next)
		}
	}
}

func TestCheckRecord(t *testing.T) {
	ok := testRecord(1, 1, 2, 3)
	cases := []struct {
		name   string
		change func(*Record)
		want   Reason
	}{
		{"fine", func(*Record) {}, ReasonNone},
		{"largest amount", func(r *Record) { r.Amount = MaxAmount }, ReasonNone},
		{"zero id", func(r *Record) { r.ID = TransferID{} }, ReasonBadID},
		{"zero amount", func(r *Record) { r.Amount = Amount{} }, ReasonBadAmount},
		{"amount 2^127", func(r *Record) { r.Amount = Amount{Hi: 1 << 63} }, ReasonBadAmount},
		{"same account", func(r *Record) { r.Credit = r.Debit }, ReasonSameAccount},
		{"linked", func(r *Record) { r.Flags = FlagLinked }, ReasonBadFlags},
		{"unknown flag", func(r *Record) { r.Flags = 1 << 15 }, ReasonBadFlags},
		{"pays from equity", func(r *Record) { r.Debit = shard.ID(1).Equity() }, ReasonNoAccount},
		{"pays to equity", func(r *Record) { r.Credit = shard.ID(1).Equity() }, ReasonNoAccount},
		{"currency", func(r *Record) { r.Currency = 2 }, ReasonBadCurrency},
	}
	for _, c := range cases {
		r := ok
		c.change(&r)
		if got := CheckRecord(&r); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
