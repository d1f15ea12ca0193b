package sim

import (
	"slices"

	"raftbank/internal/shard"
)

// trouble is what a server may be in while the rest of its shard is healthy. The zero value: none.
type trouble string

const (
	troubleDown   trouble = "down"
	troublePaused trouble = "paused"
	// A server that is cut off reaches nobody; one that is deaf to its peers is still reached by clients.
	troubleCut  trouble = "cut off"
	troublePeer trouble = "cut off from its peers"
	troubleFlap trouble = "reached now and then"
	troubleSlow trouble = "slow"
)

// lingerEveryUs is how often trouble that lasts is brought about again: a fault that ends may take it away.
const lingerEveryUs = 250 * millisecond

// linger leaves a drawn minority of each shard in trouble, lost disks counted in. The others must do without them.
func (n *nemesis) linger() {
	rng := newRandom(n.w.o.Seed, "linger")
	if !n.w.plan.linger {
		return
	}
	for _, c := range n.w.topology.Clusters {
		of := n.w.of(c.Shard)
		for range rng.between(0, int64((n.w.plan.replicas-1)/2)) {
			s := pick(rng, of)
			if s.broken() || s.trouble != "" || n.broken(c.Shard)+n.troubled(c.Shard) >= (n.w.plan.replicas-1)/2 {
				continue
			}
			s.trouble = pick(rng, []trouble{troubleDown, troublePaused, troubleCut, troublePeer, troubleFlap, troubleSlow})
			n.w.struck(faultLinger)
			n.w.say(s.name(), "stays in trouble: %s", s.trouble)
			if s.trouble == troubleDown {
				s.die(rng.chance(0.5), "for the rest of the run")
			}
			n.keepTrouble(s, rng)
		}
	}
}

// troubled counts the servers of a shard that are in trouble.
func (n *nemesis) troubled(id shard.ID) int {
	count := 0
	for _, s := range n.w.of(id) {
		if s.trouble != "" {
			count++
		}
	}
	return count
}

// lateLeader says whether, in what is left of trouble, a server of one of some shards has led that is late, or only reached now and
// then; no shards: of any.
func (n *nemesis) lateLeader(of ...shard.ID) bool {
	return slices.ContainsFunc(n.w.servers, func(s *server) bool {
		return s.trouble.late() && s.ledLate && (len(of) == 0 || slices.Contains(of, s.shard))
	})
}

// late says whether a server in that trouble may lead all the same.
func (t trouble) late() bool { return t == troubleSlow || t == troubleFlap }

// keepTrouble brings a server's trouble about, again and again.
func (n *nemesis) keepTrouble(s *server, rng random) {
	again := lingerEveryUs
	switch s.trouble {
	case "":
		return // it is over
	case troubleDown:
	case troublePaused:
		s.pause()
	case troubleCut:
		n.cut(n.fromAll(s))
	case troublePeer:
		n.cut(n.fromPeers(s))
	case troubleFlap:
		if c := n.fromAll(s); rng.chance(0.5) {
			n.cut(c)
		} else {
			n.mend(c)
		}
		again = rng.between(20*millisecond, 3*second)
	case troubleSlow:
		n.w.net.clogged[int(s.id)] = true
		s.starve(second)
	default:
		panic("unreachable: trouble " + s.trouble)
	}
	n.w.after(again, func() { n.keepTrouble(s, rng) })
}

// fromAll is what cuts a server off from everybody.
func (n *nemesis) fromAll(s *server) cuts {
	var c cuts
	for _, e := range n.ends() {
		if e != int(s.id) {
			c = append(c, [2]int{int(s.id), e}, [2]int{e, int(s.id)})
		}
	}
	return c
}

// fromPeers is what cuts a server off from its peers alone.
func (n *nemesis) fromPeers(s *server) cuts {
	var c cuts
	for _, t := range n.w.of(s.shard) {
		if t != s {
			c = append(c, [2]int{int(s.id), int(t.id)}, [2]int{int(t.id), int(s.id)})
		}
	}
	return c
}

// release ends all trouble. It reports whether there was any.
func (n *nemesis) release() bool {
	any := false
	for _, s := range n.w.servers {
		any = any || s.trouble != ""
		s.trouble, s.ledLate = "", false
	}
	if any {
		n.w.say("world", "nothing is in trouble any more")
		n.heal()
	}
	return any
}
