package wire

import (
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

func (h *Header) appendTo(b []byte) []byte {
	b = appendU64(b, h.Request)
	b = appendU32(b, uint32(h.Shard))
	return appendU32(b, h.Epoch)
}

func (h *Header) decodeFrom(r *reader) {
	h.Request = r.u64()
	h.Shard = shard.ID(r.u32())
	h.Epoch = r.u32()
}

// Type implements Message.
func (*TransferRequest) Type() Type { return TypeTransfer }

// AppendTo implements Message.
func (m *TransferRequest) AppendTo(b []byte) []byte {
	b = appendBool(m.Header.appendTo(b), m.Again)
	b = appendU32(b, uint32(len(m.Records)))
	for i := range m.Records {
		b = m.Records[i].AppendTo(b)
	}
	return b
}

func (m *TransferRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.Again = r.bool()
	m.Records = r.records(r.count(ledger.RecordSize, MaxBatch))
}

// Type implements Message.
func (*PrepareRequest) Type() Type { return TypePrepare }

// AppendTo implements Message. It panics if Digests is not parallel to Records.
func (m *PrepareRequest) AppendTo(b []byte) []byte {
	if len(m.Digests) != len(m.Records) {
		panic("invariant: a digest for each record")
	}
	b = appendBool(m.Header.appendTo(b), m.Again)
	b = appendU32(b, uint32(len(m.Records)))
	for i := range m.Records {
		b = m.Records[i].AppendTo(b)
	}
	for i := range m.Digests {
		b = append(b, m.Digests[i][:]...)
	}
	return b
}

func (m *PrepareRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.Again = r.bool()
	n := r.count(ledger.RecordSize+digestBytes, MaxBatch)
	if n == 0 {
		return
	}
	m.Records = r.records(n)
	m.Digests = make([]ledger.Digest, n)
	for i := range m.Digests {
		copy(m.Digests[i][:], r.take(digestBytes))
	}
}

// Type implements Message.
func (*FinishRequest) Type() Type { return TypeFinish }

// AppendTo implements Message.
func (m *FinishRequest) AppendTo(b []byte) []byte {
	return appendBlocks(m.Header.appendTo(b), m.Blocks)
}

func (m *FinishRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.Blocks = r.blocks()
}

// Type implements Message.
func (*InquireRequest) Type() Type { return TypeInquire }

// AppendTo implements Message.
func (m *InquireRequest) AppendTo(b []byte) []byte {
	b = m.Header.appendTo(b)
	b = appendBool(b, m.Poison)
	b = append(b, byte(m.Reason))
	b = appendU32(b, uint32(len(m.Items)))
	for i := range m.Items {
		q := &m.Items[i]
		b = append(b, q.ID[:]...)
		b = append(b, q.Digest[:]...)
		b = appendU32(b, uint32(len(q.Participants)))
		for _, p := range q.Participants {
			b = appendU32(b, uint32(p))
		}
	}
	return b
}

func (m *InquireRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.Poison = r.bool()
	m.Reason = ledger.Reason(r.u8())
	n := r.count(inquiryBytes, MaxBatch)
	if n == 0 {
		return
	}
	m.Items = make([]Inquiry, n)
	for i := range m.Items {
		q := &m.Items[i]
		copy(q.ID[:], r.take(idBytes))
		copy(q.Digest[:], r.take(digestBytes))
		if k := r.count(4, maxShards); k > 0 {
			q.Participants = make([]shard.ID, k)
			for j := range q.Participants {
				q.Participants[j] = shard.ID(r.u32())
			}
		}
	}
}

// Type implements Message.
func (*StatusRequest) Type() Type { return TypeStatus }

// AppendTo implements Message.
func (m *StatusRequest) AppendTo(b []byte) []byte { return appendIDs(m.Header.appendTo(b), m.IDs) }

func (m *StatusRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.IDs = r.ids(MaxBatch)
}

// Type implements Message.
func (*CancelRequest) Type() Type { return TypeCancel }

// AppendTo implements Message.
func (m *CancelRequest) AppendTo(b []byte) []byte { return appendIDs(m.Header.appendTo(b), m.IDs) }

func (m *CancelRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.IDs = r.ids(MaxBatch)
}

// Type implements Message.
func (*BalanceRequest) Type() Type { return TypeBalance }

// AppendTo implements Message.
func (m *BalanceRequest) AppendTo(b []byte) []byte {
	b = appendBool(m.Header.appendTo(b), m.Strong)
	b = appendU32(b, uint32(len(m.Accounts)))
	for _, a := range m.Accounts {
		b = appendU64(b, uint64(a))
	}
	return b
}

func (m *BalanceRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.Strong = r.bool()
	n := r.count(8, MaxBatch)
	if n == 0 {
		return
	}
	m.Accounts = make([]shard.Account, n)
	for i := range m.Accounts {
		m.Accounts[i] = shard.Account(r.u64())
	}
}

// Type implements Message.
func (*AuditRequest) Type() Type { return TypeAudit }

// AppendTo implements Message.
func (m *AuditRequest) AppendTo(b []byte) []byte {
	b = append(m.Header.appendTo(b), byte(m.Step))
	return appendBlocks(appendU32(b, m.Number), m.Blocks)
}

func (m *AuditRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.Step = AuditStep(r.u8())
	m.Number = r.u32()
	m.Blocks = r.blocks()
}

// Type implements Message.
func (*AdminRequest) Type() Type { return TypeAdmin }

// AppendTo implements Message.
func (m *AdminRequest) AppendTo(b []byte) []byte {
	return appendBytes(appendText(m.Header.appendTo(b), m.Kind), m.Body)
}

func (m *AdminRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.Kind = r.text()
	m.Body = r.bytes(MaxFrameBytes)
}

// Type implements Message.
func (*QueryRequest) Type() Type { return TypeQuery }

// AppendTo implements Message.
func (m *QueryRequest) AppendTo(b []byte) []byte {
	b = appendBool(append(m.Header.appendTo(b), byte(m.Kind)), m.Strong)
	b = appendU32(appendU64(b, uint64(m.Account)), m.Limit)
	return append(appendText(b, m.Cursor), m.ID[:]...)
}

func (m *QueryRequest) decode(r *reader) {
	m.Header.decodeFrom(r)
	m.Kind = QueryKind(r.u8())
	m.Strong = r.bool()
	m.Account = shard.Account(r.u64())
	m.Limit = r.u32()
	m.Cursor = r.text()
	copy(m.ID[:], r.take(idBytes))
}

// HeaderOf returns the header of a request, or nil if m is no request.
func HeaderOf(m Message) *Header {
	switch m := m.(type) {
	case *TransferRequest:
		return &m.Header
	case *PrepareRequest:
		return &m.Header
	case *FinishRequest:
		return &m.Header
	case *InquireRequest:
		return &m.Header
	case *StatusRequest:
		return &m.Header
	case *CancelRequest:
		return &m.Header
	case *BalanceRequest:
		return &m.Header
	case *AuditRequest:
		return &m.Header
	case *AdminRequest:
		return &m.Header
	case *QueryRequest:
		return &m.Header
	}
	return nil
}
