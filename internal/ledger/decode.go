package ledger

import (
	"errors"
	"fmt"

	"raftbank/internal/shard"
)

// ErrBadState is wrapped by every error of Decode.
var ErrBadState = errors.New("not a ledger state")

// Decode reads what Encode wrote, with history and index in memory. It believes nothing: the
// history is replayed, and the accounts must be what it makes of them. Any input is safe; what it
// allocates is bounded by the input's length. Errors wrap ErrBadState.
func Decode(b []byte) (*State, error) {
	if len(b) < len(stateMagic) || string(b[:len(stateMagic)]) != stateMagic {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrBadState, stateMagic)
	}
	r := &reader{b: b, off: len(stateMagic)}
	s := New(shard.ID(r.u32()))
	s.index, s.term, s.timeNs = r.u64(), r.u64(), int64(r.u64())
	var accounts []Account
	if r.flag() {
		accounts = s.decodeAccounts(r)
	}
	s.decodeAudit(r)
	rows := r.u64()
	if rows > uint64(len(b)/rowSize) || !r.has(int(rows), rowSize) {
		r.fail("the number of rows is larger than what follows")
		rows = 0
	}
	for i := uint64(0); i < rows && r.err == nil; i++ {
		s.replay(r)
	}
	if s.genesis != nil && rows == 0 {
		r.fail("the row of genesis is missing")
	}
	if c := s.audit.newest(); c != nil && c.Rows > rows {
		r.fail("an audit's cut stands after the last row")
	}
	if r.err == nil {
		s.settleAccounts(r, accounts)
	}
	s.chain.decode(r, s.index)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadState, err)
	}
	return s, nil
}

// decodeAccounts reads GENESIS and what the accounts should come to, and opens them.
func (s *State) decodeAccounts(r *reader) []Account {
	g := decodeGenesis(r)
	own, ok := g.Map.Range(g.Shard)
	if r.err == nil && (g.Shard != s.shard || !ok || own.Len() > shard.MaxAccounts) {
		r.fail("genesis is not this shard's")
	}
	if r.err != nil || !r.has(int(own.Len())+1, accountSize) {
		return nil
	}
	s.genesis = g
	s.accounts.open(s.shard, own, g.OpeningBalance)
	accounts := make([]Account, own.Len()+1)
	for i := range accounts {
		accounts[i].decode(r)
	}
	return accounts
}

// settleAccounts compares the sums that the history makes with those that were encoded, and takes
// from the latter what no row says.
func (s *State) settleAccounts(r *reader, accounts []Account) {
	for i := range accounts {
		want, is := &accounts[i], &s.accounts.slots[i].Account
		if want.DebitsPosted != is.DebitsPosted || want.CreditsPosted != is.CreditsPosted ||
			want.DebitsPending != is.DebitsPending || want.CreditsPending != is.CreditsPending ||
			want.Equity != is.Equity || want.CreditLine.Cmp(MaxAmount) > 0 {
			r.fail(fmt.Sprintf("account %d does not agree with the history", s.accounts.id(i)))
			return
		}
		is.CreditLine, is.Currency, is.Closed = want.CreditLine, want.Currency, want.Closed
		if is.belowFloor() {
			r.fail(fmt.Sprintf("account %d is below its floor", s.accounts.id(i)))
			return
		}
		s.accounts.changed(i)
	}
}

func (row *Row) decode(r *reader) {
	row.Index, row.Term, row.Item = r.u64(), r.u64(), r.u32()
	row.TimeNs = int64(r.u64())
	row.Kind, row.State, row.Reason = RowKind(r.u8()), TransferState(r.u8()), Reason(r.u8())
	row.Wildcard = r.flag()
	row.Epoch = r.u32()
	row.Record.decode(r.take(RecordSize))
	copy(row.Digest[:], r.take(digestSize))
	row.Account = shard.Account(r.u64())
	row.Available = r.amount()
	row.Prev = r.u64()
}

// replay reads one row and does to the accounts what it says.
func (s *State) replay(r *reader) {
	before := s.row
	s.row = Row{Position: s.history.Len()}
	row := &s.row
	row.decode(r)
	switch {
	case r.err != nil:
		return
	case row.Index > s.index || row.Term > s.term || row.TimeNs > s.timeNs ||
		row.Position > 0 && (row.Index < before.Index || row.Term < before.Term || row.TimeNs < before.TimeNs):
		r.fail("rows are out of order")
		return
	case s.genesis == nil || (row.Kind == RowGenesis) != (row.Position == 0):
		r.fail("a row stands before genesis")
		return
	}
	vote := uint32(0)
	if at := s.prepared.at(row.Record.ID); at != 0 {
		vote = s.prepared.nodes[at].epoch
	}
	if !s.cutFits(row, vote) {
		r.fail("a row's epoch does not fit the audits' cuts")
		return
	}
	if why := s.replayRow(row); why != "" {
		r.fail(fmt.Sprintf("row %d (%s of %s): %s", row.Position, row.Kind, row.Record.ID, why))
		return
	}
	s.writeDown(row)
}

// replayRow returns what is wrong with a row, "" if nothing.
func (s *State) replayRow(row *Row) string {
	id := row.Record.ID
	switch row.Kind {
	case RowCommit, RowAbort:
		return s.replayFinish(row)
	case RowGenesis:
		opened := s.accounts.slots[len(s.accounts.slots)-1].DebitsPosted
		want := Record{Debit: s.accounts.equity, Amount: opened, Currency: DefaultCurrency}
		if row.Record != want || row.State != Committed || row.Prev != 0 || row.Wildcard {
			return "not what this genesis opens"
		}
		return ""
	case RowIntra, RowPrepare, RowTombstone:
	default:
		return "unknown kind"
	}
	if _, twice := s.find(id); twice || id.IsZero() || row.Prev != 0 {
		return "not the first row of its id"
	}
	if row.Kind == RowTombstone {
		if row.State != Aborted || row.Record != (Record{ID: id}) {
			return "a tombstone has an id alone"
		}
		return ""
	}
	if CheckRecord(&row.Record) != ReasonNone || row.Wildcard {
		return "malformed record"
	}
	if row.State == Aborted {
		return ""
	}
	return s.replayTransfer(row)
}

// replayTransfer posts or reserves, as applyTransfer and applyPrepare did.
func (s *State) replayTransfer(row *Row) string {
	debit, debitOK := s.accounts.find(row.Record.Debit)
	credit, creditOK := s.accounts.find(row.Record.Credit)
	local := debitOK && creditOK
	if !debitOK {
		debit = elsewhere
	}
	if !creditOK {
		credit = elsewhere
	}
	switch {
	case row.Kind == RowIntra && (!local || row.State != Committed),
		row.Kind == RowPrepare && (debitOK == creditOK || row.State != Prepared):
		return "its accounts or state do not fit its kind"
	}
	if row.Kind == RowPrepare {
		if _, known := s.Participants(&row.Record); !known {
			return "an account that no shard holds"
		}
	}
	// Funds are not checked here: credit lines may have been other. settleAccounts checks floors.
	if debitOK && !fits(s.accounts.slots[debit].DebitsPosted, s.accounts.slots[debit].DebitsPending, row.Record.Amount) ||
		creditOK && !fits(s.accounts.slots[credit].CreditsPosted, s.accounts.slots[credit].CreditsPending, row.Record.Amount) {
		return "a sum is larger than 2^127-1"
	}
	if row.Kind == RowIntra {
		d, c := &s.accounts.slots[debit], &s.accounts.slots[credit]
		d.DebitsPosted = mustAdd(d.DebitsPosted, row.Record.Amount)
		c.CreditsPosted = mustAdd(c.CreditsPosted, row.Record.Amount)
		return ""
	}
	s.hold(debit, credit)
	return ""
}

// replayFinish does what finishPrepared did.
func (s *State) replayFinish(row *Row) string {
	at := s.prepared.at(row.Record.ID)
	if at == 0 {
		return "its transfer is not prepared"
	}
	n := &s.prepared.nodes[at]
	want := Aborted
	if row.Kind == RowCommit {
		want = Committed
	}
	if row.Record != n.record || row.Digest != n.digest || row.Prev != n.position+1 || row.State != want || row.Wildcard {
		return "it does not fit its vote"
	}
	s.release(at, -1, row.Kind == RowCommit)
	return ""
}
