package transport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// ErrFaultsForbidden says that the server was not started with --allow-faults.
var ErrFaultsForbidden = errors.New("faults are not allowed on this server; start it with --allow-faults")

// maxDelayMs bounds an injected delay, so that Close stays bounded too.
const maxDelayMs = 10_000

// Faults is what the fault hook does to frames between servers. The zero value does nothing.
type Faults struct {
	// Block names servers: frames from and to them are dropped.
	Block []shard.ServerID
	// BlockIn and BlockOut name servers from which and to which alone frames are dropped.
	BlockIn, BlockOut []shard.ServerID
	// DelayMs is how long frames to other servers wait at least before they are written, JitterMs how
	// much longer at most.
	DelayMs, JitterMs int
	// DropPercent of the frames to other servers are lost, DuplicatePercent are sent twice; at ResetPercent the
	// link breaks in the middle of the frame.
	DropPercent, DuplicatePercent, ResetPercent int
}

// Validate reports a value outside its bounds.
func (f *Faults) Validate() error {
	for _, v := range []struct {
		name  string
		value int
	}{{"delay", f.DelayMs}, {"jitter", f.JitterMs}} {
		if v.value < 0 || v.value > maxDelayMs {
			return fmt.Errorf("%s of %d ms: want 0 to %d", v.name, v.value, maxDelayMs)
		}
	}
	for _, v := range []struct {
		name  string
		value int
	}{{"drop", f.DropPercent}, {"duplicate", f.DuplicatePercent}, {"reset", f.ResetPercent}} {
		if v.value < 0 || v.value > 100 {
			return fmt.Errorf("%s %d percent: want 0 to 100", v.name, v.value)
		}
	}
	return nil
}

// blocksFrom and blocksTo say whether frames from and to s are dropped.
func (f *Faults) blocksFrom(s shard.ServerID) bool {
	return slices.Contains(f.Block, s) || slices.Contains(f.BlockIn, s)
}

func (f *Faults) blocksTo(s shard.ServerID) bool {
	return slices.Contains(f.Block, s) || slices.Contains(f.BlockOut, s)
}

// drops says whether one frame to s is lost.
func (f *Faults) drops(s shard.ServerID) bool { return f.blocksTo(s) || happens(f.DropPercent) }

func happens(percent int) bool { return percent > 0 && rand.IntN(100) < percent }

// send hands a message to the link, or what the faults make of it. It returns the connection to flush, if any.
func (f *Faults) send(l *link, m wire.Message) *Conn {
	switch {
	case f.drops(l.to.ID):
		return nil
	case happens(f.ResetPercent):
		l.sever(m)
		return nil
	case happens(f.DuplicatePercent):
		return l.sendAll(append(split(m), split(m)...))
	}
	return l.sendAll(split(m))
}

// SetFaults replaces the faults in force.
// Errors: ErrFaultsForbidden, and those of Validate.
func (s *Server) SetFaults(f Faults) error {
	if !s.o.AllowFaults {
		return ErrFaultsForbidden
	}
	if err := f.Validate(); err != nil {
		return err
	}
	f.Block, f.BlockIn, f.BlockOut = slices.Clone(f.Block), slices.Clone(f.BlockIn), slices.Clone(f.BlockOut)
	s.faults.Store(&f)
	return nil
}

// delay is the hook of links to other servers.
func (s *Server) delay() time.Duration {
	f := s.faults.Load()
	d := time.Duration(f.DelayMs) * time.Millisecond
	if f.JitterMs > 0 {
		d += time.Duration(rand.Int64N(int64(time.Duration(f.JitterMs) * time.Millisecond)))
	}
	return d
}
