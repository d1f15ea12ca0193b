package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"raftbank/internal/api"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// answer is what one server said to an administrative question; err if it did not.
type answer[T any] struct {
	server  shard.Server
	cluster *shard.Cluster
	value   T
	err     error
}

// askServer asks one server. Errors: ErrClosed, *api.Error.
func askServer[T any](ctx context.Context, c *Client, s shard.ServerID, kind string, body any) (T, error) {
	var value T
	var encoded []byte
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return value, &api.Error{Code: codeInternal, Phase: kind, Message: err.Error()}
		}
		encoded = b
	}
	r, err := c.ask(ctx, session.Call{Server: s, Ticks: surveyTicks, Build: func(h wire.Header) wire.Message {
		return &wire.AdminRequest{Header: h, Kind: kind, Body: encoded}
	}}, kind)
	if err != nil {
		return value, err
	}
	if err := json.Unmarshal(r.Reply.Body, &value); err != nil {
		return value, &api.Error{
			Code: codeInternal, Phase: kind, Message: fmt.Sprintf("server %s answered what is no JSON: %v", s, err),
		}
	}
	return value, nil
}

// survey asks every server at once; the answers are in the order of the configuration.
// Errors: ErrClosed alone.
func survey[T any](ctx context.Context, c *Client, kind string, body any) ([]answer[T], error) {
	var out []answer[T]
	for i := range c.o.Topology.Clusters {
		cluster := &c.o.Topology.Clusters[i]
		for _, s := range cluster.Servers {
			out = append(out, answer[T]{server: s, cluster: cluster})
		}
	}
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { out[i].value, out[i].err = askServer[T](ctx, c, out[i].server.ID, kind, body) })
	}
	wg.Wait()
	for i := range out {
		if errors.Is(out[i].err, ErrClosed) {
			return nil, ErrClosed
		}
	}
	return out, nil
}

// silent returns an error for the first cluster of which no server answered, or nil.
func silent[T any](c *Client, answers []answer[T], phase string) *api.Error {
	for i := range c.o.Topology.Clusters {
		cluster := &c.o.Topology.Clusters[i]
		up := false
		for j := range answers {
			up = up || (answers[j].cluster == cluster && answers[j].err == nil)
		}
		if !up {
			return c.silentCluster(cluster, phase)
		}
	}
	return nil
}

// Status asks every server. A server that does not answer is listed as down; Error is set if none
// of some cluster answers.
// Errors: ErrClosed.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	answers, err := survey[api.ServerStatus](ctx, c, wire.AdminStatus, nil)
	if err != nil {
		return api.Status{}, err
	}
	out := api.Status{Shards: []api.ShardStatus{}, Error: silent(c, answers, wire.AdminStatus)}
	for i := range c.o.Topology.Clusters {
		cluster := &c.o.Topology.Clusters[i]
		st := api.ShardStatus{
			Shard: int(cluster.Shard), Cluster: cluster.Shard.String(),
			First: cluster.Range.First.String(), Last: cluster.Range.Last.String(),
		}
		leaderTerm := uint64(0)
		for j := range answers {
			a := &answers[j]
			if a.cluster != cluster {
				continue
			}
			s := a.value
			if a.err != nil {
				s = api.ServerStatus{Server: int(a.server.ID), Shard: int(cluster.Shard), Role: "unknown", Note: a.err.Error()}
			}
			s.Addr = a.server.Addr
			if s.Role == "leader" && s.Term >= leaderTerm {
				leader := s.Server
				st.Leader, leaderTerm = &leader, s.Term
			}
			st.Servers = append(st.Servers, s)
		}
		out.Shards = append(out.Shards, st)
	}
	return out, nil
}

// InDoubt lists the transfers that are prepared and not finished, from every cluster's leader; from
// the replica that knows most where none leads, and then Shards says so. Error is set if no server of some cluster answers.
// Errors: ErrClosed.
func (c *Client) InDoubt(ctx context.Context) (api.InDoubt, error) {
	answers, err := survey[api.ServerInDoubt](ctx, c, wire.AdminInDoubt, nil)
	if err != nil {
		return api.InDoubt{}, err
	}
	out := api.InDoubt{
		Transfers: []api.InDoubtTransfer{}, Shards: []api.InDoubtShard{}, Error: silent(c, answers, wire.AdminInDoubt),
	}
	for i := range c.o.Topology.Clusters {
		var best *api.ServerInDoubt
		for j := range answers {
			a := &answers[j]
			if a.err != nil || a.cluster != &c.o.Topology.Clusters[i] {
				continue
			}
			v := &a.value
			if best == nil || (v.Leader && !best.Leader) || (v.Leader == best.Leader && v.Total > best.Total) {
				best = v
			}
		}
		id := c.o.Topology.Clusters[i].Shard
		sh := api.InDoubtShard{Shard: int(id), Cluster: id.String()}
		if best != nil {
			out.Transfers = append(out.Transfers, best.Transfers...)
			sh.Server, sh.Total = &best.Server, best.Total
			if best.Leader {
				sh.Leader = &best.Server
			}
		}
		out.Shards = append(out.Shards, sh)
	}
	return out, nil
}

// Fault sets the faults of one server's transport. Servers refuse it without --allow-faults.
// Errors: ErrClosed; *api.Error.
func (c *Client) Fault(ctx context.Context, s shard.ServerID, f api.FaultRequest) (api.FaultReply, error) {
	return askServer[api.FaultReply](ctx, c, s, wire.AdminFault, f)
}
