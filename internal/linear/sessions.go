package linear

import (
	"cmp"
	"fmt"
	"slices"

	"raftbank/internal/shard"
)

// session is what one client must see of one account from now on.
type session struct {
	seen Sums  // the newest that it read
	at   int64 // when that read ended
	own  Sums  // its own committed transfers, and the opening
}

// Sessions looks at every client by itself: what it has read never goes back (monotonic reads), and it reads what
// it was told as committed (read your writes). It returns a sentence for the first read that breaks this; "" if none
// does. Linearizable histories never do, but this is checked over any length and number of operations.
// Errors: ErrHistory.
func Sessions(events []Event) (string, error) {
	type who struct {
		key
		client int
	}
	histories, err := Collect(events)
	if err != nil {
		return "", err
	}
	sessions := map[who]*session{}
	for _, h := range histories {
		ops := slices.Clone(h.Ops)
		slices.SortStableFunc(ops, func(x, y Op) int { return cmp.Compare(x.Call, y.Call) })
		for _, op := range ops {
			w := who{key{h.Round, h.Account}, op.Client}
			s := sessions[w]
			if s == nil {
				s = &session{seen: h.Opening, at: -1, own: h.Opening}
				sessions[w] = s
			}
			if text := s.step(h.Account, op, ops); text != "" {
				return text, nil
			}
		}
	}
	return "", nil
}

// step takes the next operation of a client, in the order of their beginnings.
func (s *session) step(a shard.Account, op Op, ops []Op) string {
	if !op.Read {
		return ""
	}
	own := s.own
	for _, o := range ops {
		if o.Call > op.Call {
			break
		}
		if !o.Read && o.Client == op.Client && o.Return < op.Call {
			own, _ = own.plus(o.Sums)
		}
	}
	switch {
	case op.Call > s.at && !op.atLeast(s.seen):
		return fmt.Sprintf("client %d read account %s at %d us: %s, after it had read %s", op.Client, a, op.Call, op.Sums, s.seen)
	case !op.atLeast(own):
		return fmt.Sprintf("client %d read account %s at %d us: %s; its own committed transfers alone make %s",
			op.Client, a, op.Call, op.Sums, own)
	}
	if op.Return > s.at && op.atLeast(s.seen) {
		s.seen, s.at = op.Sums, op.Return
	}
	return ""
}
