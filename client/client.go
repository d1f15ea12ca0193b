package client

import (
	"context"

	"raftbank/internal/api"
	"raftbank/internal/shard"
)

// Client talks to a bank. See the package comment.
type Client struct{}

// Open returns a client. It connects lazily: a bank that is down shows at the first call.
func Open(o Options) (*Client, error) { panic("contract") }

// Close flushes FINISH messages that are still buffered (bounded by 1 s), ends every call with its
// present knowledge and waits for the client's goroutines.
func (c *Client) Close() error { panic("contract") }

// NewID draws a ULID.
func NewID() ID { panic("contract") }

// Topology returns the topology the client was opened with.
func (c *Client) Topology() *shard.Topology { panic("contract") }

// Transfer carries out one transfer and returns its outcome. The error is non-nil only for a closed
// client; everything else is an Outcome. ctx's end gives Unknown (or Unavailable if surely nothing
// was appended), never an error.
func (c *Client) Transfer(ctx context.Context, t Transfer) (Result, error) { panic("contract") }

// Balance reads an account strongly (section 7). Errors: *api.Error with code unavailable or refused.
func (c *Client) Balance(ctx context.Context, a Account) (AccountBalance, error) { panic("contract") }

// BalanceAt reads an account as one server has applied it: stale by choice.
func (c *Client) BalanceAt(ctx context.Context, s shard.ServerID, a Account) (AccountBalance, error) {
	panic("contract")
}

// Replicas reads an account strongly and from every replica of its cluster, down ones included.
func (c *Client) Replicas(ctx context.Context, a Account) (api.Balance, error) { panic("contract") }

// Resolve settles a transfer whose outcome is unknown, or tells its outcome if it is settled.
// Errors: ErrNotFound if no shard knows the id (all shards answered).
func (c *Client) Resolve(ctx context.Context, id ID) (Result, error) { panic("contract") }

// Cancel makes sure that a transfer is not applied, unless it already is: ABORTED(cancelled), or
// the outcome that it has.
func (c *Client) Cancel(ctx context.Context, id ID) (Result, error) { panic("contract") }

// Status asks every server.
func (c *Client) Status(ctx context.Context) (api.Status, error) { panic("contract") }

// Datastore asks one server (or every server, with server 0) for its history.
func (c *Client) Datastore(ctx context.Context, server shard.ServerID, q api.DatastoreQuery) (api.Datastore, error) {
	panic("contract")
}

// Explain asks every server for one transfer and merges the answers into a timeline.
func (c *Client) Explain(ctx context.Context, id ID) (api.Explain, error) { panic("contract") }

// InDoubt lists the transfers that are prepared and not finished, from every leader.
func (c *Client) InDoubt(ctx context.Context) (api.InDoubt, error) { panic("contract") }

// CheckConservation compares hashes and totals over all replicas, retrying for up to 10 s (or ctx)
// until nothing is prepared and indexes stand still over two passes.
func (c *Client) CheckConservation(ctx context.Context) (api.Check, error) { panic("contract") }

// Fault sets the faults of one server's transport. Servers refuse it without --allow-faults.
func (c *Client) Fault(ctx context.Context, s shard.ServerID, f api.FaultRequest) (api.FaultReply, error) {
	panic("contract")
}
