package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// Log is the raft log on disk. Append writes one block; its effects must be visible to the
// raft.Storage methods when it returns. With sync they must be durable. An error is fatal.
type Log interface {
	raft.Storage
	Append(hs *raftpb.HardState, entries []*raftpb.Entry, sync bool) error
}

// Timing in ticks of the caller (50 ms on a server).
const (
	ElectionTicks  = 10 // 500 ms to 1 s, jittered by the library
	HeartbeatTicks = 1
	readRetryTicks = 10
)

// Limits bound what a replica holds for its callers. Zero fields take the defaults.
type Limits struct {
	Prepared      int // prepared transfers per shard, default 1,000,000; above: BUSY
	InflightBytes int // proposed and not yet applied, default 16 MiB; above: BUSY
	// LateBytes of them, default 256 KiB, are BUSY too if the oldest has been on its way for LateNs, default 200 ms.
	LateBytes     int
	LateNs        int64
	Reads         int // waiting reads and inquiries, those that settle included, default 100,000; above: BUSY
	Deferred      int // deferred transfers, default 100,000; above: BUSY
	EntryBytes    int // a proposal is closed at this size, default 1 MiB
	WithheldBytes int // replies withheld for an audit, default 32 MiB; above: BUSY, and the leader gives the audit up
	PartBytes     int // a part of a checkpoint that another replica fetches, default 256 KiB
	PartsPerTick  int // bytes of such parts that leave in a tick, default 3.2 MiB: 64 MiB/s
	SilentTicks   int // after which a member's checkpoint does not keep the log from being cut, default 600 (30 s)
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Prepared, 1_000_000)
	def(&l.InflightBytes, 16<<20)
	def(&l.LateBytes, 256<<10)
	if l.LateNs == 0 {
		l.LateNs = 200_000_000
	}
	def(&l.Reads, 100_000)
	def(&l.Deferred, 100_000)
	def(&l.EntryBytes, 1<<20)
	def(&l.WithheldBytes, 32<<20)
	def(&l.PartBytes, 256<<10)
	def(&l.PartsPerTick, 3200<<10)
	def(&l.SilentTicks, 600)
	return l
}

// Options configure a Replica.
type Options struct {
	Server      shard.ServerID
	Shard       shard.ID
	Incarnation uint32   // of the data directory
	Members     []uint64 // founding raft ids, sorted; entries of raft have changed them since
	Topology    *shard.Topology
	Keys        *txn.KeyRing
	Log         Log
	// State is what a checkpoint restored; nil: nothing was applied yet.
	State   *ledger.State
	Limits  Limits
	Timing  txn.Timing // zero: txn.DefaultTiming
	Debug   bool       // emit an event for every PREPARE, vote and FINISH
	Version string     // of the program, for status
	// Alarm is the alarm that a former process of this server raised (Output.Alarm), "" for none.
	Alarm string
	// Source is read by replicas that are too far behind for the log, Intake takes what this one fetches when it is. nil: not
	// possible.
	Source Source
	Intake Intake
	// MoreCounters returns counters of the caller that status shows beside the replica's; nil: none.
	MoreCounters func() map[string]uint64
}

// RaftID makes the raft id of a server's incarnation.
func RaftID(s shard.ServerID, incarnation uint32) uint64 {
	if planted.On(planted.EmptiedAccepted) {
		incarnation = 1
	}
	return uint64(s)<<32 | uint64(incarnation)
}

// ServerOf returns the server of a raft id.
func ServerOf(raftID uint64) shard.ServerID { return shard.ServerID(raftID >> 32) }

// Send is a message that leaves. Server is a peer; if it is 0, Conn is a client's connection.
type Send struct {
	Server  shard.ServerID
	Conn    uint64
	Message wire.Message
}

// Event levels, equal to those of log/slog.
const (
	LevelDebug = -4
	LevelInfo  = 0
	LevelWarn  = 4
	LevelError = 8
)

// Event is something that a log should tell. Attrs alternate keys and values.
type Event struct {
	Level int
	Text  string
	Attrs []any
}

// Output is what a turn wants done.
type Output struct {
	Sends     []Send
	HardState *raftpb.HardState // nil: unchanged
	Entries   []*raftpb.Entry
	Sync      bool // the write must be durable before Persisted is called
	Events    []Event
	Fatal     error // the process must stop: cause and remedy
	// Install says that Options.Intake is complete and goes on disk now: see Replica.FetchAgain and Succeed.
	Install bool
	// Alarm, if not "", is to be kept on disk and given to New at every later start: data was lost.
	Alarm string
}

// Replica is one replica of one shard. One goroutine owns it.
type Replica struct {
	options Options
	id      uint64
	smap    shard.Map
	rn      *raft.RawNode
	state   *ledger.State
	now     uint64 // ticks
	timeNs  int64  // last stamp, never decreasing
	ready   *raft.Ready
	durable uint64 // last index on this replica's disk
	scratch scratch
	// startCommit is the commit index of the HardState at start: until it is applied the replica
	// is replaying and serves nothing.
	startCommit uint64

	lead     leadership
	held     []heldAppend // oldest first
	queue    queue
	reads    reads
	answers  answers
	withheld withheld
	life     life
	collects int // audits being settled
	peers    peerMemory
	// checkpoints says how far those of the members reach.
	checkpoints checkpoints
	conf        membership
	feeding     feeding
	fetching    fetching
	settling    map[uint64]afterSettle
	queried     int // rows read for questions about the history since answers were last sent
	deferred    int // those of settling that are deferrals
	// guess is the believed leader of each other shard.
	guess    map[shard.ID]shard.ServerID
	counters counters
	alarm    string // why this replica has stopped serving, if it has; never cleared
	out      Output // sends and events gathered for the next Output
}

// scratch is memory that every entry uses again: entries are large, and memory that was never used is dear.
type scratch struct {
	entry   ledger.Entry // the last one applied
	encoded []byte       // the last one proposed
}

// leadership is what a replica holds only while it leads.
type leadership struct {
	term uint64
	part *txn.Participant // nil: not leading
	// patience is with the audit that runs.
	patience patience
}

// counters are monotonic since the start of the process.
type counters struct {
	proposals, transfers, prepares, finishes, poisons, reads, deferred     uint64
	busy, wrongIncarnation, badMessages, elections, unknownHere, inquiries uint64
	barriers, voids, withheld                                              uint64
	partsSent, partsTaken                                                  uint64
}

// New returns a replica over a log, with nothing applied but what Options.State holds: committed entries after that
// come out of its first turns. Errors: what raft finds wrong with the log.
func New(o Options) (*Replica, error) {
	if o.Timing == (txn.Timing{}) {
		o.Timing = txn.DefaultTiming
	}
	o.Limits = o.Limits.withDefaults()
	r := &Replica{
		options:  o,
		id:       RaftID(o.Server, o.Incarnation),
		smap:     o.Topology.Map(),
		alarm:    o.Alarm,
		state:    o.State,
		settling: map[uint64]afterSettle{},
		guess:    map[shard.ID]shard.ServerID{},
	}
	if r.state == nil {
		r.state = ledger.New(o.Shard)
	}
	r.checkpoints.init()
	r.feeding.init()
	r.queue.init()
	r.reads.init()
	r.answers.init()
	r.peers.init()
	r.conf.init(o.Members, r.state)
	if slices.Contains(r.conf.Removed, r.id) {
		return nil, replacedError(o.Server)
	}
	hs, _, err := o.Log.InitialState()
	if err != nil {
		return nil, fmt.Errorf("read the log's initial state: %w", err)
	}
	r.startCommit = hs.GetCommit()
	if r.durable, err = o.Log.LastIndex(); err != nil {
		return nil, fmt.Errorf("read the log's last index: %w", err)
	}
	applied, _ := r.state.Applied()
	if g := r.state.Genesis(); g != nil {
		r.checkGenesis(g)
	}
	r.rn, err = raft.NewRawNode(&raft.Config{
		ID:                        r.id,
		ElectionTick:              ElectionTicks,
		HeartbeatTick:             HeartbeatTicks,
		Storage:                   raftStorage{o.Log, r},
		Applied:                   applied,
		MaxSizePerMsg:             1 << 20,
		MaxCommittedSizePerReady:  8 << 20,
		MaxInflightMsgs:           256,
		MaxInflightBytes:          64 << 20,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    quietLogger{},
		DisableProposalForwarding: true,
	})
	if err != nil {
		return nil, fmt.Errorf("start raft for %s: %w", o.Shard, err)
	}
	return r, nil
}

// Tick advances all timers by one tick.
func (r *Replica) Tick() {
	r.now++
	r.rn.Tick()
	if r.lead.part != nil {
		r.lead.part.Tick()
	}
	r.losePatience()
	r.retryReads()
	if r.now%lifeTicks == 0 {
		r.showLife()
	}
	if r.alarm != "" && r.now%alarmEveryTicks == 0 {
		r.tellAlarm()
	}
	r.expireReads()
	if r.now%checkpointEveryTicks == 0 {
		r.tellCheckpoint()
	}
	r.feed()
	r.fetch()
}

// IsLeader reports whether this replica believes to lead its shard.
func (r *Replica) IsLeader() bool { return r.rn.BasicStatus().RaftState == raft.StateLeader }

// State returns the applied state, for whoever checks it from outside. It must not be changed.
func (r *Replica) State() *ledger.State { return r.state }

// Term returns the raft term.
func (r *Replica) Term() uint64 { return r.rn.BasicStatus().GetTerm() }

// Replaying reports whether the replica is still applying what was committed before it started.
func (r *Replica) Replaying() bool {
	applied, _ := r.state.Applied()
	return applied < r.startCommit
}

// HasWork reports whether a turn would do anything.
func (r *Replica) HasWork() bool {
	return r.rn.HasReady() || r.queue.waitingToPropose() || (len(r.reads.fresh) > 0 && (r.lead.part == nil || r.ownTermApplied())) ||
		len(r.answers.order) > 0 || len(r.out.Sends) > 0 || len(r.out.Events) > 0 || r.out.Fatal != nil || r.out.Install ||
		(r.lead.part != nil && r.lead.part.HasEffects()) || r.leadershipChanged() || r.heldDue()
}

// Turn coalesces everything stepped since the last one. nowNs is the wall clock in Unix
// nanoseconds, for display alone. See the package comment for what must follow.
func (r *Replica) Turn(nowNs int64) Output {
	if r.ready != nil {
		panic("replica: Turn before Persisted")
	}
	r.timeNs = max(r.timeNs, nowNs)
	r.followLeadership()
	r.drainParticipant()
	r.propose()
	r.issueReads()
	var out Output
	r.sendRaft(r.releaseHeld(), func(*raftpb.Message) bool { return true })
	if r.rn.HasReady() {
		rd := r.rn.Ready()
		r.ready = &rd
		r.tellRole(rd.SoftState)
		r.sendEarly(rd.Messages)
		if len(rd.Entries) > 0 {
			r.durable = min(r.durable, rd.Entries[0].GetIndex()-1)
		}
		r.applyUpTo(r.durable)
		r.takeReadStates(rd.ReadStates)
		if !raft.IsEmptyHardState(rd.HardState) {
			out.HardState = rd.HardState
		}
		out.Entries, out.Sync = rd.Entries, rd.MustSync
	}
	r.serveReads()
	return r.gather(out)
}

// Persisted ends the turn after its write.
func (r *Replica) Persisted() Output {
	if r.ready == nil {
		return Output{}
	}
	rd := r.ready
	if n := len(rd.Entries); n > 0 {
		r.durable = rd.Entries[n-1].GetIndex()
	}
	r.applyUpTo(r.durable)
	r.sendLate(rd.Messages)
	r.ready = nil
	r.rn.Advance(*rd)
	r.followLeadership()
	r.serveReads()
	return r.gather(Output{})
}

// gather moves answers, sends and events into the output.
func (r *Replica) gather(out Output) Output {
	r.flushAnswers()
	r.queried = 0
	out.Sends, out.Events, out.Fatal, out.Alarm = r.out.Sends, r.out.Events, r.out.Fatal, r.out.Alarm
	out.Install = r.out.Install
	r.out = Output{}
	return out
}

func (r *Replica) event(level int, text string, attrs ...any) {
	r.out.Events = append(r.out.Events, Event{Level: level, Text: text, Attrs: attrs})
}

// fatal stops the process; the first cause counts.
func (r *Replica) fatal(err error) {
	if r.out.Fatal == nil {
		r.out.Fatal = err
	}
}

// CloseConn forgets a client's connection: answers to it are dropped.
func (r *Replica) CloseConn(conn uint64) {
	r.answers.close(conn)
	r.withheld.close(conn)
}
