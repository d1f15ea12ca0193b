package shard

import (
	"log/slog" // want purity
	"maps"
	"math/rand/v2" // want purity
	"slices"
	"sync" // want purity
	"time" // want purity
)

type Exported struct { // want doc
	mu sync.Mutex
}

func (*Exported) Method() {} // want doc

type hidden struct{}

func (hidden) Method() {}

func Function() {} // want doc

const Constant = 1

// Group.
var (
	A = 1
	B = 2
)

var (
	C = 1
	// D has one.
	D = 2
)

type index map[int]string

type holder struct{ m index }

func local(ch chan int) int {
	go Function() // want purity
	select {      // want purity
	case <-ch:
	default:
	}
	slog.Info("x", "at", time.Now())
	return rand.Int()
}

func order(m map[int]string, h holder) (out []int) {
	for k := range m { // want map-order
		out = append(out, k)
	}
	for range h.m { // want map-order
		out = nil
	}
	for k := range maps.Keys(m) { // want map-order
		out = append(out, k)
	}
	out = append(out, slices.Collect(maps.Keys(m))...) // want map-order
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k)
	}
	for k := range m { // order does not show: deleted only
		delete(m, k)
	}
	// order does not show: a sum has none, and this comment
	// has two lines
	for k := range h.m {
		out[0] += k
	}
	for i := range []int{1, 2} {
		out = append(out, i)
	}
	for i := range 3 {
		out = append(out, i)
	}
	return out
}

func generic[M ~map[int]string](m M) (n int) {
	for k := range m { // want map-order
		n = k
	}
	return n
}
