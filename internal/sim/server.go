package sim

import (
	"errors"
	"fmt"

	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/storage"
	"raftbank/internal/wire"
)

const (
	tickUs = 50 * millisecond
	// markAfterTicks without an append, the log gets its idle mark, as package node does it.
	markAfterTicks = 4
	dataDir        = "/data"
)

// input is one thing that arrived at a process.
type input struct {
	peer    shard.ServerID // 0: from a client
	conn    uint64
	message wire.Message // nil: the client's connection has closed
}

// server is one server process, its disk, and what is left of them after a crash. It does what package node
// does, in the same order, without goroutines.
type server struct {
	w     *world
	id    shard.ServerID
	shard shard.ID
	rng   random
	disk  *disk

	up, paused bool
	generation uint64 // of the process: what was planned for an earlier one does not happen
	// suspect says what happened to the disk, if something did that the server may refuse; lost is set
	// once it did, and the server never comes back.
	suspect string
	lost    bool
	joined  bool // it has been a member of its group

	process
}

// process is what dies with a crash.
type process struct {
	dir     *storage.Dir
	log     *storage.Log
	former  *replica.Former // nil once the group is joined
	machine *replica.Replica
	members []uint64
	inbox   []input
	// tickDue holds one tick at most: after a pause the replica's time goes on where it stood.
	tickDue   bool
	woken     bool
	writing   bool // a write is under way; the loop waits for it
	idleTicks int
	leads     bool
	checked   uint64 // applied index up to which the checker has looked
	skewNs    int64  // of the wall clock
	driftUs   int64  // of a tick
}

func newServer(w *world, id shard.ServerID, s shard.ID) *server {
	return &server{
		w: w, id: id, shard: s, rng: newRandom(w.o.Seed, fmt.Sprintf("server %d", id)),
		disk: newDisk(newRandom(w.o.Seed, fmt.Sprintf("disk %d", id))),
	}
}

func (s *server) name() string { return fmt.Sprintf("server %d", s.id) }

// after plans something for this process alone.
func (s *server) after(us int64, do func()) {
	generation := s.generation
	s.w.after(us, func() {
		if s.up && s.generation == generation {
			s.do(do)
		}
	})
}

// do runs a part of the process; the disk may let it die in the middle.
func (s *server) do(f func()) {
	defer func() {
		if v := recover(); v != nil {
			signal, ok := v.(crashSignal)
			if !ok {
				panic(v)
			}
			s.w.report.Faults["crash in a disk operation"]++
			s.die(signal.power, "in a disk operation")
		}
	}()
	f()
}

// start starts the process, unless it runs.
func (s *server) start() {
	if s.up || s.lost {
		return
	}
	s.generation++
	s.up, s.paused = true, false
	s.process = process{
		skewNs:  s.rng.between(-10, 10) * 3600 * 1e9,
		driftUs: s.rng.between(-millisecond, millisecond),
	}
	s.w.report.Starts++
	s.w.say(s.name(), "starts (%s)", s.shard)
	s.do(s.open)
	s.after(s.rng.between(0, tickUs), s.tick)
}

// open is node's join up to the first probe.
func (s *server) open() {
	incarnation := s.rng.Uint32() | 1
	dir, err := storage.OpenDir(s.disk, dataDir, storage.Identity{
		Bank: s.w.keys.Bank, Shard: s.shard, Server: s.id, Incarnation: incarnation,
	})
	if err != nil {
		s.exit(err)
		return
	}
	s.dir = dir
	id := dir.Identity()
	self := wire.Probe{Shard: id.Shard, Server: id.Server, Incarnation: id.Incarnation, State: wire.ReplicaEmpty}
	members, initialised := dir.Members()
	if initialised {
		if err := s.openLog(members); err != nil {
			s.exit(err)
			return
		}
		hs, _, err := s.log.InitialState()
		if err == nil {
			self.LastIndex, err = s.log.LastIndex()
		}
		if err != nil {
			s.exit(err)
			return
		}
		self.State, self.Term = wire.ReplicaInitialised, hs.GetTerm()
	}
	var peers []shard.ServerID
	for _, p := range s.w.of(s.shard) {
		if p != s {
			peers = append(peers, p.id)
		}
	}
	s.members = members
	s.former = replica.NewFormer(replica.FormerOptions{Self: self, Peers: peers, Members: members})
	s.form()
}

func (s *server) openLog(members []uint64) (err error) {
	s.log, err = s.dir.OpenLog(storage.LogOptions{SegmentBytes: s.w.plan.segmentBytes, Voters: members})
	return err
}

// form carries out what the Former wants, and starts the replica when it is done.
func (s *server) form() {
	s.emit(s.former.Sends())
	if err := s.former.Refused(); err != nil {
		s.exit(err)
		return
	}
	members, ok := s.former.Done()
	if !ok {
		return
	}
	if s.members == nil {
		err := s.dir.SetMembers(members)
		if err == nil {
			err = s.openLog(members)
		}
		if err != nil {
			s.exit(err)
			return
		}
		s.members = members
		s.w.say(s.name(), "formed the group %x", members)
	}
	s.former, s.joined = nil, true
	var err error
	s.machine, err = replica.New(replica.Options{
		Server: s.id, Shard: s.shard, Incarnation: s.dir.Identity().Incarnation, Members: s.members,
		Topology: s.w.topology, Keys: s.w.keys, Log: s.log, Version: "sim", Debug: s.w.story != nil,
	})
	if err != nil {
		s.exit(err)
		return
	}
	s.wake()
}

// tick is the process's ticker.
func (s *server) tick() {
	s.after(tickUs+s.driftUs, s.tick)
	s.tickDue = true
	s.wake()
}

// receive takes a message from the network.
func (s *server) receive(in input) {
	if !s.up {
		return
	}
	s.inbox = append(s.inbox, in)
	s.wake()
}

// wake plans a turn of the loop. What arrives until then is taken together.
func (s *server) wake() {
	if s.woken || s.writing || s.paused {
		return
	}
	s.woken = true
	s.after(s.rng.between(0, 100), s.loop)
}

// loop is one round of node's loop: everything that has arrived, then one turn.
func (s *server) loop() {
	s.woken = false
	if s.paused || s.writing {
		return
	}
	inputs := s.inbox
	s.inbox = nil
	if s.machine == nil {
		s.formWith(inputs)
		return
	}
	if s.tickDue {
		s.tickDue = false
		s.machine.Tick()
		if err := s.markIdle(); err != nil {
			s.exit(err)
			return
		}
	}
	for _, in := range inputs {
		switch {
		case in.peer != 0:
			s.machine.StepPeer(in.peer, in.message)
		case in.message == nil:
			s.machine.CloseConn(in.conn)
		default:
			s.machine.StepClient(in.conn, in.message)
		}
	}
	if s.machine.HasWork() {
		s.turn()
	}
}

// formWith is a round of the loop before the replica runs.
func (s *server) formWith(inputs []input) {
	for _, in := range inputs {
		switch {
		case in.peer != 0:
			s.former.Step(in.peer, in.message)
		case in.message != nil:
			s.w.net.answer(s, in.conn, &wire.Reply{
				Request: wire.HeaderOf(in.message).Request, Status: wire.StatusNotReady, Text: "forming its group",
			})
		}
	}
	if s.tickDue {
		s.tickDue = false
		s.former.Tick()
	}
	s.form()
}

func (s *server) markIdle() error {
	if s.idleTicks >= markAfterTicks {
		return nil
	}
	if s.idleTicks++; s.idleTicks < markAfterTicks {
		return nil
	}
	return s.log.Mark()
}

// turn is one turn of the replica with its write in the middle.
func (s *server) turn() {
	out := s.machine.Turn(s.w.now*1000 + s.skewNs)
	if !s.take(&out) {
		return
	}
	if out.HardState == nil && len(out.Entries) == 0 {
		s.persisted()
		return
	}
	if err := s.log.Append(out.HardState, out.Entries, out.Sync); err != nil {
		s.exit(err)
		return
	}
	s.idleTicks = 0
	if !out.Sync {
		s.persisted()
		return
	}
	// The write is done; that it is, the process learns later. It may die in between.
	s.writing = true
	s.after(s.rng.between(s.w.plan.fsyncUs/4, s.w.plan.fsyncUs), s.persisted)
}

func (s *server) persisted() {
	s.writing = false
	out := s.machine.Persisted()
	if !s.take(&out) {
		return
	}
	if s.machine.HasWork() || len(s.inbox) > 0 || s.tickDue {
		s.wake()
	}
}

// take looks at the replica before anything is disclosed, then sends. It returns false if the process
// has ended.
func (s *server) take(out *replica.Output) bool {
	s.w.check.observe(s)
	for i := range out.Events {
		s.w.say(s.name(), "%s %s", out.Events[i].Text, attrs(out.Events[i].Attrs))
	}
	if out.Fatal != nil {
		s.exit(out.Fatal)
		return false
	}
	s.emit(out.Sends)
	return !s.w.stopped
}

func (s *server) emit(sends []replica.Send) {
	for i := range sends {
		m := &sends[i]
		if m.Server != 0 {
			s.w.net.peer(s.id, m.Server, m.Message)
			continue
		}
		if r, ok := m.Message.(*wire.Reply); ok {
			s.w.load.overhear(r)
		}
		s.w.net.answer(s, m.Conn, m.Message)
	}
}

// exit is the process ending by itself, with an error. Which ones are right depends on what happened
// to its disk.
func (s *server) exit(err error) {
	s.w.say(s.name(), "stops: %v", err)
	s.w.note('x', uint64(s.id), 0, []byte(err.Error()))
	switch {
	case errors.Is(err, errIO):
		s.w.report.Faults["server stopped at a failed fsync"]++
	case s.suspect != "" && (errors.Is(err, storage.ErrDamaged) || errors.Is(err, replica.ErrEmptied)):
		s.w.report.Faults["server refused its disk"]++
		s.lost = true
	default:
		s.w.fail("justified stop", "%s stops, though its disk is sound: %v", s.name(), err)
	}
	s.die(false, "by itself")
}

// die ends the process; with power, its disk loses what was not synced.
func (s *server) die(power bool, how string) {
	if !s.up {
		return
	}
	s.up = false
	s.generation++
	s.process = process{}
	s.disk.release()
	if power {
		s.disk.crash()
	}
	s.w.say(s.name(), "dies (%s, power lost: %v)", how, power)
	s.w.net.serverDied(s, power)
	s.w.nemesis.died(s)
}

func (s *server) pause() { s.paused = true }

func (s *server) resume() {
	if s.paused {
		s.paused = false
		s.wake()
	}
}

// attrs formats an event's keys and values.
func attrs(kv []any) string {
	text := ""
	for i := 0; i+1 < len(kv); i += 2 {
		text += fmt.Sprintf("%v=%v ", kv[i], kv[i+1])
	}
	return text
}
