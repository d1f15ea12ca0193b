package cli

import (
	"context"

	"raftbank/internal/shard"
)

// none ends a chain of lines.
const none = int32(-1)

// job is what the scheduler needs to know of one line: the accounts that it touches.
type job struct {
	from, to shard.Account
	free     bool // touches no account: refused before any server is asked
}

// schedule orders the lines of a file so that the result is the same as running them one by one:
// a line waits for the answer of every earlier line that shares an account with it, and the rest
// run in parallel. An answer counts whatever it is: a person running the lines one by one would go
// on after an unknown outcome too.
//
// Only the latest earlier line of each account needs to be waited for, since it has itself waited
// for the ones before. So each line has at most two successors.
type schedule struct {
	// next holds the lines that wait for line i, one per account of i; none if there is none.
	next [][2]int32
	// waits counts the answers that line i waits for: 0 to 2.
	waits []uint8
	// ready holds the lines that may be sent, in the order in which they became so.
	ready []int32
}

// newSchedule builds the order. unordered lets every line go at once.
func newSchedule(jobs []job, unordered bool) *schedule {
	s := &schedule{next: make([][2]int32, len(jobs)), waits: make([]uint8, len(jobs))}
	type tail struct {
		line int32
		side int // which of the line's two accounts
	}
	last := map[shard.Account]tail{}
	follow := func(i int32, side int, account shard.Account) {
		if t, ok := last[account]; ok {
			s.next[t.line][t.side] = i
			s.waits[i]++
		}
		last[account] = tail{i, side}
	}
	for n := range jobs {
		i, j := int32(n), jobs[n]
		s.next[i] = [2]int32{none, none}
		if !unordered && !j.free {
			follow(i, 0, j.from)
			if j.to != j.from {
				follow(i, 1, j.to)
			}
		}
		if s.waits[i] == 0 {
			s.ready = append(s.ready, i)
		}
	}
	return s
}

// take returns the next line to send; false if none may be sent now.
func (s *schedule) take() (int, bool) {
	if len(s.ready) == 0 {
		return 0, false
	}
	i := s.ready[0]
	s.ready = s.ready[1:]
	return int(i), true
}

// answered frees the lines that waited for line i.
func (s *schedule) answered(i int) {
	for _, n := range s.next[i] {
		if n == none {
			continue
		}
		s.waits[n]--
		if s.waits[n] == 0 {
			s.ready = append(s.ready, n)
		}
	}
}

// runSchedule sends every line with at most concurrency in flight and hands each answer to answer, one at a
// time, in the order of the answers. When ctx ends it sends no more and waits for the answers that
// are under way. It returns how many were answered.
func runSchedule[T any](ctx context.Context, s *schedule, concurrency int, send func(i int) T, answer func(i int, v T)) int {
	type answeredLine struct {
		line  int
		value T
	}
	answers := make(chan answeredLine, concurrency)
	work := make(chan int, concurrency)
	defer close(work)
	workers, inFlight, count := 0, 0, 0
	for {
		for inFlight < concurrency && ctx.Err() == nil {
			i, ok := s.take()
			if !ok {
				break
			}
			inFlight++
			if workers < inFlight { // as many workers as were ever needed at once
				workers++
				go func() {
					for i := range work {
						answers <- answeredLine{i, send(i)}
					}
				}()
			}
			work <- i
		}
		if inFlight == 0 {
			return count
		}
		a := <-answers
		inFlight--
		count++
		s.answered(a.line)
		answer(a.line, a.value)
	}
}
