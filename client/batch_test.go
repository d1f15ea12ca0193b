package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"raftbank/internal/ledger"
)

func TestTransferBatch(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		batch := []Transfer{
			{From: 1, To: 2, Amount: ledger.Units(3)},
			{From: 1, To: 11, Amount: ledger.Units(3)},
			{From: 1, To: 2, Amount: ledger.Units(100)},
			{From: 1, To: 1, Amount: ledger.Units(1)},
		}
		got, err := c.TransferBatch(t.Context(), batch)
		if err != nil || len(got) != len(batch) {
			t.Fatalf("%d results, %v", len(got), err)
		}
		for i, want := range []struct {
			kind    Kind
			outcome Outcome
			reason  Reason
		}{
			{Intra, Committed, ledger.ReasonNone},
			{Cross, Committed, ledger.ReasonNone},
			{Intra, Aborted, ledger.ReasonInsufficientFunds},
			{Intra, Aborted, ledger.ReasonSameAccount},
		} {
			r := &got[i]
			if r.Kind != want.kind || r.Outcome != want.outcome || r.Reason != want.reason {
				t.Errorf("transfer %d: got %s %s %s, want %+v", i, r.Kind, r.Outcome, r.Reason, want)
			}
			if r.Transfer.ID.IsZero() || r.Transfer.To != batch[i].To {
				t.Errorf("transfer %d: the result is of %+v", i, r.Transfer)
			}
		}
		if b, err := c.Balance(t.Context(), 1); err != nil || b.Balance != "4" {
			t.Errorf("balance of 1: %+v, %v, want 4", b, err)
		}
		if !batch[0].ID.IsZero() {
			t.Error("the caller's transfers were changed")
		}
		if got, err := c.TransferBatch(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("no transfers: %v, %v", got, err)
		}
	})
}

func TestTransferBatchEndsWithItsContext(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		mustTransfer(t, c, 2, 3, 1) // connects
		n.set(func() { n.mute[1], n.mute[2], n.mute[3] = true, true, true })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		got, err := c.TransferBatch(ctx, []Transfer{
			{From: 1, To: 2, Amount: ledger.Units(1)}, {From: 11, To: 12, Amount: ledger.Units(1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Outcome != Unknown || got[1].Outcome != Committed {
			t.Errorf("got %s and %s, want unknown and committed", got[0].Outcome, got[1].Outcome)
		}
		if got[1].Latency >= got[0].Latency {
			t.Errorf("latencies %v and %v: want each to its own end", got[1].Latency, got[0].Latency)
		}
	})
}

func TestTransferBatchOfAClosedClient(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		c.Close()
		if _, err := c.TransferBatch(t.Context(), []Transfer{{From: 1, To: 2}}); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want %v", err, ErrClosed)
		}
	})
}
