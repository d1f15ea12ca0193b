package sim

import (
	"fmt"
	"strings"

	"raftbank/internal/ledger"
	"raftbank/internal/txn"
)

// settled reports whether the healed bank has come to rest.
func (k *checker) settled() bool { return k.unsettled() == "" }

// unsettled says what still moves, or is down.
func (k *checker) unsettled() string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, t := range k.shards {
		leaders, led := 0, false // by a healthy server, by one in trouble that is heard now and then
		for _, s := range k.w.of(t.id) {
			switch {
			case s.lost:
				continue
			case s.trouble != "":
				led = led || s.trouble.late() && s.machine != nil && s.machine.IsLeader()
				continue
			case !s.up || s.machine == nil:
				say("%s of %s does not serve", s.name(), t.id)
				continue
			}
			if s.machine.IsLeader() {
				leaders++
			}
			if applied, _ := s.machine.State().Applied(); applied != uint64(len(t.entries)) {
				say("%s has applied %d of %d entries of %s", s.name(), applied, len(t.entries), t.id)
			}
		}
		if leaders != 1 && (leaders != 0 || !led) {
			say("%s has %d leaders", t.id, leaders)
		}
		if t.state.Genesis() == nil {
			say("%s is not open", t.id)
		}
		if n := t.state.PreparedCount(); n > 0 {
			say("%s holds %d prepared transfers, first %s", t.id, n, t.state.Prepared()[0])
		}
	}
	for _, c := range k.w.clients {
		if !c.up {
			say("%s is down", c.name())
		} else if n := c.engine.InFlight(); n > 0 {
			say("%s has %d operations in flight", c.name(), n)
		}
	}
	return strings.Join(out, "; ")
}

// atEnd checks what holds when everything has settled.
func (k *checker) atEnd() {
	k.conservation()
	k.removedStayOut()
	k.modelAgrees()
	k.statementsAreRight()
	for _, c := range k.w.load.order {
		k.outcomeStands(c)
	}
	known := k.knownCommits()
	k.readsAreRight(known, CheckReads)
	k.readsHaveAnOrder()
	k.auditsAreRight(known)
	if len(k.audits) > 0 && k.orderAudits(known) {
		k.readsAreRight(known, CheckSnapshot)
	}
	k.sessionsAreRight()
	k.accountsAreLinear()
}

// modelAgrees: the ledger's accounts are what the naive model says, and nothing is reserved.
func (k *checker) modelAgrees() {
	for _, t := range k.shards {
		for _, a := range k.w.load.accounts {
			m := t.ref.accounts[a]
			if m == nil {
				continue
			}
			k.looked(CheckReservations)
			got, _ := t.state.Account(a)
			if m.reserved.Sign() != 0 || m.incoming.Sign() != 0 || !got.DebitsPending.IsZero() || !got.CreditsPending.IsZero() {
				k.w.fail(CheckReservations, "account %d: reserved %s, incoming %s", a, got.DebitsPending, got.CreditsPending)
			}
			if got.CreditsPosted != amountOf(m.in) || got.DebitsPosted != amountOf(m.out) {
				k.w.fail(CheckModel, "account %d: +%s -%s, the model says +%s -%s",
					a, got.CreditsPosted, got.DebitsPosted, m.in, m.out)
			}
		}
	}
}

// outcomeStands: what was acknowledged is committed everywhere, what was reported as failed nowhere, and a
// transfer is whole.
func (k *checker) outcomeStands(c *content) {
	committed, held := 0, 0
	for _, p := range c.parts {
		if k.truth(p).stateOf(c) == ledger.Prepared {
			held++ // beyond what is promised, a shard may stay unable to finish
		}
		if o, ok := k.truth(p).state.Lookup(c.record.ID); ok && o.State == ledger.Committed && o.HasRecord && o.Record == c.record {
			committed++
		}
	}
	k.looked(CheckDurable)
	switch {
	case committed != 0 && committed+held != len(c.parts):
		k.w.fail(CheckAtomicity, "%s is committed on %d of %d participants", c.record.ID, committed, len(c.parts))
	case c.told == txn.DecidedCommitted && committed+held != len(c.parts):
		k.w.fail(CheckDurable, "%s was told that %s committed; it did not", c.toldBy, c.record.ID)
	case c.told == txn.DecidedAborted && committed != 0:
		k.w.fail(CheckFailure, "%s was told that %s aborted; it is committed", c.toldBy, c.record.ID)
	case c.unavailable && committed != 0 && c.asks == 1 && !c.copied:
		k.w.fail(CheckFailure, "%s was told to be surely not applied; it is committed", c.record.ID)
	}
}
