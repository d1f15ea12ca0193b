package client

import (
	"context"
	"fmt"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/session"
	"raftbank/internal/txn"
)

// Transfer carries out one transfer and returns its outcome. The error is non-nil only for a closed
// client; everything else is an Outcome. ctx's end gives Unknown (or Unavailable if surely nothing
// was appended), never an error.
// Errors: ErrClosed.
func (c *Client) Transfer(ctx context.Context, t Transfer) (Result, error) {
	if t.ID.IsZero() {
		t.ID = NewID()
	}
	k := c.calls.Get().(*call)
	k.kind, k.record = callTransfer, recordOf(t)
	r, err := c.do(ctx, k)
	if err != nil {
		return Result{Transfer: t}, err
	}
	res := c.resultOf(&r)
	res.Transfer, res.Latency, res.Steps = t, time.Since(k.start), k.steps
	if !k.abandoned {
		*k = call{done: k.done}
		c.calls.Put(k)
	}
	return res, nil
}

// Resolve settles a transfer whose outcome is unknown, or tells its outcome if it is settled. A
// transfer that is prepared and undecided is aborted, as recovery would.
// Errors: ErrClosed; ErrNotFound if no shard knows the id (all shards answered): Cancel makes sure
// that it never applies.
func (c *Client) Resolve(ctx context.Context, id ID) (Result, error) {
	return c.settle(ctx, &call{kind: callResolve, id: id})
}

// Cancel makes sure that a transfer is not applied, unless it already is: ABORTED(cancelled), or
// the outcome that it has. Unknown: not every cluster could be asked; cancel again.
// Errors: ErrClosed.
func (c *Client) Cancel(ctx context.Context, id ID) (Result, error) {
	return c.settle(ctx, &call{kind: callCancel, id: id})
}

func (c *Client) settle(ctx context.Context, k *call) (Result, error) {
	if k.id.IsZero() {
		return Result{}, &api.Error{Code: codeUsage, Message: "the transfer id is zero"}
	}
	r, err := c.do(ctx, k)
	if err != nil {
		return Result{Transfer: Transfer{ID: k.id}}, err
	}
	res := c.resultOf(&r)
	res.Latency, res.Steps = time.Since(k.start), k.steps
	res.Transfer = transferOf(&r.Record)
	res.Transfer.ID = k.id
	if r.NotFound {
		return res, fmt.Errorf("transfer %s: %w", k.id, ErrNotFound)
	}
	return res, nil
}

func recordOf(t Transfer) ledger.Record {
	return ledger.Record{
		ID: t.ID, Debit: t.From, Credit: t.To, Amount: t.Amount,
		UserData: t.UserData, Code: t.Code, Currency: ledger.DefaultCurrency,
	}
}

func transferOf(r *ledger.Record) Transfer {
	return Transfer{ID: r.ID, From: r.Debit, To: r.Credit, Amount: r.Amount, UserData: r.UserData, Code: r.Code}
}

// resultOf turns the engine's result into the caller's. Transfer, Latency and Steps are left to fill in.
func (c *Client) resultOf(r *session.Result) Result {
	return Result{
		Kind: c.kindOf(&r.Record), Outcome: outcomeOf(r.Decision), Reason: r.Reason,
		Account: r.Account, Available: r.Available, Shard: r.Shard, Detail: r.Detail,
	}
}

func (c *Client) kindOf(r *ledger.Record) Kind {
	from, okFrom := c.o.Topology.ShardOf(r.Debit)
	to, okTo := c.o.Topology.ShardOf(r.Credit)
	switch {
	case !okFrom || !okTo:
		return 0
	case from == to:
		return Intra
	}
	return Cross
}

func outcomeOf(d txn.Decision) Outcome {
	switch d {
	case txn.DecidedCommitted:
		return Committed
	case txn.DecidedAborted:
		return Aborted
	case txn.DecidedUnavailable:
		return Unavailable
	case txn.DecidedUnknown:
		return Unknown
	case txn.Undecided:
	}
	panic("unreachable: an operation ended undecided")
}

// Err returns what kept the transfer from being committed, as an error for people and programs; nil
// if it is committed.
func (r *Result) Err() error {
	id := r.Transfer.ID.String()
	switch r.Outcome {
	case Committed:
		return nil
	case Aborted:
		return &api.Error{Code: codeRefused, Message: "aborted: " + r.Reason.String(), Phase: r.phase(), ID: id}
	case Unavailable:
		return &api.Error{
			Code: codeUnavailable, Message: "not applied: " + r.Detail, Shard: int(r.Shard), Phase: r.phase(),
			Retryable: true, ID: id,
		}
	case Unknown:
		next := "raftbank resolve " + id
		return &api.Error{
			Code: codeUnknown, Message: "outcome unknown, nothing is lost: " + next, Shard: int(r.Shard),
			Phase: r.phase(), Retryable: true, Hint: next, ID: id,
		}
	}
	panic("unreachable: outcome of a result")
}

func (r *Result) phase() string {
	switch r.Kind {
	case Cross:
		return "prepare"
	case Intra:
		return "transfer"
	}
	return "route"
}
