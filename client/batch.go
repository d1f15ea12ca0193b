package client

import (
	"context"
	"slices"
	"time"

	"raftbank/internal/ledger"
	"raftbank/internal/session"
	"raftbank/internal/txn"
)

// Tally is what became of many transfers: how many committed and when, and a result for each other one.
type Tally struct {
	Committed []Commits
	Others    []Other
}

// Commits are transfers of one kind that ended together, after Latency.
type Commits struct {
	Kind    Kind
	Count   int
	Latency time.Duration
}

// Other is the result of the transfer at Index, which did not commit.
type Other struct {
	Index  int
	Result Result
}

// batch is the transfers of one call and what became of them. The loop owns it until the call is done.
type batch struct {
	c       *Client
	records []ledger.Record // with their ids; the engine's
	open    int             // transfers without an outcome
	ended   []bool          // parallel to records
	results []Result        // parallel, if the caller wants one of each
	tally   Tally           // if it does not
}

// TransferBatch carries out transfers as one call and returns their results in the same order when
// the last of them has ended. They are independent of each other: each ends as with Transfer, in no
// particular order, and each Latency runs to its own end. A batch saves the caller a goroutine per
// transfer; steps are not recorded.
//
// ctx's end gives what is open then Unknown (or Unavailable if surely nothing was appended).
// Errors: ErrClosed.
func (c *Client) TransferBatch(ctx context.Context, ts []Transfer) ([]Result, error) {
	b := c.newBatch(ts)
	b.results = make([]Result, len(ts))
	if err := b.do(ctx); err != nil {
		return nil, err
	}
	return b.results, nil
}

// TransferMany is TransferBatch for callers to whom it is enough to know which transfers did not commit: the
// others cost next to nothing. Others are in the order of their indexes. A transfer whose id the client drew
// and that committed is not named: who needs its id draws it with NewID.
// Errors: ErrClosed.
func (c *Client) TransferMany(ctx context.Context, ts []Transfer) (Tally, error) {
	b := c.newBatch(ts)
	if err := b.do(ctx); err != nil {
		return Tally{}, err
	}
	slices.SortFunc(b.tally.Others, func(a, b Other) int { return a.Index - b.Index })
	return b.tally, nil
}

func (c *Client) newBatch(ts []Transfer) *batch {
	b := &batch{c: c, records: make([]ledger.Record, len(ts)), open: len(ts), ended: make([]bool, len(ts))}
	for i := range ts {
		b.records[i] = recordOf(ts[i])
	}
	drawIDs(b.records)
	return b
}

func (b *batch) do(ctx context.Context) error {
	if len(b.records) == 0 {
		return nil
	}
	_, err := b.c.do(ctx, &call{kind: callBatch, batch: b})
	return err
}

// committed takes transfers within one shard that committed together.
func (b *batch) committed(c *session.Committed, latency time.Duration) {
	b.open -= int(c.Count)
	if b.results == nil {
		b.count(Intra, int(c.Count), latency)
	}
	for i := range c.Count {
		at := c.First + i
		if c.Places != nil {
			at = c.Places[i]
		}
		b.ended[at] = true
		if b.results != nil {
			b.results[at] = Result{Transfer: transferOf(&b.records[at]), Kind: Intra, Outcome: Committed, Latency: latency}
		}
	}
}

// answer takes one result.
func (b *batch) answer(at uint32, r *session.Result, latency time.Duration) {
	b.open--
	b.ended[at] = true
	if b.results == nil && r.Decision == txn.DecidedCommitted {
		kind := Intra
		if r.Cross {
			kind = Cross
		}
		b.count(kind, 1, latency)
		return
	}
	res := b.c.resultOf(r)
	res.Transfer, res.Latency = transferOf(&b.records[at]), latency
	if b.results != nil {
		b.results[at] = res
	} else {
		b.tally.Others = append(b.tally.Others, Other{Index: int(at), Result: res})
	}
}

// count counts transfers that committed.
func (b *batch) count(k Kind, n int, latency time.Duration) {
	if last := len(b.tally.Committed) - 1; last >= 0 {
		if c := &b.tally.Committed[last]; c.Kind == k && c.Latency == latency {
			c.Count += n
			return
		}
	}
	b.tally.Committed = append(b.tally.Committed, Commits{Kind: k, Count: n, Latency: latency})
}

// end ends what is open with one result.
func (b *batch) end(r *session.Result, latency time.Duration) {
	for at := range b.records {
		if !b.ended[at] {
			r.Record = b.records[at]
			b.answer(uint32(at), r, latency)
		}
	}
}
