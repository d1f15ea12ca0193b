package storage

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

func TestWritten(t *testing.T) {
	l := mustLog(t, mustDir(t, vfs.NewMem()), 4096)
	must(t, l.Append(hard(1, 1, 0), []*raftpb.Entry{ent(1, 1, "a")}, true))
	first := l.Written()
	if first.Syncs != 1 || first.Bytes < blockHeaderSize || first.Bytes > 512 {
		t.Fatalf("one small append wrote %+v", first)
	}
	must(t, l.Append(nil, []*raftpb.Entry{ent(2, 1, "b")}, false))
	if w := l.Written(); w.Syncs != 1 || w.Bytes <= first.Bytes {
		t.Fatalf("an append without sync made %+v of %+v", w, first)
	}
	must(t, l.Append(nil, []*raftpb.Entry{ent(3, 1, string(make([]byte, 3500)))}, true))
	// The block needed a new segment (zeros, file and directory synced) and a seal.
	if w := l.Written(); w.Syncs != 1+2+1+1 || w.Bytes < 4096+3500 {
		t.Fatalf("a change of segment made %+v", w)
	}
}
