package sim

import (
	"bytes"
	"errors"

	"raftbank/internal/replica"
	"raftbank/internal/wire"
)

// snapshotPlan is how replicas fetch checkpoints, and when they have to.
type snapshotPlan struct {
	logBytes     int64 // MaxLogBytes
	progressRows uint64
	limits       replica.Limits
	kill         float64 // per part that is sent
}

// drawSnapshots has a generator of its own: what the other parts of a plan draw does not change.
func drawSnapshots(o Options, segmentBytes int64) snapshotPlan {
	rng := newRandom(o.Seed, "snapshots")
	p := snapshotPlan{
		logBytes:     pick(rng, []int64{1, 1, 1, 4 * segmentBytes}),
		progressRows: pick(rng, []uint64{1, 100, 1000}),
		limits: replica.Limits{
			SilentTicks:  pick(rng, []int{5, 20, 60}),
			PartBytes:    pick(rng, []int{4 << 10, 16 << 10, 256 << 10}),
			PartsPerTick: pick(rng, []int{1, 64 << 10, 1 << 20}),
		},
		kill: pick(rng, []float64{0, 0.05, 0.3}),
	}
	if on, err := enabledFaults(o.Faults); err != nil || !on[faultFetch] {
		p.kill = 0
	}
	return p
}

// partSent notes where a server's checkpoint comes from. It may let one of the two servers die between which a part of a checkpoint travels.
func (n *network) partSent(from, to *server) {
	to.partFrom = from
	if !n.chance(n.w.plan.snapshots.kill) || n.shielded(to.id) {
		return
	}
	victim, power := to, n.rng.chance(0.5)
	if n.rng.chance(0.2) {
		victim = from
	}
	n.w.after(n.rng.between(0, 20*millisecond), func() {
		if victim == to && victim.up && n.rng.chance(0.5) {
			victim.disk.dieAfter, victim.disk.diePower = 1+n.rng.IntN(12), power
			return // counted as crash-io when it happens
		}
		if victim.die(power, "while a checkpoint is fetched") {
			n.w.struck(faultFetch)
		}
	})
}

// partDamaged may change a bit of a part in the sender's memory, before the frame has its checksum.
func (n *network) partDamaged(p *wire.SnapshotPart) wire.Message {
	if !n.chance(4 * n.w.plan.corrupt) {
		return p
	}
	n.w.struck(faultCorrupt)
	bad := *p
	bad.Data = bytes.Clone(p.Data)
	bad.Data[n.rng.IntN(len(bad.Data))] ^= 1 << n.rng.IntN(8)
	return &bad
}

// installFetched puts the checkpoint that was fetched on disk, and a replica behind it, as package node does it.
func (s *server) installFetched() {
	s.install = false
	if !s.machine.StillBehind() {
		s.wake()
		return
	}
	target := s.intake.Target()
	s.synced.installing, s.synced.installingTerm = target.Index, target.Term
	from := s.log.SegmentFor(target.Index)
	s.synced.generation = max(s.synced.generation, from)
	ok, err := s.intake.Install(from)
	if err != nil {
		s.exit(err)
		return
	}
	if !ok {
		s.w.recovery("fetched a checkpoint that does not fit together")
		s.machine.FetchAgain()
		s.wake()
		return
	}
	s.pass()
	old := s.machine
	out := old.Retire()
	s.emit(out.Sends)
	s.jobDone = nil
	if err := errors.Join(s.log.Close(), s.store.Close()); err != nil {
		s.exit(err)
		return
	}
	s.pass()
	if err := s.beginBehind(); err != nil {
		s.exit(err)
		return
	}
	s.w.say(s.name(), "installed the checkpoint at %d", target.Index)
	s.machine.Succeed(old)
	s.wake()
}

// beginBehind opens the disk anew and puts a replica on it.
func (s *server) beginBehind() error {
	if err := s.openLog(s.members); err != nil {
		return err
	}
	hs, _, err := s.log.InitialState()
	if err != nil {
		return err
	}
	s.w.check.recovered(s, hs)
	s.w.recovery("installed a checkpoint of another replica")
	return s.newReplica()
}
