package sim

import (
	"fmt"

	"raftbank/internal/shard"
)

// Options of one run. Zero sizes are drawn from the seed.
type Options struct {
	Seed                      uint64
	Shards, Replicas, Clients int
	// DurationMs is the length of the safety phase in simulated milliseconds; 0: 60,000.
	DurationMs int64
}

// defaultMs is the safety phase's length if the options name none.
const defaultMs = 60_000

// Validate says whether the options are in range.
func (o Options) Validate() error {
	switch {
	case o.Shards < 0 || o.Shards > 8:
		return fmt.Errorf("%d shards: want 1 to 8, or 0 to draw it from the seed", o.Shards)
	case o.Replicas != 0 && o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		return fmt.Errorf("%d replicas: want 1, 3 or 5, or 0 to draw it from the seed", o.Replicas)
	case o.Clients < 0 || o.Clients > 64:
		return fmt.Errorf("%d clients: want 1 to 64, or 0 to draw it from the seed", o.Clients)
	case o.DurationMs < 0 || o.DurationMs > 24*3600*1000:
		return fmt.Errorf("%d simulated milliseconds: want up to a day", o.DurationMs)
	}
	return nil
}

// Microseconds in longer units.
const (
	millisecond int64 = 1000
	second            = 1000 * millisecond
)

// plan is what a run is made of: every parameter is drawn from the seed, so that seeds differ in kind
// and not only in order (swarm testing).
type plan struct {
	shards, replicas, clients int
	accounts                  int // per shard
	opening                   uint64
	durationUs                int64
	segmentBytes              int64

	loss, duplicate, corrupt, reset float64 // per message
	delayMinUs, delayMaxUs          int64
	slow                            float64 // share of messages that take up to 500 ms
	fsyncUs                         int64

	faultEveryUs int64
	faults       []fault
	thinkUs      int64 // between a client's operations, on average
	hot          float64
	cross        float64
	liars        bool
}

func drawPlan(o Options, rng random) plan {
	p := plan{
		shards:       int(rng.between(1, 4)),
		replicas:     pick(rng, []int{1, 3, 3, 3, 3, 5}),
		clients:      int(rng.between(1, 6)),
		accounts:     int(rng.between(2, 12)),
		opening:      uint64(rng.between(1, 60)),
		segmentBytes: pick(rng, []int64{8 << 10, 32 << 10, 256 << 10}),
		delayMinUs:   rng.between(20, 500),
		fsyncUs:      rng.between(50, 8000),
		faultEveryUs: rng.between(500, 8000) * millisecond,
		thinkUs:      rng.between(10, 300) * millisecond,
		hot:          rng.Float64(),
		cross:        rng.Float64(),
		liars:        rng.chance(0.5),
		durationUs:   o.DurationMs * millisecond,
	}
	p.delayMaxUs = p.delayMinUs + rng.between(50, 20_000)
	sometimes := func(most float64) float64 {
		if rng.chance(0.4) {
			return 0
		}
		return rng.Float64() * most
	}
	p.loss, p.duplicate, p.corrupt = sometimes(0.3), sometimes(0.5), sometimes(0.05)
	p.reset, p.slow = sometimes(0.01), sometimes(0.05)
	for _, f := range faultKinds {
		if rng.chance(0.6) {
			p.faults = append(p.faults, f)
		}
	}
	if o.Shards > 0 {
		p.shards = o.Shards
	}
	if o.Replicas > 0 {
		p.replicas = o.Replicas
	}
	if o.Clients > 0 {
		p.clients = o.Clients
	}
	if p.durationUs == 0 {
		p.durationUs = defaultMs * millisecond
	}
	return p
}

// topology returns the bank of a plan. Addresses are only names here.
func (p *plan) topology() *shard.Topology {
	t := &shard.Topology{OpeningBalance: p.opening}
	server := shard.ServerID(1)
	for i := range p.shards {
		first := shard.Account(i*1000 + 1)
		c := shard.Cluster{Shard: shard.ID(i + 1), Range: shard.Range{First: first, Last: first + shard.Account(p.accounts) - 1}}
		for range p.replicas {
			c.Servers = append(c.Servers, shard.Server{ID: server, Addr: fmt.Sprintf("10.0.0.%d:9000", server)})
			server++
		}
		t.Clusters = append(t.Clusters, c)
	}
	return t
}
