package client

import (
	"cmp"
	"context"
	"slices"

	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// Outcomes of an Explain beside committed and aborted.
const (
	explainInDoubt  = "in-doubt"
	explainNotFound = "not-found"
)

// Explain asks every server for one transfer and merges the answers into a timeline: one event per
// cluster, index and kind, with the servers that have applied it. Error is set if no server of some
// cluster answers: what it knows is missing then.
// Errors: ErrClosed.
func (c *Client) Explain(ctx context.Context, id ID) (api.Explain, error) {
	answers, err := survey[api.ServerExplain](ctx, c, wire.AdminExplain, api.ExplainQuery{ID: id.String()})
	if err != nil {
		return api.Explain{}, err
	}
	out := api.Explain{ID: id.String(), Events: []api.ExplainEvent{}, Error: silent(c, answers, wire.AdminExplain)}
	for i := range answers {
		a := &answers[i]
		s := a.value
		if a.err != nil {
			s = api.ServerExplain{
				Server: int(a.server.ID), Shard: int(a.cluster.Shard), Cluster: a.cluster.Shard.String(),
				Role: "unknown", State: "unknown", Entries: []api.Entry{},
			}
		}
		out.Servers = append(out.Servers, s)
	}
	out.Events = timeline(out.Servers)
	c.describe(&out)
	return out, nil
}

// timeline merges the rows of all servers. Rows of one cluster keep the order of its log, whatever
// their times say: the clocks are the leaders' own.
func timeline(servers []api.ServerExplain) []api.ExplainEvent {
	type key struct {
		cluster string
		index   uint64
		kind    string
	}
	at := map[key]int{}
	events := []api.ExplainEvent{}
	for i := range servers {
		s := &servers[i]
		for _, row := range s.Entries {
			k := key{cluster: s.Cluster, index: row.Index, kind: row.Kind}
			n, known := at[k]
			if !known {
				n = len(events)
				at[k] = n
				events = append(events, api.ExplainEvent{
					TimeNs: row.TimeNs, Cluster: s.Cluster, Index: row.Index, Term: row.Term,
					Kind: row.Kind, Outcome: row.Outcome, Reason: row.Reason,
				})
			}
			if !slices.Contains(events[n].Servers, s.Server) {
				events[n].Servers = append(events[n].Servers, s.Server)
			}
		}
	}
	slices.SortFunc(events, func(a, b api.ExplainEvent) int {
		if a.Cluster == b.Cluster {
			return cmp.Compare(a.Index, b.Index)
		}
		return cmp.Or(cmp.Compare(a.TimeNs, b.TimeNs), cmp.Compare(a.Cluster, b.Cluster))
	})
	return events
}

// describe fills in the transfer and its outcome. Only its participants' states count: a bystander
// may hold a tombstone of a cancel.
func (c *Client) describe(out *api.Explain) {
	participants := map[int]bool{}
	for i := range out.Servers {
		for _, row := range out.Servers[i].Entries {
			if row.From == "" {
				continue
			}
			out.From, out.To, out.Amount = row.From, row.To, row.Amount
			for _, s := range c.shardsOf(row.From, row.To) {
				participants[int(s)] = true
			}
		}
	}
	switch len(participants) {
	case 1:
		out.Kind = api.KindIntra
	case 2:
		out.Kind = api.KindCross
	}
	states := map[string]bool{}
	for i := range out.Servers {
		s := &out.Servers[i]
		if len(participants) > 0 && !participants[s.Shard] {
			continue
		}
		states[s.State] = true
		if s.State == "aborted" && out.Reason == "" {
			out.Reason = s.Reason
		}
	}
	switch {
	case states["committed"]:
		out.Outcome, out.Reason = api.OutcomeCommitted, ""
	case states["aborted"]:
		out.Outcome = api.OutcomeAborted
	case states["prepared"]:
		out.Outcome = explainInDoubt
	default:
		out.Outcome = explainNotFound
	}
}

func (c *Client) shardsOf(accounts ...string) []shard.ID {
	var out []shard.ID
	for _, text := range accounts {
		a, err := parseAccount(text)
		if err != nil {
			continue
		}
		if s, ok := c.o.Topology.ShardOf(a); ok && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
