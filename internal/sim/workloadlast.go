package sim

import (
	"fmt"

	"raftbank/internal/ledger"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// lastUs bounds the last transfers: a client's deadline, and a little more.
const lastUs = 5 * second

// lastTransfers lets the first client spend the whole of one account in each shard, twice at once, on the bank
// at rest. The second transfer has to be deferred until the first is settled; both must be answered by what the
// accounts hold, and not by a deadline.
func (l *workload) lastTransfers() {
	c := l.w.clients[0]
	shards := l.w.topology.Clusters
	if !c.up || len(shards) < 2 {
		return
	}
	for i := range shards {
		from, left := l.richest(shards[i].Shard)
		if left.IsZero() {
			continue
		}
		for range 2 {
			r := ledger.Record{
				ID: l.newID(), Debit: from, Credit: shards[(i+1)%len(shards)].Range.First, Currency: ledger.DefaultCurrency, Amount: left,
			}
			l.last++
			l.submit(c, l.content(r))
		}
	}
}

// richest returns the account of a shard that can spend most.
func (l *workload) richest(id shard.ID) (richest shard.Account, left ledger.Amount) {
	r := l.w.topology.Cluster(id).Range
	for a := r.First; a <= r.Last; a++ {
		account, _ := l.w.check.truth(id).state.Account(a)
		if can := account.Spendable(); can.Cmp(left) > 0 {
			richest, left = a, can
		}
	}
	return richest, left
}

// lastDone takes the outcome of one of the last transfers.
func (l *workload) lastDone(s *submission, r *session.Result) {
	if l.last == 0 {
		return
	}
	l.last--
	if l.w.nemesis.lateLeader(s.content.parts...) {
		if !definite(r) {
			l.lastUnknown = append(l.lastUnknown, s.id)
		}
		return // whatever it is
	}
	if r.Decision != txn.DecidedCommitted && (r.Decision != txn.DecidedAborted || r.Reason != ledger.ReasonInsufficientFunds) {
		l.w.fail(CheckProgress, "%s on a bank at rest: told %s %s: %s", s.name(), r.Decision, reasonText(r.Reason), r.Detail)
	}
}

// definite says whether a result tells what became of a transfer.
func definite(r *session.Result) bool {
	return r.Decision == txn.DecidedCommitted || r.Decision == txn.DecidedAborted
}

// askAgain asks, when nothing is in trouble any more, for what late leaders have left open: the outcomes of last transfers, and the
// audit of resolveAll. Now a definite answer is demanded.
func (l *workload) askAgain() {
	l.open += len(l.lastUnknown)
	l.w.report.Checked["last transfer asked for again"] += len(l.lastUnknown)
	l.pending, l.lastUnknown = append(l.pending, l.lastUnknown...), nil
	if l.unaudited {
		l.open++
		l.audit(l.w.clients[0])
	}
	l.resolveMore()
}

func (l *workload) lastEnded() bool { return l.last == 0 }

func (l *workload) lastOpen() string { return fmt.Sprintf("%d transfers were not answered", l.last) }
