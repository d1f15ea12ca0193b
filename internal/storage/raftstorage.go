package storage

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

var _ raft.Storage = (*Log)(nil)

// entryOverhead bounds the bytes that raft's encoding of an entry adds to its data.
const entryOverhead = 32

// InitialState returns the stored HardState, nil if there is none, and the configuration given by
// LogOptions.Voters. It implements raft.Storage.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	conf := &raftpb.ConfState{Voters: slices.Clone(l.voters)}
	if l.hs == (hardState{}) {
		return nil, conf, nil
	}
	return &raftpb.HardState{Term: new(l.hs.term), Vote: new(l.hs.vote), Commit: new(l.hs.commit)}, conf, nil
}

// Entries returns the entries from lo up to but without hi, at least one and else about maxSize bytes. The
// slice is the caller's; the entries are not to be changed. It implements raft.Storage.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo == 0 {
		return nil, raft.ErrCompacted
	}
	if hi > uint64(len(l.entries))+1 || lo > hi {
		return nil, raft.ErrUnavailable
	}
	out := l.entries[lo-1 : hi-1 : hi-1]
	var size uint64
	for i, e := range out {
		size += uint64(len(e.GetData())) + entryOverhead
		if size > maxSize && i > 0 {
			return out[:i:i], nil
		}
	}
	return out, nil
}

// Term returns the term of entry i; that of entry 0, before the first, is 0. It implements raft.Storage.
func (l *Log) Term(i uint64) (uint64, error) {
	if i == 0 {
		return 0, nil
	}
	if i > uint64(len(l.entries)) {
		return 0, raft.ErrUnavailable
	}
	return l.entries[i-1].GetTerm(), nil
}

// FirstIndex returns 1: nothing is cut from the log yet. It implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) { return 1, nil }

// LastIndex returns the index of the last entry, 0 if there is none. It implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) { return uint64(len(l.entries)), nil }

// Snapshot always says that there is none: the log holds every entry from the first, so no follower
// needs one. It implements raft.Storage.
func (l *Log) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}
