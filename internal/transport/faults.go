package transport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"raftbank/internal/shard"
)

// ErrFaultsForbidden says that the server was not started with --allow-faults.
var ErrFaultsForbidden = errors.New("faults are not allowed on this server; start it with --allow-faults")

// maxDelayMs bounds an injected delay, so that Close stays bounded too.
const maxDelayMs = 10_000

// Faults is what the fault hook does to frames between servers. The zero value does nothing.
type Faults struct {
	// Block names servers: frames from and to them are dropped.
	Block []shard.ServerID
	// DelayMs is how long frames to other servers wait at least before they are written.
	DelayMs int
	// DropPercent of the frames to other servers are lost.
	DropPercent int
}

// Validate reports a value outside its bounds.
func (f *Faults) Validate() error {
	if f.DelayMs < 0 || f.DelayMs > maxDelayMs {
		return fmt.Errorf("delay of %d ms: want 0 to %d", f.DelayMs, maxDelayMs)
	}
	if f.DropPercent < 0 || f.DropPercent > 100 {
		return fmt.Errorf("drop %d percent: want 0 to 100", f.DropPercent)
	}
	return nil
}

func (f *Faults) blocks(s shard.ServerID) bool { return slices.Contains(f.Block, s) }

// drops says whether one frame to s is lost.
func (f *Faults) drops(s shard.ServerID) bool {
	return f.blocks(s) || (f.DropPercent > 0 && rand.IntN(100) < f.DropPercent)
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
	f.Block = slices.Clone(f.Block)
	s.faults.Store(&f)
	return nil
}

// delay is the hook of links to other servers.
func (s *Server) delay() time.Duration {
	return time.Duration(s.faults.Load().DelayMs) * time.Millisecond
}
