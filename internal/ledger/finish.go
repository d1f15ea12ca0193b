package ledger

import (
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// applyFinish moves a prepared transfer to its outcome, or notes an abort that this shard hears of
// before it has voted. Facts come verified; whether they suffice is checked here, against what
// this shard has stored.
func (s *State) applyFinish(f *Finish) Result {
	if s.genesis == nil || f.ID.IsZero() {
		return Result{Code: ResultNoEffect}
	}
	if at := s.prepared.at(f.ID); at != 0 {
		return s.finishPrepared(at, f)
	}
	if row, ok := s.known(f.ID); ok {
		return s.answerDigest(row, &f.Digest)
	}
	if f.Commit {
		invariant.Sometimes("ledger: finish(commit) of an unknown transfer")
		return Result{Code: ResultUnknownHere}
	}
	// This shard has not voted, so an abort is always safe; it needs an ABORTED all the same.
	aborted := slices.ContainsFunc(f.Facts, func(x ShardFact) bool { return x.Fact == FactAborted })
	if !aborted {
		return Result{Code: ResultNoEffect}
	}
	invariant.Sometimes("ledger: tombstone by finish(abort)")
	return s.tombstone(f.ID, f.Digest, f.Reason)
}

func (s *State) finishPrepared(at ref, f *Finish) Result {
	if s.prepared.nodes[at].digest != f.Digest && !planted.On(planted.OtherContentFinished) {
		return s.answerRow(nil, false)
	}
	return s.finishVote(at, -1, f, &decision{})
}

// decision is what facts have decided for a transfer: the same for the next one with the same participants and vote epoch.
type decision struct {
	participants []shard.ID
	own, epoch   uint32
	ok           bool
}

func (d *decision) holdsFor(participants []shard.ID, own uint32) bool {
	return len(d.participants) == len(participants) && d.own == own && &d.participants[0] == &participants[0]
}

// applyFinishVotes commits what is still in P of votes that follow each other.
func (s *State) applyFinishVotes(c *FinishVotes, results []Result) []Result {
	f := Finish{Commit: true, Facts: c.Facts}
	var last decision
	x := s.prepared.search(c.First)
	for i := range uint64(c.Count) {
		if i%warmAhead == 0 {
			s.warmVotes(x)
		}
		votes := s.prepared.votes
		if x == len(votes) || votes[x].position != c.First+i || votes[x].at == 0 {
			invariant.Sometimes("ledger: finish of a vote that has left P")
			if x < len(votes) && votes[x].position == c.First+i {
				x++
			}
			results = s.answer(results, Result{Code: ResultNoEffect})
			continue
		}
		at := votes[x].at
		id := s.prepared.nodes[at].record.ID
		r := s.finishVote(at, x, &f, &last)
		if r.Code == ResultState {
			s.finished = append(s.finished, id)
		}
		results = s.answer(results, r)
		x++
	}
	return results
}

// Finished returns the transfers that FinishVotes of the last applied entry committed, in the order of its results.
func (s *State) Finished() []TransferID { return s.finished }

// finishVote gives a transfer in P its outcome, if the facts suffice. vote is as in preparedSet.remove.
// last is what f decided for another transfer, if it did, and becomes what it decides for this one.
func (s *State) finishVote(at ref, vote int, f *Finish, last *decision) Result {
	n := &s.prepared.nodes[at]
	participants, known := s.Participants(&n.record)
	invariant.Check(known, "the participants of a prepared transfer are known")
	if !last.holdsFor(participants, n.epoch) {
		*last = decision{participants: participants, own: n.epoch}
		last.epoch, last.ok = s.decides(f, participants, n.epoch)
	}
	epoch := last.epoch
	if !last.ok {
		invariant.Sometimes("ledger: finish with insufficient facts")
		return Result{Code: ResultNoEffect, State: Prepared, Epoch: n.epoch}
	}
	if f.Commit && epoch > s.audit.epoch {
		// Another shard disclosed a vote from beyond its cut, so that audit is void. The cut is taken here
		// all the same: no row before a cut has its epoch.
		invariant.Sometimes("ledger: a FINISH advanced the audit epoch")
		s.advance(epoch, StageVoid)
	}
	s.row = Row{
		Kind: RowAbort, State: Aborted, Reason: f.Reason, Epoch: epoch,
		Record: n.record, Digest: n.digest, Prev: n.position + 1,
	}
	if f.Commit {
		s.row.Kind, s.row.State, s.row.Reason = RowCommit, Committed, ReasonNone
	}
	s.accounts.changed(s.release(at, vote, f.Commit))
	s.record()
	return s.outcome(&s.row)
}

// decides reports whether the facts suffice for what f wants, and the commit epoch: the highest
// vote epoch. Facts of shards outside the participants count for nothing: a bystander that wrote a
// tombstone must not be able to undo a vote.
func (s *State) decides(f *Finish, participants []shard.ID, ownEpoch uint32) (epoch uint32, ok bool) {
	epoch = ownEpoch
	var two [2]bool // as mostly
	voted := append(two[:0], make([]bool, len(participants))...)
	committed, aborted := false, false
	for _, fact := range f.Facts {
		i, found := slices.BinarySearch(participants, fact.Shard)
		if !found {
			aborted = aborted || planted.On(planted.BystanderBelieved) && fact.Fact == FactAborted
			invariant.Sometimes("ledger: ignored a bystander's fact")
			continue
		}
		switch fact.Fact {
		case FactYes:
			voted[i] = true
			epoch = max(epoch, fact.Epoch)
		case FactCommitted:
			voted[i], committed = true, true
			epoch = max(epoch, fact.Epoch)
		case FactAborted:
			aborted = true
		}
	}
	if !f.Commit {
		return ownEpoch, aborted || planted.On(planted.UnilateralAbort)
	}
	if i, found := slices.BinarySearch(participants, s.shard); found {
		voted[i] = true // being in P is this shard's own YES
	}
	if planted.On(planted.AuditLocalCut) {
		epoch = ownEpoch
	}
	return epoch, committed || !slices.Contains(voted, false)
}

// applyPoison makes sure that this shard never votes yes on a content it has not voted on.
func (s *State) applyPoison(p *Poison) Result {
	if s.genesis == nil || p.ID.IsZero() {
		return Result{Code: ResultNoEffect}
	}
	if row, ok := s.known(p.ID); ok {
		if planted.On(planted.PoisonObeyed) && row.State == Prepared {
			return s.finishPrepared(s.prepared.at(p.ID), s.plantedAbort(p))
		}
		return s.answerDigest(row, &p.Digest)
	}
	return s.tombstone(p.ID, p.Digest, p.Reason)
}

// applyCancel is applyPoison for every content of the id; a known id answers its outcome.
func (s *State) applyCancel(id TransferID) Result {
	if s.genesis == nil || id.IsZero() {
		return Result{Code: ResultNoEffect}
	}
	if row, ok := s.known(id); ok && !(planted.On(planted.CancelOverVote) && s.plantedDropVote(id)) {
		return s.outcome(row)
	}
	s.row = Row{
		Kind: RowTombstone, State: Aborted, Reason: ReasonCancelled, Epoch: s.audit.epoch, Wildcard: true, Record: Record{ID: id},
	}
	s.record()
	return s.outcome(&s.row)
}

func (s *State) tombstone(id TransferID, digest Digest, reason Reason) Result {
	s.row = Row{Kind: RowTombstone, State: Aborted, Reason: reason, Epoch: s.audit.epoch, Digest: digest, Record: Record{ID: id}}
	if planted.On(planted.NoTombstone) {
		return s.outcome(&s.row)
	}
	s.record()
	return s.outcome(&s.row)
}
