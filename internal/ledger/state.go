package ledger

import (
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// State is the replicated state of one shard. One goroutine owns it.
type State struct {
	shard   shard.ID
	genesis *Genesis // nil until it is applied
	members *Members // nil while they are the founding ones
	// index and term are of the last applied entry.
	index, term uint64
	// timeNs is the latest time seen: rows never go back in time, whatever the leaders' clocks do.
	timeNs   int64
	accounts accounts
	prepared preparedSet
	history  History
	ids      Index
	chain    chain
	audit    audit

	// pairs are the participant sets that Participants has returned, pair is the last one.
	pairs   map[[2]shard.ID][]shard.ID
	pair    [2]shard.ID
	pairIDs []shard.ID

	// item is the position in the entry that is being applied.
	item uint32
	// finished are the transfers that FinishVotes of the last entry took out of P.
	finished []TransferID
	// results are those of the last entry.
	results []Result
	// row is where known reads to, and where rows are built: State allocates none per transfer.
	row Row
}

// New returns the state of a shard before its first entry, with history and index in memory.
func New(id shard.ID) *State {
	h := &memoryHistory{}
	return NewOn(id, h, newMemoryIndex(h))
}

// NewOn is New with the given, empty, history and index.
func NewOn(id shard.ID, h History, x Index) *State {
	return &State{shard: id, prepared: newPreparedSet(), history: h, ids: x, pairs: map[[2]shard.ID][]shard.ID{}}
}

// Apply applies the entry at a raft index and returns one result per item, in order of commands
// and items. Indexes come without gaps, Skip included. It never fails: what a client can cause is
// answered by a Result.
func (s *State) Apply(index, term uint64, e *Entry) []Result {
	return slices.Clone(s.ApplyEncoded(index, term, e, EncodeEntry(e)))
}

// ApplyEncoded is Apply for a caller that has the entry's bytes at hand, as a replica has: data
// must be what EncodeEntry returns for e. Neither is kept. The results are good until the next entry is applied.
func (s *State) ApplyEncoded(index, term uint64, e *Entry, data []byte) []Result {
	s.begin(index, term)
	s.timeNs = max(s.timeNs, e.TimeNs)
	items := 0
	for i := range e.Commands {
		items += e.Commands[i].Items()
	}
	results := slices.Grow(s.results[:0], items)
	s.item, s.finished = 0, s.finished[:0]
	for i := range e.Commands {
		results = s.applyCommand(&e.Commands[i], results)
	}
	s.results = results
	invariant.Check(len(results) == items, "one result per item")
	s.end(data, results)
	return results
}

// Skip advances the applied index over an entry without payload: raft's empty entry of a new term,
// or a change of membership.
func (s *State) Skip(index, term uint64) {
	s.begin(index, term)
	s.end(nil, nil)
}

func (s *State) begin(index, term uint64) {
	if index != s.index+1 && s.index != 0 || index == 0 || term < s.term {
		invariant.Fail("apply index=%d term=%d after index=%d term=%d", index, term, s.index, s.term)
	}
	s.index, s.term = index, term
}

func (s *State) end(data []byte, results []Result) {
	if !planted.On(planted.ChainNotExtended) || len(data) > 0 {
		s.chain.extend(s.index, s.term, data, results)
	}
	if s.index%pointEvery == 0 {
		s.chain.note(s.index, s.Hash())
	}
}

func (s *State) applyCommand(c *Command, results []Result) []Result {
	switch c.Kind {
	case CmdGenesis:
		results = s.answer(results, s.applyGenesis(c.Genesis))
	case CmdTransfer:
		for i := range c.Records {
			s.warm(c.Records, i)
			results = s.answer(results, s.applyTransfer(&c.Records[i], c.Settled))
		}
	case CmdPrepare:
		invariant.Check(len(c.Digests) == len(c.Records), "prepare: digests are parallel to records")
		for i := range c.Records {
			s.warm(c.Records, i)
			results = s.answer(results, s.applyPrepare(&c.Records[i], &c.Digests[i], c.Settled))
		}
	case CmdFinish:
		for i := range c.Finishes {
			s.warmFinishes(c.Finishes, i)
			results = s.answer(results, s.applyFinish(&c.Finishes[i]))
		}
	case CmdFinishVotes:
		for i := range c.Votes {
			results = s.applyFinishVotes(&c.Votes[i], results)
		}
	case CmdPoison:
		for i := range c.Poisons {
			results = s.answer(results, s.applyPoison(&c.Poisons[i]))
		}
	case CmdCancel:
		for i := range c.Cancels {
			results = s.answer(results, s.applyCancel(c.Cancels[i]))
		}
	case CmdBarrier, CmdVoid, CmdRelease, CmdAllocate:
		for _, n := range c.Numbers {
			results = s.answer(results, s.applyAudit(c.Kind, n))
		}
	default:
		panic("unreachable: command kind")
	}
	return results
}

// warmAhead is how many records are fetched ahead at a time: what they need must still be near when they are applied.
const warmAhead = 64

// warm fetches ahead what applying the records from i on will need, if it is their turn: it is called with each i, from
// 0 on. It changes nothing.
func (s *State) warm(records []Record, i int) {
	if i%warmAhead != 0 {
		return
	}
	next := records[i:min(i+warmAhead, len(records))]
	if x, ok := s.ids.(Warmer); ok {
		x.Warm(next)
	}
	s.accounts.warm(next)
	if s.prepared.byID.Len() > 0 {
		for i := range next {
			s.accounts.warmed += uint64(s.prepared.byID.warm(&next[i].ID))
		}
	}
}

// warmFinishes is warm for transfers that mostly are in P.
func (s *State) warmFinishes(finishes []Finish, i int) {
	if i%warmAhead != 0 {
		return
	}
	next := finishes[i:min(i+warmAhead, len(finishes))]
	for i := range next {
		s.accounts.warmed += uint64(s.prepared.byID.warm(&next[i].ID))
	}
	for i := range next {
		if at := s.prepared.at(next[i].ID); at != 0 {
			n := &s.prepared.nodes[at]
			s.accounts.warmed += n.position + s.accounts.slots[n.slot].last
		}
	}
}

// warmVotes is warm for the votes from a place on.
func (s *State) warmVotes(x int) {
	next := s.prepared.votes[x:min(x+warmAhead, len(s.prepared.votes))]
	for _, v := range next {
		n := &s.prepared.nodes[v.at]
		s.accounts.warmed += uint64(s.prepared.byID.warm(&n.record.ID)) + s.accounts.slots[n.slot].last
	}
}

// answer appends the result of the current item and goes on to the next.
func (s *State) answer(results []Result, r Result) []Result {
	s.item++
	return append(results, r)
}

// applyGenesis opens the shard's accounts. What does not fit this shard changes nothing, on every
// replica alike; the node compares GENESIS with its configuration and refuses to serve.
func (s *State) applyGenesis(g *Genesis) Result {
	r, ok := g.Map.Range(g.Shard)
	if s.genesis != nil || g.Shard != s.shard || !ok || r.Len() > shard.MaxAccounts {
		invariant.Sometimes("ledger: genesis without effect")
		return Result{Code: ResultNoEffect}
	}
	own := *g
	own.Members = append([]uint64(nil), g.Members...)
	s.genesis = &own
	sum := s.accounts.open(s.shard, r, g.OpeningBalance)
	s.row = Row{
		Kind: RowGenesis, State: Committed,
		Record: Record{Debit: s.shard.Equity(), Amount: sum, Currency: DefaultCurrency},
	}
	s.record()
	return s.outcome(&s.row)
}

// find returns the position of an id's newest row: of its vote while it is in P, else of its outcome.
func (s *State) find(id TransferID) (uint64, bool) {
	if position, ok := s.prepared.find(id); ok {
		return position, true
	}
	return s.ids.Get(id)
}

// known reads the newest row of an id into s.row.
func (s *State) known(id TransferID) (*Row, bool) {
	position, ok := s.find(id)
	if !ok {
		return nil, false
	}
	s.history.Read(position, &s.row)
	if planted.On(planted.CommitForgotten) && s.plantedForgotten(&s.row, position) {
		return nil, false
	}
	invariant.Check(s.row.Record.ID == id, "the index points at the row of another transfer")
	return &s.row, true
}

// record completes s.row with where and when, and writes it down.
func (s *State) record() {
	r := &s.row
	r.Position, r.Index, r.Term = s.history.Len(), s.index, s.term
	r.Item, r.TimeNs = s.item, s.timeNs
	s.writeDown(r)
}

// writeDown links a row to the previous rows of its accounts and appends it to history and index.
func (s *State) writeDown(r *Row) {
	r.PrevDebit, r.PrevCredit = 0, 0
	if r.moves() {
		r.PrevDebit = s.link(r.Record.Debit, r.Position)
		r.PrevCredit = s.link(r.Record.Credit, r.Position)
	}
	position := s.history.Append(r)
	invariant.Check(position == r.Position, "history appends at its end")
	switch {
	case r.Kind == RowGenesis:
		for i := range s.accounts.slots {
			s.accounts.slots[i].last = position + 1
		}
	case r.State != Prepared:
		s.ids.Put(r.Record.ID, position)
	}
}

// moves reports whether the row changed a sum of its accounts.
func (r *Row) moves() bool {
	switch r.Kind {
	case RowIntra:
		return r.State == Committed
	case RowPrepare:
		return r.State == Prepared
	case RowCommit, RowAbort:
		return true
	case RowGenesis, RowTombstone:
	}
	return false
}

// link makes a row the newest of an account and returns its previous one, plus 1; 0 if the account is not here.
func (s *State) link(a shard.Account, position uint64) uint64 {
	i, ok := s.accounts.find(a)
	if !ok {
		return 0
	}
	s.accounts.touch(i)
	prev := s.accounts.slots[i].last
	s.accounts.slots[i].last = position + 1
	return prev
}

// outcome is the answer that a row gives, now and to every retry.
func (s *State) outcome(r *Row) Result {
	return Result{
		Code: ResultState, State: r.State, Reason: r.Reason,
		Account: r.Account, Available: r.Available,
		Epoch: r.Epoch, Index: r.Index, Term: r.Term, Row: r.Position,
	}
}
