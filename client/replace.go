package client

import (
	"context"
	"errors"
	"fmt"

	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// Replace takes the next step of replacing a server that has lost its directory, and says how far that is: its old
// incarnation is removed from its cluster's group, the process that was started with an empty directory and --replace is
// added as a learner, gets a checkpoint and the log, and is made a voter once it has caught up. Call it until the phase is
// api.ReplacePromoted, with one number as Attempt, drawn at random: done is said only of a server that has taken part since
// the first call. All steps are on record in the cluster, so that anybody can go on at any time. Force replaces a server
// that is alive.
// Errors: ErrClosed, *api.Error: the cluster refuses, or has no leader at present (retryable).
func (c *Client) Replace(ctx context.Context, q api.ReplaceRequest) (api.ReplaceReply, error) {
	_, cluster, ok := c.o.Topology.Server(shard.ServerID(q.Server))
	if q.Server < 1 || !ok {
		return api.ReplaceReply{}, &api.Error{Code: codeUsage, Phase: wire.AdminReplace, Message: fmt.Sprintf("the configuration has no server %d", q.Server)}
	}
	var last error
	for i := range cluster.Servers {
		reply, err := askServer[api.ReplaceReply](ctx, c, cluster.Servers[i].ID, wire.AdminReplace, q)
		switch {
		case errors.Is(err, ErrClosed) || ctx.Err() != nil:
			return reply, err
		case err == nil && reply.Phase != "":
			return reply, nil
		case err != nil:
			var e *api.Error
			if errors.As(err, &e) && !e.Retryable && e.Code == codeRefused {
				return reply, err
			}
			last = err
		}
	}
	message := fmt.Sprintf("%s has no leader at present", cluster.Shard)
	if last != nil {
		message += ": " + last.Error()
	}
	return api.ReplaceReply{}, &api.Error{Code: codeUnavailable, Phase: wire.AdminReplace, Message: message, Retryable: true}
}
