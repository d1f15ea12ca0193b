package txn

import (
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// Inquiry names one transfer that a shard is asked about.
type Inquiry struct {
	ID           ledger.TransferID
	Digest       ledger.Digest
	Participants []shard.ID // sorted
}

// Ask is an inquiry that the participant wants sent to another shard.
type Ask struct {
	Shard  shard.ID
	Seq    uint64 // comes back with the answer
	Poison bool
	Items  []Inquiry
}

// Ledger is what the participant reads of its shard's applied state.
type Ledger interface {
	// Lookup returns the outcome held for an id.
	Lookup(id ledger.TransferID) (ledger.Outcome, bool)
	// Participants returns the shards of a record's accounts, sorted.
	Participants(r *ledger.Record) ([]shard.ID, bool)
	// Prepared lists the prepared transfers in vote order.
	Prepared() []ledger.TransferID
	// VoteAt returns the prepared transfer whose vote stands at a position of history.
	VoteAt(position uint64) (ledger.TransferID, bool)
}

// Timing holds the participant's timers in ticks of the replica.
type Timing struct {
	InquireTicks uint64 // t1: age at which the others are asked (default 20: 1 s)
	PoisonTicks  uint64 // t2: age at which they are asked with poison (default 100: 5 s)
	SettleTicks  uint64 // how often a settlement asks again (default 4: 200 ms)
}

// DefaultTiming is the timing of docs/PROTOCOL.md, section 5, for ticks of 50 ms.
var DefaultTiming = Timing{InquireTicks: 20, PoisonTicks: 100, SettleTicks: 4}

// maxAsk bounds the items of one inquiry.
const maxAsk = 4096

// maxAskPerTick bounds the transfers that one tick asks about; the rest follow at the next ones. So a
// leader that takes over a million prepared transfers spreads their inquiries over some seconds.
const maxAskPerTick = 4 * maxAsk

// Participant is a leader's volatile knowledge of its shard's prepared transfers. It finishes them:
// from a client's FINISH, from the answers of other shards when the client is silent for t1, and
// with poison after t2. It never decides by a timer: a FINISH is proposed only on certified facts.
//
// It lives from election to loss of leadership; losing it loses time, never an outcome.
type Participant struct {
	self   shard.ID
	keys   *KeyRing
	state  Ledger
	timing Timing

	now     uint64
	pending pendingSet
	// due holds every pending id once, by the tick of its next inquiry: a queue, since the wait is always the
	// same. Finished ones are dropped when their turn comes.
	due dueQueue
	// again holds ids to be looked at with the next tick: a FINISH was not taken, or the asked server did not lead.
	again []ledger.TransferID
	// settling holds the ids that a settlement waits for, in order of arrival.
	settling []ledger.TransferID

	nextSeq   uint64
	asked     map[uint64]*asked
	nextToken uint64
	open      map[uint64]*settlement // by token: those not over yet

	asks     []Ask
	growing  map[askKind]int // position in asks of the inquiry that still grows
	finishes []ledger.Finish
	votes    []ledger.FinishVotes
	kept     []ledger.ShardFact // of finishes, where the next ones go
	settled  []Settled
	suspects []Suspect
	// Ignored counts votes that changed nothing: forged, from a bystander, or about other content.
	Ignored uint64
	// Inquiries counts items asked of other shards.
	Inquiries uint64
}

// Suspect is a certificate of this shard's own YES for a transfer that its applied state does not
// know. Unless the state is merely behind, data was lost.
type Suspect struct {
	ID     ledger.TransferID
	Digest ledger.Digest
}

// due is a transfer that waits for its inquiry.
type due struct {
	id   ledger.TransferID
	tick uint64
}

// askKind is what the items of one inquiry have in common.
type askKind struct {
	shard  shard.ID
	poison bool
}

// asked remembers an inquiry until it is answered or replaced.
type asked struct {
	shard shard.ID
	ids   []ledger.TransferID
	tick  uint64
}

// ParticipantOptions are what a leader's participant stands on.
type ParticipantOptions struct {
	Shard  shard.ID
	Term   uint64 // of the leadership
	Keys   *KeyRing
	State  Ledger
	Timing Timing
}

// NewParticipant returns the participant of a new leader, which knows every transfer that is
// prepared in the applied state. Timers start now. The term makes its inquiry numbers unlike those
// of every earlier leadership, so that a late answer to one of those is not taken for an answer.
func NewParticipant(o ParticipantOptions) *Participant {
	p := &Participant{
		self: o.Shard, keys: o.Keys, state: o.State, timing: o.Timing,
		pending: newPendingSet(),
		asked:   map[uint64]*asked{},
		open:    map[uint64]*settlement{},
		growing: map[askKind]int{},
		nextSeq: o.Term<<32 | 1,
		now:     1,
	}
	for _, id := range o.State.Prepared() {
		if planted.On(planted.RecoveryForgets) {
			break
		}
		p.Voted(id)
	}
	return p
}

// Voted tells that id has entered P, maybe long ago.
func (p *Participant) Voted(id ledger.TransferID) {
	o, ok := p.state.Lookup(id)
	if !ok || o.State != ledger.Prepared {
		return
	}
	p.VotedOn(&o.Record, &o.Digest, o.VotePos)
}

// VotedOn tells that a transfer, which is in P, has entered it, and where in history its vote stands.
func (p *Participant) VotedOn(r *ledger.Record, digest *ledger.Digest, position uint64) {
	t := p.pending.add(r.ID)
	if t == nil {
		return // known already
	}
	parts, ok := p.state.Participants(r)
	if !ok {
		panic("txn: prepared transfer without participants")
	}
	t.inquiry = Inquiry{ID: r.ID, Digest: *digest, Participants: parts}
	t.since, t.position = p.now, position
	p.due.push(due{id: r.ID, tick: p.now + p.timing.InquireTicks})
}

// Finished tells that id has left P.
func (p *Participant) Finished(id ledger.TransferID) {
	for _, s := range p.pending.remove(id) {
		p.release(s)
	}
}

func (p *Participant) release(s *settlement) {
	s.remaining--
	if s.remaining == 0 {
		delete(p.open, s.token)
		p.settled = append(p.settled, Settled{Token: s.token, Undecided: s.undecided})
	}
}

// Age returns for how many ticks this leader has known a prepared transfer.
func (p *Participant) Age(id ledger.TransferID) (ticks uint64, ok bool) {
	t := p.pending.get(id)
	if t == nil {
		return 0, false
	}
	return p.now - t.since, true
}

// Facts takes the blocks of a FINISH or of an inquiry's answer. Blocks that do not verify are
// counted and ignored.
func (p *Participant) Facts(blocks []Block) {
	own := p.ownYes(blocks)
	for i := range blocks {
		b := &blocks[i]
		if b.Shard == p.self || !p.concerns(b) {
			continue
		}
		if p.keys.Verify(b) != nil && !planted.On(planted.CertificateUnverified) {
			p.Ignored += uint64(len(b.Votes))
			continue
		}
		for j := range b.Votes {
			p.fact(b.Shard, &b.Votes[j], own)
		}
	}
}

// concerns reports whether a block could change anything here, so that copies cost no MAC.
func (p *Participant) concerns(b *Block) bool {
	for i := range b.Votes {
		v := &b.Votes[i]
		if t := p.pending.get(v.ID); t != nil {
			if !t.proposed {
				return true
			}
			continue
		}
		if _, known := p.state.Lookup(v.ID); !known {
			return true
		}
	}
	return false
}

// ownYes collects what this shard itself certified and no longer knows.
func (p *Participant) ownYes(blocks []Block) map[Suspect]bool {
	var own map[Suspect]bool
	for i := range blocks {
		b := &blocks[i]
		if b.Shard != p.self || !p.forgotten(b) || p.keys.Verify(b) != nil {
			continue
		}
		for j := range b.Votes {
			v := &b.Votes[j]
			if v.Fact != ledger.FactYes && v.Fact != ledger.FactCommitted {
				continue
			}
			if p.knows(v.ID) {
				continue
			}
			if own == nil {
				own = map[Suspect]bool{}
			}
			own[Suspect{ID: v.ID, Digest: v.Digest}] = true
		}
	}
	return own
}

// knows reports whether the applied state holds a vote or an outcome for an id.
func (p *Participant) knows(id ledger.TransferID) bool {
	if p.pending.get(id) != nil {
		return true
	}
	_, known := p.state.Lookup(id)
	return known
}

func (p *Participant) forgotten(b *Block) bool {
	for i := range b.Votes {
		if !p.knows(b.Votes[i].ID) {
			return true
		}
	}
	return false
}

func (p *Participant) fact(from shard.ID, v *Vote, own map[Suspect]bool) {
	t := p.pending.get(v.ID)
	if t == nil {
		p.strayFact(from, v, own)
		return
	}
	// A bystander's certificate must not undo a vote: only shards of the stored P count.
	if v.Digest != t.inquiry.Digest && !planted.On(planted.OtherContentFinished) ||
		!slices.Contains(t.inquiry.Participants, from) && !planted.On(planted.BystanderBelieved) {
		p.Ignored++
		return
	}
	for i := range t.facts {
		if t.facts[i].Shard == from {
			t.facts[i] = stronger(t.facts[i], v)
			p.decide(t)
			return
		}
	}
	t.facts = append(t.facts, ledger.ShardFact{Shard: from, Fact: v.Fact, Epoch: v.Epoch})
	if v.Fact == ledger.FactAborted {
		t.reason = v.Reason
	}
	p.decide(t)
}

// stronger keeps COMMITTED over YES; facts of one shard never contradict.
func stronger(f ledger.ShardFact, v *Vote) ledger.ShardFact {
	if v.Fact == ledger.FactCommitted {
		f.Fact, f.Epoch = ledger.FactCommitted, v.Epoch
	}
	return f
}

// strayFact handles a certificate about an id that is not prepared here.
func (p *Participant) strayFact(from shard.ID, v *Vote, own map[Suspect]bool) {
	if _, known := p.state.Lookup(v.ID); known {
		return
	}
	switch v.Fact {
	case ledger.FactAborted:
		// This shard has not voted, so a tombstone is safe; it answers late copies of PREPARE.
		p.finishes = append(p.finishes, ledger.Finish{
			ID: v.ID, Digest: v.Digest, Reason: v.Reason,
			Facts: []ledger.ShardFact{{Shard: from, Fact: v.Fact, Epoch: v.Epoch}},
		})
	case ledger.FactYes, ledger.FactCommitted:
		s := Suspect{ID: v.ID, Digest: v.Digest}
		if own[s] {
			p.suspects = append(p.suspects, s)
		}
		p.Ignored++
	default:
		p.Ignored++
	}
}

// decide proposes a FINISH once the facts determine the outcome.
func (p *Participant) decide(t *pending) {
	if t.proposed {
		return
	}
	yes := 0
	for _, f := range t.facts {
		switch f.Fact {
		case ledger.FactAborted:
			p.propose(t, false)
			return
		case ledger.FactCommitted:
			p.propose(t, true)
			return
		case ledger.FactYes:
			yes++
		case ledger.FactNone:
		}
	}
	if yes == len(t.inquiry.Participants)-1 {
		p.propose(t, true)
	}
}

func (p *Participant) propose(t *pending, commit bool) {
	t.proposed = true
	if planted.On(planted.ReadFromInquiry) && commit {
		for _, s := range t.settlers {
			p.release(s)
		}
		t.settlers = nil
	}
	if commit {
		p.commitVote(t)
		return
	}
	p.finishes = append(p.finishes, ledger.Finish{
		ID: t.inquiry.ID, Digest: t.inquiry.Digest, Commit: commit, Reason: t.reason,
		Facts: p.keepFacts(t.facts),
	})
}

// commitVote adds a transfer to the votes that are finished together, where it fits.
func (p *Participant) commitVote(t *pending) {
	if last := len(p.votes) - 1; last >= 0 && slices.Equal(p.votes[last].Facts, t.facts) {
		v := &p.votes[last]
		next := v.First + uint64(v.Count)
		if planted.On(planted.GapFinished) && t.position > next && t.position < v.First+ledger.MaxVotes {
			v.Count, next = uint32(t.position-v.First), t.position
		}
		if t.position == next && v.Count < ledger.MaxVotes {
			v.Count++
			return
		}
	}
	p.votes = append(p.votes, ledger.FinishVotes{First: t.position, Count: 1, Facts: p.keepFacts(t.facts)})
}

// WithdrawnVotes is Withdrawn for votes that were to be finished together.
func (p *Participant) WithdrawnVotes(v *ledger.FinishVotes) {
	for i := range uint64(v.Count) {
		if id, ok := p.state.VoteAt(v.First + i); ok {
			p.Withdrawn(id)
		}
	}
}

// Withdrawn tells that a proposed FINISH was not taken by raft: it is proposed again at the next tick.
func (p *Participant) Withdrawn(id ledger.TransferID) {
	if t := p.pending.get(id); t != nil {
		t.proposed = false
		p.again = append(p.again, id)
	}
}

// Tick advances the participant's clock and asks about transfers whose client is silent. Its cost is that of
// what is due, not of what is prepared.
func (p *Participant) Tick() {
	p.now++
	p.forgetAsked()
	budget := maxAskPerTick
	again := p.again
	p.again = nil
	for i, id := range again {
		if budget == 0 {
			p.again = append(p.again, again[i:]...)
			return
		}
		t := p.pending.get(id)
		if t == nil {
			continue
		}
		p.decide(t)
		if !t.proposed && t.askedAt == 0 && p.now-t.since >= p.timing.InquireTicks {
			p.askInTime(t)
			budget--
		}
	}
	for d := p.due.first(); d != nil && d.tick <= p.now && budget > 0; d = p.due.first() {
		id := d.id
		p.due.pop()
		t := p.pending.get(id)
		if t == nil {
			continue
		}
		p.decide(t)
		if !t.proposed {
			p.askInTime(t)
			budget--
		}
		p.due.push(due{id: id, tick: p.now + p.timing.InquireTicks})
	}
}

// askInTime asks plainly, or with poison once t2 has passed.
func (p *Participant) askInTime(t *pending) {
	poison := p.now-t.since >= p.timing.PoisonTicks
	switch {
	case planted.On(planted.NoRecovery):
		return
	case planted.On(planted.UnilateralAbort) && poison:
		p.propose(t, false)
		return
	case planted.On(planted.PoisonTimerRestarts):
		t.since = p.now
	}
	p.ask(t, poison)
}

// forgetAsked drops inquiries so old that every answer worth having has come.
func (p *Participant) forgetAsked() {
	const keepTicks = 400
	for seq, a := range p.asked { // order does not show: entries are only deleted
		if p.now-a.tick > keepTicks {
			delete(p.asked, seq)
		}
	}
}

// ask queues an inquiry to every participant whose fact is missing.
func (p *Participant) ask(t *pending, poison bool) {
	t.askedAt = p.now
	if poison {
		invariant.Sometimes("txn: a participant asks with poison")
	}
	for _, s := range t.inquiry.Participants {
		if s == p.self || slices.ContainsFunc(t.facts, func(f ledger.ShardFact) bool { return f.Shard == s }) {
			continue
		}
		p.Inquiries++
		kind := askKind{shard: s, poison: poison}
		i, ok := p.growing[kind]
		if !ok || len(p.asks[i].Items) == maxAsk {
			p.asks = append(p.asks, Ask{Shard: s, Poison: poison})
			i = len(p.asks) - 1
			p.growing[kind] = i
		}
		p.asks[i].Items = append(p.asks[i].Items, t.inquiry)
	}
}

// Effects are what the participant wants done; taking them empties it.
type Effects struct {
	Asks     []Ask                // to send to other shards
	Finishes []ledger.Finish      // to propose: aborts
	Votes    []ledger.FinishVotes // to propose: commits
	Settled  []Settled            // tokens of Settle that are over
	Suspects []Suspect            // to check against a linearizable state
}

// Take returns the effects since the last call.
func (p *Participant) Take() Effects {
	p.askSettling()
	for i := range p.asks {
		a := &p.asks[i]
		a.Seq = p.nextSeq
		p.nextSeq++
		ids := make([]ledger.TransferID, len(a.Items))
		for j := range a.Items {
			ids[j] = a.Items[j].ID
		}
		p.asked[a.Seq] = &asked{shard: a.Shard, ids: ids, tick: p.now}
	}
	e := Effects{Asks: p.asks, Finishes: p.finishes, Votes: p.votes, Settled: p.settled, Suspects: p.suspects}
	p.asks, p.finishes, p.votes, p.settled, p.suspects = nil, nil, nil, nil, nil
	clear(p.growing)
	return e
}

// HasEffects reports whether Take would return anything.
func (p *Participant) HasEffects() bool {
	if len(p.asks)+len(p.finishes)+len(p.votes)+len(p.settled)+len(p.suspects) > 0 {
		return true
	}
	for _, id := range p.settling {
		if t := p.pending.get(id); t != nil && len(t.settlers) > 0 && !t.proposed && t.askedAt == 0 {
			return true
		}
	}
	return false
}
