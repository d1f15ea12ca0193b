package ledger

import (
	"raftbank/internal/invariant"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// elsewhere is the slot number of an account that is not on this shard.
const elsewhere = -1

// refusal says why a transfer cannot be posted or voted for. Reason None: it can.
type refusal struct {
	reason    Reason
	account   shard.Account
	available Amount
	// deferrable: funds are short while transfers are pending on the account, which may yet free
	// or bring funds. Refusing at once could be false (docs/PROTOCOL.md, section 8).
	deferrable bool
}

// applyTransfer checks and posts a transfer whose accounts are all on this shard.
func (s *State) applyTransfer(r *Record, settled bool) Result {
	if s.genesis == nil {
		return Result{Code: ResultNoEffect}
	}
	if reason := CheckRecord(r); reason != ReasonNone {
		return Result{Code: ResultNoEffect, Reason: reason}
	}
	if row, ok := s.known(r.ID); ok && !(planted.On(planted.PostedTwice) && row.State == Committed) {
		return s.answerContent(row, r, nil)
	}
	debit, debitOK := s.accounts.find(r.Debit)
	credit, creditOK := s.accounts.find(r.Credit)
	var no refusal
	if debitOK && creditOK {
		no = s.refuse(debit, credit, r)
	} else {
		if s.onOtherShard(r.Debit) || s.onOtherShard(r.Credit) {
			return Result{Code: ResultNoEffect}
		}
		no = refusal{reason: ReasonNoAccount, account: r.Debit}
		if debitOK {
			no.account = r.Credit
		}
	}
	if no.deferrable && !settled {
		return deferred(&no)
	}
	s.row = Row{Kind: RowIntra, State: Committed, Epoch: s.audit.epoch, Record: *r}
	if no.reason != ReasonNone {
		return s.recordRefusal(&no)
	}
	s.accounts.touch(debit)
	s.accounts.touch(credit)
	d, c := &s.accounts.slots[debit], &s.accounts.slots[credit]
	d.DebitsPosted = mustAdd(d.DebitsPosted, r.Amount)
	c.CreditsPosted = mustAdd(c.CreditsPosted, r.Amount)
	s.accounts.changed(debit)
	s.accounts.changed(credit)
	s.record()
	return s.outcome(&s.row)
}

// applyPrepare fixes this shard's vote on a transfer with accounts on more than one shard: the
// first entry that takes the id out of NONE decides (docs/PROTOCOL.md, V1).
func (s *State) applyPrepare(r *Record, digest *Digest, settled bool) Result {
	if s.genesis == nil {
		return Result{Code: ResultNoEffect}
	}
	if reason := CheckRecord(r); reason != ReasonNone {
		return Result{Code: ResultNoEffect, Reason: reason}
	}
	if row, ok := s.known(r.ID); ok && !row.plantedOpen() {
		return s.answerContent(row, r, digest)
	}
	debit, debitOK := s.accounts.find(r.Debit)
	credit, creditOK := s.accounts.find(r.Credit)
	if debitOK == creditOK {
		return Result{Code: ResultNoEffect}
	}
	// The other side is the other shard's to check, unless no shard has it.
	other := r.Debit
	if debitOK {
		credit, other = elsewhere, r.Credit
	} else {
		debit = elsewhere
	}
	no := refusal{reason: ReasonNoAccount, account: other}
	if s.onOtherShard(other) {
		no = s.refuse(debit, credit, r)
	}
	if no.deferrable && !settled {
		return deferred(&no)
	}
	s.row = Row{Kind: RowPrepare, State: Prepared, Epoch: s.plantedEpoch(), Record: *r, Digest: *digest}
	if no.reason != ReasonNone {
		return s.recordRefusal(&no)
	}
	s.record()
	s.accounts.changed(s.hold(debit, credit))
	return s.outcome(&s.row)
}

// hold announces the amount of the prepare in s.row on its local side, adds it to the prepared set
// and returns the slot that it changed.
func (s *State) hold(debit, credit int) int {
	at := max(debit, credit) // the other is elsewhere
	s.accounts.touch(at)
	account, amount := &s.accounts.slots[at], s.row.Record.Amount
	if debit != elsewhere {
		account.DebitsPending = mustAdd(account.DebitsPending, amount)
	} else {
		account.CreditsPending = mustAdd(account.CreditsPending, amount)
	}
	s.prepared.add(node{
		record: s.row.Record, digest: s.row.Digest, epoch: s.row.Epoch, position: s.row.Position,
		slot: int32(at), debit: debit != elsewhere,
	}, &account.held)
	return at
}

// release takes a transfer out of P and returns the slot that it changed. vote is as in preparedSet.remove.
func (s *State) release(at ref, vote int, commit bool) int {
	n := &s.prepared.nodes[at]
	s.accounts.touch(int(n.slot))
	account, amount := &s.accounts.slots[n.slot], n.record.Amount
	if n.debit {
		if commit || !planted.On(planted.ReservationKept) {
			account.DebitsPending = mustSub(account.DebitsPending, amount)
		}
		if commit {
			account.DebitsPosted = mustAdd(account.DebitsPosted, amount)
		}
	} else {
		account.CreditsPending = mustSub(account.CreditsPending, amount)
		if commit && !planted.On(planted.CreditNotPosted) {
			account.CreditsPosted = mustAdd(account.CreditsPosted, amount)
		}
	}
	s.prepared.remove(at, vote, &account.held)
	return int(n.slot)
}

// refuse checks the local sides of a well-formed transfer between existing accounts.
func (s *State) refuse(debit, credit int, r *Record) refusal {
	var d, c *slot
	if debit != elsewhere {
		d = &s.accounts.slots[debit]
		if d.Closed {
			return refusal{reason: ReasonAccountClosed, account: r.Debit}
		}
		if d.Currency != r.Currency {
			return refusal{reason: ReasonBadCurrency, account: r.Debit}
		}
	}
	if credit != elsewhere {
		c = &s.accounts.slots[credit]
		if c.Closed {
			return refusal{reason: ReasonAccountClosed, account: r.Credit}
		}
		if c.Currency != r.Currency {
			return refusal{reason: ReasonBadCurrency, account: r.Credit}
		}
	}
	if d != nil {
		if spendable := d.plantedSpendable(); r.Amount.Cmp(spendable) > 0 && !planted.On(planted.FloorUnchecked) {
			return refusal{
				reason: ReasonInsufficientFunds, account: r.Debit, available: spendable,
				deferrable: d.held.head != 0 && !planted.On(planted.RefusedAtOnce),
			}
		}
		if !fits(d.DebitsPosted, d.DebitsPending, r.Amount) {
			return refusal{reason: ReasonOverflow, account: r.Debit}
		}
	}
	if c != nil && !fits(c.CreditsPosted, c.CreditsPending, r.Amount) {
		return refusal{reason: ReasonOverflow, account: r.Credit}
	}
	return refusal{}
}

// fits reports whether posted + pending + amount stays within MaxAmount, so that no later FINISH
// can fail.
func fits(posted, pending, amount Amount) bool {
	sum, ok := posted.Add(pending)
	if planted.On(planted.OverflowUnchecked) {
		return true
	}
	if !ok {
		return false
	}
	_, ok = sum.Add(amount)
	return ok
}

// recordRefusal completes s.row as a durable no.
func (s *State) recordRefusal(no *refusal) Result {
	s.row.State = Aborted
	s.row.Reason, s.row.Account, s.row.Available = no.reason, no.account, no.available
	if planted.On(planted.RefusalForgotten) {
		return s.outcome(&s.row)
	}
	s.record()
	return s.outcome(&s.row)
}

func deferred(no *refusal) Result {
	invariant.Sometimes("ledger: deferred a refusal")
	return Result{Code: ResultDefer, Reason: no.reason, Account: no.account, Available: no.available}
}

// onOtherShard reports whether the map gives the account to another shard.
func (s *State) onOtherShard(a shard.Account) bool {
	id, ok := s.genesis.Map.Shard(a)
	return ok && id != s.shard
}

// answerContent answers a transfer whose id is taken: the recorded outcome if the content is the
// same, else a conflict. digest is nil for a transfer of one shard.
func (s *State) answerContent(row *Row, r *Record, digest *Digest) Result {
	same := false
	switch {
	case row.Kind != RowTombstone:
		same = row.Record == *r
	case row.Wildcard:
		same = true
	case digest != nil:
		same = row.Digest == *digest
	default:
		same = row.Digest == DigestOf(*r)
	}
	return s.answerRow(row, same)
}

// answerDigest answers a message that names content by its digest, likewise.
func (s *State) answerDigest(row *Row, digest *Digest) Result {
	return s.answerRow(row, row.Matches(digest))
}

func (s *State) answerRow(row *Row, same bool) Result {
	if same || planted.On(planted.ContentIgnored) && row != nil {
		return s.outcome(row)
	}
	invariant.Sometimes("ledger: id conflict")
	// The state is the other content's: it is told to nobody who asks for this one.
	return Result{Code: ResultConflict, State: Aborted, Reason: ReasonIDConflict}
}

// Matches reports whether the row is about the content with this digest.
func (r *Row) Matches(digest *Digest) bool {
	switch {
	case r.Wildcard:
		return true
	case r.Kind == RowIntra:
		return DigestOf(r.Record) == *digest
	}
	return r.Digest == *digest
}

// mustAdd adds amounts whose sum was checked when the transfer was accepted.
func mustAdd(a, b Amount) Amount {
	sum, ok := a.Add(b)
	if !ok {
		invariant.Fail("%s + %s is larger than 2^127-1", a, b)
	}
	return sum
}

// mustSub takes back what was added before.
func mustSub(a, b Amount) Amount {
	diff, ok := a.Sub(b)
	if !ok {
		invariant.Fail("%s - %s is below zero", a, b)
	}
	return diff
}
