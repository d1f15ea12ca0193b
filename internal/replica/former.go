package replica

import (
	"errors"
	"fmt"
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// Errors of Former.Refused and of late verdicts; the texts say what to do.
var (
	// ErrEmptied: the directory is empty, but the group exists.
	ErrEmptied = errors.New("data directory is empty")
	// ErrRolledBack: the directory holds less than this server once acknowledged.
	ErrRolledBack = errors.New("data directory was rolled back")
	// ErrReplaced: another incarnation of this server has taken its place.
	ErrReplaced = errors.New("server was replaced")
	// ErrForeign: the peers serve another shard under this server's number.
	ErrForeign = errors.New("configurations disagree")
)

// FormerOptions configure a Former.
type FormerOptions struct {
	Self    wire.Probe // what this replica is; State tells an empty directory, and one that is to take another's place
	Peers   []shard.ServerID
	Members []uint64 // of the directory; nil if empty
	Force   bool     // --force-bootstrap: form with those who answer, after a wait
}

const (
	probeEveryTicks = 4  // 200 ms
	verdictTicks    = 20 // how long an initialised replica waits for the verdicts of all peers
	forceTicks      = 60 // how long --force-bootstrap waits for the others
)

// Former decides, before a replica's first vote, whether it may take part: it forms the group when
// every replica of the shard has an empty directory, joins the group that was formed with it, and
// refuses a directory that was emptied or rolled back.
type Former struct {
	options FormerOptions
	replies map[shard.ServerID]*wire.ProbeReply
	ticks   uint64
	sends   []Send
	members []uint64
	refused error
}

// NewFormer returns a Former; its first Sends are its probes.
func NewFormer(o FormerOptions) *Former {
	if o.Self.State == wire.ReplicaInitialised {
		o.Self.Founding = o.Members
	}
	f := &Former{options: o, replies: map[shard.ServerID]*wire.ProbeReply{}}
	f.probe()
	f.judge()
	return f
}

func (f *Former) self() uint64 { return RaftID(f.options.Self.Server, f.options.Self.Incarnation) }

func (f *Former) empty() bool { return f.options.Self.State != wire.ReplicaInitialised }

func (f *Former) joining() bool { return f.options.Self.State == wire.ReplicaJoining }

// Tick advances the timers by one tick of 50 ms.
func (f *Former) Tick() {
	f.ticks++
	if f.ticks%probeEveryTicks == 0 {
		f.probe()
	}
	f.judge()
}

func (f *Former) probe() {
	for _, p := range f.options.Peers {
		// An empty peer may be initialised by the next time.
		if r := f.replies[p]; r != nil && r.State == wire.ReplicaInitialised && !f.joining() {
			continue
		}
		m := f.options.Self
		f.sends = append(f.sends, Send{Server: p, Message: &m})
	}
}

// Step takes a message of a peer; anything but Probe and ProbeReply is ignored.
func (f *Former) Step(from shard.ServerID, m wire.Message) {
	switch m := m.(type) {
	case *wire.Probe:
		f.answer(from, m)
	case *wire.ProbeReply:
		if slices.Contains(f.options.Peers, from) && m.Server == from && m.About == f.self() {
			f.replies[from] = m
			f.judge()
		}
	}
}

// answer tells a starting peer what this replica is.
func (f *Former) answer(from shard.ServerID, m *wire.Probe) {
	s := &f.options.Self
	reply := &wire.ProbeReply{
		Shard: s.Shard, Server: s.Server, Incarnation: s.Incarnation, State: s.State,
		Term: s.Term, LastIndex: s.LastIndex, Members: f.options.Members, Founding: f.options.Members,
		About: RaftID(m.Server, m.Incarnation), Verdict: wire.VerdictOK,
	}
	if f.empty() && f.members != nil {
		// Formed in this process, and perhaps not yet written.
		reply.State, reply.Members, reply.Founding = wire.ReplicaInitialised, f.members, f.members
	}
	switch {
	case m.Shard != s.Shard || m.Server != from:
		reply.Verdict = wire.VerdictForeign
	case reply.State != wire.ReplicaInitialised || m.State == wire.ReplicaJoining:
	case m.State == wire.ReplicaInitialised && slices.Equal(m.Founding, reply.Founding):
		// Of this group; whether it is a member still, the log tells, which is not replayed yet.
	case !slices.Contains(reply.Founding, RaftID(m.Server, m.Incarnation)):
		reply.Verdict = wire.VerdictStranger
	}
	f.sends = append(f.sends, Send{Server: from, Message: reply})
}

// judge decides once enough is known.
func (f *Former) judge() {
	if f.members != nil || f.refused != nil {
		return
	}
	for _, p := range f.options.Peers {
		if r := f.replies[p]; r != nil {
			if f.refused = verdictError(&f.options.Self, r); f.refused != nil {
				return
			}
		}
	}
	if !f.empty() {
		if len(f.replies) == len(f.options.Peers) || f.ticks >= verdictTicks {
			f.members = f.options.Members
		}
		return
	}
	if f.joining() {
		f.judgeJoining()
		return
	}
	f.judgeEmpty()
}

// judgeJoining: this directory takes part once the group has made it a member.
func (f *Former) judgeJoining() {
	for _, p := range f.options.Peers {
		if r := f.replies[p]; r != nil && r.State == wire.ReplicaInitialised && len(r.Founding) > 0 && slices.Contains(r.Members, f.self()) {
			f.members = slices.Clone(r.Founding)
			return
		}
	}
}

func (f *Former) judgeEmpty() {
	heard := []uint64{f.self()}
	for _, p := range f.options.Peers {
		r := f.replies[p]
		if r == nil || r.State == wire.ReplicaJoining {
			continue
		}
		if r.State == wire.ReplicaInitialised && slices.Contains(r.Members, f.self()) {
			// The group was formed with this very directory, which has not voted yet.
			f.members = slices.Clone(r.Members)
			return
		}
		heard = append(heard, RaftID(r.Server, r.Incarnation))
	}
	if len(heard) == len(f.options.Peers)+1 || (f.options.Force && f.ticks >= forceTicks) {
		slices.Sort(heard)
		f.members = heard
	}
}

// Sends returns what is to be sent since the last call.
func (f *Former) Sends() []Send {
	s := f.sends
	f.sends = nil
	return s
}

// Done returns the group's members once this replica may take part. The caller writes them to the
// directory before anything else.
func (f *Former) Done() (members []uint64, ok bool) { return f.members, f.members != nil }

// Refused says why this replica must not take part: ErrEmptied, ErrRolledBack or ErrForeign.
func (f *Former) Refused() error { return f.refused }

// WaitingFor lists the peers that have not answered.
func (f *Former) WaitingFor() []shard.ServerID {
	var w []shard.ServerID
	for _, p := range f.options.Peers {
		if f.replies[p] == nil {
			w = append(w, p)
		}
	}
	return w
}

func replacedError(s shard.ServerID) error {
	return fmt.Errorf("server %s: %w: its directory belongs to an incarnation that is no member any more. "+
		"Give it an empty directory, start it with --replace, and run: raftbank replace %s", s, ErrReplaced, s)
}

func rolledBackError(self, witness shard.ServerID, term, index uint64) error {
	return fmt.Errorf("server %s: %w: it ends before what server %s has seen it acknowledge (term %d, index %d). "+
		"Restore a newer copy of the directory; it must not vote with this one", self, ErrRolledBack, witness, term, index)
}

// verdictError turns a peer's verdict into the error that a person reads; nil if the verdict is OK.
func verdictError(self *wire.Probe, r *wire.ProbeReply) error {
	switch r.Verdict {
	case wire.VerdictReplaced:
		return replacedError(self.Server)
	case wire.VerdictStranger:
		if self.State == wire.ReplicaJoining {
			return nil
		}
		if self.State == wire.ReplicaInitialised {
			return fmt.Errorf("server %s: %w: its data directory belongs to another group of %s than that of server %s. "+
				"One of the two was formed by force: keep the one that holds the bank", self.Server, ErrForeign, self.Shard, r.Server)
		}
		invariant.Sometimes("replica: refused an emptied directory")
		return fmt.Errorf("server %s: %w, but %s already has a log (term %d, says server %s). "+
			"Nothing is lost: the others hold it. Restore this server's directory; if it is lost for good, "+
			"start this server with --replace and run: raftbank replace %s",
			self.Server, ErrEmptied, self.Shard, r.Term, r.Server, self.Server)
	case wire.VerdictRolledBack:
		if self.Term >= r.RememberedTerm && self.LastIndex >= r.RememberedIndex {
			return nil // a late answer to a probe of long ago: this directory holds what was acknowledged
		}
		return rolledBackError(self.Server, r.Server, r.RememberedTerm, r.RememberedIndex)
	case wire.VerdictForeign:
		return fmt.Errorf("server %s: %w: server %s does not serve %s with this server's number. Give both the same configuration",
			self.Server, ErrForeign, r.Server, self.Shard)
	}
	return nil
}
