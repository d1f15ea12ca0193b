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

// Entries returns the entries from lo up to but without hi: at least one, else about maxSize bytes, and fewer where old
// entries lie in another segment. The slice is the caller's; the entries are not to be changed. It implements
// raft.Storage.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo <= l.dummy {
		return nil, raft.ErrCompacted
	}
	if hi > l.last()+1 || lo > hi {
		return nil, raft.ErrUnavailable
	}
	var out []*raftpb.Entry
	if lo > l.base {
		out = l.entries[lo-l.base-1 : hi-l.base-1 : hi-l.base-1]
	} else if lo < hi {
		var err error
		if out, err = l.oldRange(lo, hi); err != nil {
			return nil, err
		}
	}
	var size uint64
	for i, e := range out {
		size += uint64(len(e.GetData())) + entryOverhead
		if size > maxSize && i > 0 {
			return out[:i:i], nil
		}
	}
	return out, nil
}

// Term returns the term of entry i, also of the one before FirstIndex. It implements raft.Storage.
func (l *Log) Term(i uint64) (uint64, error) {
	switch {
	case i == l.dummy:
		return l.dummyTerm, nil
	case i < l.dummy:
		return 0, raft.ErrCompacted
	case i > l.last():
		return 0, raft.ErrUnavailable
	case i > l.base:
		return l.entries[i-l.base-1].GetTerm(), nil
	case i == l.base:
		return l.baseTerm, nil
	}
	old, err := l.oldRange(i, i+1)
	if err != nil {
		return 0, err
	}
	return old[0].GetTerm(), nil
}

// FirstIndex returns the index of the first entry that the log still has. It implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) { return l.dummy + 1, nil }

// LastIndex returns the index of the last entry, 0 if there is none. It implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) { return l.last(), nil }

// Snapshot always says that there is none: the log is cut only where no member needs it any more. It implements
// raft.Storage.
func (l *Log) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}
