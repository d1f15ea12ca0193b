//go:build chaos && linux

package chaos

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
)

// auditEvery is the pause between two audits.
const auditEvery = 250 * time.Millisecond

// What becomes of audits.
const (
	auditsProven  = "audits proven under faults"
	auditsNoCut   = "audits without a cut, under faults"
	auditsGivenUp = "audits given up by their client"
)

// cut is a proven audit: when it was asked for and answered, and the total of each shard at its cut.
type cut struct {
	number    uint32
	call, ret int64
	totals    map[shard.ID]*big.Int
}

// audits adds up the bank again and again while transfers run and faults strike, by a client with a network in trouble and by
// one without, in turn. Some clients give up in the middle, which leaves servers that withhold.
func (r *run) audits(random *rand.Rand) {
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := r.ctx, context.CancelFunc(func() {})
		if random.IntN(6) == 0 {
			ctx, cancel = context.WithTimeout(r.ctx, between(random, time.Millisecond, 200*time.Millisecond))
		}
		r.audit(ctx, n%2)
		cancel()
	}
}

// audit is one audit by client i. Its total is exact, or there is none.
func (r *run) audit(ctx context.Context, i int) {
	c := cut{call: r.load.now()}
	v, err := r.load.clients[i].Audit(ctx)
	c.ret = r.load.now()
	switch {
	case err != nil:
		r.t.Errorf("audit: %v", err)
		return
	case v.OK == nil && ctx.Err() != nil:
		r.count(auditsGivenUp)
		return
	case v.OK == nil:
		r.count(auditsNoCut)
		r.note("an audit has no cut: %s", v.Error.Message)
		return
	}
	r.count(auditsProven)
	r.countMore("sides of transfers under way at their cuts", v.Unfinished)
	r.countMore("numbers that proved nothing before them", v.Retries)
	if err := r.take(&c, &v); err != nil {
		r.t.Errorf("AUDIT: %v", err)
	}
}

// take holds a proven audit to what the bank opened with, and keeps its cut.
func (r *run) take(c *cut, v *api.Audit) error {
	c.number, c.totals = v.Epoch, map[shard.ID]*big.Int{}
	opened := r.bank.Topology.Total().String()
	posted, okPosted := new(big.Int).SetString(v.Posted, 10)
	between, okBetween := new(big.Int).SetString(v.InFlight, 10)
	if !okPosted || !okBetween || !*v.OK || v.Total != opened || v.Expected != opened || posted.Add(posted, between).String() != opened {
		return fmt.Errorf("cut %d: %s posted and %s between clusters make %s, expected %s (ok: %v); the bank was opened with %s: %+v",
			v.Epoch, v.Posted, v.InFlight, v.Total, v.Expected, *v.OK, opened, v.Shards)
	}
	for i := range v.Shards {
		total, ok := new(big.Int).SetString(v.Shards[i].Total, 10)
		if !ok {
			return fmt.Errorf("cut %d: the part of %s is %q", v.Epoch, v.Shards[i].Cluster, v.Shards[i].Total)
		}
		c.totals[shard.ID(v.Shards[i].Shard)] = total
	}
	if len(c.totals) != len(r.bank.Topology.Clusters) {
		return fmt.Errorf("cut %d has %d parts of %d clusters", v.Epoch, len(v.Shards), len(c.totals))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cuts = append(r.cuts, *c)
	return nil
}

// auditsHold compares every audit with the history: a shard's total at the cut holds all transfers between shards that had been told
// to be committed before the audit began, and none that was sent after its end. The last audit is of a bank at rest, whose totals are known exactly.
func (r *run) auditsHold() {
	if r.counts[auditsProven] == 0 {
		r.t.Errorf("no audit was proven while faults struck: %d had no cut, %d were given up", r.counts[auditsNoCut], r.counts[auditsGivenUp])
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleBound)
	defer cancel()
	var v api.Audit
	call, err := int64(0), error(nil)
	for v.OK == nil && ctx.Err() == nil && err == nil {
		call = r.load.now()
		v, err = r.bank.admin.Audit(ctx)
	}
	switch {
	case err != nil || v.OK == nil:
		r.t.Errorf("no audit is proven in %s, with all servers up: %v %+v", settleBound, err, v.Error)
	case v.InFlight != "0" || v.Unfinished != 0:
		r.t.Errorf("AUDIT: %s between clusters in %d transfers, in a bank at rest", v.InFlight, v.Unfinished)
	default:
		if err := r.take(&cut{call: call, ret: r.load.now()}, &v); err != nil {
			r.t.Errorf("AUDIT: %v", err)
		}
	}
	transfers, err := linear.Transfers(r.load.events)
	if err != nil {
		r.t.Error(err)
		return
	}
	for _, s := range r.bank.Topology.Clusters {
		f := flowsOf(s.Shard, s.Range.Len()*r.bank.Topology.OpeningBalance, transfers, r.bank.Topology)
		for i := range r.cuts {
			c := &r.cuts[i]
			low, high := f.bounds(c.call, c.ret)
			if total := c.totals[s.Shard]; total.Cmp(low) < 0 || total.Cmp(high) > 0 {
				r.t.Errorf("AUDIT: cut %d, asked for at %d us and told at %d us, has %s in %s; what was told and sent makes %s to %s",
					c.number, c.call, c.ret, total, s.Shard, low, high)
			}
		}
	}
}

// flow is money that goes one way over a shard's border, by time.
type flow []moment

// moment is when a transfer is counted, and the sum of all up to it, once sum has been called.
type moment struct {
	at  int64
	sum *big.Int
}

// until is the sum of what counts at or before a time.
func (f flow) until(at int64) *big.Int {
	i, _ := slices.BinarySearchFunc(f, at+1, func(m moment, at int64) int { return cmp.Compare(m.at, at) })
	if i == 0 {
		return new(big.Int)
	}
	return f[i-1].sum
}

func (f flow) sum() {
	slices.SortFunc(f, func(x, y moment) int { return cmp.Compare(x.at, y.at) })
	for i := 1; i < len(f); i++ {
		f[i].sum.Add(f[i].sum, f[i-1].sum)
	}
}

// flows are the transfers between one shard and the others: when each was sent, if it may be committed, and when somebody had been told that it is.
type flows struct {
	opening                          *big.Int
	inSent, inTold, outSent, outTold flow
}

func flowsOf(id shard.ID, opening uint64, transfers []linear.Transfer, topology *shard.Topology) *flows {
	f := &flows{opening: new(big.Int).SetUint64(opening)}
	for i := range transfers {
		t := &transfers[i]
		from, _ := topology.ShardOf(t.From)
		to, _ := topology.ShardOf(t.To)
		if from == to || !t.MayBeCommitted() {
			continue
		}
		sent, told := &f.inSent, &f.inTold
		switch id {
		case from:
			sent, told = &f.outSent, &f.outTold
		case to:
		default:
			continue
		}
		*sent = append(*sent, moment{t.Call, t.Amount.Big()})
		if t.Outcome == linear.OutcomeCommitted && t.Known != linear.Never {
			*told = append(*told, moment{t.Known, t.Amount.Big()})
		}
	}
	f.inSent.sum()
	f.inTold.sum()
	f.outSent.sum()
	f.outTold.sum()
	return f
}

// bounds returns the least and the most that the shard can have at a cut that is asked for at call and told at ret.
func (f *flows) bounds(call, ret int64) (low, high *big.Int) {
	low = new(big.Int).Add(f.opening, f.inTold.until(call-1))
	low.Sub(low, f.outSent.until(ret))
	high = new(big.Int).Add(f.opening, f.inSent.until(ret))
	high.Sub(high, f.outTold.until(call-1))
	return low, high
}

// TestBounds: what is told before counts, what is sent after does not, and what is aborted never.
func TestBounds(t *testing.T) {
	one := func(from, to shard.Account, amount uint64, call, known int64, outcome string) linear.Transfer {
		return linear.Transfer{From: from, To: to, Amount: ledger.Units(amount), Call: call, Known: known, Outcome: outcome}
	}
	f := flowsOf(1, 100, []linear.Transfer{
		one(1, 2, 50, 1, 2, linear.OutcomeCommitted), // within the shard
		one(1, 1001, 1, 10, 19, linear.OutcomeCommitted),
		one(1001, 1, 2, 10, 20, linear.OutcomeCommitted),
		one(1001, 1, 4, 30, 40, linear.OutcomeCommitted),
		one(1, 2001, 8, 31, 40, linear.OutcomeCommitted),
		one(1, 2001, 16, 10, 19, linear.OutcomeAborted),
		one(1, 2001, 32, 10, linear.Never, linear.OutcomeUnknown),
		one(1001, 2001, 64, 1, 2, linear.OutcomeCommitted), // of others
	}, shard.DefaultTopology())
	for _, c := range []struct{ call, ret, low, high int64 }{
		{5, 9, 100, 100},
		{20, 30, 100 - 1 - 32, 100 - 1 + 2 + 4},
		{21, 29, 100 - 1 + 2 - 32, 100 - 1 + 2},
		{41, 50, 100 - 1 + 2 + 4 - 8 - 32, 100 - 1 + 2 + 4 - 8},
	} {
		if low, high := f.bounds(c.call, c.ret); low.Int64() != c.low || high.Int64() != c.high {
			t.Errorf("%d to %d: from %s to %s, want %d to %d", c.call, c.ret, low, high, c.low, c.high)
		}
	}
}
