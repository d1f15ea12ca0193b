//go:build chaos && linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// kind is a sort of fault that strikes one cluster.
type kind struct {
	name   string
	weight int
	// strike causes the fault, waits while it lasts, and ends it. n is the server to suffer.
	strike func(r *run, random *rand.Rand, n int) error
	// whole says that the cluster as a whole is down meanwhile.
	whole bool
}

// kinds lists the faults. Killing comes often: the durability loop is part of this test.
func kinds() []kind {
	return []kind{
		{name: "kill -9", weight: 60, strike: (*run).strikeKill},
		{name: "pause", weight: 8, strike: (*run).strikePause},
		{name: "partition", weight: 6, strike: (*run).strikePartition},
		{name: "one-way partition, deaf", weight: 4, strike: (*run).strikeDeaf},
		{name: "one-way partition, mute", weight: 4, strike: (*run).strikeMute},
		{name: "delay", weight: 4, strike: (*run).strikeDelay},
		{name: "loss and copies", weight: 5, strike: (*run).strikeLoss},
		{name: "broken connections", weight: 4, strike: (*run).strikeReset},
		{name: "clients: slow network", weight: 3, strike: (*run).strikeClientsSlow},
		{name: "clients: not heard", weight: 4, strike: (*run).strikeClientsUnheard},
		{name: "clients: not answered", weight: 5, strike: (*run).strikeClientsUnanswered},
		{name: "clients: cut off", weight: 4, strike: (*run).strikeClientsCutOff},
		{name: "clients: broken connections", weight: 4, strike: (*run).strikeClientsReset},
		{name: "cluster killed", weight: 4, strike: (*run).strikeCluster, whole: true},
		{name: "emptied directory", weight: 3, strike: (*run).strikeEmptied},
		{name: "log bit flipped", weight: 3, strike: (*run).strikeBitFlip},
		{name: "disk full", weight: 0, strike: (*run).strikeDiskFull},
	}
}

// nemesis strikes one cluster until the time is up: first its share of one deck with every kind, then by weight.
func (r *run) nemesis(id shard.ID, deck []kind, random *rand.Rand) {
	all := kinds()
	total := 0
	for _, k := range all {
		total += k.weight
	}
	for r.ctx.Err() == nil {
		var k kind
		if len(deck) > 0 {
			k, deck = deck[0], deck[1:]
		} else {
			at := random.IntN(total)
			for _, k = range all {
				if at -= k.weight; at < 0 {
					break
				}
			}
		}
		r.oneFault(id, k, random)
		pause(r.ctx, time.Duration(random.IntN(300))*time.Millisecond)
	}
}

// oneFault draws who suffers, strikes, and measures how long the cluster needs to acknowledge again.
func (r *run) oneFault(id shard.ID, k kind, random *rand.Rand) {
	r.whole.RLock()
	defer r.whole.RUnlock()
	servers := process.ServersOf(id)
	n := servers[random.IntN(3)]
	c := r.bank.cluster(id)
	if l := c.LeadingServer(); l != nil && random.IntN(10) < 5 {
		n = l.Server
	}
	r.note("%s strikes server %d", k.name, n)
	struck := time.Now()
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		if took, err := r.load.awaitAck(id); err == nil && !k.whole {
			r.slowest("next acknowledgement after a fault struck", k.name, took)
		}
	}()
	switch err := k.strike(r, random, n); {
	case errors.Is(err, errSkipped):
		r.skip(k.name, err)
	case err == nil:
		r.count(k.name)
	default:
		r.fail("%s of server %d, %s after it struck: %v", k.name, n, time.Since(struck).Round(time.Millisecond), err)
		return
	}
	<-watch
	took, err := r.load.awaitAck(id)
	switch {
	case errors.Is(err, errBroken):
		return
	case err != nil:
		r.fail("after %s of server %d: %v", k.name, n, err)
		return
	}
	r.slowest("next acknowledgement after a fault was over", k.name, took)
	r.note("%s of server %d is over", k.name, n)
}

// errSkipped says that a fault cannot be caused on this machine, and that nothing has suffered.
var errSkipped = errors.New("skipped")

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// between draws a time, of any order of magnitude, short ones more often than long ones.
func between(random *rand.Rand, low, high time.Duration) time.Duration {
	u := random.Float64()
	return time.Duration(float64(low) * math.Pow(float64(high)/float64(low), u*u))
}

// startAgain starts killed servers and waits until they have caught up.
func (r *run) startAgain(servers ...int) error {
	for _, n := range servers {
		if err := r.bank.start(n); err != nil {
			return err
		}
	}
	took, err := r.bank.awaitServing(servers...)
	r.slowest("killed servers have caught up", fmt.Sprint(len(servers)), took)
	return err
}

// kill is kill -9 of servers that run.
func (r *run) kill(servers ...int) error {
	if err := r.bank.kill(servers...); err != nil {
		return err
	}
	r.countServers(len(servers))
	return nil
}

func (r *run) strikeKill(random *rand.Rand, n int) error {
	if err := r.kill(n); err != nil {
		return err
	}
	pause(r.ctx, between(random, 20*time.Millisecond, 1500*time.Millisecond))
	return r.startAgain(n)
}

func (r *run) strikeCluster(random *rand.Rand, n int) error {
	servers := process.ServersOf(process.ShardOf(n))
	if err := r.kill(servers...); err != nil {
		return err
	}
	// Longer than a client waits: some outcomes stay unknown.
	pause(r.ctx, between(random, 20*time.Millisecond, 8*time.Second))
	return r.startAgain(servers...)
}

func (r *run) strikePause(random *rand.Rand, n int) error {
	if err := r.bank.server(n).Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(r.ctx, between(random, 100*time.Millisecond, 10*time.Second))
	if err := r.bank.server(n).Signal(syscall.SIGCONT); err != nil {
		return err
	}
	_, err := r.bank.awaitServing(n)
	return err
}

// network sets faults of some servers for a while.
func (r *run) network(random *rand.Rand, servers []int, f api.FaultRequest) error {
	for _, n := range servers {
		if err := r.bank.faults(n, f); err != nil {
			return err
		}
	}
	pause(r.ctx, between(random, 300*time.Millisecond, 6*time.Second))
	for _, n := range servers {
		if err := r.bank.faults(n, api.FaultRequest{}); err != nil {
			return err
		}
	}
	_, err := r.bank.awaitServing(servers...)
	return err
}

// others lists every server but one.
func others(n int) []int { return slices.DeleteFunc(allServers(), func(m int) bool { return m == n }) }

func (r *run) strikePartition(random *rand.Rand, n int) error {
	return r.network(random, []int{n}, api.FaultRequest{Block: others(n)})
}

func (r *run) strikeDeaf(random *rand.Rand, n int) error {
	return r.network(random, []int{n}, api.FaultRequest{BlockIn: others(n)})
}

func (r *run) strikeMute(random *rand.Rand, n int) error {
	return r.network(random, []int{n}, api.FaultRequest{BlockOut: others(n)})
}

func (r *run) strikeDelay(random *rand.Rand, n int) error {
	return r.network(random, process.ServersOf(process.ShardOf(n)), api.FaultRequest{DelayMs: random.IntN(20), JitterMs: 1 + random.IntN(80)})
}

func (r *run) strikeLoss(random *rand.Rand, n int) error {
	return r.network(random, process.ServersOf(process.ShardOf(n)),
		api.FaultRequest{DropPercent: 1 + random.IntN(20), DuplicatePercent: random.IntN(50), JitterMs: random.IntN(20)})
}

func (r *run) strikeReset(random *rand.Rand, n int) error {
	return r.network(random, process.ServersOf(process.ShardOf(n)), api.FaultRequest{ResetPercent: 1 + random.IntN(4)})
}

// killAll kills the whole bank now and then, with no other fault about, and starts it again.
func (r *run) killAll(random *rand.Rand, every time.Duration) {
	for {
		pause(r.ctx, every)
		if r.ctx.Err() != nil {
			return
		}
		r.whole.Lock()
		err := r.strikeBank(random)
		r.whole.Unlock()
		if err != nil {
			r.fail("after all servers were killed: %v", err)
			return
		}
	}
}

func (r *run) strikeBank(random *rand.Rand) error {
	r.note("all nine servers are killed")
	if err := r.kill(allServers()...); err != nil {
		return err
	}
	r.count(bankKilled)
	pause(r.ctx, between(random, 20*time.Millisecond, time.Second))
	return r.startAgain(allServers()...)
}
