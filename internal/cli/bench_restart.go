package cli

import (
	"context"
	"fmt"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

// Bounds of the row that restarts a replica.
const (
	// restartShare is how much of the machine's memory the servers may take while they are filled.
	restartShare = 0.4
	// restartWindow is how long it is filled between two looks at the memory.
	restartWindow = 2 * time.Second
	restartWait   = 10 * time.Minute
)

// restartRun fills a bank with transfers, kills a follower and starts it again. It returns how long
// the follower took until it had applied what was committed when it was started, and the last run of
// the filling; if that failed, nothing was restarted.
func (a *App) restartRun(ctx context.Context, p benchArgs, transfers int) (seconds float64, result *api.Bench, err error) {
	servers, err := newBenchServers(p, a.Getenv)
	if err != nil {
		return 0, nil, err
	}
	defer servers.stop()
	if err := servers.start(ctx); err != nil {
		return 0, nil, err
	}
	p.Load.Warmup, p.Load.Duration = 0, restartWindow
	memory := float64(bench.Machine().MemoryBytes)
	for filled := 0; filled < transfers; filled += result.Committed {
		if result, err = a.measure(ctx, p, servers.topology, servers); err != nil {
			return 0, nil, err
		}
		if result.Error != nil {
			return 0, result, nil
		}
		if memory > 0 && result.RSSBytes != nil && float64(*result.RSSBytes) > restartShare*memory {
			a.notef("filling ends at %s transfers: the servers hold %s MiB", thousands(fmt.Sprint(filled+result.Committed)),
				thousands(fmt.Sprint(*result.RSSBytes>>20)))
			break
		}
	}
	took, err := servers.restartFollower(ctx)
	return took.Seconds(), result, err
}

// restartFollower kills a follower of the first cluster and starts it again; it returns the time from
// its start until it has applied what its leader had committed.
func (s *benchServers) restartFollower(ctx context.Context) (time.Duration, error) {
	id := s.topology.Clusters[0].Shard
	leader, err := s.bank.awaitLeader(ctx, id, 0, 0)
	if err != nil {
		return 0, err
	}
	follower := 0
	for _, server := range s.topology.Clusters[0].Servers {
		if n := int(server.ID); n != leader.Server {
			follower = n
		}
	}
	if follower == 0 {
		return 0, usageError("a cluster of one server has no follower to restart")
	}
	if err := s.bank.sup.kill(follower); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.bank.sup.start(follower); err != nil {
		return 0, err
	}
	err = s.bank.await(ctx, restartWait, func(status api.Status) bool {
		one := serverStatus(status.Cluster(int(id)), follower)
		return one.Up && one.Note == "" && one.Applied >= leader.Commit
	}, s.bank.allRunning)
	if err != nil {
		return 0, fmt.Errorf("server %d does not serve again: %w", follower, err)
	}
	return time.Since(began), nil
}
