package sim

import (
	"fmt"
	"slices"
)

// cuts are directed pairs of ends of which the second does not hear the first.
type cuts [][2]int

// disturb lets a fault of the network happen, with s in its middle. It reports whether it cuts or slows anybody.
func (n *nemesis) disturb(f fault, s *server) bool {
	switch f {
	case faultClog:
		n.w.net.clogged[int(s.id)] = true
		n.w.say(s.name(), "clogged")
		n.end(func() { delete(n.w.net.clogged, int(s.id)) })
	case faultFlap:
		c := n.split(faultPartition, s)
		n.flap(c, 4+n.rng.IntN(12))
		return len(c) > 0
	case faultSwizzle:
		return n.swizzle()
	default:
		c := n.split(f, s)
		n.cut(c)
		n.end(func() {
			n.mend(c)
			n.w.say("network", "%s ends", f)
		})
		return len(c) > 0
	}
	return true
}

func (n *nemesis) cut(c cuts) {
	for _, pair := range c {
		n.w.net.cut[pair] = true
	}
}

func (n *nemesis) mend(c cuts) {
	for _, pair := range c {
		delete(n.w.net.cut, pair)
		delete(n.w.net.mute, pair)
	}
}

// ends lists the servers, then the clients.
func (n *nemesis) ends() []int {
	var ends []int
	for _, t := range n.w.servers {
		ends = append(ends, int(t.id))
	}
	for _, c := range n.w.clients {
		ends = append(ends, -c.id)
	}
	return ends
}

// split draws who does not hear whom.
func (n *nemesis) split(f fault, s *server) cuts {
	if f == faultRing {
		return n.ring()
	}
	side := map[int]bool{}
	ends := n.ends()
	for _, e := range ends {
		side[e] = f != faultIsolate && n.rng.chance(0.5) || e == int(s.id)
	}
	var c cuts
	for _, a := range ends {
		for _, b := range ends {
			if !side[a] || side[b] || f == faultBridge && (a == int(s.id) || b == int(s.id)) {
				continue
			}
			c = append(c, [2]int{a, b})
			if f != faultOneWay {
				c = append(c, [2]int{b, a})
			}
		}
	}
	n.w.say("network", "%s: %v", f, cutText(ends, side))
	return c
}

// strand cuts a leader off from its peers, while clients still reach it. Before it has noticed, the others may have a
// leader of their own; one that stands still or starves meanwhile notices late. Sometimes only raft's messages are lost,
// so that what peers say beside raft comes before the new leader's first word.
func (n *nemesis) strand(s *server) bool {
	if n.rng.chance(0.9) {
		for _, t := range n.w.of(s.shard) {
			if t.up && t.machine != nil && t.machine.IsLeader() {
				s = t
			}
		}
	}
	c := n.fromPeers(s)
	if len(c) == 0 || !s.up {
		return false
	}
	if n.rng.chance(0.25) {
		n.w.say(s.name(), "hears nothing of raft from its peers")
		for _, pair := range c {
			n.w.net.mute[pair] = true
		}
	} else {
		n.w.say(s.name(), "is cut off from its peers")
		n.cut(c)
	}
	lasts := n.rng.between(500*millisecond, 6*second)
	n.w.after(lasts, func() {
		n.mend(c)
		n.w.say(s.name(), "is not cut off from its peers any more")
	})
	switch n.rng.IntN(3) {
	case 0:
		s.starve(lasts)
	case 1:
		s.pause()
		n.w.after(n.rng.between(200*millisecond, lasts), s.resume)
	}
	return true
}

// ring lets every server hear only its neighbours.
func (n *nemesis) ring() cuts {
	var c cuts
	count := len(n.w.servers)
	for a := range count {
		for b := range count {
			if d := (a - b + count) % count; d > 1 && d < count-1 {
				c = append(c, [2]int{a + 1, b + 1})
			}
		}
	}
	n.w.say("network", "ring")
	return c
}

// flap lets a partition come and go some times more.
func (n *nemesis) flap(c cuts, times int) {
	if times == 0 || n.w.calm {
		return
	}
	n.cut(c)
	n.w.after(n.rng.between(20*millisecond, 800*millisecond), func() {
		n.mend(c)
		n.w.after(n.rng.between(20*millisecond, 800*millisecond), func() { n.flap(c, times-1) })
	})
}

// swizzle cuts some servers off one after the other, and lets them come back in another order. It reports
// whether there are any.
func (n *nemesis) swizzle() bool {
	var chosen []cuts
	for _, s := range n.w.servers {
		if n.rng.chance(0.5) {
			chosen = append(chosen, n.split(faultIsolate, s))
		}
	}
	at := int64(0)
	for _, round := range []func(cuts){n.cut, n.mend} {
		n.rng.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		for _, c := range slices.Clone(chosen) {
			at += n.rng.between(0, 500*millisecond)
			n.w.after(at, func() {
				if !n.w.calm {
					round(c)
				}
			})
		}
	}
	return len(chosen) > 0
}

func cutText(ends []int, side map[int]bool) string {
	text := ""
	for _, e := range ends {
		if side[e] {
			text += fmt.Sprintf("%d ", e)
		}
	}
	return text + "cut off (clients are negative)"
}
