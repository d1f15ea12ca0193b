package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/shard"
)

// entryVersion is the first byte of every encoded entry.
const entryVersion = 1

// Sizes in bytes of encoded parts.
const (
	entryHeaderSize   = 1 + 8 + 8 + 8 + 4
	commandHeaderSize = 1 + 1 + 4
	digestSize        = 32
	finishSize        = 16 + digestSize + 1 + 1 + 2 // before its facts
	factSize          = 4 + 1 + 4
	poisonSize        = 16 + digestSize + 1
	finishVotesSize   = 8 + 4 + 2 // before its facts
	cancelSize        = 16
	numberSize        = 4
	genesisSize       = 16 + 4 + 8 + 4 + 4 + 4 // before map parts and members
	partSize          = 4 + 8 + 8
	memberSize        = 8
)

// MaxFacts bounds the facts of one Finish.
const MaxFacts = 1<<16 - 1

// MaxVotes bounds the votes of one FinishVotes.
const MaxVotes = 4096

// ErrBadEntry is wrapped by every error of DecodeEntry.
var ErrBadEntry = errors.New("not a ledger entry")

// EncodeEntry returns the entry's bytes for the log. Equal entries have equal bytes.
//
// Layout, little endian: version 1, proposer 8, seq 8, time 8, number of commands 4; then each
// command: kind 1, settled 1, number of items 4, items.
func EncodeEntry(e *Entry) []byte { return AppendEntry(nil, e) }

// AppendEntry appends to b what EncodeEntry returns.
func AppendEntry(b []byte, e *Entry) []byte {
	size := entryHeaderSize
	for i := range e.Commands {
		c := &e.Commands[i]
		size += commandHeaderSize + len(c.Votes)*(finishVotesSize+factSize)
		if c.Kind != CmdFinishVotes {
			size += c.Items() * (RecordSize + digestSize)
		}
	}
	b = append(slices.Grow(b, size), entryVersion)
	b = binary.LittleEndian.AppendUint64(b, e.Proposer)
	b = binary.LittleEndian.AppendUint64(b, e.Seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.TimeNs))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Commands)))
	for i := range e.Commands {
		b = e.Commands[i].appendTo(b)
	}
	return b
}

func (c *Command) appendTo(b []byte) []byte {
	b = append(b, byte(c.Kind), flag(c.Settled))
	if c.Kind == CmdFinishVotes {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(c.Votes)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(c.Items()))
	}
	switch c.Kind {
	case CmdGenesis:
		b = c.Genesis.appendTo(b)
	case CmdTransfer:
		for i := range c.Records {
			b = c.Records[i].AppendTo(b)
		}
	case CmdPrepare:
		invariant.Check(len(c.Digests) == len(c.Records), "prepare: digests are parallel to records")
		for i := range c.Records {
			b = c.Records[i].AppendTo(b)
			b = append(b, c.Digests[i][:]...)
		}
	case CmdFinish:
		for i := range c.Finishes {
			b = c.Finishes[i].appendTo(b)
		}
	case CmdFinishVotes:
		for i := range c.Votes {
			b = c.Votes[i].appendTo(b)
		}
	case CmdPoison:
		for i := range c.Poisons {
			b = append(b, c.Poisons[i].ID[:]...)
			b = append(b, c.Poisons[i].Digest[:]...)
			b = append(b, byte(c.Poisons[i].Reason))
		}
	case CmdCancel:
		for i := range c.Cancels {
			b = append(b, c.Cancels[i][:]...)
		}
	case CmdBarrier, CmdVoid, CmdRelease, CmdAllocate:
		for _, n := range c.Numbers {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
	default:
		panic("unreachable: command kind")
	}
	return b
}

func (f *Finish) appendTo(b []byte) []byte {
	invariant.Check(len(f.Facts) <= MaxFacts, "finish: too many facts")
	b = append(b, f.ID[:]...)
	b = append(b, f.Digest[:]...)
	b = append(b, flag(f.Commit), byte(f.Reason))
	return appendFacts(b, f.Facts)
}

func (f *FinishVotes) appendTo(b []byte) []byte {
	invariant.Check(f.Count > 0 && f.Count <= MaxVotes && len(f.Facts) <= MaxFacts, "finish votes: too many, or none")
	b = binary.LittleEndian.AppendUint64(b, f.First)
	b = binary.LittleEndian.AppendUint32(b, f.Count)
	return appendFacts(b, f.Facts)
}

func appendFacts(b []byte, facts []ShardFact) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(facts)))
	for _, fact := range facts {
		b = binary.LittleEndian.AppendUint32(b, uint32(fact.Shard))
		b = append(b, byte(fact.Fact))
		b = binary.LittleEndian.AppendUint32(b, fact.Epoch)
	}
	return b
}

func (g *Genesis) appendTo(b []byte) []byte {
	b = append(b, g.Bank[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(g.Shard))
	b = binary.LittleEndian.AppendUint64(b, g.OpeningBalance)
	b = binary.LittleEndian.AppendUint32(b, g.Map.Epoch())
	parts := g.Map.Assignments()
	b = binary.LittleEndian.AppendUint32(b, uint32(len(parts)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(g.Members)))
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint32(b, uint32(p.Shard))
		b = binary.LittleEndian.AppendUint64(b, uint64(p.Range.First))
		b = binary.LittleEndian.AppendUint64(b, uint64(p.Range.Last))
	}
	for _, m := range g.Members {
		b = binary.LittleEndian.AppendUint64(b, m)
	}
	return b
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// DecodeEntry reads what EncodeEntry wrote, and only that: it accepts no second encoding of an
// entry. Any input is safe; what it allocates is bounded by the input's length. Errors wrap ErrBadEntry.
func DecodeEntry(b []byte) (*Entry, error) {
	e := &Entry{}
	if err := e.Decode(b); err != nil {
		return nil, err
	}
	e.memory = memory{} // it is not decoded into again
	return e, nil
}

// Decode is DecodeEntry into an entry whose memory is used again: what it held before is gone. So it is after an error, and
// then the entry is of no use.
func (e *Entry) Decode(b []byte) error {
	e.reset()
	r := reader{b: b}
	if v := r.u8(); r.err == nil && v != entryVersion {
		return fmt.Errorf("%w: version %d, this program reads version %d", ErrBadEntry, v, entryVersion)
	}
	e.Proposer, e.Seq, e.TimeNs = r.u64(), r.u64(), int64(r.u64())
	n := r.count(commandHeaderSize)
	e.Commands = slices.Grow(e.Commands, n)[:n]
	for i := range e.Commands {
		e.Commands[i].decode(&r, &e.memory)
	}
	if err := r.end(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	return nil
}

// reset empties an entry. It keeps its memory.
func (e *Entry) reset() {
	clear(e.Commands)
	*e = Entry{Commands: e.Commands[:0], memory: e.memory}
	e.memory.reset()
}

// memory is where the items of a decoded entry's commands lie: all of a kind in one piece, wherever in the entry they stand.
// So it is no larger than the largest entries need, however many commands those have.
type memory struct {
	records  []Record
	digests  []Digest
	finishes []Finish
	votes    []FinishVotes
	facts    []ShardFact
	poisons  []Poison
	cancels  []TransferID
	numbers  []uint32
}

// reset takes back all that room has handed out.
func (m *memory) reset() {
	*m = memory{
		records: m.records[:0], digests: m.digests[:0], finishes: m.finishes[:0], votes: m.votes[:0],
		facts: m.facts[:0], poisons: m.poisons[:0], cancels: m.cancels[:0], numbers: m.numbers[:0],
	}
}

// room takes n elements off a piece of memory, whatever they hold. If the piece is too short, a new one takes its place, and what
// was handed out stays in the old one. The new one is at least twice as large, so that all old ones together are no larger,
// and less than twice what the entry needs, or just that. Appending to the elements moves them away.
func room[T any](piece *[]T, n int) []T {
	if n == 0 {
		return nil
	}
	from := len(*piece)
	if n > cap(*piece)-from {
		*piece, from = make([]T, 0, max(n, 2*cap(*piece))), 0
	}
	to := from + n
	*piece = (*piece)[:to]
	return (*piece)[from:to:to]
}

// decode reads a command. Its items lie in m.
func (c *Command) decode(r *reader, m *memory) {
	*c = Command{Kind: CommandKind(r.u8()), Settled: r.flag()}
	switch c.Kind {
	case CmdGenesis:
		if r.count(genesisSize) != 1 {
			r.fail("a genesis command has one item")
			return
		}
		c.Genesis = decodeGenesis(r)
	case CmdTransfer:
		c.Records = room(&m.records, r.count(RecordSize))
		for i := range c.Records {
			c.Records[i].decode(r.take(RecordSize))
		}
	case CmdPrepare:
		n := r.count(RecordSize + digestSize)
		c.Records, c.Digests = room(&m.records, n), room(&m.digests, n)
		for i := range c.Records {
			c.Records[i].decode(r.take(RecordSize))
			copy(c.Digests[i][:], r.take(digestSize))
		}
	case CmdFinish:
		c.Finishes = room(&m.finishes, r.count(finishSize))
		for i := range c.Finishes {
			c.Finishes[i].decode(r, m)
		}
	case CmdFinishVotes:
		c.Votes = room(&m.votes, r.count(finishVotesSize))
		for i := range c.Votes {
			c.Votes[i].decode(r, m)
		}
	case CmdPoison:
		c.Poisons = room(&m.poisons, r.count(poisonSize))
		for i := range c.Poisons {
			p := &c.Poisons[i]
			copy(p.ID[:], r.take(16))
			copy(p.Digest[:], r.take(digestSize))
			p.Reason = Reason(r.u8())
		}
	case CmdCancel:
		c.Cancels = room(&m.cancels, r.count(cancelSize))
		for i := range c.Cancels {
			copy(c.Cancels[i][:], r.take(16))
		}
	case CmdBarrier, CmdVoid, CmdRelease, CmdAllocate:
		c.Numbers = room(&m.numbers, r.count(numberSize))
		for i := range c.Numbers {
			c.Numbers[i] = r.u32()
			if c.Kind == CmdAllocate && c.Numbers[i] != 0 {
				r.fail("a number is allocated by the log, not before it")
			}
		}
	default:
		r.fail("unknown command kind")
	}
}

func (f *Finish) decode(r *reader, m *memory) {
	copy(f.ID[:], r.take(16))
	copy(f.Digest[:], r.take(digestSize))
	f.Commit = r.flag()
	f.Reason = Reason(r.u8())
	f.Facts = decodeFacts(r, m)
}

func (f *FinishVotes) decode(r *reader, m *memory) {
	f.First, f.Count = r.u64(), r.u32()
	if f.Count == 0 || f.Count > MaxVotes {
		r.fail("a finish of votes has an impossible number of them")
	}
	f.Facts = decodeFacts(r, m)
}

func decodeFacts(r *reader, m *memory) []ShardFact {
	n := int(r.u16())
	if !r.has(n, factSize) {
		return nil
	}
	facts := room(&m.facts, n)
	for i := range facts {
		facts[i] = ShardFact{Shard: shard.ID(r.u32()), Fact: Fact(r.u8()), Epoch: r.u32()}
	}
	return facts
}

func decodeGenesis(r *reader) *Genesis {
	g := &Genesis{}
	copy(g.Bank[:], r.take(16))
	g.Shard = shard.ID(r.u32())
	g.OpeningBalance = r.u64()
	epoch, nParts, nMembers := r.u32(), int(r.u32()), int(r.u32())
	if !r.has(nParts, partSize) {
		return g
	}
	parts := make([]shard.Assignment, nParts)
	for i := range parts {
		parts[i].Shard = shard.ID(r.u32())
		parts[i].Range = shard.Range{First: shard.Account(r.u64()), Last: shard.Account(r.u64())}
		if i > 0 && parts[i].Range.First <= parts[i-1].Range.First {
			r.fail("map is not in account order")
			return g
		}
	}
	m, err := shard.NewMap(epoch, parts)
	if err != nil {
		r.fail(err.Error())
		return g
	}
	g.Map = m
	if !r.has(nMembers, memberSize) || nMembers == 0 {
		return g
	}
	g.Members = make([]uint64, nMembers)
	for i := range g.Members {
		g.Members[i] = r.u64()
	}
	return g
}
