package bench

import (
	"math/rand/v2"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// accounts is what generators share: it does not change.
type accounts struct {
	ranges []shard.Range // by cluster
	total  uint64
	zipfs  []*zipf // by cluster; nil: uniform
	o      Options
}

func newAccounts(t *shard.Topology, o Options) *accounts {
	a := &accounts{o: o}
	for i := range t.Clusters {
		r := t.Clusters[i].Range
		a.ranges = append(a.ranges, r)
		a.total += r.Len()
		if o.Skew > 0 {
			a.zipfs = append(a.zipfs, newZipf(o.Skew, r.Len()))
		}
	}
	return a
}

// Generator draws the requests of one slot. It is not safe for concurrent use.
type Generator struct {
	a   *accounts
	rng *rand.Rand
}

// NewGenerator returns the generator of one slot of one client. The options must be valid.
func NewGenerator(t *shard.Topology, o Options, clientNumber, slot int) *Generator {
	return newAccounts(t, o).generator(clientNumber, slot)
}

func (a *accounts) generator(clientNumber, slot int) *Generator {
	return &Generator{a: a, rng: rand.New(rand.NewPCG(a.o.Seed, uint64(clientNumber)<<32|uint64(slot)))}
}

// IsRead draws whether the next request is a read.
func (g *Generator) IsRead() bool { return g.a.o.Reads > 0 && g.rng.IntN(100) < g.a.o.Reads }

// Account draws an account to read.
func (g *Generator) Account() shard.Account {
	if g.a.o.Hot > 0 {
		_, a := g.hot()
		return a
	}
	return g.in(g.cluster())
}

// Fill draws transfers, without ids.
func (g *Generator) Fill(ts []client.Transfer) {
	for i := range ts {
		from, to := g.pair()
		ts[i] = client.Transfer{From: from, To: to, Amount: ledger.Units(1 + g.rng.Uint64N(maxAmount))}
	}
}

// pair draws two accounts. With hot accounts one of the two is hot, payer or payee by turns of chance.
func (g *Generator) pair() (from, to shard.Account) {
	var home int
	if g.a.o.Hot > 0 {
		home, from = g.hot()
	} else {
		home = g.cluster()
		from = g.in(home)
	}
	other := g.partner(home)
	for to = g.in(other); to == from; to = g.in(other) {
	}
	if g.rng.Uint64()&1 == 0 {
		return to, from
	}
	return from, to
}

// partner draws the cluster of the second account.
func (g *Generator) partner(home int) int {
	n := len(g.a.ranges)
	switch {
	case g.a.o.Cross == AsPairsFall:
		return g.cluster()
	case g.rng.IntN(100) >= g.a.o.Cross:
		return home
	}
	other := g.rng.IntN(n - 1)
	if other >= home {
		other++
	}
	return other
}

// cluster draws a cluster by its number of accounts.
func (g *Generator) cluster() int {
	n := g.rng.Uint64N(g.a.total)
	for i, r := range g.a.ranges {
		if n < r.Len() {
			return i
		}
		n -= r.Len()
	}
	panic("unreachable: the ranges hold all accounts")
}

// in draws an account of a cluster; under Zipf's law its first accounts are the popular ones.
func (g *Generator) in(cluster int) shard.Account {
	r := g.a.ranges[cluster]
	if g.a.zipfs != nil {
		return r.First + shard.Account(g.a.zipfs[cluster].draw(g.rng))
	}
	return r.First + shard.Account(g.rng.Uint64N(r.Len()))
}

// hot draws one of the hot accounts, which are dealt to the clusters in turn.
func (g *Generator) hot() (cluster int, a shard.Account) {
	i := g.rng.IntN(g.a.o.Hot)
	cluster = i % len(g.a.ranges)
	r := g.a.ranges[cluster]
	return cluster, r.First + shard.Account(uint64(i/len(g.a.ranges))%r.Len())
}
