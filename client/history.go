package client

import (
	"context"
	"errors"
	"fmt"

	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// maxPages bounds how many replies one server's history may take.
const maxPages = 100_000

// Datastore asks one server (or every server, with server 0) for its history. With Limit 0 it
// returns all that matches. Long histories come in pages; a server that stops answering between two of them
// has Up false, a Note, and the rows that it had sent.
// Errors: ErrClosed; *api.Error if there is no such server, the query is refused, or the one server
// that was asked does not answer. Of several, those that do not answer have Up false.
func (c *Client) Datastore(ctx context.Context, server shard.ServerID, q api.DatastoreQuery) (api.Datastore, error) {
	out := api.Datastore{Servers: []api.ServerDatastore{}}
	if server != 0 {
		if _, _, ok := c.o.Topology.Server(server); !ok {
			return out, &api.Error{Code: codeUsage, Message: fmt.Sprintf("this bank has no server %s", server)}
		}
		d, err := askServer[api.ServerDatastore](ctx, c, server, wire.AdminDatastore, q)
		if err == nil {
			d, err = c.older(ctx, d, q)
		}
		if err != nil {
			return out, err
		}
		out.Servers = append(out.Servers, d)
		return out, nil
	}
	answers, err := survey[api.ServerDatastore](ctx, c, wire.AdminDatastore, q)
	if err != nil {
		return out, err
	}
	out.Error = silent(c, answers, wire.AdminDatastore)
	for i := range answers {
		a := &answers[i]
		d := a.value
		if a.err != nil {
			d = api.ServerDatastore{
				Server: int(a.server.ID), Shard: int(a.cluster.Shard), Cluster: a.cluster.Shard.String(), Entries: []api.Entry{},
			}
			if e := (*api.Error)(nil); errors.As(a.err, &e) && e.Code == codeRefused {
				return out, e
			}
		} else if d, err = c.older(ctx, d, q); err != nil {
			return out, err
		}
		out.Servers = append(out.Servers, d)
	}
	return out, nil
}

// older adds to a server's first page the pages below, until the query has enough or the history ends. Pages
// go by position: rows that are written meanwhile move nothing.
// Errors: ErrClosed alone; a server that fails in between is told in the answer.
func (c *Client) older(ctx context.Context, d api.ServerDatastore, q api.DatastoreQuery) (api.ServerDatastore, error) {
	pages := [][]api.Entry{d.Entries}
	rows := len(d.Entries)
	for d.Next != 0 && len(pages) < maxPages && (q.Limit == 0 || rows < q.Limit) {
		ask := q
		ask.Before = d.Next
		if q.Limit != 0 {
			ask.Limit = q.Limit - rows
		}
		more, err := askServer[api.ServerDatastore](ctx, c, shard.ServerID(d.Server), wire.AdminDatastore, ask)
		if errors.Is(err, ErrClosed) {
			return d, err
		}
		if err != nil {
			d.Up, d.Note = false, fmt.Sprintf("no older rows: %v", err)
			break
		}
		pages = append(pages, more.Entries)
		rows += len(more.Entries)
		d.Next, d.Truncated = more.Next, more.Truncated
		if q.Account != "" {
			d.Total += more.Total
			if more.Total > 0 {
				d.FirstIndex = more.FirstIndex
			}
		}
	}
	d.Entries = make([]api.Entry, 0, rows)
	for i := len(pages) - 1; i >= 0; i-- {
		d.Entries = append(d.Entries, pages[i]...)
	}
	return d, nil
}
