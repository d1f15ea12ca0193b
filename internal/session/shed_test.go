package session

import (
	"slices"
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// shedBatch is the transfers of a batch in these tests.
const shedBatch = 1000

// slowServer answers up to four batches every 16 ticks.
type slowServer struct {
	e        *Engine
	queue    []*wire.TransferRequest
	begun    map[OpID]uint64
	outcomes map[txn.Decision]int
	slowest  uint64 // ticks that a commit took
	most     int    // batches that were on their way at once, after the first 500 ticks
}

func newSlowServer() *slowServer {
	e := warm(New(Options{Topology: smallBank()}))
	for _, s := range e.servers {
		e.ConnUp(s.id)
	}
	return &slowServer{e: e, begun: map[OpID]uint64{}, outcomes: map[txn.Decision]int{}}
}

func (s *slowServer) submit(tick uint64, n int) {
	records := make([]ledger.Record, n)
	for i := range records {
		records[i] = record(ledger.TransferID{1, byte(tick), byte(tick >> 8), byte(i), byte(i >> 8), byte(i >> 16)}, 1, 2, 1)
	}
	s.begun[s.e.TransferBatch(records)] = tick
}

func (s *slowServer) tick(tick uint64) {
	if tick%16 == 0 {
		n := min(4, len(s.queue))
		for _, m := range s.queue[:n] {
			run := wire.Run{Count: uint32(len(m.Records))}
			s.e.StepReply(1, &wire.Reply{Request: m.Request, Status: wire.StatusOK, Leader: 1, Committed: []wire.Run{run}})
		}
		s.queue = s.queue[n:]
		s.e.StepReply(1, &wire.Reply{Status: wire.StatusOK, Leader: 1})
	}
	out := s.e.Flush()
	for _, send := range out.Sends {
		for _, m := range send.Messages {
			if m, ok := m.(*wire.TransferRequest); ok {
				s.queue = append(s.queue, m)
			}
		}
	}
	for _, c := range out.Committed {
		s.outcomes[txn.DecidedCommitted] += int(c.Count)
		s.slowest = max(s.slowest, tick-s.begun[c.Op])
	}
	for _, d := range out.Dones {
		s.outcomes[d.Result.Decision]++
	}
	if tick > 500 {
		s.most = max(s.most, len(s.queue))
	}
	s.e.Tick()
}

// TestOverloadIsShed puts more on a slow server than it can take: what flies stays bounded, what waits for too long ends
// as surely not applied, and what is accepted has not waited for long. With less load everything commits.
func TestOverloadIsShed(t *testing.T) {
	for _, test := range []struct {
		name  string
		every uint64 // ticks between batches
		sheds bool
	}{{"overload", 1, true}, {"load", 8, false}} {
		t.Run(test.name, func(t *testing.T) {
			s := newSlowServer()
			for tick := uint64(0); tick < 3000; tick++ {
				if tick < 2000 && tick%test.every == 0 {
					s.submit(tick, shedBatch)
				}
				s.tick(tick)
			}
			if n := s.e.InFlight(); n != 0 {
				t.Errorf("%d operations never ended", n)
			}
			shed := s.outcomes[txn.DecidedUnavailable] > 0
			if shed != test.sheds || s.outcomes[txn.DecidedUnknown]+s.outcomes[txn.DecidedAborted] > 0 {
				t.Errorf("outcomes %v", s.outcomes)
			}
			if n := s.outcomes[txn.DecidedCommitted]; n < 200*shedBatch {
				t.Errorf("only %d transfers committed", n)
			}
			if s.slowest > 150 || s.most > 20 {
				t.Errorf("the slowest commit took %d ticks, and up to %d batches were on their way", s.slowest, s.most)
			}
		})
	}
}

// TestCrowd puts four times on a server what it answers, in small batches after a light load: once the queue that
// the window was too wide for is gone, what is accepted is answered about as soon as ever, and the server is kept busy.
func TestCrowd(t *testing.T) {
	const (
		size  = 50
		ticks = 2000
		takes = 8 // batches that the server answers per tick
	)
	e := warm(New(Options{Topology: smallBank()}))
	for _, s := range e.servers {
		e.ConnUp(s.id)
	}
	begun := map[OpID]uint64{}
	var queue []uint64 // requests
	var late []uint64  // ticks that commits took after the first 500 ticks
	n := 0
	for tick := uint64(0); tick < ticks; tick++ {
		batches := 4 * takes
		if tick < 100 {
			batches = 1
		}
		for range batches {
			records := make([]ledger.Record, size)
			for i := range records {
				records[i] = record(ledger.TransferID{2, byte(n), byte(n >> 8), byte(n >> 16), byte(i)}, 1, 2, 1)
			}
			n++
			begun[e.TransferBatch(records)] = tick
		}
		for _, id := range queue[:min(takes, len(queue))] {
			e.StepReply(1, &wire.Reply{Request: id, Status: wire.StatusOK, Leader: 1, Committed: []wire.Run{{Count: size}}})
		}
		queue = queue[min(takes, len(queue)):]
		out := e.Flush()
		for _, send := range out.Sends {
			for _, m := range send.Messages {
				if m, ok := m.(*wire.TransferRequest); ok {
					queue = append(queue, m.Request)
				}
			}
		}
		for _, c := range out.Committed {
			if tick >= 500 {
				late = append(late, tick-begun[c.Op])
			}
		}
		e.Tick()
	}
	slices.Sort(late)
	if len(late) < takes*(ticks-500)*9/10 {
		t.Fatalf("%d batches were accepted, of %d that the server could take", len(late), takes*(ticks-500))
	}
	if p50, p99 := late[len(late)/2], late[len(late)*99/100]; p50 > 5 || p99 > e.o.BusyTicks+2 {
		t.Errorf("accepted batches took %d ticks, 99 %% of them %d", p50, p99)
	}
	if waiting := e.InFlight(); waiting > 4*takes*int(e.o.BusyTicks+2) {
		t.Errorf("%d batches wait", waiting)
	}
}

// TestABulkLoadIsNotShed: a batch much larger than the window waits for nobody but itself.
func TestABulkLoadIsNotShed(t *testing.T) {
	s := newSlowServer()
	s.submit(0, 16*wire.MaxBatch)
	for tick := range uint64(300) {
		s.tick(tick)
	}
	if n := s.outcomes[txn.DecidedCommitted]; n != 16*wire.MaxBatch {
		t.Errorf("outcomes %v, want all %d committed", s.outcomes, 16*wire.MaxBatch)
	}
}
