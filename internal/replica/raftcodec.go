package replica

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A raft message between replicas begins with its form. Appends, which carry all the data, have a form of their own:
// the data stands behind everything else, so that messages to several followers share it, and a decoded entry shares
// memory with the frame that it came in.
const (
	formProto  = 1 // the library's encoding follows
	formAppend = 2 // appendHead, per entry entryHead, then the entries' data
)

const (
	// appendHead is form, term, term and index of the entry before, commit index, number of entries.
	appendHead = 1 + 8 + 8 + 8 + 8 + 4
	// entryHead is term, type, length of the data.
	entryHead = 8 + 1 + 4
)

// errRaftMessage says that a raft message cannot be decoded.
var errRaftMessage = errors.New("raft message is malformed")

// encodeRaft returns the encoding of a message: head, and behind it the parts of data, which are the entries' own.
func encodeRaft(m *raftpb.Message) (head []byte, data [][]byte) {
	if !plainAppend(m) {
		head, err := proto.MarshalOptions{}.MarshalAppend([]byte{formProto}, m)
		if err != nil {
			panic(fmt.Sprintf("replica: marshal %s: %v", m.GetType(), err))
		}
		return head, nil
	}
	le := binary.LittleEndian
	head = make([]byte, 0, appendHead+entryHead*len(m.GetEntries()))
	head = append(head, formAppend)
	head = le.AppendUint64(head, m.GetTerm())
	head = le.AppendUint64(head, m.GetLogTerm())
	head = le.AppendUint64(head, m.GetIndex())
	head = le.AppendUint64(head, m.GetCommit())
	head = le.AppendUint32(head, uint32(len(m.GetEntries())))
	for _, e := range m.GetEntries() {
		head = le.AppendUint64(head, e.GetTerm())
		head = append(head, byte(e.GetType()))
		head = le.AppendUint32(head, uint32(len(e.GetData())))
		if len(e.GetData()) > 0 {
			data = append(data, e.GetData())
		}
	}
	return head, data
}

// plainAppend reports whether formAppend holds all of a message.
func plainAppend(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgApp && m.Snapshot == nil && !m.GetReject() && m.GetRejectHint() == 0 &&
		len(m.GetContext()) == 0 && m.GetVote() == 0 && len(m.GetResponses()) == 0
}

// decodeRaft reads a message from one raft id to another. Its entries share memory with b.
// Errors: errRaftMessage, and those of the library's decoder.
func decodeRaft(b []byte, from, to uint64) (*raftpb.Message, error) {
	switch {
	case len(b) == 0:
		return nil, fmt.Errorf("%w: empty", errRaftMessage)
	case b[0] == formAppend:
		return decodeAppend(b, from, to)
	case b[0] != formProto:
		return nil, fmt.Errorf("%w: form %d", errRaftMessage, b[0])
	}
	m := &raftpb.Message{}
	if err := proto.Unmarshal(b[1:], m); err != nil {
		return nil, err
	}
	if m.GetFrom() != from || m.GetTo() != to {
		return nil, fmt.Errorf("%w: from %x to %x in a frame from %x to %x", errRaftMessage, m.GetFrom(), m.GetTo(), from, to)
	}
	return m, nil
}

// appendSlab holds an append with what its pointers point to, in one allocation.
type appendSlab struct {
	message                                raftpb.Message
	typ                                    raftpb.MessageType
	from, to, term, logTerm, index, commit uint64
}

// entrySlab does so for an entry.
type entrySlab struct {
	entry       raftpb.Entry
	term, index uint64
	typ         raftpb.EntryType
}

func decodeAppend(b []byte, from, to uint64) (*raftpb.Message, error) {
	if len(b) < appendHead {
		return nil, fmt.Errorf("%w: append of %d bytes", errRaftMessage, len(b))
	}
	le := binary.LittleEndian
	s := &appendSlab{typ: raftpb.MsgApp, from: from, to: to,
		term: le.Uint64(b[1:]), logTerm: le.Uint64(b[9:]), index: le.Uint64(b[17:]), commit: le.Uint64(b[25:])}
	m := &s.message
	m.Type, m.From, m.To, m.Term, m.LogTerm, m.Index, m.Commit = &s.typ, &s.from, &s.to, &s.term, &s.logTerm, &s.index, &s.commit
	count := int(le.Uint32(b[33:]))
	b = b[appendHead:]
	if count > len(b)/entryHead {
		return nil, fmt.Errorf("%w: %d entries in %d bytes", errRaftMessage, count, len(b))
	}
	if count > 0 {
		m.Entries = make([]*raftpb.Entry, count)
	}
	slabs := make([]entrySlab, count)
	heads, data := b[:count*entryHead], b[count*entryHead:]
	for i := range slabs {
		h, e := heads[i*entryHead:], &slabs[i]
		size := int(le.Uint32(h[9:]))
		if size > len(data) {
			return nil, fmt.Errorf("%w: entry of %d bytes has %d", errRaftMessage, size, len(data))
		}
		e.term, e.index, e.typ = le.Uint64(h), s.index+1+uint64(i), raftpb.EntryType(h[8])
		e.entry.Term, e.entry.Index = &e.term, &e.index
		if e.typ != raftpb.EntryNormal {
			e.entry.Type = &e.typ // raft leaves the type of a normal entry unset
		}
		if size > 0 {
			e.entry.Data = data[:size:size]
		}
		data = data[size:]
		m.Entries[i] = &e.entry
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the entries", errRaftMessage, len(data))
	}
	return m, nil
}
