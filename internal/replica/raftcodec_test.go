package replica

import (
	"bytes"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftbank/internal/wire"
)

// raftMessages are messages as the library makes them.
func raftMessages() []*raftpb.Message {
	entry := func(index uint64, data string) *raftpb.Entry {
		e := &raftpb.Entry{Term: new(uint64(7)), Index: new(index)}
		if data != "" {
			e.Data = []byte(data)
		}
		return e
	}
	appended := func(entries ...*raftpb.Entry) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(7)),
			LogTerm: new(uint64(6)), Index: new(uint64(40)), Commit: new(uint64(39)), Entries: entries}
	}
	conf := entry(42, "change")
	conf.Type = raftpb.EntryConfChange.Enum()
	snapshot := appended()
	snapshot.Type, snapshot.Snapshot = raftpb.MsgSnap.Enum(), &raftpb.Snapshot{Data: []byte("manifest")}
	return []*raftpb.Message{
		appended(), appended(entry(41, "")), appended(entry(41, "first"), conf, entry(43, ""), entry(44, "last")), snapshot,
		{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(7)), Context: []byte("12345678")},
		{Type: raftpb.MsgAppResp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(7)), Reject: new(true)},
	}
}

func TestRaftMessagesSurviveTheirEncoding(t *testing.T) {
	for _, m := range raftMessages() {
		head, data := encodeRaft(m)
		frame := &wire.Raft{Messages: [][]byte{head}, Data: [][][]byte{data}}
		sent := bytes.Join(append([][]byte{head}, data...), nil)
		if frame.Size(0) != len(sent) {
			t.Errorf("%s: size %d, want %d", m.GetType(), frame.Size(0), len(sent))
		}
		got, err := decodeRaft(sent, 1, 2)
		if err != nil || !proto.Equal(got, m) {
			t.Errorf("%s: got %v, %v, want %v", m.GetType(), got, err, m)
		}
		if got, err := decodeRaft(sent, 3, 2); err == nil && got.GetFrom() != 3 {
			t.Errorf("%s: from %d in a frame from 3", m.GetType(), got.GetFrom())
		}
		for n := range len(sent) - 1 {
			// The library's encoding may end early between two fields; its sender is then none.
			if short, err := decodeRaft(sent[:n], 1, 2); err == nil && head[0] == formAppend {
				t.Errorf("%s cut to %d of %d bytes is taken: %v", m.GetType(), n, len(sent), short)
			}
		}
		if _, err := decodeRaft(append(bytes.Clone(sent), 0), 1, 2); err == nil {
			t.Errorf("%s with a byte behind it is taken", m.GetType())
		}
	}
	for _, b := range [][]byte{nil, {0}, {3, 1}} {
		if _, err := decodeRaft(b, 1, 2); err == nil {
			t.Errorf("% x is taken", b)
		}
	}
}

// TestFollowersShareTheData wants one copy of an entry in the messages to all followers: its own.
func TestFollowersShareTheData(t *testing.T) {
	m := raftMessages()[2]
	_, one := encodeRaft(m)
	_, two := encodeRaft(m)
	if len(one) != 3 || &one[0][0] != &m.Entries[0].Data[0] || &one[0][0] != &two[0][0] {
		t.Errorf("the data was copied")
	}
}

// FuzzRaftMessage wants an error or a message that encodes to the same bytes.
func FuzzRaftMessage(f *testing.F) {
	for _, m := range raftMessages() {
		head, data := encodeRaft(m)
		f.Add(bytes.Join(append([][]byte{head}, data...), nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeRaft(b, 1, 2)
		if err != nil || b[0] != formAppend {
			return
		}
		head, data := encodeRaft(m)
		if again := bytes.Join(append([][]byte{head}, data...), nil); !bytes.Equal(again, b) {
			t.Errorf("% x\nbecame\n% x", b, again)
		}
	})
}
