package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"raftbank/internal/planted"
)

// Errors of decoding. All of them mean that the connection cannot be read any further, because
// the position of the next frame is no longer certain or the peer speaks another language.
var (
	// ErrVersion says that the frame has another wire format version.
	ErrVersion = errors.New("wire: unknown format version")
	// ErrChecksum says that the frame was damaged on its way, or that the peer is no raftbank.
	ErrChecksum = errors.New("wire: checksum does not match")
	// ErrTooLarge says that a frame or a list in it is over its bound.
	ErrTooLarge = errors.New("wire: too large")
	// ErrTruncated says that a frame or a field ends early.
	ErrTruncated = errors.New("wire: truncated")
	// ErrTrailing says that bytes follow the last field of a message.
	ErrTrailing = errors.New("wire: bytes after the message")
	// ErrUnknownType says that no message has this type.
	ErrUnknownType = errors.New("wire: unknown message type")
	// ErrMalformed says that a field has a value that no encoder writes.
	ErrMalformed = errors.New("wire: malformed field")
)

// HeaderBytes is the size of what stands before a frame's payload: length, checksum, version, type.
const HeaderBytes = 10

// prefixBytes precede what length and checksum cover.
const prefixBytes = 8

// firstReadBytes is how much is allocated on the word of a length alone; more is allocated as the
// bytes arrive, so that a stranger cannot have memory reserved by naming a size.
const firstReadBytes = 64 << 10

// castagnoli is read-only after its construction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the whole frame of m to b. A message whose frame would be over MaxFrameBytes is
// not Append's to refuse: who queues frames checks the length (see package transport).
func Append(b []byte, m Message) []byte {
	start := len(b)
	if m, ok := m.(sizer); ok {
		b = slices.Grow(b, HeaderBytes+m.size())
	}
	b = append(b, make([]byte, prefixBytes)...)
	b = append(b, Version, byte(m.Type()))
	b = m.AppendTo(b)
	body := b[start+prefixBytes:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(body, castagnoli))
	return b
}

// sizer is a message that can be large and knows about how many bytes AppendTo adds.
type sizer interface{ size() int }

// SizeHint returns about how many bytes the frame of a message has, or less.
func SizeHint(m Message) int {
	if m, ok := m.(sizer); ok {
		return HeaderBytes + m.size()
	}
	return HeaderBytes
}

// Memory lends what frames are read into, so that large ones are not allocated each time. It need not be safe for
// concurrent use.
type Memory interface {
	// Take returns size bytes, whatever they hold, or nil if it has none to lend.
	Take(size int) []byte
	// Give takes bytes back, from Take or elsewhere. Nobody else uses them any more.
	Give(b []byte)
}

// ReadFrame reads the next message, which owns its memory.
// Errors: io.EOF at the end between two frames, ErrTruncated within one, the other errors of this
// package, and those of r.
func ReadFrame(r *bufio.Reader) (Message, error) {
	return readFrame(r, MaxFrameBytes, firstReadBytes, nil)
}

// ReadFrameIn is ReadFrame by way of a memory that has the frame back when the message holds none of it.
func ReadFrameIn(mem Memory, r *bufio.Reader) (Message, error) {
	return readFrame(r, MaxFrameBytes, firstReadBytes, mem)
}

// ReadFrameMax is ReadFrame with a smaller bound, for connections that are not trusted yet.
func ReadFrameMax(r *bufio.Reader, maxBytes int) (Message, error) {
	return readFrame(r, maxBytes, firstReadBytes, nil)
}

// ReadTrustedFrame is ReadFrame for connections whose other side has proven who it is: it allocates a whole frame on
// the word of its length.
func ReadTrustedFrame(r *bufio.Reader) (Message, error) {
	return readFrame(r, MaxFrameBytes, MaxFrameBytes, nil)
}

func readFrame(r *bufio.Reader, maxBytes, firstBytes int, mem Memory) (Message, error) {
	var prefix [prefixBytes]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: in a frame's header", ErrTruncated)
		}
		return nil, err
	}
	size := binary.LittleEndian.Uint32(prefix[:])
	switch {
	case uint64(size) > uint64(maxBytes):
		return nil, fmt.Errorf("%w: frame of %d bytes, at most %d are allowed", ErrTooLarge, size, maxBytes)
	case size < HeaderBytes-prefixBytes:
		return nil, fmt.Errorf("%w: frame of %d bytes", ErrTruncated, size)
	}
	body, err := readBody(r, int(size), firstBytes, mem)
	if err != nil {
		return nil, err
	}
	if sum := crc32.Checksum(body, castagnoli); sum != binary.LittleEndian.Uint32(prefix[4:]) && !planted.On(planted.FrameUnchecked) {
		return nil, fmt.Errorf("%w: frame of %d bytes", ErrChecksum, size)
	}
	if body[0] != Version {
		return nil, fmt.Errorf("%w: %d, this build reads %d", ErrVersion, body[0], Version)
	}
	m, shares, err := decode(Type(body[1]), body[2:])
	if mem != nil && !shares {
		mem.Give(body)
	}
	return m, err
}

// readBody reads size bytes, into what mem has to lend, or growing its buffer from first bytes on with what has arrived.
func readBody(r *bufio.Reader, size, first int, mem Memory) ([]byte, error) {
	var body []byte
	if mem != nil {
		body = mem.Take(size)
	}
	if body == nil {
		body = make([]byte, min(size, first))
	}
	read := 0
	for {
		n, err := io.ReadFull(r, body[read:])
		read += n
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: %d of %d bytes of a frame", ErrTruncated, read, size)
		}
		if err != nil {
			return nil, err
		}
		if read == size {
			return body, nil
		}
		grown := make([]byte, min(size, 4*read))
		copy(grown, body)
		body = grown
	}
}

// Decode reads the payload of a message of type typ. Byte fields of the message share memory with
// payload, which must not be changed after. It never panics, and allocates no more than a small
// multiple of the payload's size.
// Errors: ErrUnknownType, ErrTruncated, ErrTrailing, ErrTooLarge, ErrMalformed.
func Decode(typ Type, payload []byte) (Message, error) {
	m, _, err := decode(typ, payload)
	return m, err
}

// decode is Decode, and says whether the message shares memory with payload.
func decode(typ Type, payload []byte) (_ Message, shares bool, _ error) {
	m := empty(typ)
	if m == nil {
		return nil, false, fmt.Errorf("%w: %d", ErrUnknownType, uint8(typ))
	}
	r := reader{rest: payload}
	m.decode(&r)
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%w: %d of them", ErrTrailing, len(r.rest))
	}
	if r.err != nil {
		return nil, false, fmt.Errorf("%s message: %w", typ, r.err)
	}
	return m, r.shared, nil
}

// decoder is a message that can read what its AppendTo wrote.
type decoder interface {
	Message
	decode(r *reader)
}

// empty returns a new message of a type, or nil if there is no such type.
func empty(typ Type) decoder {
	switch typ {
	case TypeHello:
		return &Hello{}
	case TypeHelloReply:
		return &HelloReply{}
	case TypeProof:
		return &Proof{}
	case TypeRaft:
		return &Raft{}
	case TypeProbe:
		return &Probe{}
	case TypeProbeReply:
		return &ProbeReply{}
	case TypeCheckpoint:
		return &Checkpoint{}
	case TypeSnapshotAsk:
		return &SnapshotAsk{}
	case TypeSnapshotPart:
		return &SnapshotPart{}
	case TypeTransfer:
		return &TransferRequest{}
	case TypePrepare:
		return &PrepareRequest{}
	case TypeFinish:
		return &FinishRequest{}
	case TypeInquire:
		return &InquireRequest{}
	case TypeStatus:
		return &StatusRequest{}
	case TypeCancel:
		return &CancelRequest{}
	case TypeBalance:
		return &BalanceRequest{}
	case TypeAdmin:
		return &AdminRequest{}
	case TypeAudit:
		return &AuditRequest{}
	case TypeQuery:
		return &QueryRequest{}
	case TypeReply:
		return &Reply{}
	}
	return nil
}

// String returns the message's name in lower case, for errors and logs.
func (t Type) String() string {
	switch t {
	case TypeHello:
		return "hello"
	case TypeHelloReply:
		return "hello-reply"
	case TypeProof:
		return "proof"
	case TypeRaft:
		return "raft"
	case TypeProbe:
		return "probe"
	case TypeProbeReply:
		return "probe-reply"
	case TypeCheckpoint:
		return "checkpoint"
	case TypeSnapshotAsk:
		return "snapshot-ask"
	case TypeSnapshotPart:
		return "snapshot-part"
	case TypeTransfer:
		return "transfer"
	case TypePrepare:
		return "prepare"
	case TypeFinish:
		return "finish"
	case TypeInquire:
		return "inquire"
	case TypeStatus:
		return "status"
	case TypeCancel:
		return "cancel"
	case TypeBalance:
		return "balance"
	case TypeAdmin:
		return "admin"
	case TypeAudit:
		return "audit"
	case TypeQuery:
		return "query"
	case TypeReply:
		return "reply"
	}
	return fmt.Sprintf("type-%d", uint8(t))
}
