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
	// suspect says that the disk was emptied or rolled back, and lost that the server refused it: it never comes back.
	// What else is wrong with a disk, the disk knows.
	suspect string
	lost    bool
	copied  bool // its disk is about to be rolled back
	trouble trouble
	ledLate bool // while it was in trouble
	joined  bool // it has been a member of its group
	// replacing: its disk is a new one, and it waits to be taken into its group again.
	replacing bool
	attempt   uint64 // of the operator to replace it
	// old is what its disk held before it broke, and current what counts while the old is in its place; nil: nothing.
	old, current *diskCopy
	synced       synced
	// clockNs is how far its clock has jumped; notBefore, when it may start.
	clockNs   int64
	notBefore int64
	// slowSyncUntil and starvedUntil are when its disk and its processor are at their usual speed again.
	slowSyncUntil, starvedUntil int64
	// slowSyncDue and starveDue say that this has yet to have an effect.
	slowSyncDue, starveDue bool
	// Method values, made once: they are planned all the time.
	doTick, doLoop, doPersisted func()

	process
}

// process is what dies with a crash.
type process struct {
	dir      *storage.Dir
	log      *storage.Log
	store    *storage.Store
	keeper   *storage.Keeper
	intake   *storage.Intake
	partFrom *server         // who sent the last part of a checkpoint
	install  bool            // what the intake has is to go on disk
	jobDone  *storage.Job    // of a checkpoint, which the loop has yet to hear of
	former   *replica.Former // nil once the group is joined
	machine  *replica.Replica
	members  []uint64
	self     wire.Probe
	// outdated is a peer that remembers more of this server than its disk holds; 0: none.
	outdated shard.ServerID
	inbox    []input
	spare    []input // the memory of the inbox before this one
	// tickDue holds one tick at most: after a pause the replica's time goes on where it stood.
	tickDue   bool
	woken     bool
	writing   bool // a write is under way; the loop waits for it
	idleTicks int
	leads     bool
	checked   uint64 // applied index up to which the checker has looked
	skewNs    int64  // of the wall clock
	driftUs   int64  // of a tick
	stopping  bool   // in an orderly way
	// dieSteps counts down the steps of turns; at 0 the process dies. 0: never.
	dieSteps  int
	stepPower bool
	dieInJob  bool // in the next checkpoint's job
}

func newServer(w *world, id shard.ServerID, s shard.ID) *server {
	v := &server{
		w: w, id: id, shard: s, rng: newRandom(w.o.Seed, fmt.Sprintf("server %d", id)),
	}
	v.disk = newDisk(newRandom(w.o.Seed, fmt.Sprintf("disk %d", id)), func(op byte, name string, offset int64, size int) {
		w.noteDisk(id, op, name, offset, size)
	})
	v.disk.struck = w.struck
	v.doTick, v.doLoop, v.doPersisted = v.tick, v.loop, v.persisted
	return v
}

// suspected says what is wrong with the disk, so that the server may refuse it; "": nothing.
func (s *server) suspected() string {
	if x := s.disk.damaged(); x != nil && s.suspect == "" {
		return string(x.fault)
	}
	return s.suspect
}

// broken says whether the server counts as one that has lost its disk.
func (s *server) broken() bool { return s.lost || s.replacing || s.copied || s.suspected() != "" }

func (s *server) name() string { return fmt.Sprintf("server %d", s.id) }

// after plans something for this process alone.
func (s *server) after(us int64, do func()) {
	s.w.plant(us, event{do: do, server: s, generation: s.generation})
}

// do runs a part of the process; the disk may let it die in the middle.
func (s *server) do(f func()) {
	defer func() {
		if v := recover(); v != nil {
			if failure, ok := v.(*storage.ReadError); ok {
				s.exit(failure.Err)
				return
			}
			signal, ok := v.(crashSignal)
			if !ok {
				s.w.fail(CheckPanic, "%s: %v\n%s", s.name(), v, shortStack())
				s.die(false, "of a failed assertion")
				return
			}
			s.w.struck(signal.fault)
			s.w.recovery("died " + signal.where)
			s.die(signal.power, signal.where)
		}
	}()
	f()
}

// start starts the process, unless it runs.
func (s *server) start() {
	if s.up || s.lost || s.trouble == troubleDown {
		return
	}
	if s.w.now < s.notBefore {
		s.w.after(s.notBefore-s.w.now, s.start)
		return
	}
	s.generation++
	s.up, s.paused = true, false
	s.process = process{}
	if s.w.plan.skew {
		s.skewNs, s.driftUs = s.rng.between(-10, 10)*3600*1e9, s.rng.between(-millisecond, millisecond)
		s.w.struck(faultSkew)
	}
	s.w.report.Starts++
	s.w.say(s.name(), "starts (%s)", s.shard)
	s.do(s.open)
	s.after(s.rng.between(0, tickUs), s.doTick)
}

// open is node's join up to the first probe.
func (s *server) open() {
	fatal := s.disk.fatal()
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
	if s.replacing {
		self.State = wire.ReplicaJoining
	}
	if initialised {
		if err := s.openLog(members); err != nil {
			s.exit(err)
			return
		}
		hs, _, err := s.log.InitialState()
		s.w.check.recovered(s, hs)
		if err == nil {
			self.LastIndex, err = s.log.LastIndex()
		}
		if err != nil {
			s.exit(err)
			return
		}
		self.State, self.Term = wire.ReplicaInitialised, hs.GetTerm()
	}
	s.w.check.refused(s, fatal)
	var peers []shard.ServerID
	for _, p := range s.w.of(s.shard) {
		if p != s {
			peers = append(peers, p.id)
		}
	}
	s.members, s.self = members, self
	s.former = replica.NewFormer(replica.FormerOptions{Self: self, Peers: peers, Members: members})
	s.form()
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
	s.w.check.mayTakePart(s)
	if err := s.newReplica(); err != nil {
		s.exit(err)
		return
	}
	s.wake()
}

// newReplica puts a replica on the state that the disk has, as package node does it.
func (s *server) newReplica() error {
	alarm, err := s.dir.Alarm()
	if err != nil {
		return err
	}
	state, err := s.store.State(s.shard)
	if err != nil {
		return err
	}
	s.intake = s.store.NewIntake(storage.IntakeOptions{ProgressRows: s.w.plan.snapshots.progressRows})
	s.machine, err = replica.New(replica.Options{
		Server: s.id, Shard: s.shard, Incarnation: s.dir.Identity().Incarnation, Members: s.members,
		Topology: s.w.topology, Keys: s.w.keys, Log: s.log, State: state, Alarm: alarm, Version: "sim", Debug: s.w.story != nil,
		Source: s.store, Intake: s.intake, Limits: s.w.plan.snapshots.limits,
	})
	if err != nil {
		return err
	}
	s.keeper = storage.NewKeeper(s.store, s.log, storage.KeeperOptions{
		EveryBytes: s.w.plan.checkpointBytes, Place: int(s.id), Places: s.w.plan.replicas, MaxLogBytes: s.w.plan.snapshots.logBytes,
	})
	if c := s.store.Last(); c.Index > 0 {
		s.w.recovery("restored a checkpoint")
		s.machine.Checkpointed(c.Index, c.Term)
		s.checked = c.Index
		s.w.check.restored(s)
	}
	return nil
}

// tick is the process's ticker.
func (s *server) tick() {
	s.after(tickUs+s.driftUs, s.doTick)
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
	delay := s.rng.between(0, 100)
	if s.w.now < s.starvedUntil {
		delay = s.rng.between(0, 200*millisecond)
		s.w.struckNow(faultStarve, &s.starveDue)
	}
	s.after(delay, s.doLoop)
}

// loop is one round of node's loop: everything that has arrived, then one turn.
func (s *server) loop() {
	s.woken = false
	if s.paused || s.writing {
		return
	}
	inputs := s.inbox
	s.inbox, s.spare = s.spare[:0], inputs
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
	s.kept()
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
	} else {
		s.keep()
	}
}

// formWith is a round of the loop before the replica runs.
func (s *server) formWith(inputs []input) {
	for _, in := range inputs {
		switch {
		case in.peer != 0:
			if m, ok := in.message.(*wire.ProbeReply); ok && m.About == replica.RaftID(s.id, s.self.Incarnation) &&
				(m.RememberedTerm > s.self.Term || m.RememberedIndex > s.self.LastIndex) {
				s.outdated = in.peer
			}
			s.former.Step(in.peer, in.message)
		case in.message != nil:
			h := wire.HeaderOf(in.message)
			if h == nil {
				continue // a stranger's: package transport ends such a connection
			}
			s.w.net.answer(s, in.conn, &wire.Reply{Request: h.Request, Status: wire.StatusNotReady, Text: "forming its group"})
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
	out := s.machine.Turn(s.w.now*1000 + s.skewNs + s.clockNs)
	s.pass()
	if !s.take(&out) {
		return
	}
	s.pass()
	if out.HardState == nil && len(out.Entries) == 0 {
		s.persisted()
		return
	}
	s.synced.writing(out.Entries)
	if err := s.log.Append(out.HardState, out.Entries, out.Sync); err != nil {
		s.exit(err)
		return
	}
	if out.Sync {
		s.synced.written(out.HardState, out.Entries)
	}
	s.idleTicks = 0
	s.pass()
	if !out.Sync {
		s.persisted()
		return
	}
	// The write is done; that it is, the process learns later. It may die in between.
	s.writing = true
	delay := s.rng.between(s.w.plan.fsyncUs/4, s.w.plan.fsyncUs)
	if s.w.now < s.slowSyncUntil {
		s.w.struckNow(faultSlowFsync, &s.slowSyncDue)
		delay = s.w.healedBy(s.w.now+s.rng.between(100*millisecond, 10*second)) - s.w.now
	}
	s.after(delay, s.doPersisted)
}

// pass is a point between two steps, at which the process may be told to die.
func (s *server) pass() {
	if due(&s.dieSteps) {
		panic(crashSignal{fault: faultStep, power: s.stepPower, where: "between two steps"})
	}
}

func (s *server) persisted() {
	s.writing = false
	out := s.machine.Persisted()
	s.pass()
	if !s.take(&out) {
		return
	}
	s.pass()
	if s.install {
		s.installFetched()
		return
	}
	if s.stopping && !s.machine.HasWork() && (s.w.plan.replicas == 1 || !s.machine.IsLeader()) {
		s.stopped()
		return
	}
	s.keep()
	if s.machine != nil && (s.machine.HasWork() || len(s.inbox) > 0 || s.tickDue || s.jobDone != nil) {
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
	if out.Alarm != "" {
		s.w.recovery("raised the alarm of lost data")
		if !s.w.plan.beyond {
			s.w.fail(CheckDurable, "%s raises the alarm: %s", s.name(), out.Alarm)
		}
		_ = s.dir.SetAlarm(out.Alarm) // it is in force all the same, until the process ends
	}
	if out.Fatal != nil {
		s.exit(out.Fatal)
		return false
	}
	s.emit(out.Sends)
	s.install = s.install || out.Install
	return !s.w.stopped
}

func (s *server) emit(sends []replica.Send) {
	for i := range sends {
		m := &sends[i]
		if m.Server != 0 {
			if r, ok := m.Message.(*wire.Reply); ok {
				s.w.check.statesFacts(s, r)
			}
			s.w.net.peer(s.id, m.Server, m.Message)
			continue
		}
		if m.Conn == operatorConn {
			s.w.nemesis.replaceAnswered(s.shard, m.Message)
			continue
		}
		if r, ok := m.Message.(*wire.Reply); ok {
			s.w.load.overhear(r)
			s.w.check.statesFacts(s, r)
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
	case errors.Is(err, errIO), errors.Is(err, errFull), errors.Is(err, errNoFiles):
		s.w.recovery("stopped at a failed disk operation")
	case s.disk.misled && errors.Is(err, storage.ErrDamaged):
		s.w.recovery("refused what it had misread")
	case s.mayRefuse(err):
		s.w.recovery("refused a disk: " + s.suspected())
		s.lost = true
	default:
		s.w.fail(CheckStop, "%s stops, though its disk is sound: %v", s.name(), err)
	}
	s.die(false, "by itself")
}

// mayRefuse says whether an error is what a server answers to what is wrong with its disk: to damage, that it is damage; to a disk
// that is another one than it left, whatever shows that.
func (s *server) mayRefuse(err error) bool {
	if s.suspect != "" {
		return refusesDisk(err)
	}
	return s.disk.damaged() != nil && errors.Is(err, storage.ErrDamaged)
}

// refusesDisk says whether an error is what a server answers to a disk that cannot be its own as it left it.
func refusesDisk(err error) bool {
	for _, e := range []error{
		storage.ErrDamaged, storage.ErrMembersSet, storage.ErrForeignDir, storage.ErrNewerFormat,
		replica.ErrEmptied, replica.ErrRolledBack, replica.ErrReplaced,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// handOverUs is how long an orderly stop waits for another leader, as package node does.
const handOverUs = 2 * second

// stop begins an orderly end: leadership is handed over, then the log is closed. It returns false if the process
// cannot take a signal now.
func (s *server) stop() bool {
	if !s.up || s.machine == nil || s.paused || s.writing || s.stopping {
		return false
	}
	s.w.say(s.name(), "stops in an orderly way")
	s.stopping = true
	s.machine.TransferLeadership()
	s.wake()
	s.after(handOverUs, s.stopped)
	return true
}

// stopped is the end of an orderly stop.
func (s *server) stopped() {
	if s.writing || s.paused {
		s.after(10*millisecond, s.stopped)
		return
	}
	if err := s.log.Close(); err != nil {
		s.exit(err)
		return
	}
	s.die(false, "stopped")
}

// die ends the process; with power, its disk loses what was not synced. It reports whether there was one.
func (s *server) die(power bool, how string) bool {
	if !s.up {
		return false
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
	return true
}

// pause lets the process stand still. It reports whether there is one, and it did not already.
func (s *server) pause() bool {
	was := s.paused
	s.paused = true
	return s.up && !was
}

// resume lets a process that stood still go on. What came meanwhile waits in its connections, and in which order it
// reads those is chance: it may hear clients before its peers tell it what has happened.
func (s *server) resume() {
	if !s.paused || s.trouble == troublePaused {
		return
	}
	s.paused = false
	if s.rng.chance(0.5) {
		clients := s.inbox[:0]
		for _, in := range s.inbox {
			if in.peer == 0 {
				clients = append(clients, in)
				continue
			}
			s.after(s.rng.between(0, 20*millisecond), func() { s.receive(in) })
		}
		s.inbox = clients
	}
	s.wake()
}

// starve gives the process little of its processor for a while, as a part of another fault unless the caller says that it is due.
func (s *server) starve(us int64) { s.starvedUntil, s.starveDue = s.w.now+us, false }

// attrs formats an event's keys and values.
func attrs(kv []any) string {
	text := ""
	for i := 0; i+1 < len(kv); i += 2 {
		text += fmt.Sprintf("%v=%v ", kv[i], kv[i+1])
	}
	return text
}
