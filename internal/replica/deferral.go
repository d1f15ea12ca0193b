package replica

import (
	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/wire"
)

// maxDeferrals bounds how often one request is deferred. Each time others have taken the money that it was
// waiting for.
const maxDeferrals = 16

// deferral is a transfer that lacked funds while others were pending on its account (section 8).
type deferral struct {
	kind   ledger.CommandKind
	record ledger.Record
	digest ledger.Digest
	waiter waiter
	// available is what the account could spend when the transfer was deferred, and pending what was pending on it.
	available ledger.Amount
	pending   []ledger.TransferID
}

// deferItem settles everything that is pending on the debit account.
func (r *Replica) deferItem(d *deferral) {
	r.counters.deferred++
	if r.lead.part == nil {
		r.answers.status(d.waiter.call, wire.StatusNotLeader, "")
		return
	}
	if r.deferred >= r.options.Limits.Deferred || d.waiter.deferrals == maxDeferrals {
		// A status would refuse every open item of the request, and others may be waiting here. "Not
		// voted" is about this one: the caller asks again.
		r.counters.busy++
		r.answers.result(d.waiter.call, d.waiter.item, &ledger.Result{Code: ledger.ResultDefer})
		return
	}
	if acc, ok := r.state.Account(d.record.Debit); ok {
		d.available = acc.Spendable()
	}
	d.pending = r.state.PreparedOn(d.record.Debit)
	if planted.On(planted.RefusalOfDebit) {
		d.pending = r.plantedCredits(d.pending, d.record.Debit)
	}
	token := r.lead.part.Settle(d.pending)
	r.settling[token] = afterSettle{deferral: d}
	r.deferred++
}

// proposeAgain proposes a deferred transfer once more. Only if it was short at the instant of the deferral, with all
// that was decided then counted in, may it be refused whatever is pending: it is marked settled. Else it
// is proposed as it came, for what it can have now may have been reserved in the meantime by transfers
// that are decided too.
func (r *Replica) proposeAgain(d *deferral, undecided []ledger.TransferID) {
	if planted.On(planted.DeferralLost) {
		return
	}
	c := ledger.Command{Kind: d.kind, Records: []ledger.Record{d.record}}
	if d.kind == ledger.CmdPrepare {
		c.Digests = []ledger.Digest{d.digest}
	}
	c.Settled = d.record.Amount.Cmp(r.freed(d, undecided)) > 0 || planted.On(planted.DeferredOnce) ||
		planted.On(planted.DeferredForNew) && !r.plantedNew(d)
	if c.Settled {
		invariant.Sometimes("replica: proposed a deferred transfer again, to be refused if short")
	} else {
		invariant.Sometimes("replica: proposed a deferred transfer again, funded")
	}
	d.waiter.deferrals++
	r.enqueue(c, []waiter{d.waiter}, 128)
}

// freed returns what the account could have spent at the deferral if all that was decided then had been finished:
// it is no less than that. What was found undecided later was undecided then.
func (r *Replica) freed(d *deferral, undecided []ledger.TransferID) ledger.Amount {
	out := setOf(undecided)
	sum := d.available
	for _, id := range d.pending {
		if out[id] {
			continue
		}
		o, ok := r.state.Lookup(id)
		if planted.On(planted.ReadFromInquiry) && o.State == ledger.Prepared {
			o.State = ledger.Committed
		}
		invariant.Check(ok && o.State != ledger.Prepared, "what was settled and not undecided is finished")
		debit := o.Record.Debit == d.record.Debit
		if debit != (o.State == ledger.Committed) {
			if sum, ok = sum.Add(o.Record.Amount); !ok {
				return ledger.MaxAmount
			}
		}
	}
	return sum
}

func setOf(ids []ledger.TransferID) map[ledger.TransferID]bool {
	set := make(map[ledger.TransferID]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}
