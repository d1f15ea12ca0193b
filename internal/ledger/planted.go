package ledger

import "raftbank/internal/planted"

// What hooks of package planted need. A normal build drops all of it but plantedSpendable and plantedEpoch.

// plantedAbort is a FINISH that rests on nothing but this shard's own word.
func (s *State) plantedAbort(p *Poison) *Finish {
	return &Finish{
		ID: p.ID, Digest: p.Digest, Reason: p.Reason,
		Facts: []ShardFact{{Shard: s.shard, Fact: FactAborted}},
	}
}

// plantedDropVote undoes the reservation of a transfer in P; false: it is not in P.
func (s *State) plantedDropVote(id TransferID) bool {
	at := s.prepared.at(id)
	if at != 0 {
		s.accounts.changed(s.release(at, -1, false))
	}
	return at != 0
}

// plantedOpen reports whether a tombstone does not keep a PREPARE out.
func (r *Row) plantedOpen() bool {
	return r.Kind == RowTombstone && (planted.On(planted.WildcardMissed) && r.Wildcard || planted.On(planted.TombstoneDropped) && !r.Wildcard)
}

// plantedForgotten reports whether a row is of a committed transfer and has 16 rows behind it.
func (s *State) plantedForgotten(r *Row, position uint64) bool {
	return r.Kind == RowCommit && s.history.Len()-position > 16
}

// plantedSpendable is Spendable.
func (a Account) plantedSpendable() Amount {
	if planted.On(planted.ReservationIgnored) {
		a.DebitsPending = Amount{}
	}
	return a.Spendable()
}

// plantedEpoch is the epoch of a vote.
func (s *State) plantedEpoch() uint32 {
	if planted.On(planted.AuditOldEpoch) && s.audit.epoch > 0 {
		return s.audit.epoch - 1
	}
	return s.audit.epoch
}
