//go:build chaos && linux

package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// statement reads an account's statement from every replica of its cluster, from the history that its disk has kept
// through all the faults: all must tell the same lines, and their posted amounts must make the account's sums.
func (r *run) statement(a shard.Account, want linear.Sums) {
	s, _ := r.bank.Topology.ShardOf(a)
	var first []api.HistoryLine
	for i, n := range process.ServersOf(s) {
		var lines []api.HistoryLine
		// A replica hears of the newest commits with a later message, and a busy one says so.
		_, err := process.Await(settleBound, fmt.Sprintf("the statement of %s at server %d", a, n), func() (bool, string) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			h, err := r.bank.admin.History(ctx, a, client.HistoryOptions{
				ReadOptions: client.ReadOptions{Server: shard.ServerID(n)}, Limit: client.MaxHistoryLines})
			if err != nil || h.Error != nil {
				return false, fmt.Sprint(err, h.Error)
			}
			lines = h.Lines
			got, err := sumsOf(lines)
			return err == nil && got == want, fmt.Sprintf("%d lines make %s (%v); the committed transfers make %s", len(lines), got, err, want)
		})
		if err != nil {
			r.t.Error(err)
			return
		}
		if i == 0 {
			first = lines
		} else if !slices.Equal(lines, first) {
			r.t.Errorf("server %d tells another statement of account %s than its first replica:\n%+v\n%+v", n, a, lines, first)
		}
	}
}

// sumsOf adds up what a statement says is posted.
func sumsOf(lines []api.HistoryLine) (s linear.Sums, err error) {
	for i := range lines {
		l := &lines[i]
		if l.Result != api.LinePosted && l.Result != api.LineOpening {
			continue
		}
		text, out := strings.CutPrefix(l.Amount, "-")
		amount, err := ledger.ParseAmount(text)
		if err != nil {
			return s, fmt.Errorf("line %d: %w", i, err)
		}
		if out {
			s.Out, _ = s.Out.Add(amount)
		} else {
			s.In, _ = s.In.Add(amount)
		}
	}
	return s, nil
}
