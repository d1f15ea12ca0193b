package replica

import (
	"fmt"
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// StepPeer takes a message of another server. The transport has authenticated the sender.
func (r *Replica) StepPeer(from shard.ServerID, m wire.Message) {
	switch m := m.(type) {
	case *wire.Raft:
		r.stepRaft(from, m)
	case *wire.Probe:
		r.stepProbe(from, m)
	case *wire.ProbeReply:
		r.stepProbeReply(from, m)
	case *wire.Checkpoint:
		r.stepCheckpoint(from, m)
	case *wire.SnapshotAsk:
		r.stepAsk(from, m)
	case *wire.SnapshotPart:
		r.stepPart(from, m)
	case *wire.InquireRequest:
		c := call{server: uint32(from), request: m.Request}
		if r.admit(c, &m.Header) {
			r.inquire(c, m)
		}
	case *wire.Reply:
		if !r.stepAlarm(from, m) {
			r.stepInquiryReply(from, m)
		}
	default:
		r.counters.badMessages++
	}
}

// StepClient takes a request of a client's connection.
func (r *Replica) StepClient(conn uint64, m wire.Message) {
	switch m := m.(type) {
	case *wire.TransferRequest:
		r.with(conn, &m.Header, func(c call) { r.transfers(c, m) })
	case *wire.PrepareRequest:
		r.with(conn, &m.Header, func(c call) { r.prepares(c, m) })
	case *wire.FinishRequest:
		r.with(conn, &m.Header, func(c call) { r.finish(c, m) })
	case *wire.InquireRequest:
		r.with(conn, &m.Header, func(c call) { r.inquire(c, m) })
	case *wire.StatusRequest:
		r.with(conn, &m.Header, func(c call) { r.status(c, m) })
	case *wire.CancelRequest:
		r.with(conn, &m.Header, func(c call) { r.cancel(c, m) })
	case *wire.BalanceRequest:
		r.with(conn, &m.Header, func(c call) { r.balances(c, m) })
	case *wire.AuditRequest:
		r.with(conn, &m.Header, func(c call) { r.audit(c, m) })
	case *wire.QueryRequest:
		r.with(conn, &m.Header, func(c call) { r.query(c, m) })
	case *wire.AdminRequest:
		r.admin(call{conn: conn, request: m.Request}, m)
	default:
		r.counters.badMessages++
	}
}

func (r *Replica) with(conn uint64, h *wire.Header, serve func(call)) {
	c := call{conn: conn, request: h.Request}
	if r.admit(c, h) {
		serve(c)
	}
}

// admit answers requests that this replica cannot serve at all.
func (r *Replica) admit(c call, h *wire.Header) bool {
	switch {
	case h.Shard != r.options.Shard || h.Epoch != r.smap.Epoch():
		r.answers.status(c, wire.StatusWrongShard, fmt.Sprintf("server %s serves %s at map epoch %d, not %s at epoch %d",
			r.options.Server, r.options.Shard, r.smap.Epoch(), h.Shard, h.Epoch))
	case r.alarm != "":
		r.answers.status(c, wire.StatusNotReady, r.alarm)
	case r.Replaying():
		applied, _ := r.state.Applied()
		r.answers.status(c, wire.StatusNotReady, fmt.Sprintf("server %s is replaying its log: %d of %d entries",
			r.options.Server, applied, r.startCommit))
	default:
		return r.roomToWithhold(c)
	}
	return false
}

// leading answers NOT_LEADER unless this replica leads.
func (r *Replica) leading(c call) bool {
	r.followLeadership()
	if r.lead.part == nil {
		r.answers.status(c, wire.StatusNotLeader, "")
		return false
	}
	return true
}

// room answers BUSY over a bound. Nothing of the request has been taken then.
func (r *Replica) room(c call, prepares int) bool {
	l := &r.options.Limits
	switch {
	case r.queue.bytes > l.InflightBytes:
		r.busy(c, "too much is on its way through the log")
	case r.late():
		r.busy(c, "what is on its way through the log takes long")
	case prepares > 0 && r.state.PreparedCount()+r.queue.prepares+prepares > l.Prepared:
		r.busy(c, "too many prepared transfers")
	default:
		return true
	}
	return false
}

// late reports whether the log is behind by more than a stall of the disk explains.
func (r *Replica) late() bool {
	if r.queue.bytes < r.options.Limits.LateBytes {
		return false
	}
	p := r.queue.oldest()
	return p != nil && r.timeNs-p.sinceNs >= r.options.Limits.LateNs
}

func (r *Replica) busy(c call, why string) {
	r.counters.busy++
	r.answers.status(c, wire.StatusBusy, why)
}

// participants returns the shards of the record's accounts, sorted; accounts that no shard holds
// have none. The caller must not change them.
func (r *Replica) participants(rec *ledger.Record) []shard.ID {
	parts, _ := r.state.Participants(rec)
	return parts
}

// route says whether a record may go into this shard's log as cross-shard or one-shard transfer.
type route uint8

const (
	routeHere route = iota
	routeElsewhere
	routeNoAccount // an account that no shard holds: refused before the log, without a trace
	routeBad       // structurally invalid
)

func (r *Replica) route(rec *ledger.Record, cross bool) (route, ledger.Reason) {
	if reason := ledger.CheckRecord(rec); reason != ledger.ReasonNone {
		return routeBad, reason
	}
	debit, debitOK := r.smap.Shard(rec.Debit)
	credit, creditOK := r.smap.Shard(rec.Credit)
	if !debitOK || !creditOK {
		return routeNoAccount, ledger.ReasonNoAccount
	}
	if own := r.options.Shard; debit != own && credit != own || (debit != credit) != cross {
		return routeElsewhere, ledger.ReasonNone
	}
	return routeHere, ledger.ReasonNone
}

// routeAll checks every record before any is taken, so that a request is refused as a whole.
func (r *Replica) routeAll(c call, recs []ledger.Record, cross bool) bool {
	if len(recs) > wire.MaxBatch {
		r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("%d records in one request: at most %d", len(recs), wire.MaxBatch))
		return false
	}
	for i := range recs {
		switch to, reason := r.route(&recs[i], cross); to {
		case routeHere:
		case routeElsewhere:
			r.answers.status(c, wire.StatusWrongShard, fmt.Sprintf("transfer %s from %s to %s does not belong to %s in this form",
				recs[i].ID, recs[i].Debit, recs[i].Credit, r.options.Shard))
			return false
		case routeNoAccount, routeBad:
			r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("transfer %s: %s", recs[i].ID, reason))
			return false
		}
	}
	return true
}

func (r *Replica) transfers(c call, m *wire.TransferRequest) {
	if !r.leading(c) || !r.routeAll(c, m.Records, false) || !r.room(c, 0) {
		return
	}
	r.counters.transfers += uint64(len(m.Records))
	if len(m.Records) == 0 {
		return
	}
	fresh, ws := m.Records, []waiter{{call: c, count: uint32(len(m.Records)), some: true}}
	if m.Again || planted.On(planted.PrecheckOnly) {
		fresh, ws = r.freshOf(c, m)
	}
	if len(fresh) > 0 {
		r.enqueue(ledger.Command{Kind: ledger.CmdTransfer, Records: fresh, Settled: planted.On(planted.PrecheckOnly)}, ws, ledger.RecordSize*len(fresh))
	}
}

// freshOf answers those of a request that are known, and returns the others.
func (r *Replica) freshOf(c call, m *wire.TransferRequest) (fresh []ledger.Record, ws []waiter) {
	for i := range m.Records {
		if o, known := r.state.Lookup(m.Records[i].ID); known && !(planted.On(planted.PostedTwice) && o.State == ledger.Committed) {
			res := recorded(&o, &m.Records[i], ledger.Digest{})
			if res.Code == ledger.ResultState && res.State == ledger.Committed {
				r.answers.committed(c, uint32(i), 1)
			} else {
				r.answers.result(c, uint32(i), res)
			}
			continue
		}
		if planted.On(planted.PrecheckOnly) && r.plantedShort(&m.Records[i]) {
			r.deferItem(&deferral{kind: ledger.CmdTransfer, record: m.Records[i], waiter: one(c, uint32(i))})
			continue
		}
		fresh = append(fresh, m.Records[i])
		if n := len(ws); n > 0 && ws[n-1].item+ws[n-1].count == uint32(i) {
			ws[n-1].count++
		} else {
			ws = append(ws, one(c, uint32(i)))
		}
	}
	return fresh, ws
}

func (r *Replica) prepares(c call, m *wire.PrepareRequest) {
	if !r.leading(c) || !r.routeAll(c, m.Records, true) || !r.room(c, len(m.Records)) {
		return
	}
	if len(m.Digests) != len(m.Records) {
		r.answers.status(c, wire.StatusBadRequest, "one digest per record")
		return
	}
	for i := range m.Records {
		if ledger.DigestOf(m.Records[i]) != m.Digests[i] {
			r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("transfer %s: digest does not match its record", m.Records[i].ID))
			return
		}
	}
	r.counters.prepares += uint64(len(m.Records))
	fresh := 0 // of the request's records, those that go into the log; they move to its front
	var ws []waiter
	for i := range m.Records {
		rec := &m.Records[i]
		if r.options.Debug {
			r.event(LevelDebug, "prepare", "txn", rec.ID.String(),
				"from", rec.Debit.String(), "to", rec.Credit.String(), "amount", rec.Amount.String())
		}
		w := one(c, uint32(i))
		if m.Again {
			if o, known := r.state.Lookup(rec.ID); known && !plantedOpen(&o) {
				r.answerPrepare(w, rec, &m.Digests[i], recorded(&o, rec, m.Digests[i]))
				continue
			}
		}
		if planted.On(planted.VoteBeforeApply) {
			r.answerPrepare(w, rec, &m.Digests[i], &ledger.Result{Code: ledger.ResultState, State: ledger.Prepared})
		}
		if planted.On(planted.PrecheckOnly) && r.plantedShort(rec) {
			r.deferItem(&deferral{kind: ledger.CmdPrepare, record: *rec, digest: m.Digests[i], waiter: w})
			continue
		}
		if fresh < i {
			m.Records[fresh], m.Digests[fresh] = *rec, m.Digests[i]
		}
		fresh++
		if n := len(ws); n > 0 && ws[n-1].item+ws[n-1].count == w.item {
			ws[n-1].count++
		} else {
			ws = append(ws, w)
		}
	}
	if fresh > 0 {
		r.enqueue(ledger.Command{
			Kind: ledger.CmdPrepare, Records: m.Records[:fresh:fresh], Digests: m.Digests[:fresh:fresh],
			Settled: planted.On(planted.PrecheckOnly),
		}, ws, (ledger.RecordSize+32)*fresh)
	}
}

// recorded answers from the outcome table: outcomes are permanent, so no log entry is needed. For
// a cross-shard transfer the content is compared by digest, else by record.
func recorded(o *ledger.Outcome, rec *ledger.Record, d ledger.Digest) *ledger.Result {
	same := o.Wildcard
	switch {
	case same:
	case o.HasRecord && rec != nil:
		same = o.Record == *rec
	case o.HasRecord:
		same = ledger.DigestOf(o.Record) == d
	case rec != nil:
		same = ledger.DigestOf(*rec) == o.Digest
	default:
		same = o.Digest == d
	}
	if !same && !planted.On(planted.ContentIgnored) {
		return &ledger.Result{Code: ledger.ResultConflict, Reason: ledger.ReasonIDConflict, Index: o.Index, Term: o.Term}
	}
	epoch := o.VoteEpoch
	if o.State == ledger.Committed {
		epoch = o.CommitEpoch
	}
	return &ledger.Result{
		Code: ledger.ResultState, State: o.State, Reason: o.Reason, Account: o.Account, Available: o.Available,
		Epoch: epoch, Index: o.Index, Term: o.Term,
	}
}

// finish takes certified facts. They are answered at once: recovery guards what they enable, and so it does
// if they are refused for want of room. They have twice the room of what begins transfers, since a FINISH
// ends one.
func (r *Replica) finish(c call, m *wire.FinishRequest) {
	if !r.leading(c) {
		return
	}
	if r.queue.bytes > 2*r.options.Limits.InflightBytes {
		r.busy(c, "too much is on its way through the log")
		return
	}
	r.lead.part.Facts(m.Blocks)
	r.answers.ok(c)
}

// answerKnown answers an inquiry whose id this replica knows. Outcomes and votes are permanent, so
// any replica may.
func (r *Replica) answerKnown(w waiter, q wire.Inquiry) bool {
	o, known := r.state.Lookup(q.ID)
	if !known {
		return false
	}
	r.answerVote(w, q.ID, q.Digest, recorded(&o, nil, q.Digest), q.Participants)
	return true
}

// badInquiry says what is wrong with an inquiry, before any item is taken: a status refuses every open item of
// a request, so none may wait in a queue when one is refused.
func (r *Replica) badInquiry(m *wire.InquireRequest) string {
	if !m.Poison {
		return ""
	}
	for i := range m.Items {
		q := &m.Items[i]
		switch {
		case q.ID.IsZero():
			return "a transfer id is zero"
		case !slices.Contains(q.Participants, r.options.Shard):
			return fmt.Sprintf("transfer %s: %s is no participant", q.ID, r.options.Shard)
		}
	}
	return ""
}

func (r *Replica) inquire(c call, m *wire.InquireRequest) {
	if len(m.Items) > wire.MaxBatch {
		r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("%d inquiries in one request: at most %d", len(m.Items), wire.MaxBatch))
		return
	}
	if text := r.badInquiry(m); text != "" {
		r.answers.status(c, wire.StatusBadRequest, text)
		return
	}
	reason := m.Reason
	if reason != ledger.ReasonCancelled {
		reason = ledger.ReasonTimedOut
	}
	r.followLeadership()
	op := &readOp{kind: readInquire, call: c}
	cmd := ledger.Command{Kind: ledger.CmdPoison}
	var ws []waiter
	for i, q := range m.Items {
		w := one(c, uint32(i))
		w.parts = q.Participants
		switch {
		case !(planted.On(planted.PoisonObeyed) && m.Poison) && r.answerKnown(w, q):
		case planted.On(planted.StaleNone) && !m.Poison:
			r.answers.result(c, uint32(i), &ledger.Result{Code: ledger.ResultState, State: ledger.None})
		case r.lead.part == nil:
			// Only a linearizable "none" means anything.
			r.answers.status(c, wire.StatusNotLeader, "")
		case !m.Poison:
			op.items, op.inquired = append(op.items, uint32(i)), append(op.inquired, q)
		default:
			cmd.Poisons = append(cmd.Poisons, ledger.Poison{ID: q.ID, Digest: q.Digest, Reason: reason})
			ws = append(ws, w)
		}
	}
	if len(op.items) > 0 && r.roomToRead(c) {
		r.reads.add(op)
	}
	if len(ws) > 0 && r.room(c, 0) {
		r.counters.poisons += uint64(len(ws))
		r.enqueue(cmd, ws, 64*len(ws))
	}
}

func (r *Replica) roomToRead(c call) bool {
	if r.reads.waiting < r.options.Limits.Reads {
		r.counters.reads++
		return true
	}
	r.busy(c, "too many reads wait")
	return false
}

func (r *Replica) status(c call, m *wire.StatusRequest) {
	if len(m.IDs) > wire.MaxBatch {
		r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("%d ids in one request: at most %d", len(m.IDs), wire.MaxBatch))
		return
	}
	if !r.leading(c) || !r.roomToRead(c) {
		return
	}
	op := &readOp{kind: readStatus, call: c, ids: m.IDs}
	for i := range m.IDs {
		op.items = append(op.items, uint32(i))
	}
	r.reads.add(op)
}

func (r *Replica) cancel(c call, m *wire.CancelRequest) {
	if len(m.IDs) > wire.MaxBatch {
		r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("%d ids in one request: at most %d", len(m.IDs), wire.MaxBatch))
		return
	}
	if slices.ContainsFunc(m.IDs, ledger.TransferID.IsZero) {
		r.answers.status(c, wire.StatusBadRequest, "a transfer id is zero")
		return
	}
	if !r.leading(c) || !r.room(c, 0) {
		return
	}
	if n := len(m.IDs); n > 0 {
		ws := []waiter{{call: c, count: uint32(n), some: true}}
		r.enqueue(ledger.Command{Kind: ledger.CmdCancel, Cancels: slices.Clone(m.IDs)}, ws, 16*n)
	}
}

func (r *Replica) balances(c call, m *wire.BalanceRequest) {
	if len(m.Accounts) > wire.MaxBatch {
		r.answers.status(c, wire.StatusBadRequest, fmt.Sprintf("%d accounts in one request: at most %d", len(m.Accounts), wire.MaxBatch))
		return
	}
	if r.state.Genesis() == nil {
		// Its accounts exist by the map: they must not be reported as missing.
		r.answers.status(c, wire.StatusNotReady, r.options.Shard.String()+" is not open yet")
		return
	}
	op := &readOp{kind: readBalance, call: c, accounts: m.Accounts}
	if !m.Strong || planted.On(planted.StaleRead) {
		r.answerStale(op)
		return
	}
	if r.leading(c) && r.roomToRead(c) {
		r.reads.add(op)
	}
}

// stepInquiryReply takes another shard's answer to this leader's inquiry.
func (r *Replica) stepInquiryReply(from shard.ServerID, m *wire.Reply) {
	_, cluster, ok := r.options.Topology.Server(from)
	if !ok || r.lead.part == nil {
		return
	}
	if m.Leader != 0 {
		r.guess[cluster.Shard] = m.Leader
	}
	ids, asked, ok := r.lead.part.Asked(m.Request)
	if !ok || asked != cluster.Shard {
		return
	}
	switch m.Status {
	case wire.StatusOK:
		for i := range m.Results {
			res := &m.Results[i]
			if res.Code == ledger.ResultState && res.State == ledger.None && int(res.Item) < len(ids) {
				r.lead.part.Undecided(m.Request, ids[res.Item])
			}
		}
		r.lead.part.Facts(m.Blocks)
	case wire.StatusNotLeader:
		// A broadcast reaches the leader anyway; after a wrong guess ask again at once.
		if m.Leader != 0 && m.Leader != from {
			r.lead.part.Reask(m.Request)
		}
	default:
	}
}
