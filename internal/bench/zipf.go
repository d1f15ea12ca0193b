package bench

import (
	"math"
	"math/rand/v2"
)

// zipf draws ranks from 0 to n-1 with a probability proportional to 1/(rank+1)^s, for any s > 0, in
// constant time and memory: rejection-inversion (W. Hörmann, G. Derflinger, 1996).
type zipf struct {
	s, n      float64
	low, high float64 // of the integral, over the drawn range
	sure      float64 // a value this close below its rank needs no test
}

func newZipf(s float64, n uint64) *zipf {
	z := &zipf{s: s, n: float64(n)}
	z.low = z.integral(1.5) - 1
	z.high = z.integral(z.n + 0.5)
	z.sure = 2 - z.inverse(z.integral(2.5)-math.Pow(2, -s))
	return z
}

// integral is that of x^-s.
func (z *zipf) integral(x float64) float64 {
	if math.Abs(z.s-1) < 1e-9 {
		return math.Log(x)
	}
	return (math.Pow(x, 1-z.s) - 1) / (1 - z.s)
}

// inverse is that of integral.
func (z *zipf) inverse(u float64) float64 {
	if math.Abs(z.s-1) < 1e-9 {
		return math.Exp(u)
	}
	return math.Pow(1+u*(1-z.s), 1/(1-z.s))
}

func (z *zipf) draw(r *rand.Rand) uint64 {
	for {
		u := z.high + r.Float64()*(z.low-z.high)
		x := z.inverse(u)
		k := min(max(math.Round(x), 1), z.n)
		if k-x <= z.sure || u >= z.integral(k+0.5)-math.Pow(k, -z.s) {
			return uint64(k) - 1
		}
	}
}
