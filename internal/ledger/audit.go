package ledger

import (
	"encoding/binary"
	"math/big"
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/shard"
)

// Stage is how an audit's number stands at a shard (docs/PROTOCOL.md, section 9).
type Stage uint8

// Stages of a number that cut the log here. Withholding is the only one that changes.
const (
	StageWithholding Stage = 1 + iota // from BARRIER on nothing is disclosed that depends on a later entry
	StageReleased                     // RELEASE ended the withholding
	StageVoid                         // VOID, a higher number or a FINISH did: the audit proves nothing
)

// Cut is where an audit's number cuts this shard's log. Votes before it have lower epochs, votes
// after it have this one or a higher one. But for Stage it never changes.
type Cut struct {
	Number uint32
	Stage  Stage
	Index  uint64 // raft index of the entry that took it
	Term   uint64
	Item   uint32 // position in the entry
	Rows   uint64 // rows of history before the cut
}

// keptCuts bounds the cuts that a shard remembers.
const keptCuts = 16

// audit is what a shard knows of audits. It allocates nothing per transfer: what a cut contains is
// worked out from the history when somebody asks.
type audit struct {
	// allocated is the highest number given out; of the first shard alone.
	allocated uint32
	// epoch is the number of the newest cut: every vote carries it.
	epoch uint32
	// cuts are the newest ones, by number. Only the last may be withholding.
	cuts []Cut
}

// newest returns the last cut, nil before the first.
func (a *audit) newest() *Cut {
	if len(a.cuts) == 0 {
		return nil
	}
	return &a.cuts[len(a.cuts)-1]
}

// find returns the cut of a number, nil if it was never taken here or is forgotten.
func (a *audit) find(number uint32) *Cut {
	i, ok := slices.BinarySearchFunc(a.cuts, number, func(c Cut, n uint32) int {
		switch {
		case c.Number < n:
			return -1
		case c.Number > n:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &a.cuts[i]
}

// hash stands for the audit's part in the state hash; 0 as long as there was no audit.
func (a *audit) hash() uint64 {
	if a.allocated == 0 && len(a.cuts) == 0 {
		return 0
	}
	h := fold(uint64(a.allocated)^mixK0, mixK1)
	for i := range a.cuts {
		c := &a.cuts[i]
		h = fold(h^uint64(c.Number), uint64(c.Stage)^mixK2)
		h = fold(h^c.Index, uint64(c.Item)^mixK3) ^ fold(c.Rows^mixK4, mixK5)
	}
	return h
}

func (s *State) applyAudit(kind CommandKind, number uint32) Result {
	switch kind {
	case CmdAllocate:
		return s.applyAllocate()
	case CmdBarrier:
		return s.applyBarrier(number)
	case CmdVoid:
		return s.endWithholding(number, StageVoid)
	case CmdRelease:
		return s.endWithholding(number, StageReleased)
	}
	panic("unreachable: audit command")
}

// applyAllocate gives out the next number. Only the first shard does, so that numbers are unique.
func (s *State) applyAllocate() Result {
	number := max(s.audit.allocated, s.audit.epoch) + 1
	if !s.allocates() || number == 0 {
		return Result{Code: ResultNoEffect}
	}
	s.audit.allocated = number
	return Result{Code: ResultAllocated, Epoch: number, Index: s.index, Term: s.term}
}

// allocates reports whether this is the shard that gives out the numbers.
func (s *State) allocates() bool { return s.genesis != nil && s.shard == FirstShard(&s.genesis.Map) }

// FirstShard returns the shard whose log gives out the audits' numbers: the lowest id.
func FirstShard(m *shard.Map) shard.ID {
	var first shard.ID
	for _, p := range m.Assignments() {
		if first == 0 || p.Shard < first {
			first = p.Shard
		}
	}
	return first
}

// applyBarrier cuts the log: from here on the shard withholds. A number that is not above the epoch
// comes too late: transfers after the cut that it would need may have been disclosed.
func (s *State) applyBarrier(number uint32) Result {
	switch {
	case s.genesis == nil || number == 0:
		return Result{Code: ResultNoEffect}
	case number <= s.audit.epoch:
		return s.auditResult(number)
	case s.allocates() && number > s.audit.allocated:
		return Result{Code: ResultNoEffect}
	}
	s.advance(number, StageWithholding)
	return s.auditResult(number)
}

// endWithholding is VOID, before the audit was proven, and RELEASE, after it.
func (s *State) endWithholding(number uint32, stage Stage) Result {
	if number == 0 || number > s.audit.epoch {
		return Result{Code: ResultNoEffect}
	}
	if number == s.Withholding() {
		s.audit.newest().Stage = stage
	}
	return s.auditResult(number)
}

// advance takes a cut. What was withheld for a lower number is void: its audit can no longer be
// confirmed here.
func (s *State) advance(number uint32, stage Stage) {
	a := &s.audit
	invariant.Check(number > a.epoch, "the audit epoch grows")
	if c := a.newest(); c != nil && c.Stage == StageWithholding {
		invariant.Sometimes("ledger: a higher number voided an audit")
		c.Stage = StageVoid
	}
	if len(a.cuts) == keptCuts {
		a.cuts = a.cuts[:copy(a.cuts, a.cuts[1:])]
	}
	a.cuts = append(a.cuts, Cut{
		Number: number, Stage: stage, Index: s.index, Term: s.term, Item: s.item, Rows: s.history.Len(),
	})
	a.epoch = number
}

// auditResult says how a number that is not above the epoch stands.
func (s *State) auditResult(number uint32) Result {
	r := Result{Code: ResultVoid, Epoch: number}
	c := s.audit.find(number)
	if c == nil {
		return r
	}
	r.Index, r.Term = c.Index, c.Term
	switch c.Stage {
	case StageWithholding:
		r.Code = ResultWithholding
	case StageReleased:
		r.Code = ResultReleased
	case StageVoid:
	}
	return r
}

// Epoch returns the number of the newest cut, which every vote carries; 0 before the first.
func (s *State) Epoch() uint32 { return s.audit.epoch }

// Withholding returns the number for which the shard withholds, 0 if it does not: what depends on
// an entry after that number's BARRIER must not leave any replica (docs/PROTOCOL.md, section 9).
func (s *State) Withholding() uint32 {
	if c := s.audit.newest(); c != nil && c.Stage == StageWithholding {
		return c.Number
	}
	return 0
}

// Cut returns the cut of a number; false if it was never taken here or is forgotten.
func (s *State) Cut(number uint32) (Cut, bool) {
	c := s.audit.find(number)
	if c == nil {
		return Cut{}, false
	}
	return *c, true
}

// PreparedBefore returns the transfers in P whose votes stand before a number's cut, in vote order.
func (s *State) PreparedBefore(number uint32) []TransferID {
	var ids []TransferID
	for n := range s.prepared.all {
		if n.epoch >= number {
			break // epochs grow with the votes
		}
		ids = append(ids, n.record.ID)
	}
	return ids
}

// Snapshot is this shard's part of a snapshot, which contains exactly the transfers with a commit
// epoch below the number.
type Snapshot struct {
	Cut      Cut
	Accounts uint64   // users' accounts
	Posted   *big.Int // sum of the users' balances at the cut
	// In and Out are the local sides of transfers that are contained and were finished after the cut:
	// money that was under way between shards. Unfinished is their number.
	In, Out    *big.Int
	Unfinished int
}

// Total returns what the snapshot holds here: posted, and what was under way.
func (n *Snapshot) Total() *big.Int {
	t := new(big.Int).Add(n.Posted, n.In)
	return t.Sub(t, n.Out)
}

// Snapshot works out this shard's part of a number's snapshot: the accounts as they are, less what
// came after the cut. It is complete once no contained transfer is in P (PreparedBefore). It reads
// every account and every row since the cut.
func (s *State) Snapshot(number uint32) (Snapshot, bool) {
	c := s.audit.find(number)
	if c == nil {
		return Snapshot{}, false
	}
	var in, out, laterIn, laterOut wideSum
	n := Snapshot{Cut: *c, Accounts: uint64(len(s.accounts.slots) - 1)}
	var r Row
	for i := c.Rows; i < s.history.Len(); i++ {
		s.history.Read(i, &r)
		if r.Kind != RowCommit {
			continue // a transfer inside the shard does not change its total
		}
		_, debit := s.accounts.find(r.Record.Debit)
		into, outOf := &laterIn, &laterOut
		if r.Epoch < number {
			into, outOf = &in, &out
			n.Unfinished++
		}
		if debit {
			outOf.add(r.Record.Amount)
		} else {
			into.add(r.Record.Amount)
		}
	}
	n.In, n.Out = in.big(), out.big()
	n.Posted = s.Total()
	n.Posted.Sub(n.Posted, n.In).Add(n.Posted, n.Out)
	n.Posted.Sub(n.Posted, laterIn.big()).Add(n.Posted, laterOut.big())
	return n, true
}

// cutSize is the size in bytes of an encoded cut.
const cutSize = 4 + 1 + 8 + 8 + 4 + 8

// appendTo encodes allocated 4, number of cuts 4, cuts.
func (a *audit) appendTo(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, a.allocated)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(a.cuts)))
	for i := range a.cuts {
		c := &a.cuts[i]
		b = binary.LittleEndian.AppendUint32(b, c.Number)
		b = append(b, byte(c.Stage))
		b = binary.LittleEndian.AppendUint64(b, c.Index)
		b = binary.LittleEndian.AppendUint64(b, c.Term)
		b = binary.LittleEndian.AppendUint32(b, c.Item)
		b = binary.LittleEndian.AppendUint64(b, c.Rows)
	}
	return b
}

// decodeAudit reads the audit's part. Whether the cuts fit the rows is checked row by row (cutFits).
func (s *State) decodeAudit(r *reader) {
	a := &s.audit
	a.allocated = r.u32()
	n := r.count(cutSize)
	if n > keptCuts || n > 0 && s.genesis == nil || a.allocated != 0 && !s.allocates() {
		r.fail("audits that cannot be")
		return
	}
	var last Cut
	for i := range n {
		c := Cut{Number: r.u32(), Stage: Stage(r.u8()), Index: r.u64(), Term: r.u64(), Item: r.u32(), Rows: r.u64()}
		inOrder := c.Number > last.Number && c.Rows >= last.Rows && c.Rows > 0 && c.Term >= last.Term && c.Term <= s.term &&
			(c.Index > last.Index || c.Index == last.Index && c.Item > last.Item) && c.Index <= s.index
		known := c.Stage == StageReleased || c.Stage == StageVoid || c.Stage == StageWithholding && i == n-1
		if !inOrder || !known {
			r.fail("audits are out of order")
			return
		}
		a.cuts, a.epoch, last = append(a.cuts, c), c.Number, c
	}
}

// cutFits reports whether a row of the history and its epoch fit the cuts.
func (s *State) cutFits(row *Row, vote uint32) bool {
	epoch, before := uint32(0), true
	for i := range s.audit.cuts {
		c := &s.audit.cuts[i]
		after := row.Index > c.Index || row.Index == c.Index && row.Item >= c.Item
		if after != (row.Position >= c.Rows) {
			return false
		}
		if !after {
			break
		}
		epoch, before = c.Number, false
	}
	switch {
	case row.Kind == RowAbort:
		return row.Epoch == vote
	case row.Kind == RowCommit && row.Epoch < vote:
		return false
	case before && len(s.audit.cuts) == keptCuts:
		return row.Epoch < s.audit.cuts[0].Number // earlier cuts are forgotten
	case before || row.Kind == RowCommit:
		return row.Epoch <= epoch
	}
	return row.Epoch == epoch
}
