package sim

import (
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// statementsAreRight: on every replica that is at the end of its shard's log, from its own disk, the statement of every
// account that was used is what the model has written down on the way.
func (k *checker) statementsAreRight() {
	for _, t := range k.shards {
		for _, s := range k.w.of(t.id) {
			if s.lost || !s.up || s.machine == nil {
				continue
			}
			if applied, _ := s.machine.State().Applied(); applied != uint64(len(t.entries)) {
				continue // beyond what is promised
			}
			s.do(func() { // as in a turn: a damaged block that nobody has read until now ends the server
				for _, a := range k.w.load.accounts {
					if m := t.model[a]; m != nil {
						k.statementIsRight(t, s, a, m)
					}
				}
			})
		}
	}
}

// statementIsRight reads a statement in pages, whose size depends on the account.
func (k *checker) statementIsRight(t *shardTruth, s *server, a shard.Account, m *modelAccount) {
	k.looked(CheckModel)
	left := m.points // what older lines must tell
	last := uint64(0)
	for from, n := (*ledger.Cursor)(nil), 1+int(a%13); ; {
		lines, next, err := s.machine.State().Statement(a, from, n)
		if err != nil {
			k.w.fail(CheckModel, "%s, statement of account %s: %v", s.name(), a, err)
			return
		}
		for i := range lines {
			l := &lines[i]
			if truth := t.state.Rows(l.Row.Position, 1); len(truth) != 1 || truth[0] != l.Row {
				k.w.fail(CheckModel, "%s, statement of account %s: row %d is %+v, %s has %+v", s.name(), a, l.Row.Position, l.Row, t.id, truth)
				return
			}
			if l.Row.Index == last {
				continue // the model keeps the sums behind an entry
			}
			last = l.Row.Index
			now := l.After
			sums := point{index: last, in: now.CreditsPosted, out: now.DebitsPosted, incoming: now.CreditsPending, reserved: now.DebitsPending}
			if len(left) == 0 || left[len(left)-1] != sums {
				k.w.fail(CheckModel, "%s, statement of account %s: %+v, the model has %+v", s.name(), a, sums, left[max(0, len(left)-1):])
				return
			}
			left = left[:len(left)-1]
		}
		if from = next; next == nil {
			break
		}
	}
	if len(left) > 0 {
		k.w.fail(CheckModel, "%s, statement of account %s: it lacks %d entries, the newest %+v", s.name(), a, len(left), left[len(left)-1])
	}
}
