package session

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// batch is the transfers of one call.
type batch struct {
	open   int      // transfers whose caller has no answer yet
	groups []*group // those within one shard
	cross  slab     // those between two
	ops    []*op    // those that left their group
}

// Committed tells that transfers within one shard of a batch have committed: those at Places, or, if that is
// nil, Count ones from First on. Places is not the caller's to change.
type Committed struct {
	Op           OpID
	First, Count uint32
	Places       []uint32
}

// TransferBatch begins transfers as one operation: at least one. Each ends as with Transfer, in no
// particular order: in Effects.Committed, or with a Done that names its place. The operation is over
// when all have ended. The records are the engine's from now on and must not change.
func (e *Engine) TransferBatch(records []ledger.Record) OpID {
	b := e.newOp(opBatch)
	b.batch = &batch{open: len(records)}
	e.crashOnSubmit()
	if sh := e.commonShard(records); sh != nil {
		for first := 0; first < len(records); first += e.maxGroup() {
			end := min(first+e.maxGroup(), len(records))
			e.beginPart(b, &group{shard: sh, records: records[first:end:end], first: uint32(first)})
		}
		return b.id
	}
	parts := make([][]uint32, len(e.shards)) // places by shard
	first := e.ops.Next()
	for i := range records {
		way := e.wayOf(&records[i])
		switch {
		case way.reason != ledger.ReasonNone:
			e.placeEnds(b, uint32(i), &Result{
				Decision: txn.DecidedAborted, Record: records[i], Reason: way.reason, Account: way.account,
			})
		case way.other != nil:
			x := b.batch.cross.next(len(records) - i)
			x.op.parent, x.op.place = b, uint32(i)
			e.beginCross(x, &records[i], way)
		default:
			at := slices.Index(e.shards, way.shard)
			parts[at] = append(parts[at], uint32(i))
		}
	}
	if n := e.ops.Next() - first; n > 0 {
		e.armCross(OpID(first), int(n))
	}
	for at, places := range parts {
		for part := range slices.Chunk(places, e.maxGroup()) {
			g := &group{shard: e.shards[at], places: part, records: make([]ledger.Record, len(part))}
			for i, place := range part {
				g.records[i] = records[place]
			}
			e.beginPart(b, g)
		}
	}
	return b.id
}

func (e *Engine) beginPart(b *op, g *group) {
	g.batch, g.open, g.states = b, len(g.records), make([]recordState, len(g.records))
	b.batch.groups = append(b.batch.groups, g)
	e.beginGroup(g)
}

// commonShard returns the shard that holds every account of well-formed records; nil: there is none.
func (e *Engine) commonShard(records []ledger.Record) *shardState {
	var sh *shardState
	for i := range records {
		r := &records[i]
		if sh == nil {
			way := e.wayOf(r)
			if way.reason != ledger.ReasonNone || way.other != nil {
				return nil
			}
			sh = way.shard
			continue
		}
		if !sh.accounts.Contains(r.Debit) || !sh.accounts.Contains(r.Credit) || ledger.CheckRecord(r) != ledger.ReasonNone {
			return nil
		}
	}
	return sh
}

// way is how a transfer is carried out: refused at once, within a shard, or between shard and other, in the
// order of their ids.
type way struct {
	reason  ledger.Reason
	account shard.Account // that the refusal names
	shard   *shardState
	other   *shardState
}

func (e *Engine) wayOf(r *ledger.Record) way {
	if reason := ledger.CheckRecord(r); reason != ledger.ReasonNone {
		return way{reason: reason}
	}
	a, b := e.shardOf(r.Debit), e.shardOf(r.Credit)
	switch {
	case a == nil:
		return way{reason: ledger.ReasonNoAccount, account: r.Debit}
	case b == nil:
		return way{reason: ledger.ReasonNoAccount, account: r.Credit}
	case a == b:
		return way{shard: a}
	case a.id > b.id:
		a, b = b, a
	}
	return way{shard: a, other: b}
}

// shardOf returns the shard that holds an account, nil if none does.
func (e *Engine) shardOf(a shard.Account) *shardState {
	if e.near != nil && e.near.accounts.Contains(a) {
		return e.near
	}
	s, ok := e.routes.Shard(a)
	if !ok {
		return nil
	}
	e.near = e.shardBy(s)
	return e.near
}

// placeEnds ends one transfer of a batch.
func (e *Engine) placeEnds(b *op, place uint32, r *Result) {
	e.out.Dones = append(e.out.Dones, Done{Op: b.id, Place: place, Result: *r})
	e.batchEnds(b, 1)
}

// batchEnds counts transfers of a batch whose caller has its answer.
func (e *Engine) batchEnds(b *op, n int) {
	if b.batch.open -= n; b.batch.open == 0 {
		b.over = true
		e.ops.Remove(uint64(b.id))
	}
}

// abandonBatch answers every open transfer of a batch with what is known.
func (e *Engine) abandonBatch(b *op) {
	for _, piece := range b.batch.cross.pieces {
		for i := range piece {
			e.abandon(&piece[i].op)
		}
	}
	for _, o := range b.batch.ops {
		e.abandon(o)
	}
	for _, g := range b.batch.groups {
		why := e.why(g.shard)
		for i := range g.records {
			e.abandonRecord(g, i, why)
		}
	}
}

// header of a request to a shard.
func (e *Engine) header(request uint64, s shard.ID) wire.Header {
	return wire.Header{Request: request, Shard: s, Epoch: e.routes.Epoch()}
}
