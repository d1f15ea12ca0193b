package ledger

import (
	"encoding/binary"
	"slices"

	"raftbank/internal/invariant"
)

// Members is the membership of a shard's group, which entries of raft change one member at a time.
type Members struct {
	// Voters and Learners are raft ids (server << 32 | incarnation), ascending.
	Voters, Learners []uint64
	// Removed were members and never will be again: a raft id is not used twice.
	Removed []uint64
}

// maxMemberList bounds each list of a Members.
const maxMemberList = 4096

// Clone returns a copy that shares nothing.
func (m Members) Clone() Members {
	return Members{Voters: slices.Clone(m.Voters), Learners: slices.Clone(m.Learners), Removed: slices.Clone(m.Removed)}
}

// Has reports whether a raft id is a voter or a learner.
func (m Members) Has(id uint64) bool {
	return slices.Contains(m.Voters, id) || slices.Contains(m.Learners, id)
}

// All returns voters and learners, ascending.
func (m Members) All() []uint64 {
	all := append(slices.Clone(m.Voters), m.Learners...)
	slices.Sort(all)
	return all
}

// Members returns the membership as of the last applied entry; ok is false while it is the founding one.
func (s *State) Members() (m Members, ok bool) {
	if s.members == nil {
		return Members{}, false
	}
	return s.members.Clone(), true
}

// ChangeMembers is Skip for an entry that has changed the membership to m.
func (s *State) ChangeMembers(index, term uint64, m Members) {
	invariant.Check(len(m.Voters) > 0 && len(m.Voters) <= maxMemberList && len(m.Learners) <= maxMemberList && len(m.Removed) <= maxMemberList,
		"a membership has voters, and bounds")
	own := m.Clone()
	s.members = &own
	s.Skip(index, term)
}

// appendMembers encodes a flag 1, and if it is set the three lists: number 4, raft ids 8 each.
func (s *State) appendMembers(b []byte) []byte {
	b = append(b, flag(s.members != nil))
	if s.members == nil {
		return b
	}
	for _, list := range [][]uint64{s.members.Voters, s.members.Learners, s.members.Removed} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
		for _, id := range list {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	}
	return b
}

func (s *State) decodeMembers(r *reader) {
	if !r.flag() {
		return
	}
	m := &Members{}
	for _, list := range []*[]uint64{&m.Voters, &m.Learners, &m.Removed} {
		for range r.count(8) {
			*list = append(*list, r.u64())
		}
	}
	if len(m.Voters) == 0 || !slices.IsSorted(m.Voters) || !slices.IsSorted(m.Learners) {
		r.fail("the membership is impossible")
	}
	s.members = m
}
