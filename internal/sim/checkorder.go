package sim

import (
	"raftbank/internal/shard"
)

// A strong read of one or several accounts shows the shard as it is at one instant. So of two reads of a shard the later
// one shows everything that the earlier one shows, on the accounts that both show. Porcupine searches for such an order
// account by account, in histories that it can bear; this checker compares all reads of a shard, two at a time, by what
// they must have shown for their sums to come about.

// readGroup is the facts of one request: one point and one span of time.
type readGroup struct {
	facts []*readFact
	// early are the transfers that it shows though they were pending at its point.
	early []shownLeg
}

// shownLeg is a transfer with the account on which it is shown.
type shownLeg struct {
	account shard.Account
	leg     *postedLeg
}

// shows is what a read's sums say of a transfer.
type shows uint8

const (
	showsEither shows = iota // the sums can come about with it and without it
	showsIt
	showsNot
)

// showsLeg says whether a read shows a transfer on its account.
func (k *checker) showsLeg(r *readFact, legs []postedLeg, l *postedLeg) shows {
	switch {
	case l.index <= r.point:
		return showsIt
	case !l.openAt(r):
		return showsNot
	case !k.explainedWithout(r, legs, nil, l):
		return showsIt
	case !k.explained(r, legs, func(c *content) bool { return c == l.content }):
		return showsNot
	}
	return showsEither
}

// of returns the group's fact of an account; nil: it does not show it.
func (g *readGroup) of(a shard.Account) *readFact {
	for _, r := range g.facts {
		if r.account == a {
			return r
		}
	}
	return nil
}

// readsHaveAnOrder: no two reads of a shard each show a transfer that the other one does not.
func (k *checker) readsHaveAnOrder() {
	legs := k.postedLegs()
	groups := make([][]*readGroup, len(k.shards))
	for i, r := range k.reads {
		id, _ := k.w.topology.ShardOf(r.account)
		if i == 0 || k.reads[i-1].ask != r.ask {
			groups[id-1] = append(groups[id-1], &readGroup{})
		}
		of := groups[id-1]
		g := of[len(of)-1]
		g.facts = append(g.facts, r)
		for j := range legs[r.account] {
			if l := &legs[r.account][j]; l.openAt(r) && k.showsLeg(r, legs[r.account], l) == showsIt {
				g.early = append(g.early, shownLeg{r.account, l})
			}
		}
	}
	for _, of := range groups {
		for _, g := range of {
			for _, h := range of {
				if len(g.early) > 0 && g.facts[0].point <= h.facts[0].point && !k.ordered(g, h, legs) {
					return
				}
			}
		}
	}
}

// ordered compares a read with one that has the same or a later read point.
func (k *checker) ordered(g, h *readGroup, legs map[shard.Account][]postedLeg) bool {
	k.looked(CheckReads)
	for _, e := range g.early {
		r := h.of(e.account)
		if r == nil || k.showsLeg(r, legs[e.account], e.leg) != showsNot {
			continue
		}
		for _, r := range h.facts {
			first := g.of(r.account)
			for i := range legs[r.account] {
				l := &legs[r.account][i]
				if first == nil || k.showsLeg(r, legs[r.account], l) != showsIt || k.showsLeg(first, legs[r.account], l) != showsNot {
					continue
				}
				k.w.fail(CheckReads, "%s read account %d at index %d with %s, and account %d without %s; %s read them at index %d, the first without, the second with",
					first.by, e.account, first.point, e.leg.content.record.ID, r.account, l.content.record.ID, r.by, r.point)
				return false
			}
		}
	}
	return true
}
