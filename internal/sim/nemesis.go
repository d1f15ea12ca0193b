package sim

import (
	"fmt"

	"raftbank/internal/shard"
)

// fault is a kind of fault that the nemesis can cause.
type fault string

const (
	faultKill       fault = "process killed"
	faultPower      fault = "power failure"
	faultDiskCrash  fault = "crash armed in a disk operation"
	faultPause      fault = "process paused"
	faultPartition  fault = "partition"
	faultOneWay     fault = "one-way partition"
	faultIsolate    fault = "server isolated"
	faultClog       fault = "server clogged"
	faultShard      fault = "whole shard loses power"
	faultBank       fault = "whole bank loses power"
	faultFsync      fault = "failed fsync armed"
	faultBitFlip    fault = "bit flipped in the log"
	faultWipe       fault = "disk emptied"
	faultHandOver   fault = "leadership handed over"
	faultClient     fault = "client killed"
	faultCrashPoint fault = "client with a crash point"
)

// faultKinds lists all of them; a plan draws some.
var faultKinds = []fault{
	faultKill, faultPower, faultDiskCrash, faultPause, faultPartition, faultOneWay, faultIsolate, faultClog,
	faultShard, faultBank, faultFsync, faultBitFlip, faultWipe, faultHandOver, faultClient, faultCrashPoint,
}

// nemesis causes faults and ends them.
type nemesis struct {
	w   *world
	rng random
	// broken counts the servers of a shard whose disk was damaged: never more than a minority.
	broken map[shard.ID]int
}

func newNemesis(w *world) *nemesis {
	return &nemesis{w: w, rng: newRandom(w.o.Seed, "nemesis"), broken: map[shard.ID]int{}}
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
	f := pick(n.rng, n.w.plan.faults)
	if n.cause(f, pick(n.rng, n.w.servers)) {
		n.w.report.Faults[string(f)]++
	}
}

// cause lets a fault happen to a server. It returns false if it cannot.
func (n *nemesis) cause(f fault, s *server) bool {
	switch f {
	case faultKill:
		s.die(false, "killed")
	case faultPower:
		s.die(true, "power failure")
	case faultDiskCrash:
		s.disk.dieAfter, s.disk.diePower = 1+n.rng.IntN(12), n.rng.chance(0.7)
		n.w.say(s.name(), "will die at disk operation %d", s.disk.dieAfter)
	case faultFsync:
		s.disk.failSyncs = 1
	case faultPause:
		s.pause()
		n.w.say(s.name(), "paused")
		n.end(s.resume)
	case faultPartition, faultOneWay, faultIsolate:
		n.partition(f, s)
	case faultClog:
		n.w.net.clogged[int(s.id)] = true
		n.w.say(s.name(), "clogged")
		n.end(func() { delete(n.w.net.clogged, int(s.id)) })
	case faultShard:
		for _, t := range n.w.of(s.shard) {
			t.die(true, "whole shard loses power")
		}
	case faultBank:
		for _, t := range n.w.servers {
			t.die(true, "whole bank loses power")
		}
	case faultBitFlip, faultWipe:
		return n.breakDisk(f, s)
	case faultHandOver:
		if s.machine == nil || s.paused || s.writing {
			return false
		}
		s.machine.TransferLeadership()
		s.wake()
	case faultClient, faultCrashPoint:
		n.killClient(f)
	default:
		panic("unreachable: fault kind")
	}
	return true
}

// end plans the end of a fault.
func (n *nemesis) end(f func()) {
	n.w.after(n.rng.between(50*millisecond, 10*second), f)
}

// partition cuts the bank, clients included, in two; or one direction only; or one server off.
func (n *nemesis) partition(f fault, s *server) {
	side := map[int]bool{}
	var ends []int
	for _, t := range n.w.servers {
		ends = append(ends, int(t.id))
	}
	for _, c := range n.w.clients {
		ends = append(ends, -c.id)
	}
	for _, e := range ends {
		side[e] = f != faultIsolate && n.rng.chance(0.5) || e == int(s.id)
	}
	var cut [][2]int
	for _, a := range ends {
		for _, b := range ends {
			if side[a] && !side[b] {
				cut = append(cut, [2]int{a, b})
				if f != faultOneWay {
					cut = append(cut, [2]int{b, a})
				}
			}
		}
	}
	for _, c := range cut {
		n.w.net.cut[c] = true
	}
	n.w.say("network", "%s: %v", f, cutText(ends, side))
	n.end(func() {
		for _, c := range cut {
			delete(n.w.net.cut, c)
		}
		n.w.say("network", "%s ends", f)
	})
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

// breakDisk damages a server's disk while it is down, if a majority of sound ones remains.
func (n *nemesis) breakDisk(f fault, s *server) bool {
	if s.suspect != "" || n.broken[s.shard] >= (n.w.plan.replicas-1)/2 {
		return false
	}
	for _, t := range n.w.of(s.shard) {
		if !t.joined {
			return false
		}
	}
	s.die(false, "its disk breaks: "+string(f))
	if f == faultWipe {
		s.disk.wipe()
	} else if !s.disk.flipBit() {
		return false
	}
	s.suspect = string(f)
	n.broken[s.shard]++
	return true
}

func (n *nemesis) killClient(f fault) {
	c := pick(n.rng, n.w.clients)
	if f == faultClient {
		c.die("by a kill")
		return
	}
	if c.up {
		c.die("to come back with a crash point")
	}
	point := 1 + n.rng.IntN(8)
	n.w.after(n.rng.between(0, second), func() { c.start(point) })
}

// died plans the restart of a server.
func (n *nemesis) died(s *server) {
	wait := n.rng.between(0, 6*second)
	if n.w.calm || n.rng.chance(0.3) {
		wait = n.rng.between(0, 200*millisecond)
	}
	n.w.after(wait, s.start)
}

// heal ends every fault and starts what is down.
func (n *nemesis) heal() {
	n.w.net.heal()
	for _, s := range n.w.servers {
		s.disk.dieAfter, s.disk.failSyncs = 0, 0
		s.resume()
		s.start()
	}
	for _, c := range n.w.clients {
		c.start(0)
	}
}
