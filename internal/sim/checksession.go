package sim

import (
	"raftbank/internal/ledger"
	"raftbank/internal/txn"
)

// sessionsAreRight: within one client, which keeps what it was told through its own restarts, reads of an account
// are monotonic, and a read that begins after the client was told of a commit shows it.
func (k *checker) sessionsAreRight() {
	legs := k.postedLegs()
	for i, r := range k.reads { // in the order of their ends
		k.looked(CheckSession)
		for _, p := range k.reads[:i] {
			if p.client == r.client && p.account == r.account && p.end < r.start && (less(r.in, p.in) || less(r.out, p.out)) {
				k.w.fail(CheckSession, "%s read +%s -%s on account %d, after it had read +%s -%s", r.by, r.in, r.out, r.account, p.in, p.out)
				return
			}
		}
		told := func(c *content) bool { at, ok := k.acks[r.client][c]; return ok && at < r.start }
		if k.explained(r, legs[r.account], nil) && !k.explained(r, legs[r.account], told) {
			k.w.fail(CheckSession, "%s read +%s -%s on account %d without a transfer of whose commit it was told before", r.by, r.in, r.out, r.account)
			return
		}
	}
}

func less(a, b ledger.Amount) bool { return a.Cmp(b) < 0 }

// acked notes what a client was told of a transfer.
func (k *checker) acked(client int, c *content, d txn.Decision) {
	if d != txn.DecidedCommitted {
		return
	}
	if k.acks[client] == nil {
		k.acks[client] = map[*content]int64{}
	}
	if _, known := k.acks[client][c]; !known {
		k.acks[client][c] = k.w.now
	}
}
