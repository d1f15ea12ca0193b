//go:build chaos && linux

package chaos

import (
	"math/rand/v2"
	"slices"
	"time"

	"raftbank/client"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// links are the networks between servers and every second worker, by server.
type links map[int]*process.Proxy

// newLinks puts a proxy before every server. The topology that it returns leads through them.
func newLinks(t *shard.Topology) (links, *shard.Topology, error) {
	through := &shard.Topology{OpeningBalance: t.OpeningBalance}
	l := links{}
	for _, c := range t.Clusters {
		c.Servers = slices.Clone(c.Servers)
		for i := range c.Servers {
			p, err := process.NewProxy(c.Servers[i].Addr)
			if err != nil {
				l.close()
				return nil, nil, err
			}
			l[int(c.Servers[i].ID)] = p
			c.Servers[i].Addr = p.Addr()
		}
		through.Clusters = append(through.Clusters, c)
	}
	return l, through, nil
}

func (l links) close() {
	for _, p := range l {
		p.Close()
	}
}

// openWorkers opens the workers' clients: one directly, the next through the links, and so on, so that some are always
// served, and what others are told meanwhile is compared with it.
func (l *load) openWorkers(through *shard.Topology) error {
	for i := range workers {
		topology := l.bank.Topology
		if i%2 == 1 {
			topology = through
		}
		c, err := client.Open(client.Options{Topology: topology})
		if err != nil {
			return err
		}
		l.clients = append(l.clients, c)
	}
	return nil
}

// trouble sets faults between servers and clients for a while. What was held passes on then, late.
func (r *run) trouble(random *rand.Rand, servers []int, f process.LinkFaults) error {
	for _, n := range servers {
		r.load.links[n].Set(f)
	}
	pause(r.ctx, between(random, 300*time.Millisecond, 6*time.Second))
	for _, n := range servers {
		r.load.links[n].Set(process.LinkFaults{})
	}
	return nil
}

func (r *run) strikeClientsSlow(random *rand.Rand, n int) error {
	return r.trouble(random, process.ServersOf(process.ShardOf(n)), process.LinkFaults{Delay: between(random, time.Millisecond, 300*time.Millisecond)})
}

func (r *run) strikeClientsUnheard(random *rand.Rand, n int) error {
	return r.trouble(random, []int{n}, process.LinkFaults{HoldRequests: true})
}

func (r *run) strikeClientsUnanswered(random *rand.Rand, n int) error {
	return r.trouble(random, []int{n}, process.LinkFaults{HoldAnswers: true})
}

func (r *run) strikeClientsCutOff(random *rand.Rand, n int) error {
	return r.trouble(random, process.ServersOf(process.ShardOf(n)), process.LinkFaults{HoldRequests: true, HoldAnswers: true})
}

func (r *run) strikeClientsReset(random *rand.Rand, n int) error {
	return r.trouble(random, process.ServersOf(process.ShardOf(n)), process.LinkFaults{CutAfter: 50 + random.IntN(20_000)})
}
