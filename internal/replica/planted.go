package replica

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// What hooks of package planted need. A normal build drops all of it but plantedLost and plantedOpen, of
// which constants remain.

// plantedLost is the status for what was appended by a leader that is none any more.
func plantedLost() wire.Status {
	if planted.On(planted.LostAsRefused) {
		return wire.StatusNotLeader
	}
	return wire.StatusLost
}

// plantedOpen reports whether a tombstone does not keep a PREPARE out, as the ledger has it.
func plantedOpen(o *ledger.Outcome) bool {
	return !o.HasRecord && (planted.On(planted.WildcardMissed) && o.Wildcard || planted.On(planted.TombstoneDropped) && !o.Wildcard)
}

// plantedSwapped turns the waiters of a command's items round.
func plantedSwapped(ws []waiter) []waiter {
	var out []waiter
	for _, w := range ws {
		for i := range int(w.count) {
			out = append(out, w.at(i))
		}
	}
	slices.Reverse(out)
	return out
}

// plantedTwice doubles the transfers of an entry, under ids of their own.
func plantedTwice(e *ledger.Entry) {
	for i := range e.Commands {
		c := &e.Commands[i]
		if c.Kind != ledger.CmdTransfer && c.Kind != ledger.CmdPrepare {
			continue
		}
		c.Digests = append(slices.Clone(c.Digests), c.Digests...)
		for _, r := range slices.Clone(c.Records) {
			r.ID[15] ^= 0x80
			c.Records = append(c.Records, r)
		}
	}
}

// plantedShort reports whether a record lacks funds here and now, with transfers pending on the account.
func (r *Replica) plantedShort(rec *ledger.Record) bool {
	a, ok := r.state.Account(rec.Debit)
	return ok && rec.Amount.Cmp(a.Spendable()) > 0 && len(r.state.PreparedOn(rec.Debit)) > 0
}

// plantedCredits keeps those of the ids whose credit is on the account.
func (r *Replica) plantedCredits(ids []ledger.TransferID, a shard.Account) []ledger.TransferID {
	return slices.DeleteFunc(ids, func(id ledger.TransferID) bool {
		o, _ := r.state.Lookup(id)
		return o.Record.Credit != a
	})
}

// plantedNew reports whether something is pending on a deferred transfer's account that was not at its deferral.
func (r *Replica) plantedNew(d *deferral) bool {
	return slices.ContainsFunc(r.state.PreparedOn(d.record.Debit), func(id ledger.TransferID) bool {
		return !slices.Contains(d.pending, id)
	})
}

// plantedLeak reports whether a reply leaves though the shard withholds.
func (r *Replica) plantedLeak(c call, m *wire.Reply) bool {
	return planted.On(planted.AuditNotHeld) ||
		planted.On(planted.AuditReadsNotHeld) && len(m.Balances) > 0 ||
		planted.On(planted.AuditInquiriesNotHeld) && c.server != 0 ||
		planted.On(planted.AuditFollowerLeaks) && r.lead.part == nil
}
