package sim

import (
	"raftbank/internal/shard"
)

// nemesis causes faults and ends them.
type nemesis struct {
	w   *world
	rng random
	// shielded is a shard whose servers are left alone until a time: one of them is rolled back, and that is
	// noticed only by others that live (docs/PROTOCOL.md has the promise).
	shielded    shard.ID
	shieldUntil int64
	rolledBack  bool // once a run
	// atBarrier is a shard whose leader is to be stranded when it cuts its log for an audit; 0: none.
	atBarrier shard.ID
	replacing replacing
	returned  returned
}

func newNemesis(w *world) *nemesis {
	return &nemesis{w: w, rng: newRandom(w.o.Seed, "nemesis"), replacing: newReplacing(w), returned: newReturned(w)}
}

// strike causes one fault and plans the next.
func (n *nemesis) strike() {
	if n.w.calm {
		return
	}
	n.w.after(n.rng.between(0, 2*n.w.plan.faultEveryUs), n.strike)
	if len(n.w.plan.faults) == 0 {
		return
	}
	f, s := pick(n.rng, n.w.plan.faults), pick(n.rng, n.w.servers)
	if n.w.now < n.shieldUntil && f != faultClient && f != faultCrashPoint && f != faultSlowReader {
		return
	}
	if n.cause(f, s) {
		n.w.struck(f)
	}
}

// cause lets a fault happen to a server. It returns false if it cannot, or if it is counted when it has its effect.
func (n *nemesis) cause(f fault, s *server) bool {
	switch f {
	case faultPartition, faultOneWay, faultIsolate, faultRing, faultBridge, faultFlap, faultSwizzle, faultClog:
		return n.disturb(f, s)
	case faultBitFlip, faultTruncate, faultZero, faultMissing, faultMisdirect, faultStale, faultWipe:
		return n.breakDisk(f, s)
	case faultRollback:
		n.rollBack(s)
		return false // counted when it happens
	case faultStrand:
		if n.w.plan.audits > 0 && n.rng.chance(0.7) {
			n.atBarrier = s.shard
			return false // counted when it happens
		}
		return n.strand(s)
	case faultFsync, faultSlowFsync, faultRead, faultMisread, faultWrite, faultFull, faultNoFiles:
		n.failDisk(f, s)
		return false // counted when it happens
	case faultLeaders:
		return n.pauseLeaders()
	case faultShardKill, faultShard:
		return dieTogether(n.w.of(s.shard), f == faultShard, "whole shard")
	case faultBankKill, faultBank:
		return dieTogether(n.w.servers, f == faultBank, "whole bank")
	case faultClient, faultCrashPoint, faultSlowReader:
		return n.disturbClient(f)
	default:
		return n.disturbServer(f, s)
	}
}

// dieTogether ends the processes of some servers. It reports whether there was one.
func dieTogether(servers []*server, power bool, how string) bool {
	any := false
	for _, s := range servers {
		any = s.die(power, how) || any
	}
	return any
}

// barrier is told that a shard has cut its log for an audit.
func (n *nemesis) barrier(id shard.ID) {
	if n.atBarrier != id || n.w.calm || n.w.now < n.shieldUntil {
		return
	}
	n.atBarrier = 0
	n.strandSoon(id)
}

// strandSoon strands a shard's leader when the present event is over.
func (n *nemesis) strandSoon(id shard.ID) {
	n.w.after(0, func() {
		if !n.w.calm && n.w.now >= n.shieldUntil && n.strand(n.w.of(id)[0]) {
			n.w.struck(faultStrand)
		}
	})
}

// disturbServer lets a fault happen to one process. It returns false if it cannot, or if it is counted when it has its effect.
func (n *nemesis) disturbServer(f fault, s *server) bool {
	switch f {
	case faultKill:
		return s.die(false, "killed")
	case faultPower:
		return s.die(true, "power failure")
	case faultDiskCrash:
		if s.dieInJob = n.rng.chance(0.5); s.dieInJob {
			n.w.say(s.name(), "will die while it makes its next checkpoint")
			return false // counted when it dies, as all of these
		}
		s.disk.dieAfter, s.disk.diePower = 1+n.rng.IntN(12), n.rng.chance(0.7)
		n.w.say(s.name(), "will die at disk operation %d", s.disk.dieAfter)
		return false
	case faultStep:
		s.dieSteps, s.stepPower = 1+n.rng.IntN(40), n.rng.chance(0.5)
		return false
	case faultStop:
		return s.stop()
	case faultPause:
		n.w.say(s.name(), "paused")
		n.end(s.resume)
		return s.pause()
	case faultStarve:
		s.starve(n.rng.between(second, 10*second))
		s.starveDue = true
		n.w.say(s.name(), "starves")
		return false // counted when it waits
	case faultHandOver:
		if s.machine == nil || s.paused || s.writing {
			return false
		}
		leads := s.machine.IsLeader()
		s.machine.TransferLeadership()
		s.wake()
		return leads
	case faultClock:
		jump := n.rng.between(3600, 10*365*86400) * 1e9
		if n.rng.chance(0.5) {
			jump = -jump
		}
		s.clockNs = jump
		n.w.say(s.name(), "its clock is off by %d s", jump/1e9)
	default:
		panic("unreachable: fault kind " + f)
	}
	return true
}

// pauseLeaders lets every leader stand still for a while of its own. It reports whether there was one.
func (n *nemesis) pauseLeaders() bool {
	any := false
	for _, s := range n.w.servers {
		if s.up && s.machine != nil && s.machine.IsLeader() {
			any = s.pause() || any
			n.w.say(s.name(), "paused")
			n.w.after(n.rng.between(200*millisecond, 1200*millisecond), s.resume)
		}
	}
	return any
}

// pauseLeadersIn does so in a while.
func (n *nemesis) pauseLeadersIn(us int64) {
	n.w.after(us, func() {
		if !n.w.calm && n.w.now >= n.shieldUntil {
			if n.pauseLeaders() {
				n.w.struck(faultLeaders)
			}
		}
	})
}

// end plans the end of a fault.
func (n *nemesis) end(f func()) {
	n.w.after(n.rng.between(50*millisecond, 10*second), f)
}

// disturbClient lets a fault happen to a client. It returns false if it is counted when it happens.
func (n *nemesis) disturbClient(f fault) bool {
	c := pick(n.rng, n.w.clients)
	switch f {
	case faultClient:
		return c.die("by a kill")
	case faultSlowReader:
		c.readLater(n.rng.between(100*millisecond, 10*second))
		return false
	}
	if c.up {
		c.die("to come back with a crash point")
	}
	point := 1 + n.rng.IntN(8)
	n.w.after(n.rng.between(0, second), func() { c.start(point) })
	return false
}

// died plans the restart of a server.
func (n *nemesis) died(s *server) {
	switch {
	case s.lost && s.suspect == string(faultReturn):
		n.putRight(s)
	case s.lost:
		n.replaceLater(s)
	}
	wait := n.rng.between(0, 6*second)
	if n.w.calm || n.rng.chance(0.3) {
		wait = n.rng.between(0, 200*millisecond)
	}
	n.w.after(wait, s.start)
}

// heal ends every fault and starts what is down.
func (n *nemesis) heal() {
	n.w.net.healed = true
	n.w.net.heal()
	for _, s := range n.w.servers {
		s.disk.heal()
		s.dieSteps, s.starvedUntil, s.slowSyncUntil = 0, 0, 0
		s.resume()
		s.start()
	}
	for _, c := range n.w.clients {
		c.readsAt = 0
		c.start(0)
	}
}
