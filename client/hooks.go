package client

import (
	"context"
	"slices"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// ShardAnswer is what one shard said about a transfer.
type ShardAnswer struct {
	Shard    shard.ID
	State    ledger.TransferState
	Conflict bool // the id is taken there by other content
	Reason   Reason

	blocks []txn.Block // certificates that came with it
}

// SendLatePrepare sends one PREPARE to the last participant of a cross-shard transfer, as a copy
// that the network held back would arrive, and returns the answer. It finishes nothing. For tests
// and the demo (docs/PROTOCOL.md, section 11, point 7).
// Errors: ErrClosed; *api.Error, also for a transfer within one shard.
func (c *Client) SendLatePrepare(ctx context.Context, t Transfer) (ShardAnswer, error) {
	parts, err := c.crossParts(t)
	if err != nil {
		return ShardAnswer{}, err
	}
	last := parts[len(parts)-1]
	return c.prepareAt(ctx, last, recordOf(t))
}

func (c *Client) crossParts(t Transfer) ([]shard.ID, error) {
	from, okFrom := c.o.Topology.ShardOf(t.From)
	to, okTo := c.o.Topology.ShardOf(t.To)
	if !okFrom || !okTo || from == to {
		return nil, &api.Error{Code: codeUsage, Phase: "route", Message: "the accounts are not on two clusters", ID: t.ID.String()}
	}
	parts := []shard.ID{from, to}
	slices.Sort(parts)
	return parts, nil
}

func (c *Client) prepareAt(ctx context.Context, s shard.ID, r ledger.Record) (ShardAnswer, error) {
	return c.askShard(ctx, s, "prepare", func(h wire.Header) wire.Message {
		return &wire.PrepareRequest{Header: h, Records: []ledger.Record{r}, Digests: []ledger.Digest{ledger.DigestOf(r)}}
	})
}

func (c *Client) askShard(ctx context.Context, s shard.ID, phase string, build func(wire.Header) wire.Message) (ShardAnswer, error) {
	r, err := c.ask(ctx, session.Call{Shard: s, Build: build}, phase)
	if err != nil {
		return ShardAnswer{Shard: s}, err
	}
	out := ShardAnswer{Shard: s}
	if len(r.Reply.Voted) > 0 {
		out.State = ledger.Prepared
	}
	if len(r.Reply.Results) > 0 {
		res := &r.Reply.Results[0]
		out.State, out.Reason = res.State, res.Reason
		out.Conflict = res.Code == ledger.ResultConflict
	}
	out.blocks = r.Reply.Blocks
	return out, nil
}

// LieReport is what a lying client achieved.
type LieReport struct {
	// Prepared are the votes on two contents under one id: one for each participant.
	Prepared []ShardAnswer
	// After is what every participant holds after the forged FINISH and the uncertified cancel. A
	// bank that keeps its promises holds what it held before.
	After []ShardAnswer
	// Bank is the bank in whose name the certificates were forged, as the real ones name it.
	Bank txn.BankID
}

// Lie plays a client that breaks the protocol (docs/PROTOCOL.md, section 11, point 9): it sends two
// contents under one id, a FINISH with forged certificates, both ways, and a cancel without
// certificate. Nothing of it may move or release money; recovery, or Resolve, then aborts both
// contents. For tests and the demo.
// Errors: ErrClosed; *api.Error, also for a transfer within one shard.
func (c *Client) Lie(ctx context.Context, t Transfer) (LieReport, error) {
	var report LieReport
	if t.ID.IsZero() {
		t.ID = NewID()
	}
	parts, err := c.crossParts(t)
	if err != nil {
		return report, err
	}
	contents := [2]ledger.Record{recordOf(t), recordOf(t)}
	contents[1].UserData++ // another content under the same id, just as affordable
	for i, s := range parts {
		a, err := c.prepareAt(ctx, s, contents[i])
		if err != nil {
			return report, err
		}
		report.Prepared = append(report.Prepared, a)
	}
	// What a liar has seen it can copy: bank and key. Only the MAC it cannot make.
	var seen txn.Block
	for _, a := range report.Prepared {
		if len(a.blocks) > 0 {
			seen = a.blocks[0]
		}
	}
	report.Bank = seen.Bank
	for _, s := range parts {
		for _, fact := range []ledger.Fact{ledger.FactYes, ledger.FactCommitted, ledger.FactAborted} {
			_, err := c.askShard(ctx, s, "finish", func(h wire.Header) wire.Message {
				return &wire.FinishRequest{Header: h, Blocks: forged(seen, parts, contents[:], fact)}
			})
			if err != nil {
				return report, err
			}
		}
		_, err := c.askShard(ctx, s, "cancel", func(h wire.Header) wire.Message {
			return &wire.CancelRequest{Header: h, IDs: []ledger.TransferID{t.ID}}
		})
		if err != nil {
			return report, err
		}
	}
	for _, s := range parts {
		a, err := c.askShard(ctx, s, "status", func(h wire.Header) wire.Message {
			return &wire.StatusRequest{Header: h, IDs: []ledger.TransferID{t.ID}}
		})
		if err != nil {
			return report, err
		}
		report.After = append(report.After, a)
	}
	return report, nil
}

// forged returns blocks that state a fact in the name of every participant, with bank and key of a block that
// was seen, and a MAC that nobody made.
func forged(seen txn.Block, parts []shard.ID, contents []ledger.Record, fact ledger.Fact) []txn.Block {
	var blocks []txn.Block
	for _, s := range parts {
		b := txn.Block{Bank: seen.Bank, Shard: s, KeyID: seen.KeyID, MAC: seen.MAC}
		for i := range contents {
			b.Votes = append(b.Votes, txn.Vote{
				ID: contents[i].ID, Digest: ledger.DigestOf(contents[i]), Fact: fact, Reason: ledger.ReasonCancelled,
			})
		}
		blocks = append(blocks, b)
	}
	return blocks
}
