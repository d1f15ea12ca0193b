package ledger

import (
	"math/big"
	"math/bits"
	"slices"

	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// Shard returns the shard whose state this is.
func (s *State) Shard() shard.ID { return s.shard }

// Applied returns the raft index and term of the last applied entry; zeros before the first.
func (s *State) Applied() (index, term uint64) { return s.index, s.term }

// Genesis returns how the shard was opened, nil before that. The caller must not change it.
func (s *State) Genesis() *Genesis { return s.genesis }

// Lookup returns what the shard holds for an id; false: nothing, state NONE.
func (s *State) Lookup(id TransferID) (Outcome, bool) {
	position, ok := s.find(id)
	if !ok {
		return Outcome{}, false
	}
	var r Row
	s.history.Read(position, &r)
	if planted.On(planted.CommitForgotten) && s.plantedForgotten(&r, position) {
		return Outcome{}, false
	}
	o := Outcome{
		State: r.State, Reason: r.Reason, Wildcard: r.Wildcard,
		HasRecord: r.Kind != RowTombstone, Digest: r.Digest,
		VoteEpoch: r.Epoch, Account: r.Account, Available: r.Available,
		Index: r.Index, Term: r.Term, VotePos: position,
	}
	if o.HasRecord {
		o.Record = r.Record
	}
	if r.State == Committed {
		o.CommitEpoch = r.Epoch
	}
	if r.State != Prepared {
		o.FinalPos = position
	}
	if r.Prev != 0 {
		o.VotePos = r.Prev - 1
		s.history.Read(o.VotePos, &r)
		o.VoteEpoch = r.Epoch
	}
	return o, true
}

// Account returns an account of this shard, its equity account included, as it is now.
func (s *State) Account(a shard.Account) (Account, bool) {
	i, ok := s.accounts.find(a)
	if !ok {
		return Account{}, false
	}
	return s.accounts.slots[i].Account, true
}

// Participants returns the shards that hold the record's accounts, sorted, by the map of GENESIS.
// ok is false if no shard holds one of them, or before GENESIS; the shards then are those found. The caller
// must not change them: records of the same shards share one slice.
func (s *State) Participants(r *Record) (ids []shard.ID, ok bool) {
	if s.genesis == nil {
		return nil, false
	}
	debit, debitOK := s.genesis.Map.Shard(r.Debit)
	credit, creditOK := s.genesis.Map.Shard(r.Credit)
	if !debitOK || !creditOK {
		if debitOK {
			return []shard.ID{debit}, false
		}
		if creditOK {
			return []shard.ID{credit}, false
		}
		return nil, false
	}
	pair := [2]shard.ID{min(debit, credit), max(debit, credit)}
	if s.pairIDs == nil || s.pair != pair {
		s.pair, s.pairIDs = pair, s.pairs[pair]
		if s.pairIDs == nil {
			s.pairIDs = slices.Compact([]shard.ID{pair[0], pair[1]})
			s.pairs[pair] = s.pairIDs
		}
	}
	return s.pairIDs, true
}

// PreparedCount returns how many transfers are in P.
func (s *State) PreparedCount() int { return s.prepared.byID.Len() }

// Prepared returns the transfers in P in vote order.
func (s *State) Prepared() []TransferID {
	ids := make([]TransferID, 0, s.PreparedCount())
	for n := range s.prepared.all {
		ids = append(ids, n.record.ID)
	}
	return ids
}

// VoteAt returns the transfer in P whose vote stands at a position of history.
func (s *State) VoteAt(position uint64) (TransferID, bool) {
	i := s.prepared.search(position)
	if i == len(s.prepared.votes) || s.prepared.votes[i].position != position || s.prepared.votes[i].at == 0 {
		return TransferID{}, false
	}
	return s.prepared.nodes[s.prepared.votes[i].at].record.ID, true
}

// PreparedOn returns the transfers in P that touch an account, in vote order.
func (s *State) PreparedOn(a shard.Account) []TransferID {
	i, ok := s.accounts.find(a)
	if !ok {
		return nil
	}
	return s.prepared.ids(s.accounts.slots[i].held)
}

// RowCount returns the number of rows of history.
func (s *State) RowCount() uint64 { return s.history.Len() }

// Rows returns up to n rows from a position on.
func (s *State) Rows(from uint64, n int) []Row {
	length := s.history.Len()
	if from >= length || n <= 0 {
		return nil
	}
	rows := make([]Row, min(uint64(n), length-from))
	for i := range rows {
		s.history.Read(from+uint64(i), &rows[i])
	}
	return rows
}

// RowsOf returns the rows of one transfer, oldest first.
func (s *State) RowsOf(id TransferID) []Row {
	position, ok := s.find(id)
	if !ok {
		return nil
	}
	var rows []Row
	for next := position + 1; next != 0; next = rows[len(rows)-1].Prev {
		var r Row
		s.history.Read(next-1, &r)
		rows = append(rows, r)
	}
	slices.Reverse(rows)
	return rows
}

// Hash returns the state hash: the sum modulo 2^64 of a mix of every account and of what is known of
// audits.
func (s *State) Hash() uint64 { return s.accounts.hash() + s.audit.hash() }

// Chain returns the CRC32C and the SHA-256 over every applied entry and its results.
func (s *State) Chain() (crc uint32, sum [32]byte) { return s.chain.crc, s.chain.sum }

// Hashes returns the hashes kept at multiples of 64, newest last.
func (s *State) Hashes() []HashPoint { return slices.Clone(s.chain.kept()) }

// Total returns the sum of the users' posted balances.
func (s *State) Total() *big.Int {
	var credits, debits wideSum
	for i := range s.accounts.slots {
		if a := &s.accounts.slots[i]; !a.Equity {
			credits.add(a.CreditsPosted)
			debits.add(a.DebitsPosted)
		}
	}
	total := credits.big()
	return total.Sub(total, debits.big())
}

// Negative returns how many accounts are below their floor: 0, or the ledger is wrong.
func (s *State) Negative() int {
	n := 0
	for i := range s.accounts.slots {
		if s.accounts.slots[i].belowFloor() {
			n++
		}
	}
	return n
}

// wideSum adds up amounts without a bound that accounts can reach.
type wideSum struct {
	lo, mid, hi uint64
}

func (w *wideSum) add(a Amount) {
	var carry uint64
	w.lo, carry = bits.Add64(w.lo, a.Lo, 0)
	w.mid, carry = bits.Add64(w.mid, a.Hi, carry)
	w.hi += carry
}

func (w *wideSum) big() *big.Int {
	n := new(big.Int).SetUint64(w.hi)
	n.Lsh(n, 128)
	return n.Or(n, Amount{Lo: w.lo, Hi: w.mid}.Big())
}
