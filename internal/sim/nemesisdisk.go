package sim

import (
	"raftbank/internal/shard"
)

// failDisk lets a disk fail for a moment, without damage to what it holds. It is counted when it fails.
func (n *nemesis) failDisk(f fault, s *server) {
	d := s.disk
	n.w.say(s.name(), "%s", f)
	switch f {
	case faultFsync:
		d.failSyncs = 1
	case faultSlowFsync:
		s.slowSyncDue = true
		s.slowSyncUntil = n.w.now + n.rng.between(100*millisecond, 10*second)
	case faultRead:
		// The log is read when a process starts.
		s.die(false, "to read its disk again")
		d.failReadAt = 1 + n.rng.IntN(6)
	case faultMisread:
		s.die(false, "to misread its log")
		d.misread = true
	case faultWrite:
		d.failWriteAt = 1 + n.rng.IntN(6)
	case faultFull:
		d.full = true
		n.end(func() { d.full = false })
	case faultNoFiles:
		d.noFiles = true
		n.end(func() { d.noFiles = false })
	default:
		panic("unreachable: fault kind " + f)
	}
}

// breakDisk damages a server's disk while it is down, if a majority of sound ones remains or the seed goes
// beyond what is promised. An emptied majority is never drawn: nobody could tell it from a new bank.
func (n *nemesis) breakDisk(f fault, s *server) bool {
	if s.broken() || n.broken(s.shard) >= (n.w.plan.replicas-1)/2 && (!n.w.plan.beyond || f == faultWipe) {
		return false
	}
	for _, t := range n.w.of(s.shard) {
		if !t.joined {
			return false
		}
	}
	s.die(false, "its disk breaks: "+string(f))
	n.keepOld(s)
	switch f {
	case faultWipe:
		s.suspect = string(f)
		s.disk.wipe()
		return true
	case faultBitFlip, faultMisdirect, faultStale:
		return s.disk.damageLog(f, s.synced.generation)
	}
	return s.disk.damageFile(f, s.synced.generation)
}

// broken counts a shard's servers whose disk is damaged, emptied or rolled back, or is about to be: never more than a minority, unless
// the seed goes beyond what is promised.
func (n *nemesis) broken(id shard.ID) int {
	count := 0
	for _, s := range n.w.of(id) {
		if s.broken() {
			count++
		}
	}
	return count
}

// rollBack puts an older copy of its data directory in place of a server's. The promise holds while the other
// servers of the shard live, so nothing else happens to them meanwhile.
func (n *nemesis) rollBack(s *server) {
	if n.rolledBack || n.w.plan.beyond || s.broken() || n.broken(s.shard) >= (n.w.plan.replicas-1)/2 {
		return
	}
	for _, t := range n.w.of(s.shard) {
		if !t.up || t.paused || t.machine == nil {
			return
		}
	}
	n.rolledBack, s.copied = true, true
	for _, t := range n.w.of(s.shard) {
		t.disk.heal()
		t.dieSteps, t.starvedUntil, t.slowSyncUntil = 0, 0, 0
	}
	n.w.net.heal()
	later := n.rng.between(second, 8*second)
	n.shielded, n.shieldUntil = s.shard, n.w.now+later+12*second
	old := s.disk.copy()
	n.w.say(s.name(), "its directory is copied")
	n.w.after(later, func() {
		s.copied = false
		if n.w.calm || !s.up {
			return
		}
		s.suspect = string(faultRollback)
		n.w.struck(faultRollback)
		s.die(false, "its directory is rolled back")
		s.disk.restore(old)
		// Until it starts, what it sent has arrived: putting a copy in place takes a while.
		s.notBefore = n.w.now + 3*second
	})
}
