package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
)

func newAuditCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "audit",
		Short: "Add up the whole bank at one cut, while transfers run",
		Long: "Add up the whole bank at one cut through all clusters' logs, while transfers run.\n\n" +
			"For about one round trip the clusters withhold their answers; nothing is stopped. Money that was between clusters\n" +
			"at the cut is in the total, and shown. Exit 4 if no cut could be had; 7 only if a total at one cut is wrong.",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runAudit(cmd.Context())
		},
	}
}

// runAudit prints the total at one cut.
func (a *App) runAudit(ctx context.Context) error {
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	v, err := c.Audit(ctx)
	end := auditError(v, err)
	if end != nil {
		v.Error = end.err
		end.printed = a.Format.json()
	}
	if v.Shards == nil {
		v.Shards = []api.ShardAudit{}
	}
	if err := a.print(v, func(w io.Writer) { a.auditTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// auditError gives the audit its exit code. Only a total at one cut that is wrong is a violation.
func auditError(v api.Audit, err error) *exitError {
	switch {
	case err != nil:
		return asExit(err)
	case v.OK == nil && v.Error == nil:
		return failure(codeUnavailable, "no cut could be had")
	case v.OK == nil:
		return asExit(v.Error)
	case !*v.OK:
		return failure(codeViolation, "VIOLATION: the total at cut %d is %s, opened were %s", v.Epoch, v.Total, v.Expected).
			hint("keep every data directory as it is; compare the replicas: raftbank check conservation")
	}
	return nil
}

// auditTable prints one row per cluster, their sum, and the verdict.
func (a *App) auditTable(w io.Writer, v api.Audit) {
	if v.OK == nil {
		return
	}
	cols := columns("cluster", "#accounts", "#posted", "#in", "#out", "#unfinished", "#total", "#cut")
	var rows [][]string
	for _, s := range v.Shards {
		rows = append(rows, []string{s.Cluster, fmt.Sprint(s.Accounts), s.Posted, s.In, s.Out, fmt.Sprint(s.Unfinished), s.Total, fmt.Sprint(s.CutIndex)})
	}
	rows = append(rows, []string{"bank", fmt.Sprint(v.Accounts), v.Posted, "", "", fmt.Sprint(v.Unfinished), v.Total, ""})
	a.grid(w, cols, rows)
	if a.Format != FormatTable {
		return
	}
	took := (time.Duration(v.DurationUs) * time.Microsecond).Round(100 * time.Microsecond)
	_, _ = fmt.Fprintf(w, "total %s of %s at cut %d   between clusters %s   %s, %s   %s\n", thousands(v.Total), thousands(v.Expected),
		v.Epoch, thousands(v.InFlight), took, plural(v.Retries+1, "attempt"), a.tint(verdict(v.OK, "OK", "VIOLATION")))
}
