package ledger

import "raftbank/internal/shard"

// Statement returns up to n rows that changed an account, newest first. From is where to go on: 0 at the
// newest row, else the next of an earlier call. Next is 0 behind the oldest row, which is that of GENESIS.
// A from that names no row of the account ends the statement.
func (s *State) Statement(a shard.Account, from uint64, n int) (rows []Row, next uint64) {
	i, ok := s.accounts.find(a)
	if !ok {
		return nil, 0
	}
	if next = from; from == 0 {
		next = s.accounts.slots[i].last
	}
	if next > s.history.Len() {
		return nil, 0
	}
	for next > 0 && len(rows) < n {
		var r Row
		s.history.Read(next-1, &r)
		switch {
		case r.Kind == RowGenesis:
			next = 0
		case r.moves() && r.Record.Debit == a:
			next = r.PrevDebit
		case r.moves() && r.Record.Credit == a:
			next = r.PrevCredit
		default:
			return rows, 0
		}
		rows = append(rows, r)
	}
	return rows, next
}
