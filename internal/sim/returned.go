package sim

// returned are directories of servers that were replaced. Somebody may put one back, as it was before it broke: it belongs to
// a member that was removed, and must be refused.
type returned struct {
	rng    random
	chance float64
}

func newReturned(w *world) returned {
	r := returned{rng: newRandom(w.o.Seed, "returned")}
	r.chance = pick(r.rng, []float64{0, 0.5, 1})
	if on, err := enabledFaults(w.o.Faults); err != nil || !on[faultReturn] || w.plan.beyond {
		r.chance = 0
	}
	return r
}

// keepOld keeps a copy of a sound directory that is about to break.
func (n *nemesis) keepOld(s *server) {
	if n.returned.rng.chance(n.returned.chance) {
		old := s.disk.copy()
		s.old = &old
	}
}

// returnLater may put the old directory of a server that was replaced in place of the new one for a while.
func (n *nemesis) returnLater(s *server) {
	old := s.old
	if s.old = nil; old == nil {
		return
	}
	n.w.after(n.returned.rng.between(0, 8*second), func() {
		if n.w.calm || !s.up || s.broken() || n.w.now < n.shieldUntil || n.broken(s.shard) >= (n.w.plan.replicas-1)/2 {
			return
		}
		s.suspect = string(faultReturn)
		s.die(false, "its directory from before it was replaced is put back")
		current := s.disk.copy()
		s.current = &current
		s.disk.restore(*old)
		n.w.struck(faultReturn)
	})
}

// putRight puts the directory that counts in its place again, once the old one was refused.
func (n *nemesis) putRight(s *server) {
	if n.w.calm || s.current == nil {
		return
	}
	s.disk.restore(*s.current)
	s.current, s.lost, s.suspect = nil, false, ""
}

// removedStayOut: a directory that belongs to a removed member is refused as soon as a peer is reached.
func (k *checker) removedStayOut() {
	for _, s := range k.w.servers {
		k.looked(CheckIdentity)
		if s.suspect == string(faultReturn) && !s.lost {
			k.w.fail(CheckIdentity, "%s runs with the directory of a member that was removed", s.name())
		}
	}
}
