package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// zeros is what a reader hands out once it has failed; no part read at once is longer.
var zeros [rowSize]byte

// reader takes fixed-width numbers off bytes. After the first failure it returns zeros, so that
// decoders check err once, at the end.
type reader struct {
	b   []byte
	off int
	err error
}

func (r *reader) fail(why string) {
	if r.err == nil {
		r.err = fmt.Errorf("offset %d: %s", r.off, why)
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil || len(r.b)-r.off < n {
		r.fail("too short")
		return zeros[:n]
	}
	out := r.b[r.off : r.off+n]
	r.off += n
	return out
}

func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *reader) amount() Amount { return Amount{Lo: r.u64(), Hi: r.u64()} }

func (r *reader) flag() bool {
	v := r.u8()
	if v > 1 {
		r.fail("a flag is neither 0 nor 1")
	}
	return v == 1
}

// has reports whether n items of at least size bytes can follow, and fails if not.
func (r *reader) has(n, size int) bool {
	if r.err == nil && (n < 0 || n > (len(r.b)-r.off)/size) {
		r.fail("a count is larger than what follows")
	}
	return r.err == nil
}

// count reads the number of the items that follow, each of at least size bytes; 0 after a failure.
func (r *reader) count(size int) int {
	n := int(r.u32())
	if !r.has(n, size) {
		return 0
	}
	return n
}

var errTrailing = errors.New("bytes follow the end")

func (r *reader) end() error {
	if r.err == nil && r.off != len(r.b) {
		return errTrailing
	}
	return r.err
}
