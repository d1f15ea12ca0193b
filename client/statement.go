package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"raftbank/internal/api"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// Bounds of a History call's lines.
const (
	DefaultHistoryLines = 50
	MaxHistoryLines     = 10_000
)

// ReadOptions say who answers a question about the history, and so how new the answer is. The zero value asks the
// leaders, linearizably: the answer contains all that anybody had been told before the call.
type ReadOptions struct {
	// Stale asks any replica for what it has applied; the answer says how far that is behind.
	Stale bool
	// Server asks this server alone, Stale or not; 0: any.
	Server shard.ServerID
}

func (o ReadOptions) stale() bool { return o.Stale || o.Server != 0 }

// HistoryOptions choose a page of a statement.
type HistoryOptions struct {
	ReadOptions
	Limit  int    // lines, at most MaxHistoryLines; 0: DefaultHistoryLines
	Cursor string // Next of an earlier page; empty: the newest lines
}

// History reads a page of an account's statement: every change of its sums, newest first, with the running balance
// (in minor units) after each. The pages that Next leads to make, with the first, the statement of the moment at which the
// first was asked, whatever happens meanwhile. A transfer that was refused changed nothing and is no line.
//
// A strong statement contains every transfer that anybody had been told to be committed before the call. Of transfers
// that run meanwhile, one between shards may still be told as reserved while a later one is posted.
//
// Servers give the lines in small pages; if one of them fails, Error says why, and Next goes on from there.
// Errors: ErrClosed; *api.Error: usage for options that make no sense, refused for an account that no shard holds or a
// cursor that is not of this account, unavailable.
func (c *Client) History(ctx context.Context, a Account, o HistoryOptions) (api.History, error) {
	out := api.History{Account: a.String(), Lines: []api.HistoryLine{}}
	cluster, err := c.historyCluster(a, &o)
	if err != nil {
		return out, err
	}
	out.Shard, out.Cluster = int(cluster.Shard), cluster.Shard.String()
	ask := func(r reader, limit int, cursor string) (api.History, error) {
		return askQuery[api.History](ctx, c, r, &wire.QueryRequest{
			Kind: wire.QueryStatement, Strong: !o.stale(), Account: a, Limit: uint32(limit), Cursor: cursor,
		})
	}
	first, from, err := freshest(ctx, c, cluster, o.ReadOptions, func(r reader) (api.History, error) { return ask(r, o.Limit, o.Cursor) },
		func(h *api.History) *api.Freshness { return &h.Freshness })
	if err != nil {
		return out, err
	}
	out = first
	for out.Next != "" && len(out.Lines) < o.Limit {
		more, err := ask(from, o.Limit-len(out.Lines), out.Next)
		if err != nil {
			if !errors.As(err, &out.Error) {
				return out, err
			}
			return out, nil
		}
		out.Lines, out.Next = append(out.Lines, more.Lines...), more.Next
	}
	return out, nil
}

// historyCluster checks what is asked for and returns the account's cluster.
func (c *Client) historyCluster(a Account, o *HistoryOptions) (*shard.Cluster, error) {
	s, ok := c.o.Topology.ShardOf(a)
	if !ok {
		return nil, c.noAccount(a)
	}
	if o.Limit == 0 {
		o.Limit = DefaultHistoryLines
	}
	if o.Limit < 0 || o.Limit > MaxHistoryLines {
		return nil, &api.Error{Code: codeUsage, Message: fmt.Sprintf("a page of a statement has 1 to %d lines: %d", MaxHistoryLines, o.Limit)}
	}
	if o.Server != 0 {
		at, err := c.clusterOf(o.Server)
		if err != nil {
			return nil, err
		}
		if at.Shard != s {
			return nil, &api.Error{Code: codeUsage, Message: fmt.Sprintf("server %s is of %s; account %s is on %s", o.Server, at.Shard, a, s)}
		}
	}
	return c.o.Topology.Cluster(s), nil
}

func (c *Client) clusterOf(s shard.ServerID) (*shard.Cluster, error) {
	_, cluster, ok := c.o.Topology.Server(s)
	if !ok {
		return nil, &api.Error{Code: codeUsage, Message: fmt.Sprintf("this bank has no server %s", s)}
	}
	return cluster, nil
}

// reader is who is asked: a shard's leader, or one server.
type reader struct {
	shard  shard.ID
	server shard.ServerID // 0: the leader
}

// askQuery puts one question. Errors: ErrClosed, *api.Error.
func askQuery[T any](ctx context.Context, c *Client, from reader, q *wire.QueryRequest) (v T, err error) {
	call := session.Call{Shard: from.shard, Build: func(h wire.Header) wire.Message {
		m := *q
		m.Header = h
		return &m
	}}
	if from.server != 0 {
		call.Server, call.Ticks = from.server, surveyTicks
	}
	r, err := c.ask(ctx, call, "read")
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(r.Reply.Body, &v); err != nil {
		return v, &api.Error{Code: codeInternal, Phase: "read", Message: fmt.Sprintf("server %s answered what is no JSON: %v", r.Server, err)}
	}
	return v, nil
}

// freshest asks a cluster's leader; or, if a stale answer will do, one replica after the other until one answers, and
// the others how far they are. It returns who answered.
func freshest[T any](ctx context.Context, c *Client, cluster *shard.Cluster, o ReadOptions,
	ask func(reader) (T, error), fresh func(*T) *api.Freshness) (T, reader, error) {
	at := reader{shard: cluster.Shard, server: o.Server}
	if !o.stale() {
		v, err := ask(at)
		return v, at, err
	}
	commits := make([]uint64, len(cluster.Servers)) // 0: no answer
	var wg sync.WaitGroup
	for i := range cluster.Servers {
		wg.Go(func() {
			s, err := askServer[api.ServerStatus](ctx, c, cluster.Servers[i].ID, wire.AdminStatus, nil)
			if err == nil {
				commits[i] = max(s.Commit, 1)
			}
		})
	}
	var v T
	var err error
	if o.Server != 0 {
		v, err = ask(at)
	} else {
		v, at, err = anyReplica(cluster, ask)
	}
	wg.Wait()
	if err != nil {
		return v, at, err
	}
	f := fresh(&v)
	for _, commit := range commits {
		if commit > 0 {
			f.Heard++
		}
		if commit > f.Applied {
			f.Behind = max(f.Behind, commit-f.Applied)
		}
	}
	return v, at, nil
}

// anyReplica asks a cluster's replicas, in an order that begins anywhere, until one answers.
func anyReplica[T any](cluster *shard.Cluster, ask func(reader) (T, error)) (v T, at reader, err error) {
	n := len(cluster.Servers)
	start := rand.IntN(n)
	for i := range n {
		at = reader{shard: cluster.Shard, server: cluster.Servers[(start+i)%n].ID}
		v, err = ask(at)
		e := (*api.Error)(nil)
		if err == nil || !errors.As(err, &e) || e.Code != codeUnavailable {
			return v, at, err
		}
	}
	return v, at, err
}

// GetTransfer returns all that the bank holds under a transfer's id: the record, its outcome, and every row of it at every
// shard. It asks the leaders of all shards, since an id does not say who takes part, but waits for no bystander once
// all participants have answered; or, with ReadOptions, some replica of each, or one server alone.
//
// Outcome is not-found if nobody that was asked knows the id. Of a strong answer that means that no shard had decided
// anything about it when the call began; it may still come, unless Cancel rules it out. Of a stale one it means
// only that these replicas have not applied it. Error is set if a shard did not answer and the outcome cannot be told
// without it.
// Errors: ErrClosed; *api.Error with code usage for a server that is none.
func (c *Client) GetTransfer(ctx context.Context, id ID, o ReadOptions) (api.TransferRecord, error) {
	out := api.TransferRecord{ID: id.String(), Shards: []api.ShardTransfer{}}
	var asked []*shard.Cluster
	for i := range c.o.Topology.Clusters {
		asked = append(asked, &c.o.Topology.Clusters[i])
	}
	if o.Server != 0 {
		cluster, err := c.clusterOf(o.Server)
		if err != nil {
			return out, err
		}
		asked = []*shard.Cluster{cluster}
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	answers := make(chan holderAnswer, len(asked))
	for i, cluster := range asked {
		out.Shards = append(out.Shards, api.ShardTransfer{
			Shard: int(cluster.Shard), Cluster: cluster.Shard.String(), State: "unknown", Entries: []api.Entry{},
		})
		go func() { answers <- c.askHolder(ctx, i, cluster, id, o) }()
	}
	var failed error
	for range asked {
		a := <-answers
		switch {
		case a.err == nil:
			out.Shards[a.at] = a.value
			if c.judgeTransfer(&out) {
				enough() // who has not answered yet is a bystander
			}
		case errors.Is(a.err, ErrClosed):
			return out, a.err
		case failed == nil && ctx.Err() == nil:
			failed = a.err
		}
	}
	if final := c.judgeTransfer(&out); final || failed == nil || out.Outcome == api.OutcomeCommitted || out.Outcome == api.OutcomeAborted {
		return out, nil
	}
	if !errors.As(failed, &out.Error) {
		return out, failed
	}
	if out.Outcome == api.OutcomeNotFound {
		out.Outcome = ""
	}
	return out, nil
}

// holderAnswer is what one shard said about a transfer.
type holderAnswer struct {
	at    int
	value api.ShardTransfer
	err   error
}

func (c *Client) askHolder(ctx context.Context, at int, cluster *shard.Cluster, id ID, o ReadOptions) holderAnswer {
	v, _, err := freshest(ctx, c, cluster, o, func(r reader) (api.ShardTransfer, error) {
		return askQuery[api.ShardTransfer](ctx, c, r, &wire.QueryRequest{Kind: wire.QueryTransfer, Strong: !o.stale(), ID: id})
	}, func(t *api.ShardTransfer) *api.Freshness { return &t.Freshness })
	return holderAnswer{at: at, value: v, err: err}
}

// heldRecord is a content that a shard holds under an id. An id that was used twice may have several.
type heldRecord struct {
	from, to, amount string
	userData         uint64
	code             uint16
}

func contentOf(t *api.ShardTransfer) (heldRecord, bool) {
	for i := range t.Entries {
		if e := &t.Entries[i]; e.From != "" {
			return heldRecord{e.From, e.To, e.Amount, t.UserData, t.Code}, true
		}
	}
	return heldRecord{}, false
}

// judgeTransfer fills in the transfer and its outcome from what the shards have answered so far; final: no answer that
// is missing can change it.
func (c *Client) judgeTransfer(out *api.TransferRecord) (final bool) {
	var contents []heldRecord
	tombs, silent, reason := 0, 0, ""
	for i := range out.Shards {
		t := &out.Shards[i]
		if !t.Up {
			silent++
		}
		if r, ok := contentOf(t); ok {
			if !slices.Contains(contents, r) {
				contents = append(contents, r)
			}
		} else if t.State == api.OutcomeAborted {
			tombs, reason = tombs+1, t.Reason
		}
	}
	out.Outcome, out.Reason = api.OutcomeNotFound, ""
	switch {
	case tombs > 0 && tombs == len(c.o.Topology.Clusters):
		out.Outcome, out.Reason = api.OutcomeAborted, reason
	case tombs > 0:
		out.Outcome, out.Reason = api.OutcomeInDoubt, reason
	}
	final = len(contents) > 0 || silent == 0
	best := 0 // committed counts before undecided, that before aborted: at most one content can move money at a shard
	for _, r := range contents {
		outcome, why, known := c.outcomeOf(out.Shards, r)
		final = final && known
		if rank := map[string]int{api.OutcomeAborted: 1, api.OutcomeInDoubt: 2, api.OutcomeCommitted: 3}[outcome]; rank > best {
			best = rank
			out.From, out.To, out.Amount, out.Kind = r.from, r.to, r.amount, c.kindHeld(r)
			out.Outcome, out.Reason = outcome, why
		}
	}
	return final
}

func (c *Client) kindHeld(r heldRecord) string {
	switch len(c.shardsOf(r.from, r.to)) {
	case 1:
		return api.KindIntra
	case 2:
		return api.KindCross
	}
	return ""
}

// outcomeOf applies the rule of docs/PROTOCOL.md, section 3, to what the participants hold: one abort aborts, all votes
// commit. Known: every participant has answered. Votes and outcomes stay, so it does not matter that the
// answers are of different moments.
func (c *Client) outcomeOf(shards []api.ShardTransfer, r heldRecord) (outcome, reason string, known bool) {
	yes, committed := 0, false
	parts := c.shardsOf(r.from, r.to)
	known = true
	for _, p := range parts {
		i := slices.IndexFunc(shards, func(t api.ShardTransfer) bool { return t.Shard == int(p) && t.Up })
		if i < 0 {
			known = false
			continue
		}
		t := &shards[i]
		own, has := contentOf(t)
		switch {
		case t.State == "none":
		case has && own != r:
			outcome, reason = api.OutcomeAborted, "id_conflict"
		case t.State == api.OutcomeAborted:
			outcome, reason = api.OutcomeAborted, t.Reason
		default:
			yes++
			committed = committed || t.State == api.OutcomeCommitted
		}
	}
	switch {
	case committed || yes == len(parts) && yes > 0:
		return api.OutcomeCommitted, "", known
	case outcome == api.OutcomeAborted:
		return outcome, reason, known
	}
	return api.OutcomeInDoubt, "", known
}
