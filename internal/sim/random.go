package sim

import (
	"hash/fnv"
	"math/rand/v2"
)

// random is one stream of a seed's random numbers.
type random struct {
	*rand.Rand
}

// newRandom returns a stream that depends on the seed and its own name alone.
func newRandom(seed uint64, stream string) random {
	h := fnv.New64a()
	_, _ = h.Write([]byte(stream))
	return random{rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// chance is true with probability p.
func (r random) chance(p float64) bool { return r.Float64() < p }

// between returns a number of lo..hi, both included.
func (r random) between(lo, hi int64) int64 { return lo + r.Int64N(hi-lo+1) }

// Read fills b, so that a stream can stand in for crypto/rand.Reader.
func (r random) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

// pick returns one of the items.
func pick[T any](r random, items []T) T { return items[r.IntN(len(items))] }
