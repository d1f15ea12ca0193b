package sim

import (
	"fmt"
	"slices"

	"raftbank/internal/shard"
)

// Options of one run. Zero sizes are drawn from the seed.
type Options struct {
	Seed                      uint64
	Shards, Replicas, Clients int
	// DurationMs is the length of the safety phase in simulated milliseconds; 0: 60,000.
	DurationMs int64
	// Faults names the kinds of faults that may happen; empty: all; "none" alone: none.
	Faults []string
	// Checkers names those that look; none: all.
	Checkers []string
	// KeepGoing gathers every checker that fires, instead of ending the run at the first violation.
	KeepGoing bool
	// Planted names a bug of package planted that the run has; empty: none.
	Planted string
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
	if _, err := enabledFaults(o.Faults); err != nil {
		return err
	}
	if _, err := enabledChecks(o.Checkers); err != nil {
		return err
	}
	return validatePlanted(o.Planted)
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
	checkpointBytes           int64
	logMemory, historyBytes   int64
	window                    int
	snapshots                 snapshotPlan
	prepareCrash              float64 // per segment of the log that is made

	loss, duplicate, corrupt, reset float64 // per message
	delayMinUs, delayMaxUs          int64
	slow                            float64 // share of messages that take up to 500 ms
	fsyncUs                         int64

	faultEveryUs int64
	faults       []fault
	thinkUs      int64 // between a client's operations, on average
	hot          float64
	cross        float64

	audits float64 // share of a client's operations
	reads  float64 // share of the others
	many   float64 // share of the reads that take several accounts of a shard

	skew, clientTime, liars, garbage bool
	// beyond: more damage than what is promised to be survived. Only safety holds.
	beyond bool
	// linger: a minority of each shard is not healed before the others have settled.
	linger bool
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
		audits:       pick(rng, []float64{0, 0, 0.005, 0.02, 0.1}),
		durationUs:   o.DurationMs * millisecond,
	}
	p.delayMaxUs = p.delayMinUs + rng.between(50, 20_000)
	p.drawFaults(o, rng)
	p.checkpointBytes = pick(rng, []int64{1 << 10, 8 << 10, 64 << 10, 1 << 20})
	p.logMemory = pick(rng, []int64{1, 8 << 10, 1 << 20})
	p.historyBytes = pick(rng, []int64{4 << 10, 16 << 10, 1 << 20})
	p.window = pick(rng, []int{4, 64, 512})
	p.snapshots = drawSnapshots(o, p.segmentBytes)
	if slices.Contains(p.faults, faultDiskCrash) {
		p.prepareCrash = pick(newRandom(o.Seed, "prepare"), []float64{0, 0.02, 0.2})
	}
	p.reads = pick(rng, []float64{0.1, 0.1, 0.2, 0.5})
	p.many = rng.Float64()
	p.linger = drawLinger(o)
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

// drawLinger has a generator of its own: what the other parts of a plan draw does not change.
func drawLinger(o Options) bool {
	on, err := enabledFaults(o.Faults)
	return err == nil && on[faultLinger] && (len(o.Faults) > 0 || newRandom(o.Seed, "lingers").chance(0.5))
}

// drawFaults draws which faults happen, and how often. What is named by the options happens for sure.
func (p *plan) drawFaults(o Options, rng random) {
	on, err := enabledFaults(o.Faults)
	if err != nil {
		panic(err) // Validate was not called
	}
	named := len(o.Faults) > 0
	has := func(f fault, chance float64) bool { return rng.chance(chance) && on[f] || named && on[f] }
	upTo := func(f fault, most float64) float64 {
		x := rng.Float64() * most
		if has(f, 0.6) {
			return x
		}
		return 0
	}
	p.loss, p.duplicate, p.corrupt = upTo(faultLoss, 0.3), upTo(faultDuplicate, 0.5), upTo(faultCorrupt, 0.05)
	p.reset, p.slow = upTo(faultReset, 0.01), upTo(faultDelay, 0.05)
	p.liars, p.garbage = has(faultLies, 0.5), has(faultGarbage, 0.5)
	p.skew, p.clientTime = has(faultSkew, 0.8), has(faultClientTime, 0.5)
	p.beyond = has(faultBeyond, 1.0/16)
	for _, f := range Faults() {
		if p.beyond && visible(fault(f.Name)) {
			p.faults = append(p.faults, fault(f.Name), fault(f.Name))
		}
		if f.strikes && has(fault(f.Name), 0.5) {
			p.faults = append(p.faults, fault(f.Name))
		}
	}
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
