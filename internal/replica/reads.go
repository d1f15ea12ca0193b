package replica

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// readKind says what a linearizable read is for.
type readKind uint8

const (
	readBalance readKind = 1 + iota
	readInquire          // NONE of a plain inquiry
	readStatus
	readSuspect // own YES without a trace: lost data, or only behind?
	readAudit   // CONFIRM and COLLECT
	readQuery   // statements and transfers
)

// readOp waits for a read point.
type readOp struct {
	kind     readKind
	call     call
	accounts []shard.Account // readBalance
	items    []uint32        // readInquire, readStatus: positions in the request
	inquired []txn.Inquiry   // readInquire, parallel to items
	ids      []ledger.TransferID
	suspect  txn.Suspect
	audit    *wire.AuditRequest // readAudit
	query    *wire.QueryRequest // readQuery
}

// readBatch shares one ReadIndex round.
type readBatch struct {
	ops    []*readOp
	point  uint64 // the read index, once known
	known  bool
	issued uint64 // tick of the last attempt
}

// reads holds linearizable reads. Every attempt has a fresh context: reusing one has let a reader
// take a read point from before its request.
type reads struct {
	fresh   []*readOp
	batches []*readBatch
	context map[uint64]*readBatch
	next    uint64
	waiting int // settling ones included
}

func (q *reads) init() { q.context = map[uint64]*readBatch{} }

func (q *reads) add(op *readOp) {
	q.fresh = append(q.fresh, op)
	q.waiting++
}

// drop forgets all reads and returns those with a caller.
func (q *reads) drop() []*readOp {
	ops := q.fresh
	for _, b := range q.batches {
		ops = append(ops, b.ops...)
	}
	next := q.next
	*q = reads{next: next}
	q.init()
	kept := ops[:0]
	for _, op := range ops {
		if op.kind != readSuspect {
			kept = append(kept, op)
		}
	}
	return kept
}

// issueReads asks raft for a read point for all fresh reads at once.
func (r *Replica) issueReads() {
	if len(r.reads.fresh) == 0 {
		return
	}
	if r.lead.part == nil {
		for _, op := range r.reads.drop() {
			r.answers.status(op.call, wire.StatusNotLeader, "")
		}
		return
	}
	if !r.ownTermApplied() {
		return
	}
	b := &readBatch{ops: r.reads.fresh}
	r.reads.fresh = nil
	r.reads.batches = append(r.reads.batches, b)
	r.readIndex(b)
}

// ownTermApplied reports whether this leader has applied an entry of its own term. Before that its commit
// index may be older than what an earlier leader has acknowledged. The library waits for it, but
// not in a group of one: there the commit index of the last write counts, and that write is not synced.
func (r *Replica) ownTermApplied() bool {
	_, term := r.state.Applied()
	return term == r.lead.term
}

func (r *Replica) readIndex(b *readBatch) {
	if planted.On(planted.NoReadIndex) {
		b.known = true
		return
	}
	if !planted.On(planted.ReadContextReused) {
		r.reads.next++
	}
	b.issued = r.now
	r.reads.context[r.reads.next] = b
	ctx := binary.LittleEndian.AppendUint64(nil, r.reads.next)
	r.rn.ReadIndex(binary.LittleEndian.AppendUint64(ctx, r.lead.term))
}

// retryReads asks again, with a fresh context, for batches without an answer.
func (r *Replica) retryReads() {
	if r.lead.part == nil {
		return
	}
	for _, b := range r.reads.batches {
		if !b.known && r.now-b.issued >= readRetryTicks {
			r.readIndex(b)
		}
	}
}

func (r *Replica) takeReadStates(states []raft.ReadState) {
	for _, s := range states {
		if len(s.RequestCtx) != 16 || binary.LittleEndian.Uint64(s.RequestCtx[8:]) != r.lead.term {
			continue
		}
		n := binary.LittleEndian.Uint64(s.RequestCtx)
		b, ok := r.reads.context[n]
		delete(r.reads.context, n)
		if ok && !b.known {
			b.known, b.point = true, s.Index
		}
	}
}

// serveReads answers every batch whose read point is applied.
func (r *Replica) serveReads() {
	applied, _ := r.state.Applied()
	kept := r.reads.batches[:0]
	for _, b := range r.reads.batches {
		if !b.known || b.point > applied {
			kept = append(kept, b)
			continue
		}
		r.reads.waiting -= len(b.ops)
		for _, op := range b.ops {
			r.serveRead(op)
		}
		for n, other := range r.reads.context { // order does not show: entries are only deleted
			if other == b {
				delete(r.reads.context, n)
			}
		}
	}
	clear(r.reads.batches[len(kept):])
	r.reads.batches = kept
}

// serveRead answers one read at a read point that is applied.
func (r *Replica) serveRead(op *readOp) {
	switch op.kind {
	case readBalance:
		r.readAccounts(op)
	case readInquire:
		for i, q := range op.inquired {
			w := one(op.call, op.items[i])
			if !r.answerKnown(w, q) {
				r.answers.result(op.call, op.items[i], &ledger.Result{Code: ledger.ResultState, State: ledger.None})
			}
		}
	case readStatus:
		for i, id := range op.ids {
			r.answerStatus(op.call, op.items[i], id)
		}
	case readSuspect:
		r.judgeSuspect(op.suspect)
	case readAudit:
		r.readAuditStep(op.call, op.audit)
	case readQuery:
		r.readQueried(op)
	default:
		panic("unreachable: read kind")
	}
}

func (r *Replica) answerStatus(c call, item uint32, id ledger.TransferID) {
	reply := r.answers.ok(c)
	o, ok := r.state.Lookup(id)
	if !ok {
		reply.Results = append(reply.Results, wire.Result{Item: item, Code: ledger.ResultState})
		return
	}
	epoch := o.VoteEpoch
	if o.State == ledger.Committed {
		epoch = o.CommitEpoch
	}
	reply.Results = append(reply.Results, wire.Result{
		Item: item, Code: ledger.ResultState, State: o.State, Reason: o.Reason, Account: o.Account,
		Available: o.Available, Epoch: epoch, Index: o.Index, Term: o.Term,
		Content: wire.ContentOf(&o),
	})
}

// judgeSuspect stops serving if the shard certified a YES that a linearizable state does not hold.
func (r *Replica) judgeSuspect(s txn.Suspect) {
	if _, known := r.state.Lookup(s.ID); known {
		return
	}
	r.raise(alarmPrefix + r.options.Shard.String() + " certified a vote for transfer " + s.ID.String() +
		" that its log does not hold. It serves nothing more; restore a server from before the loss, " +
		"then remove the file ALARM from every data directory of the shard")
	r.event(LevelError, "lost data", "txn", s.ID.String())
}
