//go:build chaos && linux

package chaos

import (
	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/linear"
)

// refusals compares every refusal for insufficient funds with the history (invariant 13).
func (r *run) refusals() {
	v, err := linear.CheckRefusals(r.load.events)
	if err != nil {
		r.t.Error(err)
		return
	}
	for _, text := range v.False {
		r.t.Errorf("FALSE REFUSAL: %s", text)
	}
	if v.Checked == 0 {
		r.t.Error("no transfer was refused: that proves nothing about refusals")
	}
	r.countMore("refusals compared with the history", v.Checked)
	r.countMore("refusals that the history shows to be true", v.Shown)
}

// explained: a refusal for insufficient funds that names an account names the payer, and less than the amount as available.
func (l *load) explained(r *client.Result) {
	if r.Outcome != client.Aborted || r.Reason != ledger.ReasonInsufficientFunds || r.Account == 0 {
		return
	}
	if r.Account != r.Transfer.From || r.Available.Cmp(r.Transfer.Amount) >= 0 {
		l.t.Errorf("FALSE REFUSAL: transfer %s of %s from account %s was refused, since account %s had %s available",
			r.Transfer.ID, r.Transfer.Amount, r.Transfer.From, r.Account, r.Available)
	}
}
