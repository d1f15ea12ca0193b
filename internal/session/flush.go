package session

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// itemKind says what an item asks. Items of one kind and reason share requests.
type itemKind uint8

const (
	itemTransfer itemKind = iota
	itemPrepare
	itemInquire // with poison, reason timed_out
	itemInquireCancel
	itemStatus
	itemCancel
	itemCall
	itemAudit
	itemFinish // not an item: marks requests that carry blocks
	itemKinds
)

// item is one thing asked of one shard.
type item struct {
	op     *op
	coord  *txn.Coordinator // transfer, prepare, inquire
	shard  *shardState
	server *serverState // calls to one server
	kind   itemKind
	reason ledger.Reason
	queued bool // stands in a ready list
	closed bool // not to be sent again
	sent   bool // to its shard: the other one's copy does not count
}

// request is what was sent in one message and is not fully answered.
type request struct {
	id     uint64
	kind   itemKind
	server *serverState
	items  []*item      // nil: answered
	group  *group       // whose records are asked for, in place of items
	index  []uint32     // of the group's records; nil: all, in their order
	open   int          // items without an answer
	size   int          // records that it counts in its shard's window
	sent   uint64       // tick
	silent bool         // its server said nothing for AnswerTicks
	copied bool         // its server was silent, and a copy went to the leader
	chunk  *finishChunk // itemFinish
}

// alive reports whether anybody still waits for an answer.
func (r *request) alive() bool {
	switch {
	case r.kind == itemFinish:
		return true
	case r.group != nil:
		return r.group.open > 0
	}
	return slices.ContainsFunc(r.items, func(it *item) bool { return it != nil && !it.op.over })
}

// Flush sends everything that is ready, shared by frames per shard leader, and returns the effects
// since the last Flush.
func (e *Engine) Flush() *Effects {
	e.admitWaiting()
	if !e.crash.holdsSends() {
		for _, sh := range e.shards {
			e.flushShard(sh)
		}
		e.flushDirect()
	}
	if !e.crash.holdsSends() {
		for _, sh := range e.shards { // probes that the first round asked for
			e.flushShard(sh)
		}
		e.connect()
	}
	e.admitWaiting()
	e.given, e.out = e.out, e.given.emptied()
	e.given.Crash = e.crash.now
	return &e.given
}

// emptied returns effects without content in the memory of old ones.
func (f *Effects) emptied() Effects {
	clear(f.Sends)
	clear(f.Committed)
	clear(f.Dones)
	clear(f.Steps)
	return Effects{
		Connects: f.Connects[:0], Sends: f.Sends[:0], Steps: f.Steps[:0], Committed: f.Committed[:0], Dones: f.Dones[:0],
	}
}

// flushShard sends a shard's items to its leader, and with them its FINISH messages.
func (e *Engine) flushShard(sh *shardState) {
	if !sh.wants() {
		return
	}
	to := e.target(sh)
	if to == nil || e.now < sh.holdUntil {
		sh.ready = slices.DeleteFunc(sh.ready, func(it *item) bool { return it.op.over || it.closed })
		sh.groups = slices.DeleteFunc(sh.groups, func(g *group) bool { return g.open == 0 })
		return
	}
	quiet := e.quiet(sh)
	var groups [itemKinds][]*item
	ready := sh.ready
	sh.ready = nil // a probe may join meanwhile
	kept := ready[:0]
	held := holder{e: e}
	for i, it := range ready {
		switch {
		case it.op.over || it.closed:
			it.queued = false
		case quiet && (it.kind == itemTransfer || it.kind == itemPrepare), held.holds(it), e.crash.holdsItem(it):
			kept = append(kept, it)
		default:
			it.queued = false
			kind := it.group()
			if groups[kind] == nil { // nearly always all are of one kind
				groups[kind] = make([]*item, 0, min(len(ready)-i, batchOf(kind)))
			}
			groups[kind] = append(groups[kind], it)
		}
	}
	clear(ready[len(kept):])
	sh.ready = append(kept, sh.ready...)
	sent := !quiet && e.sendGroups(sh, to)
	for kind := range groups {
		items := groups[kind]
		for len(items) > 0 {
			n := min(len(items), batchOf(itemKind(kind)))
			e.sendItems(to, itemKind(kind), items[:n:n])
			items = items[n:]
			sent = true
		}
	}
	if len(sh.finishes) > 0 && !quiet && (sent || e.draining || e.now >= sh.finishDue) {
		e.sendFinishes(sh, to)
	}
}

// group returns the kind of request that carries the item.
func (it *item) group() itemKind {
	if it.kind == itemInquire && it.reason == ledger.ReasonCancelled {
		return itemInquireCancel
	}
	return it.kind
}

func batchOf(kind itemKind) int {
	if kind == itemCall || kind == itemAudit {
		return 1
	}
	return wire.MaxBatch
}

// holder tells which PREPAREs of one flush of a shard wait.
type holder struct {
	e     *Engine
	parts []shard.ID // that were looked at last, and
	hold  bool       // what came of it: nothing that it hangs on changes meanwhile
}

// holds reports whether a PREPARE should wait because a participant may be unable to vote. As long as
// no copy has left, waiting keeps the transfer surely unapplied and reserves no money.
func (h *holder) holds(it *item) bool {
	if it.kind != itemPrepare || it.coord.MayBeApplied() {
		return false
	}
	if parts := it.coord.Participants(); !slices.Equal(parts, h.parts) {
		h.parts, h.hold = parts, h.e.unable(parts)
	}
	return h.hold
}

// unable reports whether one of the shards may be unable to vote. A doubtful one is asked.
func (e *Engine) unable(parts []shard.ID) bool {
	hold := false
	for _, p := range parts {
		sh := e.shardBy(p)
		if sh.doubtful {
			e.probe(sh)
			hold = true
		}
		hold = hold || e.target(sh) == nil
	}
	return hold
}

// probe asks a shard something harmless that only a leader with a majority can answer.
func (e *Engine) probe(sh *shardState) {
	if sh.probing {
		return
	}
	sh.probing = true
	o := e.newOp(opCall)
	o.detached, o.probes = true, sh
	o.call = &Call{Shard: sh.id, Build: func(h wire.Header) wire.Message {
		return &wire.StatusRequest{Header: h, IDs: []ledger.TransferID{{1}}}
	}}
	e.arm(e.o.DeadlineTicks, timerOp, uint64(o.id))
	// It is not one of the caller's operations: the bound on those must not hold it up.
	e.startCall(o)
}

// sendItems sends one request.
func (e *Engine) sendItems(to *serverState, kind itemKind, items []*item) {
	r := &request{kind: kind, server: to, items: items, open: len(items)}
	r.id = e.requests.Add(r)
	e.arm(e.o.AnswerTicks, timerRequest, r.id)
	e.send(to, e.build(r))
	for _, it := range items {
		it.sent = true
		switch kind {
		case itemTransfer:
			it.coord.Sent()
			e.stepSent(it, "TRANSFER")
		case itemPrepare:
			it.coord.Sent()
			e.stepSent(it, "PREPARE")
			e.crash.prepareSent(it)
		case itemInquire, itemInquireCancel:
			e.stepSent(it, "INQUIRE")
		case itemStatus, itemCancel, itemCall, itemAudit:
		default:
			panic("unreachable: item kind")
		}
	}
}

func (e *Engine) stepSent(it *item, what string) {
	if e.o.Trace {
		e.step(it.op, 0, what+" to "+it.shard.id.String()+" (server "+it.shard.leaderName(e)+")")
	}
}

func (sh *shardState) leaderName(e *Engine) string {
	if s := e.target(sh); s != nil {
		return s.id.String()
	}
	return "?"
}

// build returns a request's message.
func (e *Engine) build(r *request) wire.Message {
	h := e.header(r.id, r.server.shard.id)
	switch r.kind {
	case itemTransfer:
		m := &wire.TransferRequest{Header: h, Records: make([]ledger.Record, len(r.items))}
		for i, it := range r.items {
			m.Records[i] = *it.coord.Record()
			m.Again = m.Again || it.coord.MayBeApplied()
			if planted.On(planted.RetryNewID) && it.coord.MayBeApplied() {
				m.Records[i].ID[0] ^= byte(r.id)
			}
		}
		return m
	case itemPrepare:
		m := &wire.PrepareRequest{
			Header: h, Records: make([]ledger.Record, len(r.items)),
			Digests: make([]ledger.Digest, len(r.items)),
		}
		for i, it := range r.items {
			m.Records[i], m.Digests[i] = *it.coord.Record(), it.coord.Digest()
			m.Again = m.Again || it.sent
			if planted.On(planted.RetryNewID) && it.coord.MayBeApplied() {
				m.Records[i].ID[0] ^= byte(r.id)
				m.Digests[i] = ledger.DigestOf(m.Records[i])
			}
		}
		return m
	case itemInquire, itemInquireCancel:
		m := &wire.InquireRequest{
			Header: h, Poison: true, Reason: r.items[0].reason, Items: make([]wire.Inquiry, len(r.items)),
		}
		for i, it := range r.items {
			m.Items[i] = wire.Inquiry{ID: it.coord.Record().ID, Digest: it.coord.Content(), Participants: it.coord.Participants()}
		}
		return m
	case itemStatus:
		return &wire.StatusRequest{Header: h, IDs: settleIDs(r.items)}
	case itemCancel:
		return &wire.CancelRequest{Header: h, IDs: settleIDs(r.items)}
	case itemCall:
		return r.items[0].op.call.Build(h)
	case itemAudit:
		return r.items[0].op.audit.request(h)
	}
	panic("unreachable: item kind")
}

func settleIDs(items []*item) []ledger.TransferID {
	ids := make([]ledger.TransferID, len(items))
	for i, it := range items {
		ids[i] = it.op.settle.id
	}
	return ids
}

func (e *Engine) send(to *serverState, m wire.Message) {
	for i := range e.out.Sends {
		if s := &e.out.Sends[i]; s.Server == to.id {
			s.Messages = append(s.Messages, m)
			return
		}
	}
	e.out.Sends = append(e.out.Sends, Send{Server: to.id, Messages: []wire.Message{m}})
}

// startCall queues a call.
func (e *Engine) startCall(o *op) {
	it := &item{op: o, kind: itemCall}
	if o.call.Server != 0 {
		it.server = e.server(o.call.Server)
		if it.server == nil {
			e.complete(o, e.endResult(o, txn.DecidedUnavailable))
			return
		}
		it.shard = it.server.shard
	} else if it.shard = e.shardBy(o.call.Shard); it.shard == nil {
		e.complete(o, e.endResult(o, txn.DecidedUnavailable))
		return
	}
	e.enqueue(it)
}

// flushDirect sends the calls to single servers whose connections stand.
func (e *Engine) flushDirect() {
	e.direct = slices.DeleteFunc(e.direct, func(it *item) bool {
		switch {
		case it.op.over:
			return true
		case !it.server.up:
			return false
		}
		it.queued = false
		e.sendItems(it.server, itemCall, []*item{it})
		return true
	})
}
