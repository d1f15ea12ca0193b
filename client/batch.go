package client

import (
	"context"
	"time"

	"raftbank/internal/ledger"
	"raftbank/internal/session"
)

// batch is the transfers of one call and what became of them.
type batch struct {
	transfers []Transfer
	ops       []session.OpID // owned by the loop
	results   []Result       // written by the loop before the call is done
	open      int            // results that are missing; owned by the loop
}

// TransferBatch carries out transfers as one call and returns their results in the same order when
// the last of them has ended. They are independent of each other: each ends as with Transfer, in no
// particular order, and each Latency runs to its own end. A batch saves the caller a goroutine per
// transfer; steps are not recorded.
//
// ctx's end gives what is open then Unknown (or Unavailable if surely nothing was appended).
// Errors: ErrClosed.
func (c *Client) TransferBatch(ctx context.Context, ts []Transfer) ([]Result, error) {
	b := &batch{transfers: make([]Transfer, len(ts)), results: make([]Result, len(ts)), open: len(ts)}
	copy(b.transfers, ts)
	for i := range b.transfers {
		if b.transfers[i].ID.IsZero() {
			b.transfers[i].ID = NewID()
		}
	}
	if len(ts) == 0 {
		return b.results, nil
	}
	if _, err := c.do(ctx, &call{kind: callBatch, batch: b}); err != nil {
		return nil, err
	}
	return b.results, nil
}

// beginBatch begins every transfer of a batch.
func (l *loop) beginBatch(k *call) {
	k.batch.ops = make([]session.OpID, len(k.batch.transfers))
	for i := range k.batch.transfers {
		op := l.engine.Transfer(recordOf(k.batch.transfers[i]))
		k.batch.ops[i] = op
		l.calls[op] = place{call: k, index: i}
	}
}

func (b *batch) record(i int) ledger.Record { return recordOf(b.transfers[i]) }

// answer takes one result; the last one ends the call.
func (b *batch) answer(c *Client, p place, r *session.Result, now time.Time) {
	res := c.resultOf(p.call, r)
	res.Transfer, res.Latency = b.transfers[p.index], now.Sub(p.call.start)
	b.results[p.index] = res
	if b.open--; b.open == 0 {
		p.call.done <- session.Result{}
	}
}
