package client

import (
	"context"
	"sync"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// surveyTicks is how long a server may take to answer a question that is put to every server.
const surveyTicks = 100

// ask sends one request and returns its reply. Errors: ErrClosed, *api.Error.
func (c *Client) ask(ctx context.Context, q session.Call, phase string) (*session.Result, error) {
	r, err := c.do(ctx, &call{kind: callRequest, request: q})
	if err != nil {
		return nil, err
	}
	switch {
	case r.Reply == nil:
		return nil, c.unavailable(&r, phase)
	case r.Reply.Status != wire.StatusOK:
		return nil, refusal(&r, phase)
	}
	return &r, nil
}

// Balance reads an account strongly (docs/PROTOCOL.md, section 7).
// Errors: ErrClosed; *api.Error with code unavailable, or refused for an account that no shard holds.
func (c *Client) Balance(ctx context.Context, a Account) (AccountBalance, error) {
	s, ok := c.o.Topology.ShardOf(a)
	if !ok {
		return AccountBalance{Account: a}, c.noAccount(a)
	}
	b, err := c.balance(ctx, session.Call{Shard: s}, a, true)
	if err == nil && !b.Exists {
		return b, c.noAccount(a)
	}
	return b, err
}

// BalanceAt reads an account as one server has applied it: stale by choice. Exists is false on a
// server that has not applied the opening of its shard yet.
// Errors: ErrClosed; *api.Error with code unavailable or refused.
func (c *Client) BalanceAt(ctx context.Context, s shard.ServerID, a Account) (AccountBalance, error) {
	if _, ok := c.o.Topology.ShardOf(a); !ok {
		return AccountBalance{Account: a}, c.noAccount(a)
	}
	return c.balance(ctx, session.Call{Server: s, Ticks: surveyTicks}, a, false)
}

func (c *Client) balance(ctx context.Context, q session.Call, a Account, strong bool) (AccountBalance, error) {
	q.Build = func(h wire.Header) wire.Message {
		return &wire.BalanceRequest{Header: h, Strong: strong, Accounts: []shard.Account{a}}
	}
	r, err := c.ask(ctx, q, "read")
	if err != nil {
		return AccountBalance{Account: a}, err
	}
	if len(r.Reply.Balances) != 1 || r.Reply.Balances[0].Account != a {
		return AccountBalance{Account: a}, &api.Error{
			Code: codeInternal, Phase: "read", Message: "server " + r.Server.String() + " answered about another account",
		}
	}
	return accountBalance(&r.Reply.Balances[0], r), nil
}

func accountBalance(w *wire.Balance, r *session.Result) AccountBalance {
	a := ledger.Account{
		DebitsPosted: w.DebitsPosted, CreditsPosted: w.CreditsPosted,
		DebitsPending: w.DebitsPending, CreditsPending: w.CreditsPending, CreditLine: w.CreditLine,
	}
	return AccountBalance{
		Account: w.Account, Exists: w.Exists, Balance: a.Balance().String(), Available: a.Spendable(),
		In: w.CreditsPosted, Out: w.DebitsPosted,
		PendingIn: w.CreditsPending, PendingOut: w.DebitsPending,
		Server: r.Server, Role: roleText(r.Reply.Role), Term: r.Reply.Term, Applied: r.Reply.Applied,
	}
}

// roleText names a raft.StateType.
func roleText(role uint8) string {
	names := [...]string{"follower", "candidate", "leader", "candidate"}
	if int(role) < len(names) {
		return names[role]
	}
	return "unknown"
}

// Replicas reads an account strongly and from every replica of its cluster, down ones included.
// Without a majority Strong is false and the balance is that of the furthest replica.
// Errors: ErrClosed; *api.Error: refused, or unavailable if no replica answers.
func (c *Client) Replicas(ctx context.Context, a Account) (api.Balance, error) {
	s, ok := c.o.Topology.ShardOf(a)
	if !ok {
		return api.Balance{Account: a.String()}, c.noAccount(a)
	}
	cluster := c.o.Topology.Cluster(s)
	out := api.Balance{
		Account: a.String(), Shard: int(s), Cluster: s.String(),
		Replicas: make([]api.ReplicaBalance, len(cluster.Servers)),
	}
	var strong AccountBalance
	var strongErr error
	var wg sync.WaitGroup
	wg.Go(func() { strong, strongErr = c.Balance(ctx, a) })
	for i := range cluster.Servers {
		wg.Go(func() { out.Replicas[i] = c.replica(ctx, cluster.Servers[i].ID, a) })
	}
	wg.Wait()
	furthest := markBehind(out.Replicas)
	switch {
	case strongErr == nil:
		out.Strong = true
		out.Balance, out.Available = strong.Balance, strong.Available.String()
		out.PendingIn, out.PendingOut = strong.PendingIn.String(), strong.PendingOut.String()
		return out, nil
	case furthest == nil:
		return out, strongErr
	}
	out.Balance, out.Available = furthest.Balance, furthest.Available
	out.PendingIn, out.PendingOut = furthest.PendingIn, furthest.PendingOut
	out.Error, _ = strongErr.(*api.Error)
	return out, nil
}

func (c *Client) replica(ctx context.Context, s shard.ServerID, a Account) api.ReplicaBalance {
	b, err := c.BalanceAt(ctx, s, a)
	r := api.ReplicaBalance{Server: int(s), Role: "unknown", Balance: "0", Available: "0", PendingIn: "0", PendingOut: "0"}
	if err != nil {
		return r
	}
	r.Up, r.Role, r.Term, r.Applied = true, b.Role, b.Term, b.Applied
	r.Balance, r.Available = b.Balance, b.Available.String()
	r.PendingIn, r.PendingOut = b.PendingIn.String(), b.PendingOut.String()
	return r
}

// markBehind fills in how far each replica is behind the furthest one, and returns that; nil: none
// answered.
func markBehind(replicas []api.ReplicaBalance) *api.ReplicaBalance {
	var furthest *api.ReplicaBalance
	for i := range replicas {
		if r := &replicas[i]; r.Up && (furthest == nil || r.Applied > furthest.Applied) {
			furthest = r
		}
	}
	for i := range replicas {
		if replicas[i].Up {
			replicas[i].Behind = furthest.Applied - replicas[i].Applied
		}
	}
	return furthest
}
