package sim

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// Bytes of a frame before its body: length, checksum, version, type.
const (
	frameSumAt  = 4
	frameBodyAt = 8
	frameHead   = 10
)

// litter sends something that no client of this program sends.
func (l *workload) litter() {
	if l.w.calm {
		return
	}
	l.w.after(l.rng.between(0, second), l.litter)
	l.w.struck(faultGarbage)
	var junk []byte
	switch l.rng.IntN(4) {
	case 0:
		junk = make([]byte, l.rng.between(1, 400))
		_, _ = l.rng.Read(junk)
		l.w.net.received(junk, true)
	case 1:
		junk = binary.LittleEndian.AppendUint32(nil, uint32(l.rng.between(wire.MaxFrameBytes+1, 1<<32-1)))
		l.w.net.received(append(junk, make([]byte, l.rng.between(4, 64))...), true)
	default:
		l.scramble()
	}
}

// scramble sends a request with some wrong bytes under a checksum that is right.
func (l *workload) scramble() {
	known := l.recent(1)
	if len(known) == 0 {
		return
	}
	k, s := known[0], pick(l.rng, l.w.servers)
	h := wire.Header{Request: l.rng.Uint64(), Shard: s.shard, Epoch: shard.MapEpoch}
	inquiry := wire.Inquiry{ID: k.record.ID, Digest: ledger.DigestOf(k.record), Participants: k.parts}
	frame := encoded(pick(l.rng, []wire.Message{
		&wire.TransferRequest{Header: h, Records: []ledger.Record{k.record}},
		&wire.PrepareRequest{Header: h, Records: []ledger.Record{k.record}, Digests: []ledger.Digest{ledger.DigestOf(k.record)}},
		&wire.InquireRequest{Header: h, Poison: true, Reason: ledger.ReasonTimedOut, Items: []wire.Inquiry{inquiry}},
		&wire.BalanceRequest{Header: h, Strong: l.rng.chance(0.5), Accounts: l.accounts[:1+l.rng.IntN(len(l.accounts))]},
	}))
	for range 1 + l.rng.IntN(3) {
		frame[frameHead+l.rng.IntN(len(frame)-frameHead)] = byte(l.rng.Uint32())
	}
	if l.rng.chance(0.2) {
		frame[frameHead-1] = byte(l.rng.Uint32()) // another type of message
	}
	binary.LittleEndian.PutUint32(frame[frameSumAt:], crc32.Checksum(frame[frameBodyAt:], crc32.MakeTable(crc32.Castagnoli)))
	m, err := wire.ReadFrame(bufio.NewReader(bytes.NewReader(frame)))
	if err != nil {
		return // the server closes the connection
	}
	l.registerRecords(m)
	l.w.after(l.rng.between(0, second), func() {
		if s.up {
			l.w.note('g', uint64(s.id), 0, frame)
			s.receive(input{conn: liarConn, message: m})
		}
	})
}

// registerRecords makes the transfers of a stranger's message known to the checkers: a server may well carry
// them out.
func (l *workload) registerRecords(m wire.Message) {
	var records []ledger.Record
	switch m := m.(type) {
	case *wire.TransferRequest:
		records = m.Records
	case *wire.PrepareRequest:
		records = m.Records
	}
	for _, r := range records {
		l.content(r).copied = true
	}
}
