package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// checker knows what every shard has committed, what every client was told, and what must hold.
type checker struct {
	w        *world
	shards   []*shardTruth // by shard id, from 1
	expected *big.Int
	reads    []*readFact
	audits   []*auditFact
	refusals refusals
	// acks is when each client was first told of a commit.
	acks map[int]map[*content]int64
}

// shardTruth is a shard's committed log, applied once more on a state of its own that never crashes, and
// an independent model of its accounts.
type shardTruth struct {
	id      shard.ID
	state   *ledger.State
	entries []*raftpb.Entry
	chains  [][32]byte // by index
	rows    uint64     // of history that the model has seen
	model   map[shard.Account]*modelAccount
	leaders map[uint64]shard.ServerID // by term
	ref     *refShard
	ended   map[ledger.TransferID]ledger.TransferState // the newest row of each id
	voted   map[ledger.TransferID]uint64               // the index of its first row
	// appliedAt is when an index was first applied anywhere.
	appliedAt []int64
}

// modelAccount is an account by the naive model.
type modelAccount struct {
	in, out, reserved, incoming *big.Int
	// points are the sums posted so far, by index, oldest first.
	points []point
}

type point struct {
	index              uint64
	in, out            ledger.Amount
	incoming, reserved ledger.Amount
}

func newChecker(w *world) *checker {
	k := &checker{w: w, expected: w.topology.Total(), acks: map[int]map[*content]int64{}, refusals: refusals{
		series: map[shard.Account][]spendable{}, effect: map[*content]effect{},
	}}
	for _, c := range w.topology.Clusters {
		t := &shardTruth{
			id: c.Shard, state: ledger.New(c.Shard), chains: [][32]byte{{}},
			model: map[shard.Account]*modelAccount{}, leaders: map[uint64]shard.ServerID{},
			ref: newRefShard(c.Shard), ended: map[ledger.TransferID]ledger.TransferState{},
			voted: map[ledger.TransferID]uint64{}, appliedAt: []int64{0},
		}
		for a := c.Range.First; a <= c.Range.Last; a++ {
			t.model[a] = &modelAccount{in: new(big.Int), out: new(big.Int), reserved: new(big.Int), incoming: new(big.Int)}
		}
		k.shards = append(k.shards, t)
	}
	return k
}

func (k *checker) truth(id shard.ID) *shardTruth { return k.shards[id-1] }

// observe looks at a server's replica after each half of its turn, before anything is disclosed.
func (k *checker) observe(s *server) {
	t := k.truth(s.shard)
	k.oneLeaderPerTerm(t, s)
	applied, _ := s.machine.State().Applied()
	if applied == s.checked {
		return
	}
	for s.checked < applied {
		entries, err := s.log.Entries(s.checked+1, applied+1, math.MaxUint64)
		if err != nil || len(entries) == 0 {
			k.w.fail(CheckLog, "%s applied %d, but its log gives %d entries after %d: %v",
				s.name(), applied, len(entries), s.checked, err)
			return
		}
		for _, e := range entries {
			k.committed(t, s, e)
			if k.w.stopped {
				return
			}
			s.checked = e.GetIndex()
		}
	}
	k.equalStates(t, s, applied)
}

// restored looks at the state that a checkpoint gave a server.
func (k *checker) restored(s *server) {
	t := k.truth(s.shard)
	if s.checked >= uint64(len(t.chains)) {
		k.w.fail(CheckChain, "%s restores a checkpoint at %d of %s, which nobody has applied", s.name(), s.checked, t.id)
		return
	}
	k.equalStates(t, s, s.checked)
	k.looked(CheckReplay)
	got := s.machine.State()
	n := int(got.RowCount())
	if !slices.Equal(got.Rows(0, n), t.state.Rows(0, n)) {
		k.w.fail(CheckReplay, "%s restores a checkpoint at %d of %s whose history is another one than the log makes", s.name(), s.checked, t.id)
	}
}

// oneLeaderPerTerm: two servers of a shard never lead in the same term.
func (k *checker) oneLeaderPerTerm(t *shardTruth, s *server) {
	leads := s.machine.IsLeader()
	if !leads {
		s.leads = false
		return
	}
	term := s.machine.Term()
	if other, ok := t.leaders[term]; ok && other != s.id {
		k.w.fail(CheckLeader, "servers %s and %s both lead %s in term %d", other, s.id, t.id, term)
	}
	if _, ok := t.leaders[term]; !ok {
		t.leaders[term] = s.id
		k.w.report.Elections++
	}
	s.leads = true
	s.ledLate = s.ledLate || s.trouble != ""
}

// committed: entries of one index are the same on every replica, for ever.
func (k *checker) committed(t *shardTruth, s *server, e *raftpb.Entry) {
	k.looked(CheckLog)
	if i := e.GetIndex(); i <= uint64(len(t.entries)) {
		first := t.entries[i-1]
		if first.GetTerm() != e.GetTerm() || first.GetType() != e.GetType() || !bytes.Equal(first.GetData(), e.GetData()) {
			k.w.fail(CheckLog, "%s applied entry %d of %s with term %d, but it was committed with term %d",
				s.name(), i, t.id, e.GetTerm(), first.GetTerm())
		}
		return
	}
	k.apply(t, e)
}

// equalStates: replicas at one index have the same state and the same history.
func (k *checker) equalStates(t *shardTruth, s *server, applied uint64) {
	k.looked(CheckHash)
	k.looked(CheckChain)
	if _, sum := s.machine.State().Chain(); sum != t.chains[applied] {
		k.w.fail(CheckChain, "%s at index %d of %s differs from the replica that applied it first", s.name(), applied, t.id)
	}
	if a, _ := t.state.Applied(); a == applied && s.machine.State().Hash() != t.state.Hash() {
		k.w.fail(CheckHash, "%s at index %d of %s has other balances", s.name(), applied, t.id)
	}
}

// apply takes an entry that was applied for the first time anywhere.
func (k *checker) apply(t *shardTruth, e *raftpb.Entry) {
	t.entries = append(t.entries, e)
	t.appliedAt = append(t.appliedAt, k.w.now)
	k.w.report.Entries++
	k.w.note('e', uint64(t.id), e.GetIndex(), e.GetData())
	if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
		t.state.Skip(e.GetIndex(), e.GetTerm())
		if e.GetType() == raftpb.EntryConfChange {
			k.promoted(e)
		}
		k.chainHolds(t, e, nil, nil)
	} else {
		entry, err := ledger.DecodeEntry(e.GetData())
		if err != nil {
			k.w.fail(CheckLog, "entry %d of %s: %v", e.GetIndex(), t.id, err)
			return
		}
		results := t.state.Apply(e.GetIndex(), e.GetTerm(), entry)
		k.w.noteResults(t.id, e.GetIndex(), results)
		if slices.ContainsFunc(entry.Commands, func(c ledger.Command) bool { return c.Kind == ledger.CmdBarrier }) {
			k.w.nemesis.barrier(t.id)
		}
		k.storyOf(t, e, entry, results)
		k.answersAsModelled(t, e.GetIndex(), entry, results)
		k.chainHolds(t, e, e.GetData(), results)
	}
	_, sum := t.state.Chain()
	t.chains = append(t.chains, sum)
	rows := t.state.Rows(t.rows, int(t.state.RowCount()-t.rows))
	t.rows += uint64(len(rows))
	for i := range rows {
		k.postedOnce(t, &rows[i])
		if _, known := t.voted[rows[i].Record.ID]; !known {
			t.voted[rows[i].Record.ID] = rows[i].Index
		}
		k.row(t, &rows[i])
		// In this order: a refusal does not justify itself.
		k.refusalIsJustified(&rows[i])
		k.reconsider(rows[i].Record.ID)
	}
	if len(rows) > 0 {
		k.noOverdraft(t)
		k.conservation()
	}
}

// chainHolds: the chain after an entry is the hash of the chain before it, the entry and what came of it.
func (k *checker) chainHolds(t *shardTruth, e *raftpb.Entry, data []byte, results []ledger.Result) {
	k.looked(CheckChain)
	link := binary.LittleEndian.AppendUint64(bytes.Clone(t.chains[len(t.chains)-1][:]), e.GetIndex())
	link = append(binary.LittleEndian.AppendUint64(link, e.GetTerm()), data...)
	for i := range results {
		link = append(link, byte(results[i].Code), byte(results[i].State), byte(results[i].Reason))
	}
	if _, sum := t.state.Chain(); sum != sha256.Sum256(link) {
		k.w.fail(CheckChain, "the chain of %s does not cover entry %d", t.id, e.GetIndex())
	}
}

func (k *checker) storyOf(t *shardTruth, e *raftpb.Entry, entry *ledger.Entry, results []ledger.Result) {
	if k.w.story == nil {
		return
	}
	n := 0
	for i := range entry.Commands {
		c := &entry.Commands[i]
		for j := range c.Items() {
			k.w.say(t.id.String(), "entry %d: %s: code %d, %s %s", e.GetIndex(), itemText(c, j),
				results[n].Code, results[n].State, reasonText(results[n].Reason))
			n++
		}
	}
}

func itemText(c *ledger.Command, i int) string {
	switch c.Kind {
	case ledger.CmdTransfer, ledger.CmdPrepare:
		r := &c.Records[i]
		name := "transfer"
		if c.Kind == ledger.CmdPrepare {
			name = "prepare"
		}
		return fmt.Sprintf("%s %s %d->%d %s", name, r.ID, r.Debit, r.Credit, r.Amount)
	case ledger.CmdFinish:
		return fmt.Sprintf("finish %s commit=%v", c.Finishes[i].ID, c.Finishes[i].Commit)
	case ledger.CmdFinishVotes:
		for j := range c.Votes {
			if n := int(c.Votes[j].Count); i >= n {
				i -= n
				continue
			}
			return fmt.Sprintf("finish the vote of row %d commit=true", c.Votes[j].First+uint64(i))
		}
		return "finish a vote"
	case ledger.CmdPoison:
		return "poison " + c.Poisons[i].ID.String()
	case ledger.CmdCancel:
		return "cancel " + c.Cancels[i].String()
	case ledger.CmdGenesis:
		return "genesis"
	case ledger.CmdBarrier, ledger.CmdVoid, ledger.CmdRelease, ledger.CmdAllocate:
		return fmt.Sprintf("%s %d", c.Kind, c.Numbers[i])
	}
	panic("unreachable: command kind")
}

// row takes a new row of history into the model, and checks it against the other participants.
func (k *checker) row(t *shardTruth, r *ledger.Row) {
	switch r.Kind {
	case ledger.RowGenesis:
		for a := range t.model { // order does not show: all get the same
			t.model[a].in.SetUint64(k.w.plan.opening)
			t.model[a].points = []point{{index: r.Index, in: ledger.Units(k.w.plan.opening)}}
		}
	case ledger.RowIntra:
		if r.State == ledger.Committed {
			t.move(r, +1, 0)
		}
	case ledger.RowPrepare:
		if r.State == ledger.Prepared {
			t.move(r, 0, +1)
			if k.w.calm {
				k.staysNotPrepared(t, r.Record.ID)
			}
			k.w.load.spring(r.Record.ID)
			k.w.load.tempt(r)
		} else {
			k.abortIsLegal(t, r)
		}
	case ledger.RowCommit:
		t.move(r, +1, -1)
		k.commitIsLegal(t, r)
	case ledger.RowAbort:
		t.move(r, 0, -1)
		k.abortIsLegal(t, r)
	case ledger.RowTombstone:
		k.abortIsLegal(t, r)
	default:
		panic("unreachable: row kind")
	}
}

// move applies posted times the amount to the sums of the local accounts, and held times to what is pending.
func (t *shardTruth) move(r *ledger.Row, posted, held int64) {
	amount := r.Record.Amount.Big()
	step := func(n *big.Int, times int64) { n.Add(n, new(big.Int).Mul(amount, big.NewInt(times))) }
	if a := t.model[r.Record.Debit]; a != nil {
		step(a.out, posted)
		step(a.reserved, held)
		a.note(r.Index)
	}
	if a := t.model[r.Record.Credit]; a != nil {
		step(a.in, posted)
		step(a.incoming, held)
		a.note(r.Index)
	}
}

func (a *modelAccount) note(index uint64) {
	p := point{index: index, in: amountOf(a.in), out: amountOf(a.out), incoming: amountOf(a.incoming), reserved: amountOf(a.reserved)}
	if n := len(a.points); n > 0 && a.points[n-1].index == index {
		a.points[n-1] = p
		return
	}
	a.points = append(a.points, p)
}

func amountOf(n *big.Int) ledger.Amount {
	low := new(big.Int).And(n, new(big.Int).SetUint64(math.MaxUint64))
	return ledger.Amount{Lo: low.Uint64(), Hi: new(big.Int).Rsh(n, 64).Uint64()}
}

// others calls f with what each other participant of a row's transfer holds for its content.
func (k *checker) others(t *shardTruth, r *ledger.Row, f func(o *shardTruth, state ledger.TransferState)) {
	c := k.w.load.contents[r.Record]
	if c == nil {
		return
	}
	for _, p := range c.parts {
		if p != t.id {
			f(k.truth(p), k.truth(p).stateOf(c))
		}
	}
}

// stateOf returns the state of one content at a shard: an id that is taken by other content counts as
// aborted for this one.
func (t *shardTruth) stateOf(c *content) ledger.TransferState {
	o, ok := t.state.Lookup(c.record.ID)
	switch {
	case !ok:
		return ledger.None
	case o.HasRecord && o.Record != c.record:
		return ledger.Aborted
	case !o.HasRecord && !o.Wildcard && o.Digest != ledger.DigestOf(c.record):
		return ledger.Aborted
	}
	return o.State
}

// commitIsLegal: a shard commits only when every participant has voted yes (atomicity).
func (k *checker) commitIsLegal(t *shardTruth, r *ledger.Row) {
	k.looked(CheckAtomicity)
	k.others(t, r, func(o *shardTruth, state ledger.TransferState) {
		if state != ledger.Prepared && state != ledger.Committed {
			k.w.fail(CheckAtomicity, "%s commits %s, but at %s it is %s", t.id, r.Record.ID, o.id, state)
		}
	})
}

// abortIsLegal: a shard that enters A never stands beside one in C; and one that leaves P does so only
// because another participant aborted.
func (k *checker) abortIsLegal(t *shardTruth, r *ledger.Row) {
	k.looked(CheckAtomicity)
	aborted := false
	k.others(t, r, func(o *shardTruth, state ledger.TransferState) {
		aborted = aborted || state == ledger.Aborted
		if state == ledger.Committed {
			k.w.fail(CheckAtomicity, "%s aborts %s, but at %s it is committed", t.id, r.Record.ID, o.id)
		}
	})
	if r.Kind == ledger.RowAbort && !aborted {
		k.w.fail(CheckAtomicity, "%s aborts %s, for which it had voted yes, though nobody voted no", t.id, r.Record.ID)
	}
}

// noOverdraft: nobody's balance, less what is reserved, is below its floor.
func (k *checker) noOverdraft(t *shardTruth) {
	k.looked(CheckFloor)
	if n := t.state.Negative(); n != 0 {
		k.w.fail(CheckFloor, "%d accounts of %s are below their floor", n, t.id)
	}
	left := new(big.Int)
	for a := range t.model { // order does not show, but in the text of a failure
		m := t.model[a]
		left.Sub(m.in, m.out)
		if left.Sub(left, m.reserved).Sign() < 0 {
			k.w.fail(CheckFloor, "account %d of %s can spend %s", a, t.id, left)
		}
	}
}

// told takes a definite or indefinite outcome that an asker was told for a content.
func (k *checker) told(c *content, d txn.Decision, by string) {
	switch d {
	case txn.DecidedUnavailable:
		c.unavailable = true
		return
	case txn.DecidedCommitted, txn.DecidedAborted:
	default:
		return
	}
	k.looked(CheckAgreement)
	if c.told != txn.Undecided && c.told != d {
		k.w.fail(CheckAgreement, "%s: %s was told %s, %s is told %s", c.record.ID, c.toldBy, c.told, by, d)
	}
	if c.told == txn.Undecided {
		c.told, c.toldBy, c.toldAt = d, by, k.w.now
	}
}

// notFound: nobody is told that an id is unknown after somebody was told that it committed.
func (k *checker) notFound(s *submission, by string) {
	k.looked(CheckAgreement)
	for _, c := range k.w.load.byID[s.id] {
		if c.told == txn.DecidedCommitted && c.toldAt < s.start {
			k.w.fail(CheckAgreement, "%s asked for %s and was told that nobody knows it, though %s was told before that it committed", by, s.id, c.toldBy)
		}
	}
}
