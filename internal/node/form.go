package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// waitingEveryTicks is how often the log names the servers that a start waits for: 2 s.
const waitingEveryTicks = 40

// form runs the Former until this server may take part in its group, is refused, or ctx ends.
func (n *node) form(ctx context.Context, self wire.Probe, members []uint64) ([]uint64, error) {
	var peers []shard.ServerID
	for _, s := range n.cluster.Servers {
		if s.ID != n.o.Server {
			peers = append(peers, s.ID)
		}
	}
	f := replica.NewFormer(replica.FormerOptions{Self: self, Peers: peers, Members: members, Force: n.o.ForceBootstrap})
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	var ticks uint64
	for {
		n.front.notReady(n.waitingText(f))
		n.net.Send(envelopes(nil, f.Sends())...)
		if err := f.Refused(); err != nil {
			return nil, err
		}
		if formed, ok := f.Done(); ok {
			return slices.Clone(formed), nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
			f.Tick()
			if ticks++; ticks%waitingEveryTicks == 0 {
				n.o.Logger.Info(n.waitingText(f))
			}
		case <-n.front.inbox.ready:
			for _, in := range n.front.inbox.take() {
				if in.peer != 0 {
					f.Step(in.peer, in.message)
				}
			}
		}
	}
}

// waitingText says what a start waits for, to the log and to clients.
func (n *node) waitingText(f *replica.Former) string {
	if _, done := n.dir.Members(); n.o.Replace && !done {
		return fmt.Sprintf("server %s waits to take its earlier incarnation's place in %s: run raftbank replace %s", n.o.Server, n.cluster.Shard, n.o.Server)
	}
	var names []string
	for _, id := range f.WaitingFor() {
		names = append(names, id.String())
	}
	if names == nil {
		return fmt.Sprintf("server %s is joining the other servers of %s", n.o.Server, n.cluster.Shard)
	}
	return fmt.Sprintf("server %s waits to hear from server %s of %s", n.o.Server, strings.Join(names, ", "), n.cluster.Shard)
}

// memberText lists the servers of raft ids.
func memberText(ids []uint64) string {
	var names []string
	for _, id := range ids {
		names = append(names, replica.ServerOf(id).String())
	}
	return strings.Join(names, ", ")
}
