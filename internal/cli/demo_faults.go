package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/shard"
)

var _ Faults = (*demoBank)(nil)

// Kill ends server n as kill -9 does and returns what its cluster did about it.
func (b *demoBank) Kill(ctx context.Context, n int) (string, error) {
	return b.lose(ctx, n, "killed", b.sup.kill)
}

// Pause stops server n in its tracks and returns what its cluster did about it.
func (b *demoBank) Pause(ctx context.Context, n int) (string, error) {
	return b.lose(ctx, n, "paused", b.sup.pause)
}

// lose takes server n away and waits for what follows.
func (b *demoBank) lose(ctx context.Context, n int, did string, do func(int) error) (string, error) {
	c, err := b.shardOf(n)
	if err != nil {
		return "", err
	}
	before := b.lookAt(ctx, c.Shard)
	if err := do(n); err != nil {
		return "", b.refused(n, err)
	}
	begin := time.Now()
	was := serverStatus(before, n)
	text := fmt.Sprintf("%s server %d (%s)", did, n, describeRole(was, c.Shard))
	serving, of, enough := b.majority(c)
	leader := before.LeadingServer()
	switch {
	case !enough:
		return fmt.Sprintf("%s; %d of %d servers of %s left, no majority: it answers unavailable or unknown until one returns",
			text, serving, of, c.Shard), nil
	case leader == nil || leader.Server == n:
		next, err := b.awaitLeader(ctx, c.Shard, n, was.Term)
		if err != nil {
			return "", asExit(err)
		}
		return fmt.Sprintf("%s; server %d leads in term %d after %s", text, next.Server, next.Term, roughly(time.Since(begin))), nil
	}
	return fmt.Sprintf("%s; server %d leads on in term %d, %d of %d servers suffice", text, leader.Server, leader.Term, serving, of), nil
}

// Restart starts a server that does not run and waits until it has caught up.
func (b *demoBank) Restart(ctx context.Context, n int) (string, error) {
	return b.regain(ctx, n, "restarted", b.sup.start)
}

// Resume lets a paused server go on and waits until it has caught up.
func (b *demoBank) Resume(ctx context.Context, n int) (string, error) {
	return b.regain(ctx, n, "resumed", b.sup.resume)
}

// regain brings server n back and waits for what follows.
func (b *demoBank) regain(ctx context.Context, n int, did string, do func(int) error) (string, error) {
	c, err := b.shardOf(n)
	if err != nil {
		return "", err
	}
	if err := do(n); err != nil {
		return "", b.refused(n, err)
	}
	begin := time.Now()
	text := fmt.Sprintf("%s server %d", did, n)
	if serving, of, enough := b.majority(c); !enough {
		return fmt.Sprintf("%s; %d of %d servers of %s run, still no majority", text, serving, of, c.Shard), nil
	}
	if err := b.restoreBlock(ctx, n); err != nil {
		return "", asExit(err)
	}
	now, err := b.awaitCaughtUp(ctx, c.Shard, n)
	if err != nil {
		return "", asExit(err)
	}
	return fmt.Sprintf("%s (%s); caught up to index %s after %s", text, describeRole(now, c.Shard),
		thousands(fmt.Sprint(now.Applied)), roughly(time.Since(begin))), nil
}

// restoreBlock sets a restarted server's partition again: a new process has forgotten it.
func (b *demoBank) restoreBlock(ctx context.Context, n int) error {
	b.mu.Lock()
	block := b.blocked[n]
	b.mu.Unlock()
	if len(block) == 0 {
		return nil
	}
	return b.retry(ctx, func(ctx context.Context) error {
		_, err := b.client.Fault(ctx, shard.ServerID(n), api.FaultRequest{Block: block})
		return err
	})
}

// retry repeats a call until it succeeds, each time for at most a second.
func (b *demoBank) retry(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, demoFollowWait)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, time.Second)
		err := call(one)
		done()
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(demoPoll):
		case <-ctx.Done():
			return err
		}
	}
}

// refused explains why a fault could not be made.
func (b *demoBank) refused(n int, err error) error {
	e := failure(codeRefused, "%v", err)
	if b.sup.serving(n) {
		return e
	}
	return e.hint("bring it back with: Restart %d (killed) or Resume %d (paused)", n, n)
}

// Partition cuts the network between the groups and returns who leads on which side.
func (b *demoBank) Partition(ctx context.Context, groups [][]int) (string, error) {
	blocked := map[int][]int{}
	for i, group := range groups {
		for _, n := range group {
			if _, err := b.shardOf(n); err != nil {
				return "", err
			}
			for j, other := range groups {
				if i != j {
					blocked[n] = append(blocked[n], other...)
				}
			}
		}
	}
	before, _ := b.look(ctx) // who led is for the text alone
	if err := b.setBlocks(ctx, blocked); err != nil {
		return "", err
	}
	return b.afterPartition(ctx, groups, before)
}

// setBlocks tells every running server whom it must not see: those that blocked does not name see
// everybody again.
func (b *demoBank) setBlocks(ctx context.Context, blocked map[int][]int) error {
	b.mu.Lock()
	b.blocked = blocked
	b.mu.Unlock()
	for _, s := range b.topology.Servers() {
		n := int(s.ID)
		if !b.sup.serving(n) {
			continue // told when it restarts
		}
		block := blocked[n]
		if block == nil {
			block = []int{}
		}
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := b.client.Fault(one, s.ID, api.FaultRequest{Block: block})
		cancel()
		if err != nil {
			return failure(codeUnavailable, "server %d does not take the fault: %v", n, err)
		}
	}
	return nil
}

// afterPartition describes every cluster that a partition divides.
func (b *demoBank) afterPartition(ctx context.Context, groups [][]int, before api.Status) (string, error) {
	begin := time.Now()
	var parts []string
	for _, c := range b.topology.Clusters {
		side, divided := b.largestSide(c, groups)
		if !divided {
			continue
		}
		if len(side) <= len(c.Servers)/2 {
			parts = append(parts, fmt.Sprintf("%s: no side has a majority, it waits", c.Shard))
			continue
		}
		old := before.Cluster(int(c.Shard)).LeadingServer()
		if old != nil && slices.Contains(side, old.Server) {
			parts = append(parts, fmt.Sprintf("%s: server %d leads on in term %d with %s", c.Shard, old.Server, old.Term, numbers(side)))
			continue
		}
		var oldServer int
		var oldTerm uint64
		if old != nil {
			oldServer, oldTerm = old.Server, old.Term
		}
		next, err := b.awaitLeader(ctx, c.Shard, oldServer, oldTerm)
		if err != nil {
			return "", asExit(err)
		}
		parts = append(parts, fmt.Sprintf("%s: server %d leads in term %d after %s with %s",
			c.Shard, next.Server, next.Term, roughly(time.Since(begin)), numbers(side)))
	}
	if len(parts) == 0 {
		parts = []string{"no cluster is divided; recovery between clusters waits"}
	}
	return "network cut. " + strings.Join(parts, "; "), nil
}

// largestSide returns the most servers of a cluster that see each other and run, and whether the
// groups divide the cluster at all.
func (b *demoBank) largestSide(c shard.Cluster, groups [][]int) (side []int, divided bool) {
	var free []int // in no group: they see all
	members := make([][]int, len(groups))
	for _, s := range c.Servers {
		n := int(s.ID)
		g := slices.IndexFunc(groups, func(group []int) bool { return slices.Contains(group, n) })
		switch {
		case g >= 0:
			members[g] = append(members[g], n)
		default:
			free = append(free, n)
		}
	}
	inGroups := 0
	for _, m := range members {
		if len(m) > 0 {
			inGroups++
		}
		reach := slices.Concat(m, free)
		reach = slices.DeleteFunc(reach, func(n int) bool { return !b.sup.serving(n) })
		if len(reach) > len(side) {
			side = reach
		}
	}
	slices.Sort(side)
	return side, inGroups > 1
}

// Heal mends the network and waits until every cluster with a majority has one leader.
func (b *demoBank) Heal(ctx context.Context) (string, error) {
	if err := b.setBlocks(ctx, map[int][]int{}); err != nil {
		return "", err
	}
	begin := time.Now()
	var leaders []string
	for i := range b.topology.Clusters {
		c := &b.topology.Clusters[i]
		if _, _, enough := b.majority(c); !enough {
			leaders = append(leaders, fmt.Sprintf("%s has no majority", c.Shard))
			continue
		}
		l, err := b.awaitAgreement(ctx, c.Shard)
		if err != nil {
			return "", asExit(err)
		}
		leaders = append(leaders, fmt.Sprintf("server %d leads %s in term %d", l.Server, c.Shard, l.Term))
	}
	return fmt.Sprintf("network mended after %s: %s", roughly(time.Since(begin)), strings.Join(leaders, ", ")), nil
}

// awaitAgreement waits until all running servers of a cluster follow one leader in one term.
func (b *demoBank) awaitAgreement(ctx context.Context, id shard.ID) (api.ServerStatus, error) {
	var found api.ServerStatus
	err := b.await(ctx, demoFollowWait, func(s api.Status) bool {
		c := s.Cluster(int(id))
		l := c.LeadingServer()
		if l == nil {
			return false
		}
		for _, server := range c.Servers {
			if b.sup.serving(server.Server) && (!server.Up || server.Term != l.Term || server.Leader == nil || *server.Leader != l.Server) {
				return false
			}
		}
		found = *l
		return true
	}, nil)
	if err != nil {
		return found, fmt.Errorf("the servers of %s do not agree on a leader: %w", id, err)
	}
	return found, nil
}

// lookAt returns the state of one cluster, as far as its servers answer.
func (b *demoBank) lookAt(ctx context.Context, id shard.ID) api.ShardStatus {
	s, _ := b.look(ctx) // servers that do not answer stand in it as down
	return s.Cluster(int(id))
}

// describeRole is "leader of C1, term 2".
func describeRole(s api.ServerStatus, id shard.ID) string {
	if !s.Up || s.Role == "" {
		return fmt.Sprintf("of %s, it did not answer", id)
	}
	return fmt.Sprintf("%s of %s, term %d", s.Role, id, s.Term)
}

// numbers is "4, 5 and 6".
func numbers(ns []int) string {
	var words []string
	for _, n := range ns {
		words = append(words, fmt.Sprint(n))
	}
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// roughly prints a measured time with the precision that it deserves: "640 ms", "1.2 s".
func roughly(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
