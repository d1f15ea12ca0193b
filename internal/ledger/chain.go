package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
)

// HashPoint is what replicas compare: equal index means equal state hash and equal chain.
type HashPoint struct {
	Index uint64
	State uint64
	Chain [32]byte
}

// Hashes of the last keptPoints multiples of pointEvery are kept, so that replicas at different
// indexes have one in common.
const (
	pointEvery = 64
	keptPoints = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chain covers every applied entry: its index and term, its bytes and its result codes.
type chain struct {
	crc uint32
	sum [32]byte
	// points is cut to the newest keptPoints when it holds twice as many.
	points []HashPoint

	sha hash.Hash
	buf []byte
}

// extend adds one entry. data is empty for an entry without payload.
func (c *chain) extend(index, term uint64, data []byte, results []Result) {
	if c.sha == nil {
		c.sha = sha256.New()
	}
	head := binary.LittleEndian.AppendUint64(c.buf[:0], index)
	head = binary.LittleEndian.AppendUint64(head, term)
	codes := head
	for i := range results {
		codes = append(codes, byte(results[i].Code), byte(results[i].State), byte(results[i].Reason))
	}
	c.buf = codes
	head, codes = codes[:16], codes[16:]

	c.sha.Reset()
	c.sha.Write(c.sum[:])
	c.sha.Write(head)
	c.sha.Write(data)
	c.sha.Write(codes)
	c.sha.Sum(c.sum[:0])
	c.crc = crc32.Update(c.crc, castagnoli, head)
	c.crc = crc32.Update(c.crc, castagnoli, data)
	c.crc = crc32.Update(c.crc, castagnoli, codes)
}

// note keeps a hash point.
func (c *chain) note(index, state uint64) {
	if len(c.points) == 2*keptPoints {
		c.points = append(c.points[:0], c.points[keptPoints:]...)
	}
	c.points = append(c.points, HashPoint{Index: index, State: state, Chain: c.sum})
}

// kept returns the newest points, oldest first.
func (c *chain) kept() []HashPoint {
	return c.points[max(0, len(c.points)-keptPoints):]
}

// appendTo encodes CRC 4, chain 32, number of hash points 4, hash points.
func (c *chain) appendTo(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, c.crc)
	b = append(b, c.sum[:]...)
	points := c.kept()
	b = binary.LittleEndian.AppendUint32(b, uint32(len(points)))
	for i := range points {
		b = binary.LittleEndian.AppendUint64(b, points[i].Index)
		b = binary.LittleEndian.AppendUint64(b, points[i].State)
		b = append(b, points[i].Chain[:]...)
	}
	return b
}

// decode reads what appendTo wrote, of a state that has applied up to an index.
func (c *chain) decode(r *reader, applied uint64) {
	c.crc = r.u32()
	copy(c.sum[:], r.take(32))
	n := r.count(pointSize)
	if n > keptPoints {
		r.fail("too many hash points")
		return
	}
	last := uint64(0)
	for range n {
		p := HashPoint{Index: r.u64(), State: r.u64()}
		copy(p.Chain[:], r.take(32))
		if p.Index <= last || p.Index > applied || p.Index%pointEvery != 0 {
			r.fail("hash points are out of order")
			return
		}
		last = p.Index
		c.points = append(c.points, p)
	}
}
