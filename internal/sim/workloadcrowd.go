package sim

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// crowd lets clients meet on two accounts of a shard within a short time. Each account has a transfer with another
// shard whose client sends one of its two PREPAREs and stalls before the other; the leader of one of these shards
// may be out of reach meanwhile. Around them others transfer and read. So reads wait for several transfers, which are decided,
// or found undecided and decided later, each in its own time.
func (l *workload) crowd() {
	home := pick(l.rng, l.w.topology.Clusters)
	within := l.rng.between(100*millisecond, 2*second)
	a := []shard.Account{l.inside(home.Range), l.inside(home.Range)}
	for i := range a {
		away := pick(l.rng, l.w.topology.Clusters)
		if away.Shard == home.Shard {
			continue
		}
		k := l.between(a[i], l.inside(away.Range))
		l.half(k, home.Shard)
		c := pick(l.rng, l.w.clients)
		l.soon(c, within, func() { l.submit(c, k) })
		if i == 0 && slices.Contains(l.w.plan.faults, faultStrand) && l.rng.chance(0.2) {
			l.w.nemesis.strandSoon(away.Shard)
		}
	}
	for range l.rng.between(2, 4) {
		c, k := pick(l.rng, l.w.clients), l.between(pick(l.rng, a), l.inside(pick(l.rng, l.w.topology.Clusters).Range))
		l.soon(c, within, func() { l.submit(c, k) })
	}
	for range l.rng.between(3, 8) {
		c, accounts := pick(l.rng, l.w.clients), pick(l.rng, [][]shard.Account{a, a[:1], a[1:]})
		l.soon(c, within, func() { l.read(c, 0, accounts...) })
	}
}

// inside draws an account of a range.
func (l *workload) inside(r shard.Range) shard.Account {
	return r.First + shard.Account(l.rng.IntN(int(r.Len())))
}

// between makes a transfer of a little money between two accounts, in either direction. If they are one, it goes to
// another one.
func (l *workload) between(a, b shard.Account) *content {
	for a == b {
		b = pick(l.rng, l.accounts)
	}
	if l.rng.chance(0.5) {
		a, b = b, a
	}
	return l.content(ledger.Record{
		ID: l.newID(), Debit: a, Credit: b, Currency: ledger.DefaultCurrency,
		Amount: ledger.Units(uint64(l.rng.between(1, max(1, int64(l.w.plan.opening)/4)))),
	})
}

// half sends a transfer's PREPARE to one of its shards.
func (l *workload) half(k *content, id shard.ID) {
	k.copied = true
	for _, s := range l.w.of(id) {
		l.stranger(s, l.rng.between(0, 20*millisecond), &wire.PrepareRequest{
			Header:  wire.Header{Request: l.rng.Uint64(), Shard: id, Epoch: shard.MapEpoch},
			Records: []ledger.Record{k.record}, Digests: []ledger.Digest{ledger.DigestOf(k.record)},
		})
	}
}

// race lets clients settle a transfer that one of them is just about to submit, or has just submitted.
func (l *workload) race(c *clientProc) {
	k := l.draw(ledger.TransferID{})
	within := pick(l.rng, []int64{5, 50, 500, 1500}) * millisecond
	if l.w.plan.liars && l.rng.chance(0.3) {
		l.tombstoneOf(pick(l.rng, l.w.topology.Clusters).Shard, k, l.rng.between(0, within))
	}
	l.soon(c, within, func() { l.submit(c, k) })
	if slices.Contains(l.w.plan.faults, faultLeaders) && l.rng.chance(0.1) {
		l.w.nemesis.pauseLeadersIn(l.rng.between(0, within))
	}
	for range l.rng.between(1, 2) {
		other, what := pick(l.rng, l.w.clients), pick(l.rng, []kind{askCancel, askCancel, askResolve})
		l.soon(other, within, func() { l.settle(other, what, k.record.ID) })
		if slices.Contains(l.w.plan.faults, faultSlowReader) && l.rng.chance(0.1) {
			l.soon(other, 2*within, func() { other.readLater(l.rng.between(500*millisecond, 4*second)) })
		}
	}
}

// soon lets a client do something within a time, if it lives and faults go on.
func (l *workload) soon(c *clientProc, us int64, do func()) {
	if !c.up {
		return
	}
	c.after(l.rng.between(0, us), func() {
		if !l.w.calm {
			do()
		}
	})
}
