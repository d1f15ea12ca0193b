package client

import (
	"errors"
	"slices"
	"testing"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

func TestHistoryInPages(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		for range 5 {
			mustTransfer(t, c, 1, 2, 1)
			mustTransfer(t, c, 2, 1, 1)
		}
		mustTransfer(t, c, 1, 11, 3)
		mustTransfer(t, c, 1, 2, 100) // refused
		all, err := c.History(t.Context(), 1, HistoryOptions{})
		if err != nil || all.Next != "" || len(all.Lines) != 13 || all.Lines[12].Result != "genesis" || all.Balance != "7" ||
			all.Lines[0].Balance != "7" || !all.Strong || all.Server != 1 || all.Cluster != "C1" || all.Behind != 0 {
			t.Fatalf("%d lines, %+v, %v", len(all.Lines), all, err)
		}
		for limit := 1; limit < 14; limit++ {
			var lines []api.HistoryLine
			o := HistoryOptions{Limit: limit, ReadOptions: ReadOptions{Stale: limit%2 == 0}}
			for {
				h, err := c.History(t.Context(), 1, o)
				if err != nil || h.Strong == o.Stale {
					t.Fatalf("limit %d after %d lines: %+v, %v", limit, len(lines), h, err)
				}
				lines = append(lines, h.Lines...)
				if o.Cursor = h.Next; h.Next == "" {
					break
				}
				if len(h.Lines) != limit {
					t.Fatalf("limit %d: a page of %d lines", limit, len(h.Lines))
				}
			}
			if !slices.Equal(lines, all.Lines) {
				t.Errorf("limit %d: %d lines, not the statement", limit, len(lines))
			}
		}
	})
}

func TestHistorySaysHowOldItIs(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		mustTransfer(t, c, 1, 2, 1)
		n.set(func() {
			n.down[3] = true
			n.twist = func(to shard.ServerID, r *wire.Reply) error {
				if to == 1 && len(r.Body) > 0 {
					r.Body = []byte(`{"server":1,"commit":50,"applied":40}`)
				}
				return nil
			}
		})
		h, err := c.History(t.Context(), 1, HistoryOptions{ReadOptions: ReadOptions{Server: 2}})
		if err != nil || h.Strong || h.Server != 2 || h.Heard != 2 || h.Applied != 2 || h.Behind != 48 {
			t.Errorf("%+v, %v", h, err)
		}
		n.set(func() { n.down[1], n.twist = true, nil })
		for range 5 {
			h, err = c.History(t.Context(), 1, HistoryOptions{ReadOptions: ReadOptions{Stale: true}})
			if err != nil || h.Server != 2 || h.Heard != 1 || h.Behind != 0 || len(h.Lines) != 2 {
				t.Errorf("the one that is up: %+v, %v", h, err)
			}
		}
		_, err = c.History(t.Context(), 1, HistoryOptions{ReadOptions: ReadOptions{Server: 3}})
		apiError(t, err, "unavailable")
		_, err = c.History(t.Context(), 1, HistoryOptions{})
		apiError(t, err, "unavailable")
	})
}

func TestHistoryThatBreaksOff(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		for range 10 {
			mustTransfer(t, c, 1, 2, 1)
		}
		pages := 0
		n.set(func() {
			n.twist = func(_ shard.ServerID, r *wire.Reply) error {
				if pages++; pages == 3 {
					r.Status, r.Text, r.Body = wire.StatusBadRequest, "out of paper", nil
				}
				return nil
			}
		})
		h, err := c.History(t.Context(), 1, HistoryOptions{})
		if err != nil || h.Error == nil || h.Error.Code != "refused" || len(h.Lines) != 8 || h.Next == "" {
			t.Fatalf("%d lines, next %q, %+v, %v", len(h.Lines), h.Next, h.Error, err)
		}
		rest, err := c.History(t.Context(), 1, HistoryOptions{Cursor: h.Next})
		if err != nil || len(rest.Lines) != 3 || rest.Lines[0].Balance != "8" || rest.Next != "" {
			t.Errorf("%+v, %v", rest, err)
		}
		for _, o := range []HistoryOptions{
			{Limit: -1}, {Limit: MaxHistoryLines + 1}, {ReadOptions: ReadOptions{Server: 99}}, {ReadOptions: ReadOptions{Server: 4}},
		} {
			_, err := c.History(t.Context(), 1, o)
			apiError(t, err, "usage")
		}
		_, err = c.History(t.Context(), 21, HistoryOptions{})
		apiError(t, err, "refused")
		_, err = c.History(t.Context(), 2, HistoryOptions{Cursor: h.Next})
		apiError(t, err, "refused")
	})
}

// TestGetTransfer holds the outcome against what the shards hold.
func TestGetTransfer(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		want := func(what string, id ID, o ReadOptions, outcome, reason string) api.TransferRecord {
			t.Helper()
			v, err := c.GetTransfer(t.Context(), id, o)
			if err != nil || v.Error != nil || v.Outcome != outcome || v.Reason != reason {
				t.Errorf("%s: %+v, %v; want %s %s", what, v, err, outcome, reason)
			}
			return v
		}
		stale := ReadOptions{Stale: true}
		x := Transfer{ID: NewID(), From: 1, To: 11, Amount: ledger.Units(3)}
		want("never sent", x.ID, ReadOptions{}, "not-found", "")
		if v := want("never sent, one server", x.ID, ReadOptions{Server: 5}, "not-found", ""); len(v.Shards) != 1 || v.Shards[0].Shard != 2 {
			t.Errorf("one server was asked, %+v answered", v.Shards)
		}
		mustPrepare := func(s shard.ID, x Transfer) {
			t.Helper()
			if _, err := c.prepareAt(t.Context(), s, recordOf(x)); err != nil {
				t.Fatal(err)
			}
		}
		mustPrepare(1, x)
		v := want("one vote", x.ID, ReadOptions{}, "in-doubt", "")
		if v.From != "1" || v.To != "11" || v.Amount != "3" || v.Kind != "cross" || len(v.Shards) != 2 || v.Shards[0].State != "prepared" || v.Shards[1].State != "none" {
			t.Errorf("%+v", v)
		}
		mustPrepare(2, x)
		want("all votes", x.ID, ReadOptions{}, "committed", "")
		want("all votes, of replicas", x.ID, stale, "committed", "")
		want("all votes, of one shard", x.ID, ReadOptions{Server: 2}, "in-doubt", "")

		refused := mustTransfer(t, c, 12, 2, 1000)
		want("refused", refused.Transfer.ID, ReadOptions{}, "aborted", "insufficient_funds")
		intra := mustTransfer(t, c, 3, 4, 1)
		if v := want("intra", intra.Transfer.ID, ReadOptions{}, "committed", ""); v.Kind != "intra" {
			t.Errorf("%+v", v)
		}
		gone := NewID()
		if _, err := c.Cancel(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		want("cancelled", gone, ReadOptions{}, "aborted", "cancelled")
		half := NewID()
		n.set(func() {
			n.bank.Handle(1, &wire.CancelRequest{Header: wire.Header{Shard: 1, Epoch: 1}, IDs: []ID{half}})
		})
		want("a cancel that stopped half-way", half, ReadOptions{}, "in-doubt", "cancelled")

		// Two contents under one id, a vote for each: neither can commit.
		a := Transfer{ID: NewID(), From: 5, To: 15, Amount: ledger.Units(1)}
		b := a
		b.Amount = ledger.Units(2)
		mustPrepare(1, a)
		mustPrepare(2, b)
		want("two contents", a.ID, ReadOptions{}, "aborted", "id_conflict")
	})
}

// TestGetTransferWithoutAShard: who takes no part need not answer, who does must.
func TestGetTransferWithoutAShard(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		intra, cross := mustTransfer(t, c, 1, 2, 1), mustTransfer(t, c, 1, 11, 1)
		<-time.After(30 * time.Millisecond) // of the bubble's clock: FINISH travels within 20 ms
		n.set(func() {
			for s := shard.ServerID(4); s <= 6; s++ {
				n.down[s] = true
			}
		})
		start := time.Now()
		v, err := c.GetTransfer(t.Context(), intra.Transfer.ID, ReadOptions{})
		if err != nil || v.Outcome != "committed" || v.Error != nil || time.Since(start) > time.Second {
			t.Errorf("after %s: %+v, %v", time.Since(start), v, err)
		}
		v, err = c.GetTransfer(t.Context(), cross.Transfer.ID, ReadOptions{})
		if err != nil || v.Outcome != "committed" || v.Error != nil || v.Shards[1].Up {
			t.Errorf("%+v, %v", v, err)
		}
		v, err = c.GetTransfer(t.Context(), NewID(), ReadOptions{})
		if err != nil || v.Outcome != "" || v.Error == nil || v.Error.Code != "unavailable" || v.Error.Shard != 2 {
			t.Errorf("%+v, %v", v, err)
		}
		_, err = c.GetTransfer(t.Context(), NewID(), ReadOptions{Server: 99})
		apiError(t, err, "usage")
		c.Close()
		if _, err := c.GetTransfer(t.Context(), NewID(), ReadOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if _, err := c.History(t.Context(), 1, HistoryOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}
