package sim

import (
	"encoding/binary"
	"fmt"

	"raftbank/internal/ledger"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// kind tells what a client asked for.
type kind uint8

const (
	askTransfer kind = 1 + iota
	askResolve
	askCancel
	askRead
	askStale
	askAudit
	askConfirm
)

// submission is one call of one client.
type submission struct {
	kind    kind
	client  int
	content *content // of a transfer
	id      ledger.TransferID
	shard   shard.ID        // of a read, or of a question for an audit's number
	server  shard.ServerID  // the one that is asked; 0: the leader
	account []shard.Account // of a read
	number  uint32          // of an audit
	over    bool            // the shard had ended its withholding for that number before the question
	start   int64
	floor   uint64 // of a read: the last index that any replica of its shard had applied at the start
}

func (s *submission) name() string {
	switch s.kind {
	case askTransfer:
		r := &s.content.record
		return fmt.Sprintf("transfer %s %d->%d %s", r.ID, r.Debit, r.Credit, r.Amount)
	case askResolve:
		return "resolve " + s.id.String()
	case askCancel:
		return "cancel " + s.id.String()
	case askRead:
		if s.server != 0 {
			return fmt.Sprintf("read %d of server %s", s.account, s.server)
		}
		return fmt.Sprintf("read %d", s.account)
	case askStale:
		return fmt.Sprintf("read %d as server %s has it", s.account, s.server)
	case askConfirm:
		return fmt.Sprintf("ask server %s of %s about audit %d", s.server, s.shard, s.number)
	case askAudit:
		return "audit"
	}
	panic("unreachable: kind")
}

// content is one transfer as submitted. An id may be used for several contents: clients err, and lie.
type content struct {
	record ledger.Record
	parts  []shard.ID
	asks   int  // submissions of exactly this
	copied bool // a copy of its PREPARE was replayed by a stranger
	// firstAsk is when it was made, and so not later than its first submission.
	firstAsk int64
	// told is the definite outcome that somebody was told first, and by what.
	told        txn.Decision
	toldBy      string
	toldAt      int64
	unavailable bool // the only submission was answered: surely not applied
	// judged: commitEpoch has found the epoch, and whether it is committed.
	judged, committed bool
	epoch             uint32
}

// workload makes the clients' operations and keeps what they were told.
type workload struct {
	w        *world
	rng      random
	contents map[ledger.Record]*content
	order    []*content
	byID     map[ledger.TransferID][]*content
	nextID   uint64
	blocks   []txn.Block // certificates that went over the network, for liars
	traps    map[ledger.TransferID]*trap
	open     int // resolveAll: what is not resolved yet
	last     int // lastTransfers: what is not answered yet
	// lastUnknown are those of them whose outcome a late leader has left unknown.
	lastUnknown []ledger.TransferID
	// unaudited: the audit of resolveAll came to nothing, and is due again.
	unaudited bool
	pending   []ledger.TransferID
	accounts  []shard.Account
}

func newWorkload(w *world) *workload {
	l := &workload{
		w: w, rng: newRandom(w.o.Seed, "workload"),
		contents: map[ledger.Record]*content{}, byID: map[ledger.TransferID][]*content{},
		traps: map[ledger.TransferID]*trap{},
	}
	for i := range w.topology.Clusters {
		r := w.topology.Clusters[i].Range
		for a := r.First; a <= r.Last; a++ {
			l.accounts = append(l.accounts, a)
		}
	}
	if w.plan.liars {
		w.after(3*second, l.lie)
	}
	if w.plan.garbage {
		w.after(3*second, l.litter)
	}
	return l
}

// begin starts a client's stream of operations; a second incarnation first asks again for some of
// what its predecessor asked.
func (l *workload) begin(c *clientProc) {
	if c.generation > 1 && !l.w.calm {
		for _, k := range l.recent(3) {
			if l.rng.chance(0.5) {
				l.submit(c, k)
			} else {
				l.settle(c, askResolve, k.record.ID)
			}
		}
	}
	l.next(c)
}

func (l *workload) next(c *clientProc) {
	c.after(l.rng.between(0, 2*l.w.plan.thinkUs), func() {
		if l.w.calm {
			return
		}
		if c.busy < 8 {
			l.operate(c)
		}
		l.next(c)
	})
}

// recent returns up to n contents of the last few dozen.
func (l *workload) recent(n int) []*content {
	var out []*content
	for range min(n, len(l.order)) {
		back := l.rng.IntN(min(len(l.order), 24))
		out = append(out, l.order[len(l.order)-1-back])
	}
	return out
}

// operate draws one operation.
func (l *workload) operate(c *clientProc) {
	if l.rng.chance(l.w.plan.audits) {
		l.audit(c)
		return
	}
	if l.rng.chance(l.w.plan.reads) {
		l.look(c)
		return
	}
	known := l.recent(1)
	switch n := l.rng.IntN(100); {
	case n < 10:
		l.submitBatch(c, known)
	case n < 76 || len(known) == 0:
		l.submit(c, l.draw(ledger.TransferID{}))
	case n < 85:
		l.submit(c, known[0]) // the same again
	case n < 88:
		l.submit(c, l.draw(known[0].record.ID)) // other content under a used id
	case n < 91:
		l.settle(c, askResolve, known[0].record.ID)
	case n < 93:
		id := known[0].record.ID
		if l.rng.chance(0.3) {
			id = l.newID() // one that nobody knows
		}
		l.settle(c, askCancel, id)
	case n < 97:
		l.race(c)
	default:
		l.crowd()
	}
}

// look draws a question that changes nothing.
func (l *workload) look(c *clientProc) {
	server := shard.ServerID(0)
	s := pick(l.rng, l.w.topology.Clusters).Shard
	if l.rng.chance(0.3) {
		server = pick(l.rng, l.w.of(s)).id
	}
	if l.rng.chance(0.1) {
		l.readStale(c, pick(l.rng, l.accounts))
		return
	}
	r := l.w.topology.Cluster(s).Range
	accounts := []shard.Account{l.inside(r)}
	if l.rng.chance(l.w.plan.hot) {
		accounts[0] = r.First
	}
	for l.rng.chance(l.w.plan.many) && len(accounts) < 4 {
		accounts = append(accounts, l.inside(r))
	}
	l.read(c, server, accounts...)
}

func (l *workload) newID() ledger.TransferID {
	l.nextID++
	var id ledger.TransferID
	at := l.w.now
	if l.w.plan.clientTime && l.rng.chance(0.3) {
		l.w.struck(faultClientTime)
		at += l.rng.between(0, 10*365*86400*second)
	}
	if n := l.w.o.Seed % 32; n == 7 || n == 11 || n == 16 {
		at -= at % (20 * second) // ids that follow each other by one, as those of a busy client
	}
	binary.BigEndian.PutUint64(id[:], uint64(at)<<8|1)
	binary.BigEndian.PutUint64(id[8:], l.nextID)
	return id
}

// account draws an account, often one of the few hot ones.
func (l *workload) account() shard.Account {
	if l.rng.chance(l.w.plan.hot) {
		i := l.rng.IntN(l.w.plan.shards) * l.w.plan.accounts
		return l.accounts[i+l.rng.IntN(min(2, l.w.plan.accounts))]
	}
	return pick(l.rng, l.accounts)
}

// draw makes a transfer, under a new id if none is given. Some are refused before any log.
func (l *workload) draw(id ledger.TransferID) *content {
	if id.IsZero() {
		id = l.newID()
	}
	r := ledger.Record{
		ID: id, Debit: l.account(), Credit: l.account(), Currency: ledger.DefaultCurrency,
		Amount: ledger.Units(uint64(l.rng.between(1, int64(l.w.plan.opening)))),
	}
	for range 8 {
		a, _ := l.w.topology.ShardOf(r.Debit)
		b, _ := l.w.topology.ShardOf(r.Credit)
		if r.Debit != r.Credit && (a != b) == l.rng.chance(l.w.plan.cross) {
			break
		}
		r.Credit = l.account()
	}
	switch n := l.rng.IntN(200); {
	case n < 10: // more than the account can have, usually
		r.Amount = ledger.Units(l.w.plan.opening*2 + 1)
	case n == 10:
		r.Credit = 999_999
	case n == 11:
		r.Amount = ledger.Amount{}
	case n == 12:
		r.Amount = ledger.MaxAmount
	}
	return l.content(r)
}

// content registers a transfer.
func (l *workload) content(r ledger.Record) *content {
	if k := l.contents[r]; k != nil {
		return k
	}
	k := &content{record: r, firstAsk: l.w.now}
	for _, a := range []shard.Account{r.Debit, r.Credit} {
		if s, ok := l.w.topology.ShardOf(a); ok && (len(k.parts) == 0 || k.parts[0] != s) {
			k.parts = append(k.parts, s)
		}
	}
	if len(k.parts) == 2 && k.parts[0] > k.parts[1] {
		k.parts[0], k.parts[1] = k.parts[1], k.parts[0]
	}
	l.contents[r] = k
	l.order = append(l.order, k)
	l.byID[r.ID] = append(l.byID[r.ID], k)
	return k
}

func (l *workload) begun(c *clientProc, op session.OpID, s *submission) {
	s.client, s.start = c.id, l.w.now
	c.waiting[op] = s
	c.busy++
	l.w.say(c.name(), "%s", s.name())
	c.soon()
}

func (l *workload) submit(c *clientProc, k *content) {
	k.asks++
	l.begun(c, c.engine.Transfer(k.record), &submission{kind: askTransfer, content: k, id: k.record.ID})
}

// submitBatch submits some transfers as one batch, now and then with one that is known or the same one twice.
func (l *workload) submitBatch(c *clientProc, known []*content) {
	var subs []*submission
	var records []ledger.Record
	for range 2 + l.rng.IntN(4) {
		k := l.draw(ledger.TransferID{})
		switch n := l.rng.IntN(16); {
		case n == 0 && len(known) > 0:
			k = known[0]
		case n == 1 && len(subs) > 0:
			k = subs[0].content
		}
		k.asks++
		s := &submission{kind: askTransfer, content: k, id: k.record.ID, client: c.id, start: l.w.now}
		subs, records = append(subs, s), append(records, k.record)
		l.w.say(c.name(), "in a batch: %s", s.name())
	}
	c.batches[c.engine.TransferBatch(records)] = subs
	c.busy++
	c.soon()
}

func (l *workload) settle(c *clientProc, what kind, id ledger.TransferID) {
	op := session.OpID(0)
	if what == askCancel {
		op = c.engine.Cancel(id)
	} else {
		op = c.engine.Resolve(id)
	}
	l.begun(c, op, &submission{kind: what, id: id})
}

// read reads accounts of one shard strongly; server, if not 0, is the only one that is asked, whether it leads or not.
func (l *workload) read(c *clientProc, server shard.ServerID, accounts ...shard.Account) {
	s, _ := l.w.topology.ShardOf(accounts[0])
	op := c.engine.Call(session.Call{Shard: s, Server: server, Build: func(h wire.Header) wire.Message {
		return &wire.BalanceRequest{Header: h, Strong: true, Accounts: accounts}
	}})
	sub := &submission{kind: askRead, shard: s, server: server, account: accounts, floor: uint64(len(l.w.check.truth(s).entries))}
	l.begun(c, op, sub)
}

// confirm asks one server whether its shard withholds for an audit, as anybody may. Only a leader can know.
func (l *workload) confirm(c *clientProc, s *server, number uint32) {
	op := c.engine.Call(session.Call{Shard: s.shard, Server: s.id, Build: func(h wire.Header) wire.Message {
		return &wire.AuditRequest{Header: h, Step: wire.AuditConfirm, Number: number}
	}})
	over := l.w.check.truth(s.shard).ref.withheld(number) != ledger.ResultWithholding
	l.begun(c, op, &submission{kind: askConfirm, shard: s.shard, server: s.id, number: number, over: over})
}

// readStale reads one account from one replica, whatever it has applied.
func (l *workload) readStale(c *clientProc, a shard.Account) {
	s, _ := l.w.topology.ShardOf(a)
	server := pick(l.rng, l.w.of(s)).id
	op := c.engine.Call(session.Call{Shard: s, Server: server, Build: func(h wire.Header) wire.Message {
		return &wire.BalanceRequest{Header: h, Accounts: []shard.Account{a}}
	}})
	l.begun(c, op, &submission{kind: askStale, shard: s, server: server, account: []shard.Account{a}})
}

// audit takes the total of the whole bank at one cut. While it runs, and after, others are curious about it.
func (l *workload) audit(c *clientProc) {
	l.begun(c, c.engine.Audit(), &submission{kind: askAudit})
	if l.w.calm || l.rng.chance(0.5) {
		return
	}
	other := pick(l.rng, l.w.clients)
	l.soon(other, 4*second, func() {
		for _, s := range l.w.servers {
			if number := l.w.check.truth(s.shard).ref.epoch; number > 0 {
				l.confirm(other, s, number)
			}
		}
	})
}

// audited takes an audit's outcome. On a healed bank it must be proven.
func (l *workload) audited(c *clientProc, s *submission, r *session.Result) {
	if r.Audit == nil {
		l.w.report.Checked["audit that came to nothing"]++
		l.w.say(c.name(), "audit: %s %s", r.Shard, r.Detail)
	} else {
		l.w.report.Checked["audit"]++
		l.w.report.Checked["audit number that proved nothing"] += r.Audit.Retries
		l.w.say(c.name(), "audit: number %d: %s", r.Audit.Number, r.Audit.Parts)
		l.w.check.auditEnds(s, c.name(), r.Audit)
	}
	if l.open == 0 || !l.w.calm {
		return
	}
	l.open--
	if l.unaudited = r.Audit == nil && l.w.nemesis.lateLeader(); l.unaudited {
		return // a leader that is late by more than a shard's patience; when all are healed, another one
	}
	if r.Audit == nil {
		l.w.fail(CheckProgress, "an audit of a healthy bank: %s %s", r.Shard, r.Detail)
	}
}

// done takes an operation's outcome.
func (l *workload) done(c *clientProc, s *submission, r *session.Result) {
	l.w.note('d', uint64(c.id), uint64(r.Decision)<<8|uint64(r.Reason), []byte(s.name()))
	switch s.kind {
	case askTransfer:
		l.w.report.Outcomes[r.Decision.String()]++
		l.w.say(c.name(), "%s: told %s %s", s.name(), r.Decision, reasonText(r.Reason))
		l.w.check.told(s.content, r.Decision, c.name())
		l.w.check.acked(c.id, s.content, r.Decision)
		l.lastDone(s, r)
	case askResolve, askCancel:
		l.w.say(c.name(), "%s: told %s %s (not found: %v)", s.name(), r.Decision, reasonText(r.Reason), r.NotFound)
		l.w.report.Checked["resolve or cancel "+r.Decision.String()]++
		l.settled(c, s, r)
	case askAudit:
		l.audited(c, s, r)
	case askStale:
		if r.Reply != nil && len(r.Reply.Balances) == 1 {
			l.w.check.staleIsExact(c.name(), r.Reply)
		}
	case askRead:
		if r.Reply != nil && len(r.Reply.Balances) > 0 {
			l.w.check.readEnds(s, c.name(), r.Reply)
		}
	case askConfirm:
		if r.Reply != nil && len(r.Reply.Results) == 1 {
			l.w.check.confirmed(s, c.name(), &r.Reply.Results[0])
		}
	}
}

func reasonText(r ledger.Reason) string {
	if r == ledger.ReasonNone {
		return ""
	}
	return "(" + r.String() + ")"
}

// settled takes the outcome of a resolve or cancel, as far as it names a content.
func (l *workload) settled(c *clientProc, s *submission, r *session.Result) {
	if l.w.calm {
		l.resolvedOne(c, s, r)
	}
	if r.NotFound {
		l.w.check.notFound(s, c.name())
	}
	if r.Decision != txn.DecidedCommitted && r.Decision != txn.DecidedAborted {
		return
	}
	k := l.contents[r.Record]
	if k == nil && r.Record.Debit == 0 && len(l.byID[s.id]) == 1 {
		k = l.byID[s.id][0]
	}
	if k == nil && r.Decision == txn.DecidedCommitted {
		l.w.fail(CheckAgreement, "%s was told that %s committed, with a content that nobody submitted: %+v",
			c.name(), s.id, r.Record)
		return
	}
	if k != nil {
		l.w.check.told(k, r.Decision, c.name()+", "+s.name())
	}
}

// resolveAll lets the first client ask for every transfer: all of them must have an outcome.
func (l *workload) resolveAll() {
	seen := map[ledger.TransferID]bool{}
	for _, k := range l.order {
		if !seen[k.record.ID] {
			seen[k.record.ID] = true
			l.pending = append(l.pending, k.record.ID)
		}
	}
	l.open = len(l.pending) + 1
	c := l.w.clients[0]
	if c.crashPoint != 0 {
		c.die("so that its successor, which asks, has no crash point")
		c.start(0)
	}
	l.audit(c)
	l.resolveMore()
}

// resolvesAtOnce bounds the resolves in flight.
const resolvesAtOnce = 64

// slowResolveUs is how much longer the questions that are open may take if a slow server may lead.
func (l *workload) slowResolveUs() int64 {
	return slowResolveUs + int64((l.open+resolvesAtOnce-1)/resolvesAtOnce)*lateRoundUs
}

// resolveMore keeps a bounded number of resolves in flight.
func (l *workload) resolveMore() {
	c := l.w.clients[0]
	for c.up && c.busy < resolvesAtOnce && len(l.pending) > 0 {
		id := l.pending[0]
		l.pending = l.pending[1:]
		l.settle(c, askResolve, id)
	}
}

func (l *workload) resolvedOne(c *clientProc, s *submission, r *session.Result) {
	if c.id != 1 || s.kind != askResolve || l.open == 0 {
		return
	}
	open := r.Decision == txn.DecidedUnknown || r.Decision == txn.DecidedUnavailable && !r.NotFound
	if open && l.w.nemesis.lateLeader() {
		l.pending = append(l.pending, s.id) // asked again
		l.resolveMore()
		return
	}
	if open {
		l.w.fail(CheckProgress, "%s on a healthy bank: told %s: %s", s.name(), r.Decision, r.Detail)
		return
	}
	l.open--
	l.resolveMore()
}

func (l *workload) resolved() bool { return l.open == 0 }

func (l *workload) unresolved() string {
	return fmt.Sprintf("%d questions for the outcome of a transfer or the total are open", l.open)
}
