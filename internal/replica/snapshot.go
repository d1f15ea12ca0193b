package replica

import (
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"raftbank/internal/invariant"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// A replica whose next entry is cut from the leader's log gets raft's snapshot message, of which the data is a manifest
// alone. It is not stepped. The replica fetches the checkpoint part by part, asking for the next one when it has taken
// the last, and its caller puts it on disk: whole, checked, and counting from one durable moment on. Then a
// new Replica begins behind it, and only that one tells the leader, with the message that tells of every checkpoint.
// Raft would do the same by restoring the snapshot; a replica that begins anew needs no second way to change its state.
//
// Until then the old state stays and serves. What was fetched survives a change of the source and a restart: the next
// manifest is aimed at with the rows that are there.

// Source reads a checkpoint that other replicas fetch; storage.Store is one. Errors are fatal.
type Source interface {
	// Hold keeps the newest checkpoint readable until Release; false: there is none.
	Hold() (wire.Manifest, bool, error)
	// Part reads about max bytes from a position on; false: there is no such part.
	Part(kind wire.PartKind, position uint64, max int) (data []byte, ok bool, err error)
	// Release ends Hold.
	Release() error
}

// Intake takes a checkpoint that is fetched from another replica; storage.Intake is one. Errors are fatal.
type Intake interface {
	// Aim says which checkpoint is fetched; false: it cannot be one.
	Aim(m wire.Manifest) (ok bool, err error)
	// Work copies up to that many rows that this replica has itself.
	Work(rows int) error
	// Wants returns the part to ask for; PartNone: none at present.
	Wants() (kind wire.PartKind, position uint64)
	// Take takes the part that is wanted; false: it is another one, or damaged.
	Take(p *wire.SnapshotPart) (ok bool, err error)
	// Complete reports whether all parts are there.
	Complete() bool
	// Done returns how many bytes are there, and how many there will be, about.
	Done() (have, of uint64)
	// Drop removes what was fetched.
	Drop() error
}

const (
	// heldTicks without a question, a checkpoint is not held any longer: 10 s.
	heldTicks = 200
	// snapshotTicks without a question, raft is told that its snapshot message was lost: 2 s.
	snapshotTicks = 40
	// askTicks without an answer, a part is asked for again: 500 ms.
	askTicks = 10
	// sourceTicks without an answer, another source is believed: 2 s.
	sourceTicks = 40
	// copyRows is how many own rows are copied in a tick: 300,000 a second.
	copyRows = 16 << 10
)

// feeding is what a replica holds for those that fetch its checkpoint.
type feeding struct {
	held    wire.Manifest
	holding bool
	usedAt  uint64                       // tick of the last question
	asks    map[uint64]*wire.SnapshotAsk // unanswered, by raft id
	budget  int                          // bytes that may leave in this tick
	// askedAt is the tick of a member's last question; pausedAt that at which raft was seen to wait for it.
	askedAt, pausedAt map[uint64]uint64
	percent           map[uint64]int // of the checkpoint that a member has
}

func (f *feeding) init() {
	f.percent = map[uint64]int{}
	f.asks, f.askedAt, f.pausedAt = map[uint64]*wire.SnapshotAsk{}, map[uint64]uint64{}, map[uint64]uint64{}
}

// fetching is a checkpoint under way to this replica.
type fetching struct {
	active     bool
	target     wire.Manifest
	from       uint64 // raft id
	heardAt    uint64 // tick
	askedAt    uint64
	installing bool
}

// raftStorage is the log as raft sees it: its snapshots are manifests.
type raftStorage struct {
	Log
	r *Replica
}

// InitialState implements raft.Storage: the configuration is that of the applied state.
func (s raftStorage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs, _, err := s.Log.InitialState()
	return hs, s.r.conf.confState(), err
}

// Snapshot implements raft.Storage.
func (s raftStorage) Snapshot() (*raftpb.Snapshot, error) {
	m, ok := s.r.hold()
	if !ok {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &raftpb.Snapshot{Data: m.AppendTo(nil), Metadata: &raftpb.SnapshotMetadata{
		Index: &m.Index, Term: &m.Term, ConfState: s.r.conf.confState(),
	}}, nil
}

// manifestOf returns the manifest of a snapshot message; ok is false if it is none of this program.
func manifestOf(msg *raftpb.Message) (m wire.Manifest, ok bool) {
	s := msg.GetSnapshot()
	m, ok = wire.DecodeManifest(s.GetData())
	meta := s.GetMetadata()
	return m, ok && m.Index > 0 && meta.GetIndex() == m.Index && meta.GetTerm() == m.Term
}

// hold returns the checkpoint that others may fetch. One that nobody asks for any more gives way to the newest.
func (r *Replica) hold() (wire.Manifest, bool) {
	f := &r.feeding
	if r.options.Source == nil {
		return wire.Manifest{}, false
	}
	if f.holding && r.now-f.usedAt > snapshotTicks {
		r.letGo()
	}
	if !f.holding {
		m, ok, err := r.options.Source.Hold()
		if err != nil {
			r.fatal(err)
		}
		if err != nil || !ok {
			return wire.Manifest{}, false
		}
		f.held, f.holding, f.usedAt = m, true, r.now
	}
	return f.held, true
}

// letGo lets the held checkpoint go.
func (r *Replica) letGo() {
	if err := r.options.Source.Release(); err != nil {
		r.fatal(err)
	}
	r.feeding.holding = false
}

// stepAsk takes a question for a part of this replica's checkpoint.
func (r *Replica) stepAsk(from shard.ServerID, m *wire.SnapshotAsk) {
	if m.Shard != r.options.Shard || ServerOf(m.From) != from || !r.isMember(m.From) {
		r.counters.wrongIncarnation++
		return
	}
	if r.refuses(m.From) {
		return
	}
	if _, ok := r.hold(); !ok {
		return
	}
	r.feeding.askedAt[m.From], r.feeding.usedAt = r.now, r.now
	r.feeding.asks[m.From] = m
	r.serveParts()
}

// serveParts answers questions while there is budget; the rest waits for the next tick.
func (r *Replica) serveParts() {
	f := &r.feeding
	for _, id := range slices.Sorted(maps.Keys(f.asks)) {
		if f.budget <= 0 || !f.holding {
			return
		}
		m := f.asks[id]
		delete(f.asks, id)
		p := &wire.SnapshotPart{Shard: r.options.Shard, From: r.id, Manifest: f.held, Kind: wire.PartNone}
		if m.Index == f.held.Index {
			f.percent[id] = percentOf(&f.held, m)
			data, ok, err := r.options.Source.Part(m.Kind, m.Position, r.options.Limits.PartBytes)
			if err != nil {
				r.fatal(err)
				return
			}
			if ok {
				p.Kind, p.Position, p.Data, p.Sum = m.Kind, m.Position, data, wire.SumPart(data)
				f.budget -= len(data)
				r.counters.partsSent++
			}
		}
		r.out.Sends = append(r.out.Sends, Send{Server: ServerOf(id), Message: p})
	}
}

// feed is the part of a tick of a replica whose checkpoint is fetched.
func (r *Replica) feed() {
	f := &r.feeding
	f.budget = r.options.Limits.PartsPerTick
	r.serveParts()
	if f.holding && r.now-f.usedAt > heldTicks {
		r.letGo()
	}
	if !r.IsLeader() || r.now%askTicks != 0 {
		return
	}
	var lost []uint64
	r.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if pr.State != tracker.StateSnapshot {
			delete(f.pausedAt, id)
			return
		}
		since, ok := f.pausedAt[id]
		if !ok {
			f.pausedAt[id] = r.now
			return
		}
		if r.now-max(since, f.askedAt[id]) > snapshotTicks {
			lost = append(lost, id)
		}
	})
	slices.Sort(lost)
	for _, id := range lost {
		// It does not fetch, or does so from another replica: raft tries again.
		delete(f.pausedAt, id)
		r.rn.ReportSnapshot(id, raft.SnapshotFailure)
	}
}

// offered takes raft's snapshot message. It returns false if raft can answer it: this replica has what it offers.
func (r *Replica) offered(msg *raftpb.Message) bool {
	m, _ := manifestOf(msg)
	if m.Index <= r.rn.BasicStatus().GetCommit() {
		return false
	}
	if term, err := r.options.Log.Term(m.Index); err == nil && term == m.Term {
		return false
	}
	f := &r.fetching
	if r.options.Intake == nil || r.IsLeader() || f.installing || f.active && r.now-f.heardAt <= sourceTicks {
		return true
	}
	r.aim(msg.GetFrom(), m)
	return true
}

// aim begins to fetch a checkpoint, or goes on with another one.
func (r *Replica) aim(from uint64, m wire.Manifest) {
	ok, err := r.options.Intake.Aim(m)
	if err != nil {
		r.fatal(err)
		return
	}
	if !ok {
		r.counters.badMessages++
		return
	}
	have, of := r.options.Intake.Done()
	r.event(LevelInfo, "fetches a checkpoint", "index", m.Index, "from", uint64(ServerOf(from)), "bytes", of, "there", have)
	r.fetching = fetching{active: true, target: m, from: from, heardAt: r.now}
	r.ask()
}

// ask asks for the next part, or says that all are there.
func (r *Replica) ask() {
	f := &r.fetching
	if r.options.Intake.Complete() {
		f.installing, r.out.Install = true, true
		return
	}
	kind, position := r.options.Intake.Wants()
	if kind == wire.PartNone {
		return
	}
	f.askedAt = r.now
	r.out.Sends = append(r.out.Sends, Send{Server: ServerOf(f.from), Message: &wire.SnapshotAsk{
		Shard: r.options.Shard, From: r.id, Index: f.target.Index, Kind: kind, Position: position,
	}})
}

// stepPart takes a part of the checkpoint that this replica fetches.
func (r *Replica) stepPart(from shard.ServerID, m *wire.SnapshotPart) {
	f := &r.fetching
	if m.Shard != r.options.Shard || ServerOf(m.From) != from || !f.active || f.installing || m.From != f.from {
		return
	}
	f.heardAt = r.now
	if m.Manifest != f.target {
		if m.Kind == wire.PartNone && m.Manifest.Index > f.target.Index {
			r.aim(m.From, m.Manifest)
		}
		return
	}
	ok, err := r.options.Intake.Take(m)
	if err != nil {
		r.fatal(err)
		return
	}
	if ok {
		r.counters.partsTaken++
		r.ask()
	}
}

// fetch is the part of a tick of a replica that fetches.
func (r *Replica) fetch() {
	f := &r.fetching
	if !f.active || f.installing {
		return
	}
	if r.IsLeader() || r.rn.BasicStatus().GetCommit() >= f.target.Index {
		r.overtaken()
		return
	}
	if err := r.options.Intake.Work(copyRows); err != nil {
		r.fatal(err)
		return
	}
	if kind, _ := r.options.Intake.Wants(); kind == wire.PartNone {
		f.heardAt = r.now // own rows are being copied: nobody was asked
	}
	if r.now-f.heardAt > heldTicks {
		r.fetching = fetching{} // what is there stays
		return
	}
	if f.askedAt == 0 || r.now-f.askedAt >= askTicks {
		r.ask()
	}
}

// StillBehind reports whether the checkpoint of Output.Install is still ahead of this replica. Since the last part came,
// the log may have brought what it holds: then it is dropped, for a replica does not go back.
func (r *Replica) StillBehind() bool {
	if f := &r.fetching; !r.IsLeader() && r.rn.BasicStatus().GetCommit() < f.target.Index {
		return true
	}
	r.overtaken()
	return false
}

// overtaken drops what was fetched: the log has brought it.
func (r *Replica) overtaken() {
	invariant.Sometimes("replica: caught up from a log while it fetched a checkpoint")
	r.fetching = fetching{}
	if err := r.options.Intake.Drop(); err != nil {
		r.fatal(err)
	}
}

// FetchAgain says that what Output.Install was about does not fit together: it is fetched again.
func (r *Replica) FetchAgain() {
	f := r.fetching
	r.aim(f.from, f.target)
}

// Retire ends a replica whose successor begins behind a checkpoint that was fetched: whoever waits is told to ask
// again.
func (r *Replica) Retire() Output {
	if r.lead.part != nil {
		r.stepDown(r.Term())
	}
	for _, op := range r.reads.drop() {
		r.answers.status(op.call, wire.StatusNotLeader, "")
	}
	r.dropSettling()
	return r.gather(Output{})
}

// Succeed takes over what a retired replica of the same process remembers of the others.
func (r *Replica) Succeed(old *Replica) {
	r.now, r.timeNs, r.reads.next = old.now, old.timeNs, old.reads.next
	r.peers, r.checkpoints, r.counters, r.guess = old.peers, old.checkpoints, old.counters, old.guess
	r.event(LevelInfo, "goes on behind a checkpoint of another replica", "index", old.fetching.target.Index)
}
