package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// applyUpTo applies the committed entries of the present Ready that are durable here.
func (r *Replica) applyUpTo(durable uint64) {
	applied, _ := r.state.Applied()
	for _, e := range r.ready.CommittedEntries {
		switch i := e.GetIndex(); {
		case i <= applied:
			continue
		case i > durable || r.out.Fatal != nil:
			return
		}
		r.apply(e)
		applied = e.GetIndex()
	}
}

func (r *Replica) apply(e *raftpb.Entry) {
	index, term := e.GetIndex(), e.GetTerm()
	if e.GetType() == raftpb.EntryConfChange {
		r.applyMembers(e)
		return
	}
	if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
		if m := &r.conf; m.settled == 0 && m.settleTerm == term && m.settleTerm == r.lead.term && index > m.settleAfter {
			m.settled = index
		}
		r.state.Skip(index, term)
		return
	}
	entry := &r.scratch.entry
	if err := entry.Decode(e.GetData()); err != nil {
		r.fatal(fmt.Errorf("server %s: entry %d of %s cannot be read: %w. Nothing after it was applied; "+
			"is this program older than the log?", r.options.Server, index, r.options.Shard, err))
		return
	}
	opened := r.state.Genesis() != nil
	if planted.On(planted.AppliedTwice) && index == r.startCommit {
		plantedTwice(entry)
	}
	results := r.state.ApplyEncoded(index, term, entry, e.GetData())
	if g := r.state.Genesis(); !opened && g != nil {
		r.checkGenesis(g)
		r.event(LevelInfo, "bank opened", "index", index, "term", term)
	}
	p := r.queue.take(slot{term: term, seq: entry.Seq})
	if entry.Proposer != r.id {
		p = nil
	}
	n, finished := 0, r.state.Finished()
	for i := range entry.Commands {
		c := &entry.Commands[i]
		items := c.Items()
		if c.Kind == ledger.CmdFinishVotes {
			finished = r.followVotes(index, results[n:n+items], finished)
		} else {
			r.follow(index, c, results[n:n+items])
		}
		n += items
	}
	if p == nil {
		return
	}
	// Answers come last: what a deferral finds pending, the participant must know, and all of the entry is applied.
	n = 0
	for i, ws := 0, p.waiters; i < len(entry.Commands); i++ {
		c := &entry.Commands[i]
		r.deliver(c, results[n:n+c.Items()], waitersFor(&ws, c.Items()))
		n += c.Items()
	}
}

// follow keeps the leader's participant in step with the applied state, and tells the log.
func (r *Replica) follow(index uint64, c *ledger.Command, results []ledger.Result) {
	switch c.Kind {
	case ledger.CmdPrepare:
		for i := range results {
			if r.lead.part != nil && results[i].Code == ledger.ResultState && results[i].State == ledger.Prepared {
				r.lead.part.VotedOn(&c.Records[i], &c.Digests[i], results[i].Row)
			}
			if r.options.Debug {
				r.event(LevelDebug, "vote", "txn", c.Records[i].ID.String(),
					"index", index, "vote", voteText(results[i]))
			}
		}
	case ledger.CmdFinish:
		for i := range results {
			f := &c.Finishes[i]
			switch {
			case results[i].Code == ledger.ResultUnknownHere:
				r.counters.unknownHere++
			case results[i].Code == ledger.ResultState &&
				(results[i].State == ledger.Committed || results[i].State == ledger.Aborted):
				// A FINISH of other content (ResultConflict) leaves the prepared one as it is.
				if r.lead.part != nil {
					r.lead.part.Finished(f.ID)
				}
			}
			if r.options.Debug {
				r.event(LevelDebug, "finish", "txn", f.ID.String(),
					"index", index, "state", results[i].State.String(), "reason", results[i].Reason.String())
			}
		}
	case ledger.CmdBarrier, ledger.CmdVoid, ledger.CmdRelease, ledger.CmdAllocate:
		r.followAudit(index, c, results)
	case ledger.CmdTransfer, ledger.CmdGenesis, ledger.CmdPoison, ledger.CmdCancel, ledger.CmdFinishVotes:
	}
}

// followVotes is follow for votes that were finished together: finished are the ids of those that this and later commands
// finished. It returns those of later ones.
func (r *Replica) followVotes(index uint64, results []ledger.Result, finished []ledger.TransferID) []ledger.TransferID {
	for i := range results {
		if results[i].Code != ledger.ResultState {
			continue
		}
		id := finished[0]
		finished = finished[1:]
		if r.lead.part != nil {
			r.lead.part.Finished(id)
		}
		if r.options.Debug {
			r.event(LevelDebug, "finish", "txn", id.String(),
				"index", index, "state", results[i].State.String(), "reason", results[i].Reason.String())
		}
	}
	return finished
}

func voteText(res ledger.Result) string {
	switch {
	case res.Code == ledger.ResultDefer:
		return "deferred"
	case res.Code == ledger.ResultState && res.State == ledger.Prepared:
		return "yes"
	case res.Code == ledger.ResultState && res.State == ledger.Committed:
		return "committed"
	}
	return "no: " + res.Reason.String()
}

// deliver answers those who wait for a command's items.
func (r *Replica) deliver(c *ledger.Command, results []ledger.Result, waiters []waiter) {
	if planted.On(planted.AnswersSwapped) {
		waiters = plantedSwapped(waiters)
	}
	at := 0
	for _, w := range waiters {
		n := int(w.count)
		switch {
		case !w.some:
		case c.Kind == ledger.CmdTransfer:
			r.deliverTransfers(c.Records[at:at+n], results[at:at+n], w)
		case c.Kind == ledger.CmdPrepare:
			r.deliverVotes(c.Records[at:at+n], c.Digests[at:at+n], results[at:at+n], w)
		default:
			for i := range n {
				r.deliverItem(c, at+i, &results[at+i], w.at(i))
			}
		}
		at += n
	}
}

// at returns the waiter for the i-th of the items.
func (w waiter) at(i int) waiter {
	w.item, w.count = w.item+uint32(i), 1
	return w
}

// deliverTransfers answers transfers within this shard: what committed, in runs.
func (r *Replica) deliverTransfers(records []ledger.Record, results []ledger.Result, w waiter) {
	from := 0
	for i := range results {
		res := &results[i]
		if res.Code == ledger.ResultState && res.State == ledger.Committed {
			continue
		}
		r.answers.committed(w.call, w.item+uint32(from), uint32(i-from))
		from = i + 1
		if res.Code == ledger.ResultDefer {
			r.deferItem(&deferral{kind: ledger.CmdTransfer, record: records[i], waiter: w.at(i)})
			continue
		}
		r.answers.result(w.call, w.item+uint32(i), res)
	}
	r.answers.committed(w.call, w.item+uint32(from), uint32(len(results)-from))
}

// deliverVotes answers PREPAREs.
func (r *Replica) deliverVotes(records []ledger.Record, digests []ledger.Digest, results []ledger.Result, w waiter) {
	r.answers.expect(w.call, results)
	ans := r.answers.get(w.call)
	from := 0 // of what was voted YES on and is not answered yet
	for i := range results {
		res := &results[i]
		if res.Code == ledger.ResultState && res.State == ledger.Prepared {
			v := yesOf(&records[i], &digests[i], res)
			ans.vote(r.participants(&records[i]), &v)
			continue
		}
		r.answers.voted(w.call, w.item+uint32(from), uint32(i-from))
		from = i + 1
		if res.Code == ledger.ResultDefer {
			r.deferItem(&deferral{kind: ledger.CmdPrepare, record: records[i], digest: digests[i], waiter: w.at(i)})
			continue
		}
		r.answerPrepare(w.at(i), &records[i], &digests[i], res)
	}
	r.answers.voted(w.call, w.item+uint32(from), uint32(len(results)-from))
}

// yesOf is voteOf for a transfer that was voted YES on and is in P.
func yesOf(rec *ledger.Record, d *ledger.Digest, res *ledger.Result) txn.Vote {
	return txn.Vote{ID: rec.ID, Digest: *d, Fact: ledger.FactYes, Epoch: res.Epoch}
}

// answerPrepare answers a PREPARE with what this shard holds for it.
func (r *Replica) answerPrepare(w waiter, rec *ledger.Record, d *ledger.Digest, res *ledger.Result) {
	parts := r.participants(rec)
	if res.Code != ledger.ResultState || res.State != ledger.Prepared {
		r.answerVote(w, rec.ID, *d, res, parts)
		return
	}
	v := yesOf(rec, d, res)
	r.answers.voted(w.call, w.item, 1)
	r.answers.vote(w.call, parts, &v)
}

// deliverItem answers who waits for item i of a command.
func (r *Replica) deliverItem(c *ledger.Command, i int, res *ledger.Result, w waiter) {
	switch c.Kind {
	case ledger.CmdPoison:
		r.answerVote(w, c.Poisons[i].ID, c.Poisons[i].Digest, res, w.parts)
	case ledger.CmdCancel:
		r.answers.result(w.call, w.item, res)
	case ledger.CmdBarrier, ledger.CmdVoid, ledger.CmdRelease, ledger.CmdAllocate:
		r.deliverAudit(w, res)
	case ledger.CmdTransfer, ledger.CmdPrepare, ledger.CmdFinish, ledger.CmdFinishVotes, ledger.CmdGenesis:
		panic("unreachable: transfers and votes are answered in runs, and nobody waits for the others")
	}
}

// answerVote answers an item with its result and, where there is a fact, the certificate.
func (r *Replica) answerVote(w waiter, id ledger.TransferID, d ledger.Digest, res *ledger.Result, parts []shard.ID) {
	r.answers.result(w.call, w.item, res)
	if v, ok := voteOf(id, d, res); ok {
		r.answers.vote(w.call, parts, &v)
	}
}

// voteOf turns the replicated result for (id, digest) into the fact that a certificate states.
func voteOf(id ledger.TransferID, d ledger.Digest, res *ledger.Result) (txn.Vote, bool) {
	v := txn.Vote{ID: id, Digest: d, Epoch: res.Epoch}
	switch {
	case res.Code == ledger.ResultConflict:
		// The id is taken for ever by other content: this content can never be voted on here.
		v.Fact, v.Reason = ledger.FactAborted, ledger.ReasonIDConflict
	case res.Code != ledger.ResultState:
		return txn.Vote{}, false
	case res.State == ledger.Prepared:
		v.Fact = ledger.FactYes
	case res.State == ledger.Committed:
		v.Fact = ledger.FactCommitted
	case res.State == ledger.Aborted:
		v.Fact, v.Reason = ledger.FactAborted, res.Reason
	default:
		return txn.Vote{}, false
	}
	return v, true
}

// afterSettle is what goes on once a settlement is over: a deferral, a strong read or an audit.
type afterSettle struct {
	deferral *deferral
	read     *settlingRead
	audit    *collecting
}

// call returns whose answer waits for the settlement.
func (a *afterSettle) call() call {
	switch {
	case a.read != nil:
		return a.read.op.call
	case a.audit != nil:
		return a.audit.call
	}
	return a.deferral.waiter.call
}

func (r *Replica) settled(s txn.Settled) {
	after, ok := r.settling[s.Token]
	if !ok {
		return
	}
	if after.read != nil {
		r.readSettled(after.read, s.Undecided)
		return
	}
	delete(r.settling, s.Token)
	if after.audit != nil {
		r.collects--
		r.answerSnapshot(after.audit.call, after.audit.number)
		return
	}
	r.deferred--
	r.proposeAgain(after.deferral, s.Undecided)
}

// dropSettling answers those who wait for a settlement when leadership is lost: nothing of theirs
// left a trace.
func (r *Replica) dropSettling() {
	for _, token := range sortedTokens(r.settling) {
		after := r.settling[token]
		r.answers.status(after.call(), wire.StatusNotLeader, "")
	}
	clear(r.settling)
	r.deferred, r.collects = 0, 0
}

// drainParticipant turns the participant's effects into proposals, messages and answers.
func (r *Replica) drainParticipant() {
	if r.lead.part == nil {
		return
	}
	e := r.lead.part.Take()
	for _, a := range e.Asks {
		r.sendAsk(a)
	}
	for _, s := range e.Settled {
		r.settled(s)
	}
	if n := len(e.Finishes); n > 0 {
		r.counters.finishes += uint64(n)
		for len(e.Finishes) > 0 {
			k := min(len(e.Finishes), 4096)
			r.enqueue(ledger.Command{Kind: ledger.CmdFinish, Finishes: e.Finishes[:k:k]}, nobody(k), 96*k)
			e.Finishes = e.Finishes[k:]
		}
	}
	for i := range e.Votes {
		k := int(e.Votes[i].Count)
		r.counters.finishes += uint64(k)
		// It is few bytes for many transfers: what counts is what applying it costs.
		r.enqueue(ledger.Command{Kind: ledger.CmdFinishVotes, Votes: e.Votes[i : i+1 : i+1]}, nobody(k), 96*k)
	}
	for _, s := range e.Suspects {
		r.reads.add(&readOp{kind: readSuspect, suspect: s})
	}
}

// sendAsk sends an inquiry to the believed leader of a shard, or to all its servers.
func (r *Replica) sendAsk(a txn.Ask) {
	m := &wire.InquireRequest{
		Header: wire.Header{Request: a.Seq, Shard: a.Shard, Epoch: r.smap.Epoch()},
		Poison: a.Poison, Reason: ledger.ReasonTimedOut, Items: a.Items,
	}
	r.counters.inquiries += uint64(len(a.Items))
	if g := r.guess[a.Shard]; g != 0 {
		r.out.Sends = append(r.out.Sends, Send{Server: g, Message: m})
		// A believed leader that does not answer must not be believed for ever.
		delete(r.guess, a.Shard)
		return
	}
	c := r.options.Topology.Cluster(a.Shard)
	if c == nil {
		return
	}
	for _, s := range c.Servers {
		r.out.Sends = append(r.out.Sends, Send{Server: s.ID, Message: m})
	}
}

// enqueue adds a command to the next proposal.
func (r *Replica) enqueue(c ledger.Command, ws []waiter, bytes int) {
	r.queue.add(c, ws, bytes, r.options.Limits.EntryBytes)
}
