package replica

import (
	"bytes"
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// settleReadTicks is for how long a strong read waits for other shards before it is given up.
const settleReadTicks = 100

// accountView is what a read shows: accounts as of an applied index.
type accountView struct {
	balances []wire.Balance
	applied  uint64
}

// settlingRead is a strong read that waits until what was pending at its read point is settled.
type settlingRead struct {
	op      *readOp
	view    accountView // as of the read point
	pending []ledger.TransferID
	token   uint64
	since   uint64 // tick
}

// readAccounts answers a strong read whose point is applied, after it has settled what is pending on the accounts
// there (section 7).
func (r *Replica) readAccounts(op *readOp) {
	accounts := slices.Clone(op.accounts)
	slices.Sort(accounts)
	accounts = slices.Compact(accounts) // named often, an account must not multiply what waits
	var pending []ledger.TransferID
	for _, a := range accounts {
		pending = append(pending, r.state.PreparedOn(a)...)
	}
	slices.SortFunc(pending, func(a, b ledger.TransferID) int { return bytes.Compare(a[:], b[:]) })
	pending = slices.Compact(pending) // a transfer may touch two of the accounts
	view := r.viewOf(op.accounts)
	if len(pending) == 0 || planted.On(planted.ReadUnsettled) {
		r.answerView(op.call, &view)
		return
	}
	if r.lead.part == nil {
		r.answers.status(op.call, wire.StatusNotLeader, "")
		return
	}
	invariant.Sometimes("replica: settled what was pending before a strong read")
	s := &settlingRead{op: op, view: view, pending: pending, since: r.now}
	r.reads.waiting++
	s.token = r.lead.part.Settle(pending)
	r.settling[s.token] = afterSettle{read: s}
}

// readSettled answers a read with its view, and what of its pending transfers has been finished.
//
// What was posted after the read point and was not pending there stays out: an earlier transfer that was
// acknowledged may still be prepared, and the view would show the later one without it. A transfer that was found
// undecided stays out too, even if it has been posted since: a read with a later point that was answered
// meanwhile may have shown the account without it. Both are found undecided by the same answer.
func (r *Replica) readSettled(s *settlingRead, undecided []ledger.TransferID) {
	if s.op.kind == readQuery {
		r.endRead(s)
		r.answerQuery(s.op.call, s.op.query)
		return
	}
	out := setOf(undecided)
	if planted.On(planted.ReadAtEnd) {
		s.view, s.pending = r.viewOf(s.op.accounts), nil
	}
	for _, id := range s.pending {
		o, ok := r.state.Lookup(id)
		if out[id] && o.State == ledger.Committed {
			invariant.Sometimes("replica: a strong read left out what was undecided and is posted by now")
		}
		if out[id] && !(planted.On(planted.ReadPerTransfer) && o.State == ledger.Committed) {
			continue
		}
		if planted.On(planted.ReadFromInquiry) && o.State == ledger.Prepared {
			o.State = ledger.Committed
		}
		invariant.Check(ok && o.State != ledger.Prepared, "what was settled and not undecided is finished")
		for i := range s.view.balances {
			b := &s.view.balances[i]
			if !b.Exists {
				continue // the other side's account, which is another shard's
			}
			if b.Account == o.Record.Debit {
				finishSide(&b.DebitsPending, &b.DebitsPosted, &o)
			}
			if b.Account == o.Record.Credit {
				finishSide(&b.CreditsPending, &b.CreditsPosted, &o)
			}
		}
	}
	r.endRead(s)
	r.answerView(s.op.call, &s.view)
}

func (r *Replica) endRead(s *settlingRead) {
	delete(r.settling, s.token)
	r.reads.waiting--
}

// finishSide takes a transfer's amount out of what is pending, and posts it if it was committed.
func finishSide(pending, posted *ledger.Amount, o *ledger.Outcome) {
	left, ok := pending.Sub(o.Record.Amount)
	invariant.Check(ok, "a settled transfer was pending at the read point")
	*pending = left
	if o.State == ledger.Committed {
		sum, ok := posted.Add(o.Record.Amount)
		invariant.Check(ok, "a prepared transfer fits the posted sum")
		*posted = sum
	}
}

// expireReads gives up reads that have waited long for other shards. Nobody may be there any more to take
// the answer, and whoever is asks again.
func (r *Replica) expireReads() {
	if r.now%(settleReadTicks/5) != 0 || len(r.settling) == 0 {
		return
	}
	for _, token := range sortedTokens(r.settling) { // older ones have smaller tokens
		s := r.settling[token].read
		if s == nil {
			continue
		}
		if r.now-s.since < settleReadTicks {
			return
		}
		r.lead.part.Forget(token)
		r.answers.status(s.op.call, wire.StatusBusy, "another shard does not say how transfers on the account ended")
		r.endRead(s)
	}
}

// answerStale answers from the applied state of this replica.
func (r *Replica) answerStale(op *readOp) {
	view := r.viewOf(op.accounts)
	r.answerView(op.call, &view)
}

func (r *Replica) answerView(c call, v *accountView) {
	reply := r.answers.ok(c)
	status := r.rn.BasicStatus()
	reply.Balances, reply.Applied = v.balances, v.applied
	reply.Term, reply.Role = status.GetTerm(), uint8(status.RaftState)
}

func (r *Replica) viewOf(accounts []shard.Account) accountView {
	v := accountView{balances: make([]wire.Balance, len(accounts))}
	v.applied, _ = r.state.Applied()
	for i, a := range accounts {
		v.balances[i] = r.balance(a)
	}
	return v
}

func (r *Replica) balance(a shard.Account) wire.Balance {
	acc, ok := r.state.Account(a)
	if !ok {
		return wire.Balance{Account: a}
	}
	return wire.Balance{
		Account: a, Exists: true, Closed: acc.Closed,
		DebitsPosted: acc.DebitsPosted, CreditsPosted: acc.CreditsPosted,
		DebitsPending: acc.DebitsPending, CreditsPending: acc.CreditsPending, CreditLine: acc.CreditLine,
	}
}
