package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// PeerLoads names the loads of bench peers, in their order.
var PeerLoads = []string{"one", "clients", "many", "batches", "cross-one", "cross-many"}

// PeerSystems names the systems that raftbank is measured beside.
var PeerSystems = []string{"postgres-sync", "postgres", "postgres-2pc", "etcd"}

// PeersOptions are what a user chooses of bench peers.
type PeersOptions struct {
	Systems, Loads   []string // none: all
	Duration, Warmup time.Duration
	Accounts         uint64
	Runs             int // of every load on every system
}

// Validate reports what is wrong with the options.
func (o *PeersOptions) Validate() error {
	for _, name := range o.Loads {
		if !slices.Contains(PeerLoads, name) {
			return fmt.Errorf("--loads: no load %q: there are %s", name, strings.Join(PeerLoads, ", "))
		}
	}
	for _, name := range o.Systems {
		if !slices.Contains(PeerSystems, name) {
			return fmt.Errorf("--systems: no system %q: there are %s", name, strings.Join(PeerSystems, ", "))
		}
	}
	switch {
	case o.Duration < time.Millisecond || o.Warmup < 0:
		return fmt.Errorf("--duration %s --warmup %s: want at least a millisecond, and a warm-up not below 0", o.Duration, o.Warmup)
	case o.Accounts < 4 || o.Accounts > 1e6:
		return fmt.Errorf("--accounts %d: want 4 to 1,000,000", o.Accounts)
	case o.Runs < 1:
		return fmt.Errorf("--runs %d: want at least 1", o.Runs)
	}
	return nil
}
