package ledger

import (
	"encoding/binary"
	"fmt"

	"raftbank/internal/invariant"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// pageSlots is how many accounts a checkpoint saves together.
const pageSlots = 64

// pageState is how a page of accounts stands to the checkpoints.
type pageState uint8

const (
	pageClean  pageState = iota // as the last checkpoint has it
	pageDirty                   // changed since
	pageFrozen                  // a checkpoint under way has yet to save it, as it is now
)

func pagesOf(slots int) int { return (slots + pageSlots - 1) / pageSlots }

// touch is called before every change of a slot: a checkpoint under way saves the page as it was.
func (x *accounts) touch(i int) {
	p := i / pageSlots
	if x.pages[p] == pageDirty {
		return
	}
	if x.pages[p] == pageFrozen && !planted.On(planted.PageSkipped) {
		x.frozen.save(p)
	}
	x.pages[p] = pageDirty
}

// Page is a run of accounts as a checkpoint has it.
type Page struct {
	Number uint32
	Data   []byte
}

// Frozen is the state as of one applied index, written out in steps while the state goes on. It belongs to
// the state's goroutine until Step has returned true; from then on it never changes.
type Frozen struct {
	// Index and Term are of the last applied entry, Rows is the length of the history.
	Index, Term, Rows uint64

	accounts *accounts
	head     []byte
	prepared preparedSet // nodes and votes alone
	todo     []int       // pages, ascending; those that were saved in the meantime are not frozen any more
	saved    []Page
}

// checkpointMagic begins the encoded part of a checkpoint beside its pages; the last byte is the version.
const checkpointMagic = "RBCHECK\x02"

// Sizes in bytes of the parts of a checkpoint.
const (
	slotSize = accountSize + 8
	nodeSize = RecordSize + digestSize + 4 + 8 + 4 + 1
)

// Freeze begins a checkpoint of the state as it is. What is not paged is copied at once: hash points, audits, and
// the transfers in P. One at a time: the previous one's Step must have returned true, and its pages are
// then taken to be saved.
func (s *State) Freeze() *Frozen {
	invariant.Check(s.accounts.frozen == nil, "one checkpoint at a time")
	f := &Frozen{Index: s.index, Term: s.term, Rows: s.history.Len(), accounts: &s.accounts}
	for p, state := range s.accounts.pages {
		if state == pageDirty {
			s.accounts.pages[p] = pageFrozen
			f.todo = append(f.todo, p)
		}
	}
	f.prepared.nodes = append(f.prepared.nodes, s.prepared.nodes...)
	f.prepared.votes = append(f.prepared.votes, s.prepared.votes...)
	f.head = s.appendHead(nil, f.Rows)
	s.accounts.frozen = f
	return f
}

// Step saves up to n pages more; true: all are saved, and the state is free for the next checkpoint.
func (f *Frozen) Step(n int) bool {
	for ; len(f.todo) > 0 && n > 0; f.todo = f.todo[1:] {
		if p := f.todo[0]; f.accounts.pages[p] == pageFrozen {
			f.save(p)
			f.accounts.pages[p] = pageClean
			n--
		}
	}
	if len(f.todo) > 0 {
		return false
	}
	if f.accounts != nil {
		f.accounts.frozen, f.accounts = nil, nil
	}
	return true
}

func (f *Frozen) save(p int) {
	from := p * pageSlots
	slots := f.accounts.slots[from:min(from+pageSlots, len(f.accounts.slots))]
	b := make([]byte, 0, len(slots)*slotSize)
	for i := range slots {
		b = slots[i].appendTo(b)
		b = binary.LittleEndian.AppendUint64(b, slots[i].last)
	}
	f.saved = append(f.saved, Page{Number: uint32(p), Data: b})
}

// Pages returns the pages that changed since the last checkpoint, once Step has returned true.
func (f *Frozen) Pages() []Page { return f.saved }

// Head returns what a checkpoint holds beside accounts and history.
func (f *Frozen) Head() []byte {
	b := append([]byte(nil), f.head...)
	count := 0
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, 0)
	for n := range f.prepared.all {
		b = n.appendTo(b)
		count++
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(count))
	return b
}

// appendHead encodes, little endian: magic 8, shard 4, index 8, term 8, time 8, rows 8, state hash of the
// accounts 8, CRC 4, chain 32, number of hash points 4, hash points, genesis flag 1, genesis, members, audits. The
// transfers in P follow.
func (s *State) appendHead(b []byte, rows uint64) []byte {
	b = append(b, checkpointMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.shard))
	b = binary.LittleEndian.AppendUint64(b, s.index)
	b = binary.LittleEndian.AppendUint64(b, s.term)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.timeNs))
	b = binary.LittleEndian.AppendUint64(b, rows)
	b = binary.LittleEndian.AppendUint64(b, s.accounts.hash())
	b = s.chain.appendTo(b)
	b = append(b, flag(s.genesis != nil))
	if s.genesis != nil {
		b = s.genesis.appendTo(b)
	}
	b = s.appendMembers(b)
	return s.audit.appendTo(b)
}

func (n *node) appendTo(b []byte) []byte {
	b = n.record.AppendTo(b)
	b = append(b, n.digest[:]...)
	b = binary.LittleEndian.AppendUint32(b, n.epoch)
	b = binary.LittleEndian.AppendUint64(b, n.position)
	b = binary.LittleEndian.AppendUint32(b, uint32(n.slot))
	return append(b, flag(n.debit))
}

// Saved is a checkpoint that is read back: what Head returned, and the newest data of every page.
type Saved struct {
	Head []byte
	Page func(number uint32) ([]byte, error)
}

// Restore returns the state of a checkpoint over a history of exactly its length and the index that goes
// with it. It believes no sum: the accounts must have the state hash that was saved, and what is in P must be
// what they hold as pending. Errors wrap ErrBadState, but for those of Page.
func Restore(id shard.ID, h History, x Index, c Saved) (*State, error) {
	if len(c.Head) < len(checkpointMagic) || string(c.Head[:len(checkpointMagic)]) != checkpointMagic {
		return nil, fmt.Errorf("%w: the checkpoint does not begin with %q", ErrBadState, checkpointMagic)
	}
	r := &reader{b: c.Head, off: len(checkpointMagic)}
	if got := shard.ID(r.u32()); got != id {
		return nil, fmt.Errorf("%w: the checkpoint is of %s, not of %s", ErrBadState, got, id)
	}
	s := NewOn(id, h, x)
	s.index, s.term, s.timeNs = r.u64(), r.u64(), int64(r.u64())
	rows, hash := r.u64(), r.u64()
	if rows != h.Len() {
		r.fail(fmt.Sprintf("the history has %d rows, the checkpoint %d", h.Len(), rows))
	}
	s.chain.decode(r, s.index)
	if r.flag() {
		if err := s.restoreAccounts(r, c.Page); err != nil {
			return nil, err
		}
	}
	s.decodeMembers(r)
	s.decodeAudit(r)
	s.restorePrepared(r, rows)
	if r.err == nil && s.accounts.hash() != hash {
		r.fail(fmt.Sprintf("the accounts have state hash %016x, not %016x", s.accounts.hash(), hash))
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadState, err)
	}
	return s, nil
}

// restoreAccounts reads GENESIS and every page. The error is one of reading a page; what is wrong with
// the content is noted in r.
func (s *State) restoreAccounts(r *reader, page func(uint32) ([]byte, error)) error {
	g := decodeGenesis(r)
	own, ok := g.Map.Range(g.Shard)
	if r.err == nil && (g.Shard != s.shard || !ok || own.Len() > shard.MaxAccounts) {
		r.fail("genesis is not this shard's")
	}
	if r.err != nil {
		return nil
	}
	s.genesis = g
	x := &s.accounts
	n := int(own.Len()) + 1
	x.first, x.equity = own.First, s.shard.Equity()
	x.slots, x.pages = make([]slot, n), make([]pageState, pagesOf(n))
	for p := range x.pages {
		data, err := page(uint32(p))
		if err != nil {
			return fmt.Errorf("accounts from %d on: %w", x.id(p*pageSlots), err)
		}
		s.restorePage(r, p, data)
	}
	return nil
}

func (s *State) restorePage(r *reader, p int, data []byte) {
	x := &s.accounts
	from := p * pageSlots
	in := &reader{b: data}
	for i := from; i < min(from+pageSlots, len(x.slots)); i++ {
		a := &x.slots[i]
		a.Account.decode(in)
		a.last = in.u64()
		if a.last > s.history.Len() || a.belowFloor() {
			in.fail(fmt.Sprintf("account %d is impossible", x.id(i)))
		}
		if in.err != nil {
			break
		}
		x.changed(i)
	}
	if err := in.end(); err != nil {
		r.fail(fmt.Sprintf("page %d of the accounts: %v", p, err))
	}
}

func (s *State) restorePrepared(r *reader, rows uint64) {
	pending := make(map[int32][2]Amount)
	next := uint64(0) // the lowest position that a vote may have
	for range r.count(nodeSize) {
		n := node{}
		n.record.decode(r.take(RecordSize))
		copy(n.digest[:], r.take(digestSize))
		n.epoch, n.position, n.slot = r.u32(), r.u64(), int32(r.u32())
		n.debit = r.flag()
		twice := s.prepared.at(n.record.ID) != 0
		if n.slot < 0 || int(n.slot) >= len(s.accounts.slots) || n.position < next || n.position >= rows || twice {
			r.fail("a transfer in P is impossible")
		}
		if r.err != nil {
			return
		}
		next = n.position + 1
		s.prepared.add(n, &s.accounts.slots[n.slot].held)
		sums, side := pending[n.slot], 1
		if n.debit {
			side = 0
		}
		sums[side], _ = sums[side].Add(n.record.Amount)
		pending[n.slot] = sums
	}
	for i := range s.accounts.slots {
		a, sums := &s.accounts.slots[i], pending[int32(i)]
		if a.DebitsPending != sums[0] || a.CreditsPending != sums[1] {
			r.fail(fmt.Sprintf("account %d holds other amounts as pending than P", s.accounts.id(i)))
			return
		}
	}
}

// Pages returns the number of pages that the accounts take, 0 before GENESIS.
func (s *State) Pages() int { return len(s.accounts.pages) }
