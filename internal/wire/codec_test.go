package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"raftbank/internal/ledger"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata/golden.txt (a change of the wire format)")

// allTypes are the types of every message, in the order of their numbers.
var allTypes = []Type{
	TypeHello, TypeHelloReply, TypeRaft, TypeProbe, TypeProbeReply, TypeProof, TypeCheckpoint,
	TypeSnapshotAsk, TypeSnapshotPart,
	TypeTransfer, TypePrepare, TypeFinish, TypeInquire, TypeStatus, TypeCancel, TypeBalance, TypeAdmin, TypeReply,
	TypeAudit, TypeQuery,
}

func TestRoundTrip(t *testing.T) {
	checks := map[Type]func(*rapid.T) Message{
		TypeHello:        draw[Hello],
		TypeHelloReply:   draw[HelloReply],
		TypeProof:        draw[Proof],
		TypeRaft:         draw[Raft],
		TypeProbe:        draw[Probe],
		TypeProbeReply:   draw[ProbeReply],
		TypeCheckpoint:   draw[Checkpoint],
		TypeSnapshotAsk:  draw[SnapshotAsk],
		TypeSnapshotPart: draw[SnapshotPart],
		TypeTransfer:     draw[TransferRequest],
		TypePrepare:      draw[PrepareRequest],
		TypeFinish:       draw[FinishRequest],
		TypeInquire:      draw[InquireRequest],
		TypeStatus:       draw[StatusRequest],
		TypeCancel:       draw[CancelRequest],
		TypeBalance:      draw[BalanceRequest],
		TypeAdmin:        draw[AdminRequest],
		TypeReply:        draw[Reply],
		TypeAudit:        draw[AuditRequest],
		TypeQuery:        draw[QueryRequest],
	}
	for _, typ := range allTypes {
		t.Run(typ.String(), rapid.MakeCheck(func(t *rapid.T) {
			want := checks[typ](t)
			if want.Type() != typ {
				t.Fatalf("type %s, want %s", want.Type(), typ)
			}
			frame := Append([]byte("before"), want)[len("before"):]
			r := bufio.NewReader(bytes.NewReader(append(frame, frame...)))
			for _, mem := range []Memory{nil, spoiler{}} {
				got, err := readFrame(r, MaxFrameBytes, 7, mem) // 7: the buffer must grow
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("got %+v, want %+v", got, want)
				}
			}
			if _, err := ReadFrame(r); err != io.EOF {
				t.Fatalf("at the end: %v, want io.EOF", err)
			}
		}))
	}
}

// spoiler is a memory that makes use of what it gets back at once.
type spoiler struct{}

func (spoiler) Take(size int) []byte { return bytes.Repeat([]byte{0xa5}, size) }

func (spoiler) Give(b []byte) {
	for i := range b {
		b[i] ^= 0xff
	}
}

// TestMemoryComesBack reads a message that holds none of its frame, and one that does.
func TestMemoryComesBack(t *testing.T) {
	for _, c := range []struct {
		m    Message
		back bool
	}{
		{&TransferRequest{Records: make([]ledger.Record, 3)}, true},
		{&Reply{Text: "busy"}, true},
		{&Reply{Body: []byte("{}")}, false},
		{&Raft{Messages: [][]byte{{1}}}, false},
	} {
		mem := &lender{}
		if _, err := ReadFrameIn(mem, bufio.NewReader(bytes.NewReader(Append(nil, c.m)))); err != nil {
			t.Fatal(err)
		}
		if mem.back != c.back {
			t.Errorf("%s: the frame came back: %t, want %t", c.m.Type(), mem.back, c.back)
		}
	}
}

type lender struct{ back bool }

func (*lender) Take(size int) []byte { return make([]byte, size) }
func (l *lender) Give([]byte)        { l.back = true }

// draw returns a message as an encoder may be given it.
func draw[T any](t *rapid.T) Message {
	v := rapid.Make[T]().Draw(t, "message")
	settle(reflect.ValueOf(&v).Elem())
	return any(&v).(Message)
}

// onlySent reports whether a field holds nothing in a decoded message.
func onlySent(f reflect.StructField) bool { return f.Tag.Get("wire") == "-" }

// settle makes a value one that decoding yields: nil for empty lists, parallel lists of one
// length, no record where HasRecord is false.
func settle(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		if v.Len() == 0 {
			v.SetZero()
		}
		for i := range v.Len() {
			settle(v.Index(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			settle(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if onlySent(v.Type().Field(i)) {
				v.Field(i).SetZero()
				continue
			}
			settle(v.Field(i))
		}
		switch m := v.Addr().Interface().(type) {
		case *PrepareRequest:
			m.Digests = nil
			for i := range m.Records {
				m.Digests = append(m.Digests, ledger.Digest{byte(i)})
			}
		case *Probe: // rapid draws longer lists now and then
			m.Founding = m.Founding[:min(len(m.Founding), maxMembers)]
		case *ProbeReply:
			m.Members = m.Members[:min(len(m.Members), maxMembers)]
			m.Founding = m.Founding[:min(len(m.Founding), maxMembers)]
		case *Result:
			if k := m.Content; k != nil && !k.HasRecord {
				m.Content = ContentOf(&ledger.Outcome{Digest: k.Digest})
			}
		case *Reply:
			m.Committed, m.Voted = orderly(m.Committed), orderly(m.Voted)
		}
	}
}

// orderly makes runs that a reply may have: not empty, ascending and apart.
func orderly(runs []Run) []Run {
	end := uint32(0)
	for i := range runs {
		runs[i] = Run{First: end + runs[i].First%5, Count: 1 + runs[i].Count%5}
		end = runs[i].First + runs[i].Count
	}
	return runs
}

// TestGolden freezes the format: a difference means that old and new builds cannot talk, which
// takes a new Version.
func TestGolden(t *testing.T) {
	var got strings.Builder
	for _, typ := range allTypes {
		fmt.Fprintf(&got, "%s\n%s", typ, hex.Dump(Append(nil, sample(typ))))
	}
	const file = "testdata/golden.txt"
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the wire format changed; got\n%s", got.String())
	}
}

// sample returns a message of a type with a different value in every field.
func sample(typ Type) Message {
	m := empty(typ)
	n := uint64(0)
	fill(reflect.ValueOf(m).Elem(), &n)
	if r, ok := m.(*Reply); ok {
		r.Committed, r.Voted = orderly(r.Committed), orderly(r.Voted)
	}
	return m
}

func fill(v reflect.Value, n *uint64) {
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(*n % 251)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Pointer: // the values stay those that they were when the fields stood in the struct itself
		*n -= 2
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !onlySent(v.Type().Field(i)) {
				fill(v.Field(i), n)
			}
		}
	default:
		panic("unreachable: kind " + v.Kind().String())
	}
}

func TestReadFrameErrors(t *testing.T) {
	good := Append(nil, &StatusRequest{IDs: []ledger.TransferID{{1}}})
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	// resealed returns a frame with any body and a checksum that fits.
	resealed := func(version, typ byte, payload ...byte) []byte {
		b := Append(nil, &rawMessage{Type(typ), payload})
		if version == Version {
			return b
		}
		b[8] = version
		body := b[8:]
		return append(appendU32(appendU32(nil, uint32(len(body))), crcOf(body)), body...)
	}
	for _, c := range []struct {
		name  string
		input []byte
		want  error
	}{
		{"empty", nil, io.EOF},
		{"half a header", good[:5], ErrTruncated},
		{"half a body", good[:20], ErrTruncated},
		{"no body", good[:8], ErrTruncated},
		{"changed byte", change(30, 9), ErrChecksum},
		{"changed checksum", change(4, good[4]+1), ErrChecksum},
		{"length over the bound", change(3, 0xff), ErrTooLarge},
		{"length of one", append([]byte{1, 0, 0, 0}, good[4:]...), ErrTruncated},
		{"an HTTP request", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), ErrTooLarge},
		{"next version", resealed(Version+1, byte(TypeProof), make([]byte, 32)...), ErrVersion},
		{"unknown type", resealed(Version, 99), ErrUnknownType},
		{"trailing byte", resealed(Version, byte(TypeProof), make([]byte, 33)...), ErrTrailing},
		{"short payload", resealed(Version, byte(TypeProof), make([]byte, 31)...), ErrTruncated},
		{"list longer than the payload", resealed(Version, byte(TypeStatus), append(make([]byte, 16), 0, 1, 0, 0)...), ErrTruncated},
		{"list over the batch", resealed(Version, byte(TypeStatus), append(make([]byte, 16), 0, 0, 1, 0)...), ErrTooLarge},
		{"empty run", repliedRuns(Run{3, 0}), ErrMalformed},
		{"runs that overlap", repliedRuns(Run{3, 2}, Run{4, 1}), ErrMalformed},
		{"run beyond a batch", repliedRuns(Run{MaxBatch, 1}), ErrMalformed},
		{"truth value 2", resealed(Version, byte(TypeBalance), append(make([]byte, 16), 2, 0, 0, 0, 0)...), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadFrame(bufio.NewReader(bytes.NewReader(c.input)))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if _, err := ReadFrameMax(bufio.NewReader(bytes.NewReader(good)), 20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over a smaller bound: got %v, want %v", err, ErrTooLarge)
	}
}

// TestReadFrameGrows reads a frame that takes several steps of growth.
func TestReadFrameGrows(t *testing.T) {
	want := &AdminRequest{Kind: "status", Body: bytes.Repeat([]byte("raftbank"), 1<<16)}
	got, err := ReadFrame(bufio.NewReader(bytes.NewReader(Append(nil, want))))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("body of %d bytes does not come back (%v)", len(want.Body), err)
	}
}

// repliedRuns returns the frame of a reply with these runs.
func repliedRuns(runs ...Run) []byte { return Append(nil, &Reply{Committed: runs}) }

type rawMessage struct {
	typ     Type
	payload []byte
}

func (m *rawMessage) Type() Type               { return m.typ }
func (m *rawMessage) AppendTo(b []byte) []byte { return append(b, m.payload...) }

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// FuzzDecode: any payload either is refused or is the one encoding of its message.
func FuzzDecode(f *testing.F) {
	for _, typ := range allTypes {
		f.Add(uint8(typ), sample(typ).AppendTo(nil))
		f.Add(uint8(typ), empty(typ).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, typ uint8, payload []byte) {
		m, err := Decode(Type(typ), payload)
		if err != nil {
			return
		}
		if again := m.AppendTo(nil); !bytes.Equal(again, payload) {
			t.Fatalf("%s: %x encodes as %x", m.Type(), payload, again)
		}
	})
}

// FuzzReadFrame: any bytes are read to their end without panic.
func FuzzReadFrame(f *testing.F) {
	for _, typ := range allTypes {
		f.Add(Append(nil, sample(typ)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			if _, err := ReadFrame(r); err != nil {
				return
			}
		}
	})
}

// TestRaftDataFollowsItsMessage wants the parts of each message behind it, as one byte string.
func TestRaftDataFollowsItsMessage(t *testing.T) {
	sent := &Raft{Shard: 1, From: 2, To: 3, Messages: [][]byte{[]byte("a"), []byte("b"), []byte("c")},
		Data: [][][]byte{{[]byte("1"), []byte("22")}, nil, {[]byte("333")}}}
	got, err := ReadFrame(bufio.NewReader(bytes.NewReader(Append(nil, sent))))
	want := &Raft{Shard: 1, From: 2, To: 3, Messages: [][]byte{[]byte("a122"), []byte("b"), []byte("c333")}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	part := Append(nil, sent.Part(1, 3))
	if got, err = ReadFrame(bufio.NewReader(bytes.NewReader(part))); err != nil || !reflect.DeepEqual(got, want.Part(1, 3)) {
		t.Errorf("part: got %+v, %v", got, err)
	}
}

// TestTrustedFrame wants the same from a side that has proven who it is, also of a frame larger than any first read.
func TestTrustedFrame(t *testing.T) {
	want := &Raft{Shard: 1, From: 2, To: 3, Messages: [][]byte{bytes.Repeat([]byte{7}, 10*firstReadBytes)}}
	frame := Append(nil, want)
	got, err := ReadTrustedFrame(bufio.NewReader(bytes.NewReader(frame)))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %T, %v", got, err)
	}
	if _, err := ReadTrustedFrame(bufio.NewReader(bytes.NewReader(frame[:len(frame)-1]))); !errors.Is(err, ErrTruncated) {
		t.Errorf("a frame that ends early: %v", err)
	}
	frame[3] = 1 // 16 MiB and more
	if _, err := ReadTrustedFrame(bufio.NewReader(bytes.NewReader(frame))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a frame over the bound: %v", err)
	}
}
