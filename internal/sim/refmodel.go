package sim

import (
	"math/big"
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// refShard is the transition table of docs/PROTOCOL.md, section 4, written down once more as naively as
// possible: maps, big numbers, no reuse. It replays a shard's committed log and says what each item must answer.
type refShard struct {
	id       shard.ID
	opened   bool
	smap     shard.Map
	accounts map[shard.Account]*refAccount
	ids      map[ledger.TransferID]*refOutcome
	rows     uint64                 // of history
	votes    map[uint64]*refOutcome // those in P, by the position of the vote's row

	// Audits (docs/PROTOCOL.md, section 9): the highest number given out, the newest cut's number, and how each
	// of the newest cuts stands.
	allocated, epoch uint32
	cuts             []refCut
}

// refCut is a cut of the log.
type refCut struct {
	number uint32
	code   ledger.ResultCode
}

// refCuts is how many cuts a shard remembers.
const refCuts = 16

// refAccount is an account; pending counts the prepared transfers on it.
type refAccount struct {
	in, out, reserved, incoming *big.Int
	pending                     int
}

// refOutcome is what is known of an id.
type refOutcome struct {
	state     ledger.TransferState
	reason    ledger.Reason
	wildcard  bool
	hasRecord bool
	record    ledger.Record
	digest    ledger.Digest
	epoch     uint32 // of the vote
	row       uint64 // likewise
}

// verdict is what an item must answer: the part of a result that the hash chain covers.
type verdict struct {
	code   ledger.ResultCode
	state  ledger.TransferState
	reason ledger.Reason
}

func newRefShard(id shard.ID) *refShard {
	return &refShard{
		id: id, accounts: map[shard.Account]*refAccount{}, ids: map[ledger.TransferID]*refOutcome{}, votes: map[uint64]*refOutcome{},
	}
}

var conflict = verdict{ledger.ResultConflict, ledger.Aborted, ledger.ReasonIDConflict}

// apply replays one command and returns a verdict per item.
func (s *refShard) apply(c *ledger.Command) []verdict {
	var out []verdict
	switch c.Kind {
	case ledger.CmdGenesis:
		out = append(out, s.genesis(c.Genesis))
	case ledger.CmdTransfer:
		for i := range c.Records {
			out = append(out, s.transfer(&c.Records[i], c.Settled))
		}
	case ledger.CmdPrepare:
		for i := range c.Records {
			out = append(out, s.prepare(&c.Records[i], c.Digests[i], c.Settled))
		}
	case ledger.CmdFinish:
		for i := range c.Finishes {
			out = append(out, s.finish(&c.Finishes[i]))
		}
	case ledger.CmdFinishVotes:
		for _, v := range c.Votes {
			for i := range uint64(v.Count) {
				out = append(out, s.finishVote(v.First+i, v.Facts))
			}
		}
	case ledger.CmdPoison:
		for i := range c.Poisons {
			out = append(out, s.poison(&c.Poisons[i]))
		}
	case ledger.CmdCancel:
		for _, id := range c.Cancels {
			out = append(out, s.cancel(id))
		}
	case ledger.CmdAllocate, ledger.CmdBarrier, ledger.CmdVoid, ledger.CmdRelease:
		for _, n := range c.Numbers {
			out = append(out, verdict{code: s.audit(c.Kind, n)})
		}
	default:
		panic("unreachable: command kind")
	}
	return out
}

// audit replays a command of the audit.
func (s *refShard) audit(kind ledger.CommandKind, number uint32) ledger.ResultCode {
	first := s.opened
	for _, p := range s.smap.Assignments() {
		first = first && s.id <= p.Shard
	}
	switch {
	case kind == ledger.CmdAllocate:
		if !first {
			return ledger.ResultNoEffect
		}
		s.allocated = max(s.allocated, s.epoch) + 1
		return ledger.ResultAllocated
	case !s.opened || number == 0:
		return ledger.ResultNoEffect
	case kind == ledger.CmdBarrier && number > s.epoch:
		if first && number > s.allocated {
			return ledger.ResultNoEffect
		}
		s.cut(number, ledger.ResultWithholding)
	case number > s.epoch:
		return ledger.ResultNoEffect
	}
	for i := range s.cuts {
		c := &s.cuts[i]
		if c.number != number {
			continue
		}
		if c.code == ledger.ResultWithholding && kind == ledger.CmdVoid {
			c.code = ledger.ResultVoid
		}
		if c.code == ledger.ResultWithholding && kind == ledger.CmdRelease {
			c.code = ledger.ResultReleased
		}
		return c.code
	}
	return ledger.ResultVoid
}

// withheld says how the cut of a number stands.
func (s *refShard) withheld(number uint32) ledger.ResultCode {
	for i := range s.cuts {
		if s.cuts[i].number == number {
			return s.cuts[i].code
		}
	}
	return ledger.ResultVoid
}

// cut takes a cut; an older one that still withholds is void.
func (s *refShard) cut(number uint32, code ledger.ResultCode) {
	for i := range s.cuts {
		if s.cuts[i].code == ledger.ResultWithholding {
			s.cuts[i].code = ledger.ResultVoid
		}
	}
	s.cuts = append(s.cuts, refCut{number, code})
	s.cuts = s.cuts[max(0, len(s.cuts)-refCuts):]
	s.epoch = number
}

func (s *refShard) genesis(g *ledger.Genesis) verdict {
	r, ok := g.Map.Range(s.id)
	if s.opened || !ok || g.Shard != s.id {
		return verdict{code: ledger.ResultNoEffect}
	}
	s.opened, s.smap, s.rows = true, g.Map, 1
	for a := r.First; a <= r.Last; a++ {
		s.accounts[a] = &refAccount{
			in: new(big.Int).SetUint64(g.OpeningBalance), out: new(big.Int), reserved: new(big.Int), incoming: new(big.Int),
		}
	}
	return verdict{state: ledger.Committed}
}

// known answers for an id that is taken, by the same content or by other.
func (o *refOutcome) known(same bool) verdict {
	if !same {
		return conflict
	}
	return verdict{state: o.state, reason: o.reason}
}

func (o *refOutcome) sameRecord(r *ledger.Record) bool {
	if o.hasRecord {
		return o.record == *r
	}
	return o.wildcard || o.digest == ledger.DigestOf(*r)
}

func (o *refOutcome) sameDigest(d ledger.Digest) bool { return o.wildcard || o.digest == d }

// missing reports an account that no shard holds, and elsewhere one that another shard holds.
func (s *refShard) missing(a shard.Account) bool {
	_, ok := s.smap.Shard(a)
	return !ok
}

func (s *refShard) transfer(r *ledger.Record, settled bool) verdict {
	if reason := ledger.CheckRecord(r); !s.opened || reason != ledger.ReasonNone {
		return verdict{code: ledger.ResultNoEffect, reason: reason}
	}
	if o := s.ids[r.ID]; o != nil {
		return o.known(o.sameRecord(r))
	}
	debit, credit := s.accounts[r.Debit], s.accounts[r.Credit]
	reason, wait := ledger.ReasonNoAccount, false
	switch {
	case debit != nil && credit != nil:
		reason, wait = refuses(debit, credit, r)
	case debit == nil && !s.missing(r.Debit) || credit == nil && !s.missing(r.Credit):
		return verdict{code: ledger.ResultNoEffect}
	}
	if wait && !settled {
		return verdict{code: ledger.ResultDefer, reason: reason}
	}
	o := &refOutcome{state: ledger.Committed, hasRecord: true, record: *r, digest: ledger.DigestOf(*r), epoch: s.epoch}
	s.note(r.ID, o)
	if reason != ledger.ReasonNone {
		o.state, o.reason = ledger.Aborted, reason
		return o.known(true)
	}
	debit.out.Add(debit.out, r.Amount.Big())
	credit.in.Add(credit.in, r.Amount.Big())
	return o.known(true)
}

func (s *refShard) prepare(r *ledger.Record, d ledger.Digest, settled bool) verdict {
	if reason := ledger.CheckRecord(r); !s.opened || reason != ledger.ReasonNone {
		return verdict{code: ledger.ResultNoEffect, reason: reason}
	}
	if o := s.ids[r.ID]; o != nil {
		return o.known(o.sameRecord(r))
	}
	debit, credit := s.accounts[r.Debit], s.accounts[r.Credit]
	if (debit == nil) == (credit == nil) {
		return verdict{code: ledger.ResultNoEffect}
	}
	reason, wait := ledger.ReasonNoAccount, false
	if !s.missing(r.Debit) && !s.missing(r.Credit) {
		reason, wait = refuses(debit, credit, r)
	}
	if wait && !settled {
		return verdict{code: ledger.ResultDefer, reason: reason}
	}
	o := &refOutcome{state: ledger.Prepared, hasRecord: true, record: *r, digest: d, epoch: s.epoch}
	s.note(r.ID, o)
	switch {
	case reason != ledger.ReasonNone:
		o.state, o.reason = ledger.Aborted, reason
		delete(s.votes, o.row)
	case debit != nil:
		debit.reserved.Add(debit.reserved, r.Amount.Big())
		debit.pending++
	default:
		credit.incoming.Add(credit.incoming, r.Amount.Big())
		credit.pending++
	}
	return o.known(true)
}

// refuses says why local accounts cannot take a transfer, and whether that may change when what is
// pending is finished.
func refuses(debit, credit *refAccount, r *ledger.Record) (reason ledger.Reason, wait bool) {
	amount, highest := r.Amount.Big(), ledger.MaxAmount.Big()
	over := func(posted, pending *big.Int) bool {
		sum := new(big.Int).Add(posted, pending)
		return sum.Add(sum, amount).Cmp(highest) > 0
	}
	if debit != nil {
		left := new(big.Int).Sub(debit.in, debit.out)
		if left.Sub(left, debit.reserved).Cmp(amount) < 0 {
			return ledger.ReasonInsufficientFunds, debit.pending > 0
		}
		if over(debit.out, debit.reserved) {
			return ledger.ReasonOverflow, false
		}
	}
	if credit != nil && over(credit.in, credit.incoming) {
		return ledger.ReasonOverflow, false
	}
	return ledger.ReasonNone, false
}

// note writes down what is known of a new id.
func (s *refShard) note(id ledger.TransferID, o *refOutcome) {
	s.ids[id], o.row = o, s.rows
	if o.state == ledger.Prepared {
		s.votes[o.row] = o
	}
	s.rows++
}

// finishVote commits the transfer whose vote stands at a position, if it is in P.
func (s *refShard) finishVote(position uint64, facts []ledger.ShardFact) verdict {
	o := s.votes[position]
	if o == nil {
		return verdict{code: ledger.ResultNoEffect}
	}
	return s.finishPrepared(o, &ledger.Finish{Digest: o.digest, Commit: true, Facts: facts})
}

func (s *refShard) finish(f *ledger.Finish) verdict {
	o := s.ids[f.ID]
	switch {
	case !s.opened || f.ID.IsZero():
		return verdict{code: ledger.ResultNoEffect}
	case o != nil && o.state == ledger.Prepared:
		return s.finishPrepared(o, f)
	case o != nil:
		return o.known(o.sameDigest(f.Digest))
	case f.Commit:
		return verdict{code: ledger.ResultUnknownHere}
	case !slices.ContainsFunc(f.Facts, func(x ledger.ShardFact) bool { return x.Fact == ledger.FactAborted }):
		return verdict{code: ledger.ResultNoEffect}
	}
	return s.tombstone(f.ID, f.Digest, f.Reason)
}

func (s *refShard) finishPrepared(o *refOutcome, f *ledger.Finish) verdict {
	if o.digest != f.Digest {
		return conflict
	}
	parts := map[shard.ID]bool{}
	for _, a := range []shard.Account{o.record.Debit, o.record.Credit} {
		p, _ := s.smap.Shard(a)
		parts[p] = true
	}
	yes, committed, aborted := map[shard.ID]bool{s.id: true}, false, false
	epoch := o.epoch
	for _, x := range f.Facts {
		if parts[x.Shard] {
			yes[x.Shard] = yes[x.Shard] || x.Fact == ledger.FactYes || x.Fact == ledger.FactCommitted
			committed = committed || x.Fact == ledger.FactCommitted
			aborted = aborted || x.Fact == ledger.FactAborted
			if x.Fact == ledger.FactYes || x.Fact == ledger.FactCommitted {
				epoch = max(epoch, x.Epoch)
			}
		}
	}
	all := true
	for p := range parts { // order does not show: a conjunction
		all = all && yes[p]
	}
	if f.Commit && !all && !committed || !f.Commit && !aborted {
		return verdict{code: ledger.ResultNoEffect, state: ledger.Prepared}
	}
	if f.Commit && epoch > s.epoch {
		s.cut(epoch, ledger.ResultVoid)
	}
	s.release(o, f.Commit)
	delete(s.votes, o.row)
	s.rows++
	o.state = ledger.Committed
	if !f.Commit {
		o.state, o.reason = ledger.Aborted, f.Reason
	}
	return o.known(true)
}

// release takes a transfer out of P.
func (s *refShard) release(o *refOutcome, commit bool) {
	amount := o.record.Amount.Big()
	if a := s.accounts[o.record.Debit]; a != nil {
		a.pending--
		a.reserved.Sub(a.reserved, amount)
		if commit {
			a.out.Add(a.out, amount)
		}
	}
	if a := s.accounts[o.record.Credit]; a != nil {
		a.pending--
		a.incoming.Sub(a.incoming, amount)
		if commit {
			a.in.Add(a.in, amount)
		}
	}
}

func (s *refShard) poison(p *ledger.Poison) verdict {
	if !s.opened || p.ID.IsZero() {
		return verdict{code: ledger.ResultNoEffect}
	}
	if o := s.ids[p.ID]; o != nil {
		return o.known(o.sameDigest(p.Digest))
	}
	return s.tombstone(p.ID, p.Digest, p.Reason)
}

func (s *refShard) cancel(id ledger.TransferID) verdict {
	if !s.opened || id.IsZero() {
		return verdict{code: ledger.ResultNoEffect}
	}
	o := s.ids[id]
	if o == nil {
		o = &refOutcome{state: ledger.Aborted, reason: ledger.ReasonCancelled, wildcard: true}
		s.note(id, o)
	}
	return o.known(true)
}

func (s *refShard) tombstone(id ledger.TransferID, d ledger.Digest, reason ledger.Reason) verdict {
	o := &refOutcome{state: ledger.Aborted, reason: reason, digest: d}
	s.note(id, o)
	return o.known(true)
}
