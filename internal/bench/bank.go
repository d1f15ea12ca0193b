package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/shard"
)

// Bank is a running raftbank as a Target.
type Bank struct {
	topology *shard.Topology
	deadline time.Duration
	inFlight int
	control  *client.Client // asks for figures, beside the load
	// Processes are the servers' processes, if they run on this machine and are known: the kernel then
	// answers at once what a loaded server answers late. Set before the first use.
	Processes []int
}

// statusTries is how often servers are asked for their figures: a saturated one answers late.
const statusTries = 8

// OpenBank returns a bank as a target for a load. Close it.
// Errors: those of client.Open.
func OpenBank(t *shard.Topology, o Options, deadline time.Duration) (*Bank, error) {
	control, err := client.Open(client.Options{Topology: t})
	if err != nil {
		return nil, err
	}
	return &Bank{topology: t, deadline: deadline, inFlight: o.Batch * o.InFlight, control: control}, nil
}

// Close ends the connections for figures; sessions are closed by Run.
func (b *Bank) Close() error { return b.control.Close() }

// Connect implements Target. It reads a balance of every cluster, so that the connections stand and the
// leaders are known.
func (b *Bank) Connect(ctx context.Context, _ int) (Session, error) {
	c, err := client.Open(client.Options{Topology: b.topology, Deadline: b.deadline, MaxInFlight: b.inFlight + 64})
	if err != nil {
		return nil, err
	}
	for i := range b.topology.Clusters {
		if _, err := c.Balance(ctx, b.topology.Clusters[i].Range.First); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return &bankSession{c}, nil
}

// Usage implements Target from the counters of status, and from the kernel for processes that are known.
// Servers that do not answer are an error: half of a bank's CPU time would look like a fast bank.
func (b *Bank) Usage(ctx context.Context) (map[string]uint64, error) {
	var local map[string]uint64
	var localErr error
	if len(b.Processes) > 0 {
		local, localErr = ProcessUsage(b.Processes...)
	}
	out, err := b.counters(ctx)
	if out == nil {
		out = map[string]uint64{}
	}
	if localErr == nil {
		maps.Copy(out, local)
	}
	return out, err
}

func (b *Bank) counters(ctx context.Context) (map[string]uint64, error) {
	var last error
	for range statusTries {
		status, err := b.control.Status(ctx)
		if err != nil {
			return nil, err
		}
		var all []map[string]uint64
		last = nil
		for _, c := range status.Shards {
			for i := range c.Servers {
				if s := &c.Servers[i]; !s.Up && last == nil {
					last = fmt.Errorf("server %d did not give its figures: %s", s.Server, s.Note)
				}
				all = append(all, c.Servers[i].Counters)
			}
		}
		if last == nil || ctx.Err() != nil {
			return SumUsage(all), last
		}
	}
	return nil, last
}

// SumUsage adds the figures of several servers. A figure that one of them lacks is left out.
func SumUsage(all []map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for _, name := range usageNames {
		var sum uint64
		known := len(all) > 0
		for _, one := range all {
			n, ok := one[name]
			known = known && ok
			sum += n
		}
		if known {
			out[name] = sum
		}
	}
	return out
}

// Check asks whether money was conserved and replicas agree.
func (b *Bank) Check(ctx context.Context) (api.Check, error) { return b.control.CheckConservation(ctx) }

// Versions returns the program versions that servers report, joined; "" if none does.
func (b *Bank) Versions(ctx context.Context) (string, error) {
	status, err := b.control.Status(ctx)
	if err != nil {
		return "", err
	}
	text := ""
	for _, c := range status.Shards {
		for i := range c.Servers {
			if v := c.Servers[i].Version; v != "" && v != text {
				if text != "" {
					return text + " and " + v, nil
				}
				text = v
			}
		}
	}
	return text, nil
}

type bankSession struct{ c *client.Client }

// Transfer implements Session. One transfer takes the way that a caller with one transfer would.
func (s *bankSession) Transfer(ctx context.Context, ts []client.Transfer) (client.Tally, error) {
	if len(ts) > 1 {
		return s.c.TransferMany(ctx, ts)
	}
	r, err := s.c.Transfer(ctx, ts[0])
	return TallyOf([]client.Result{r}), err
}

// Read implements Session.
func (s *bankSession) Read(ctx context.Context, a shard.Account) error {
	_, err := s.c.Balance(ctx, a)
	return err
}

// Close implements Session.
func (s *bankSession) Close() error { return s.c.Close() }
