package bench

import (
	"math/rand/v2"
	"time"
)

// unsentStream is the stream of a seed from which unsent draws: no slot's, and not the pacer's.
const unsentStream = 1<<63 | 1

// unsent counts the requests of an open loop that no caller took. Whether such a request would have been a read is drawn
// here, in the share of reads: the generators of the slots draw for what is carried out alone, so that a seed gives the
// same transfers however much is shed.
type unsent struct {
	*recorder
	reads int // percent
	batch int
	rng   *rand.Rand // guarded by the recorder's mu
}

func newUnsent(w *window, o *Options) *unsent {
	return &unsent{recorder: newRecorder(w), reads: o.Reads, batch: o.Batch, rng: rand.New(rand.NewPCG(o.Seed, unsentStream))}
}

// shedAt counts a request that was due at a time and found every caller and the queue taken.
func (u *unsent) shedAt(due time.Time) { u.count(due, &u.shed) }

// lateAt counts a request that was due at a time and still waited when the drain ended.
func (u *unsent) lateAt(due time.Time) { u.count(due, &u.late) }

// count adds a request to those transfers, or to the reads without an answer.
func (u *unsent) count(due time.Time, transfers *int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.sliceAt(due)
	switch {
	case s == nil:
	case u.rng.IntN(100) < u.reads:
		u.kinds[kindRead].unavailable++
		s.readsFailed++
	default:
		*transfers += u.batch
		s.failed += u.batch
	}
}
