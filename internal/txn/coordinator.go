package txn

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// Decision is how a transfer stands for its coordinator.
type Decision uint8

// Decisions. Undecided is the only one that changes.
const (
	Undecided          Decision = iota
	DecidedCommitted            // every participant voted YES, or one says COMMITTED
	DecidedAborted              // one participant says ABORTED
	DecidedUnavailable          // surely not applied: every send was refused before any log
	DecidedUnknown              // the wait ended; the transfer may still go either way
)

// String returns "undecided", "committed", "aborted", "unavailable" or "unknown".
func (d Decision) String() string {
	switch d {
	case Undecided:
		return "undecided"
	case DecidedCommitted:
		return "committed"
	case DecidedAborted:
		return "aborted"
	case DecidedUnavailable:
		return "unavailable"
	case DecidedUnknown:
		return "unknown"
	}
	panic("unreachable: decision")
}

// ActionKind says what a coordinator wants done.
type ActionKind uint8

// Action kinds.
const (
	ActTransfer ActionKind = 1 + iota // send the record to the one shard that holds both accounts
	ActPrepare                        // ask Shard for its vote
	ActInquire                        // ask Shard with poison
	ActFinish                         // send Blocks to Shard
	ActDone                           // the decision stands: tell the caller
)

// Action is one thing that a coordinator wants done, as data.
type Action struct {
	Kind   ActionKind
	Shard  shard.ID // of all but ActDone
	Reason ledger.Reason
	// Blocks of ActFinish are shared with the replies they came in: they are never changed.
	Blocks []*Block
}

// Answer is what one shard said about the transfer. Vote and Block are nil if no certificate came
// with it.
type Answer struct {
	Code      ledger.ResultCode
	State     ledger.TransferState
	Reason    ledger.Reason
	Account   shard.Account
	Available ledger.Amount
	Vote      *Vote
	Block     *Block
}

// phase is where a coordinator stands.
type phase uint8

const (
	phaseRun    phase = iota // asking for votes
	phaseSettle              // poisoning what has not answered
	phaseOver
)

// maxParts is the most participants of a transfer: it has two accounts.
const maxParts = 2

// MaxActions is the most that a coordinator wants done at once.
const MaxActions = 1 + maxParts

// Coordinator is the client's side of one transfer (docs/PROTOCOL.md, sections 3 and 5).
//
// It carries messages and never decides: a transfer is committed because every participant voted
// YES, aborted because one participant entered A. What it adds is the rule for silence: a transfer
// counts as surely not applied only if every copy of it was refused before any log.
//
// It is single-threaded and pure. Callers carry out the actions in order, report every copy that
// leaves with Sent and every sure refusal with Refused, and call Expire at the deadline and again
// after the grace.
//
// A client has as many as it has transfers in flight, so one holds all that it needs: it allocates nothing, and
// appends what it wants to actions that its caller lends it, MaxActions at most.
type Coordinator struct {
	record *ledger.Record // never changed
	digest ledger.Digest  // zero for one shard
	// The participants are sorted, count of them. What is known of one stands at its position.
	parts  [maxParts]shard.ID
	blocks [maxParts]*Block // that bear the facts
	facts  [maxParts]ledger.Fact
	count  uint8
	phase  phase
	// reason of the tombstone that poison writes.
	reason ledger.Reason
	// recovery: this coordinator did not start the transfer, so silence proves nothing.
	recovery bool
	decision Decision
	cause    ledger.Reason
	// unrefused counts copies that left and were not surely refused: any of them may be appended.
	unrefused int
	account   shard.Account
	available ledger.Amount
}

// NewCoordinator returns the coordinator of a new transfer, or of one that is sent again under its
// id. The participants are sorted, one or two.
func NewCoordinator(record ledger.Record, parts []shard.ID) *Coordinator {
	c := &Coordinator{}
	c.Init(&record, parts...)
	return c
}

// NewRecovery returns the coordinator of a transfer that somebody else began: it asks every
// participant with poison, so that each vote becomes defined, and finishes what comes out.
func NewRecovery(record ledger.Record, parts []shard.ID, reason ledger.Reason) *Coordinator {
	c := NewCoordinator(record, parts)
	c.recovery, c.reason = true, reason
	return c
}

// Init makes a zero coordinator what NewCoordinator returns, for callers that allocate many at once. The record is
// not copied and must not change.
func (c *Coordinator) Init(record *ledger.Record, parts ...shard.ID) {
	if len(parts) == 0 || len(parts) > maxParts {
		panic("txn: a transfer has one or two participants")
	}
	c.record, c.reason = record, ledger.ReasonTimedOut
	c.count = uint8(copy(c.parts[:], parts))
	if c.Cross() {
		c.digest = ledger.DigestOf(*record)
	}
}

// Record returns the transfer.
func (c *Coordinator) Record() *ledger.Record { return c.record }

// Digest returns the transfer's digest, zero if it has one participant.
func (c *Coordinator) Digest() ledger.Digest { return c.digest }

// Content returns the digest by which an inquiry names the transfer's content, whatever the number
// of its participants.
func (c *Coordinator) Content() ledger.Digest {
	if c.Cross() {
		return c.digest
	}
	return ledger.DigestOf(*c.record)
}

// Participants returns the sorted shards of the transfer. The caller must not change them.
func (c *Coordinator) Participants() []shard.ID { return c.parts[:c.count] }

// Cross reports whether the transfer has more than one participant.
func (c *Coordinator) Cross() bool { return c.count > 1 }

// Decision returns how the transfer stands, and with DecidedAborted why.
func (c *Coordinator) Decision() (Decision, ledger.Reason) { return c.decision, c.cause }

// Explanation returns the account that a refusal names and what it could spend.
func (c *Coordinator) Explanation() (shard.Account, ledger.Amount) { return c.account, c.available }

// Silent returns the first participant whose vote is not known.
func (c *Coordinator) Silent() (shard.ID, bool) {
	for i, s := range c.Participants() {
		if c.facts[i] == ledger.FactNone {
			return s, true
		}
	}
	return 0, false
}

// MayBeApplied reports whether any copy of the transfer may have reached a log.
func (c *Coordinator) MayBeApplied() bool { return c.unrefused > 0 || c.recovery }

// Settling reports whether the coordinator has begun to poison.
func (c *Coordinator) Settling() bool { return c.phase == phaseSettle }

// Sent tells that a copy of the transfer (a TRANSFER or PREPARE) was handed to a connection.
func (c *Coordinator) Sent() { c.unrefused++ }

// Refused tells that a copy was surely refused before any log.
func (c *Coordinator) Refused() {
	if c.unrefused == 0 {
		panic("txn: more refusals than sends")
	}
	c.unrefused--
}

// Start asks every participant.
func (c *Coordinator) Start(actions []Action) []Action {
	if c.recovery {
		c.phase = phaseSettle
		return c.inquire(actions)
	}
	kind := ActTransfer
	if c.Cross() {
		kind = ActPrepare
	}
	for _, s := range c.Participants() {
		actions = append(actions, Action{Kind: kind, Shard: s})
	}
	return actions
}

// Expire ends the present wait. At the deadline the coordinator poisons every participant whose
// vote it does not know; after the grace it gives up. A transfer of which no copy can have been
// appended ends at once.
func (c *Coordinator) Expire(actions []Action) []Action {
	switch c.phase {
	case phaseRun:
		if !c.MayBeApplied() {
			return c.decide(actions, DecidedUnavailable)
		}
		c.phase = phaseSettle
		return c.inquire(actions)
	case phaseSettle:
		return c.GiveUp(actions)
	case phaseOver:
		return actions
	}
	panic("unreachable: phase")
}

// GiveUp ends the wait for the caller: unavailable if surely nothing was appended, else unknown.
func (c *Coordinator) GiveUp(actions []Action) []Action {
	switch {
	case c.phase == phaseOver:
		return actions
	case c.MayBeApplied():
		if planted.On(planted.TimeoutAsFailure) {
			return c.decide(actions, DecidedAborted)
		}
		return c.decide(actions, DecidedUnknown)
	}
	return c.decide(actions, DecidedUnavailable)
}

// inquire poisons the participants without a known vote. A YES already held stays a YES.
func (c *Coordinator) inquire(actions []Action) []Action {
	for i, s := range c.Participants() {
		if c.facts[i] == ledger.FactNone {
			actions = append(actions, Action{Kind: ActInquire, Shard: s, Reason: c.reason})
		}
	}
	return actions
}

// OnAnswer takes what a shard said, to whichever question and however late.
func (c *Coordinator) OnAnswer(actions []Action, from shard.ID, a *Answer) []Action {
	i := slices.Index(c.Participants(), from)
	if i < 0 || c.phase == phaseOver {
		return actions // a bystander's word changes nothing; a decision stands
	}
	if !c.Cross() {
		return c.onSingle(actions, a)
	}
	fact := c.factOf(from, a)
	if fact == ledger.FactNone {
		return actions
	}
	if c.facts[i] != ledger.FactCommitted { // COMMITTED says more than an older YES
		c.facts[i], c.blocks[i] = fact, a.Block
	}
	switch fact {
	case ledger.FactAborted:
		c.explain(a)
		if a.Vote != nil {
			c.cause = a.Vote.Reason
		}
		if a.Code == ledger.ResultConflict {
			c.cause = ledger.ReasonIDConflict
		}
		return c.decide(actions, DecidedAborted)
	case ledger.FactCommitted:
		return c.decide(actions, DecidedCommitted)
	case ledger.FactYes, ledger.FactNone:
	}
	if _, silent := c.Silent(); silent && !planted.On(planted.EarlyAck) {
		return actions
	}
	return c.decide(actions, DecidedCommitted)
}

// factOf returns the fact that an answer bears. Success needs the shape of a certificate: the
// client cannot check a MAC, so it checks that the shard speaks of this id and this content. A
// refusal is believed without one: the client then reports a failure and spreads nothing.
func (c *Coordinator) factOf(from shard.ID, a *Answer) ledger.Fact {
	v := a.Vote
	if v != nil && a.Block != nil && a.Block.Shard == from && v.ID == c.record.ID && v.Digest == c.digest {
		return v.Fact
	}
	refused := a.Code == ledger.ResultConflict || (a.Code == ledger.ResultState && a.State == ledger.Aborted)
	if refused && v == nil {
		return ledger.FactAborted
	}
	return ledger.FactNone
}

// onSingle takes the answer of the only participant, whose log decides at once.
func (c *Coordinator) onSingle(actions []Action, a *Answer) []Action {
	switch {
	case a.Code == ledger.ResultConflict:
		c.cause = ledger.ReasonIDConflict
		return c.decide(actions, DecidedAborted)
	case a.Code != ledger.ResultState:
		return actions
	case a.State == ledger.Committed:
		return c.decide(actions, DecidedCommitted)
	case a.State == ledger.Aborted:
		c.explain(a)
		return c.decide(actions, DecidedAborted)
	}
	return actions
}

func (c *Coordinator) explain(a *Answer) {
	c.cause, c.account, c.available = a.Reason, a.Account, a.Available
}

// decide fixes the decision, tells the caller first, and spreads the certificates.
func (c *Coordinator) decide(actions []Action, d Decision) []Action {
	c.decision, c.phase = d, phaseOver
	actions = append(actions, Action{Kind: ActDone})
	if !c.Cross() || (d != DecidedCommitted && d != DecidedAborted) {
		return actions
	}
	blocks := c.blocks[:] // of two, those that are missing stand at an end
	for len(blocks) > 0 && blocks[0] == nil {
		blocks = blocks[1:]
	}
	for len(blocks) > 0 && blocks[len(blocks)-1] == nil {
		blocks = blocks[:len(blocks)-1]
	}
	if len(blocks) == 0 {
		return actions // an abort without certificate: recovery spreads it
	}
	for i, s := range c.Participants() {
		if f := c.facts[i]; f != ledger.FactAborted && f != ledger.FactCommitted {
			actions = append(actions, Action{Kind: ActFinish, Shard: s, Blocks: blocks})
		}
	}
	return actions
}
