package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
)

func newCheckCmd(a *App) *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "Check the whole bank: check conservation, check linearizability",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown check %q", args[0]).hint("there are: raftbank check conservation, raftbank check linearizability")
			}
			return usageError("missing the name of the check").hint("there are: raftbank check conservation, raftbank check linearizability")
		},
	}
	check.AddCommand(&cobra.Command{
		Use:   "conservation",
		Short: "Compare the replicas' hashes, and the total with what was opened",
		Long: "Compare the replicas' hashes at a common index, and the total with what was opened.\n\n" +
			"Exact when nothing is prepared and indexes stand still over two passes, which is tried for 10 s;\n" +
			"else: not comparable while transfers run (exit 4; raftbank audit adds up meanwhile). Exit 7 only for a proven violation.",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runCheck(cmd.Context())
		},
	})
	check.AddCommand(newCheckLinearCmd(a))
	return check
}

// runCheck prints the conservation check.
func (a *App) runCheck(ctx context.Context) error {
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	v, err := c.CheckConservation(ctx)
	end := checkError(v, err)
	if end != nil {
		v.Error = end.err
		end.printed = a.Format.json()
	}
	if v.Shards == nil {
		v.Shards = []api.ShardCheck{}
	}
	if err := a.print(v, func(w io.Writer) { a.checkTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// noteRunning is what the check says while transfers run.
const noteRunning = "not comparable while transfers run"

// checkError gives the check its exit code. Only a proven violation is one.
func checkError(v api.Check, err error) *exitError {
	note := v.Note
	switch {
	case err != nil:
		return asExit(err)
	case v.OK == nil:
		if note == "" {
			note = noteRunning
		}
		e := failure(codeUnavailable, "%s", note)
		e.err.Retryable = true
		if note == noteRunning {
			return e.hint("a total while transfers run: raftbank audit")
		}
		if strings.Contains(note, "no server") {
			return e.hint("who is down: raftbank status")
		}
		return e
	case !*v.OK:
		if note == "" {
			note = fmt.Sprintf("total %s, expected %s", v.Total, v.Expected)
		}
		return failure(codeViolation, "VIOLATION: %s", note).hint("keep every data directory as it is; see docs/CLI.md, check")
	}
	return nil
}

// checkTable prints one row per replica, and the verdict.
func (a *App) checkTable(w io.Writer, v api.Check) {
	cols := columns("cluster", ">server", "role", "#applied", "#prepared", "#total", "#expected", "hash", "equal")
	var rows [][]string
	replicas := 0
	for _, sh := range v.Shards {
		for _, s := range sh.Servers {
			if !s.Up {
				rows = append(rows, []string{sh.Cluster, fmt.Sprint(s.Server), "down", "", "", "", "", "", ""})
				continue
			}
			replicas++
			role := "follower"
			if s.Leader {
				role = "leader"
			}
			rows = append(rows, []string{sh.Cluster, fmt.Sprint(s.Server), role, fmt.Sprint(s.Applied),
				fmt.Sprint(s.Prepared), s.Total, s.Expected, s.Hash.State, verdict(sh.HashesOK, "yes", "no")})
		}
	}
	a.grid(w, cols, rows)
	for _, sh := range v.Shards {
		if sh.Note != "" {
			a.notef("%s: %s", sh.Cluster, sh.Note)
		}
	}
	if a.Format != FormatTable || len(v.Shards) == 0 {
		return
	}
	_, _ = fmt.Fprintf(w, "total %s of %s   in flight %d   %s   %s\n", thousands(v.Total), thousands(v.Expected),
		v.InFlight, plural(replicas, "replica"), a.tint(verdict(v.OK, "OK", "VIOLATION")))
}

// verdict words a three-valued answer.
func verdict(ok *bool, yes, no string) string {
	switch {
	case ok == nil:
		return "not comparable"
	case *ok:
		return yes
	}
	return no
}
