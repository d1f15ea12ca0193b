package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/shard"
)

// historyArgs are the arguments of history.
type historyArgs struct {
	Account string
	Limit   int
	Cursor  string
	freshArgs
}

// freshArgs say who is asked about the history.
type freshArgs struct {
	Stale  bool
	Server int // 0: any
}

func (f *freshArgs) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.Stale, "stale", false, "ask any replica, and say how far it is behind")
	cmd.Flags().IntVar(&f.Server, "server", 0, "ask server `N`, and say how far it is behind")
}

// options checks the server.
func (f freshArgs) options(t *shard.Topology) (client.ReadOptions, error) {
	if f.Server != 0 {
		if err := knownServer(t, f.Server); err != nil {
			return client.ReadOptions{}, err
		}
	}
	return client.ReadOptions{Stale: f.Stale, Server: shard.ServerID(f.Server)}, nil
}

func newHistoryCmd(a *App) *cobra.Command {
	h := historyArgs{}
	cmd := &cobra.Command{
		Use:   "history ACCOUNT",
		Short: "Show an account's statement, newest first, with the running balance",
		Long: "Show an account's statement, newest first, with the running balance after each line.\n\n" +
			"A transfer within a cluster is one line, posted. One between clusters is reserved or announced first, then posted, or\n" +
			"released if it was aborted; the balance follows posted lines alone. What was refused is no line: raftbank datastore\n" +
			"--account A shows it. The pages that cursors lead to are one statement, whatever happens meanwhile.",
		Example: "  raftbank history 17 --limit 100\n  raftbank history 17 --stale",
		Args:    arguments(1, 1, "ACCOUNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			h.Account = args[0]
			return a.runHistory(cmd.Context(), h)
		},
	}
	cmd.Flags().IntVar(&h.Limit, "limit", client.DefaultHistoryLines, fmt.Sprintf("the newest `N` lines, at most %d", client.MaxHistoryLines))
	cmd.Flags().StringVar(&h.Cursor, "cursor", "", "go on behind an earlier page: the `CURSOR` that it gave")
	h.flags(cmd)
	return cmd
}

// runHistory prints a page of an account's statement.
func (a *App) runHistory(ctx context.Context, h historyArgs) error {
	account, err := parseAccount(a.Topology, h.Account)
	if err != nil {
		return a.badHistory(api.History{Account: h.Account}, asExit(err))
	}
	id, _ := a.Topology.ShardOf(account) // held, or parseAccount had failed
	none := api.History{Account: account.String(), Shard: int(id), Cluster: id.String()}
	if h.Limit <= 0 {
		return a.badHistory(none, usageError("--limit must be positive: %d", h.Limit))
	}
	fresh, err := h.options(a.Topology)
	if err != nil {
		return a.badHistory(none, asExit(err))
	}
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	v, err := c.History(ctx, account, client.HistoryOptions{ReadOptions: fresh, Limit: h.Limit, Cursor: h.Cursor})
	if err != nil {
		return a.badHistory(none, a.historyError(asExit(err), h))
	}
	if err := a.print(v, func(w io.Writer) { a.historyTable(w, v) }); err != nil {
		return err
	}
	if v.Error != nil {
		end := withError(v.Error)
		end.printed = a.Format.json()
		return end
	}
	return nil
}

// historyError says what to do when no leader can be asked.
func (a *App) historyError(e *exitError, h historyArgs) *exitError {
	if e.err.Code == codeUnavailable && !h.Stale && h.Server == 0 && e.err.Hint == "" {
		return e.hint("what replicas have applied: %s", a.command("History "+h.Account+" --stale", "history "+h.Account+" --stale"))
	}
	return e
}

// badHistory reports a statement that could not be read.
func (a *App) badHistory(v api.History, e *exitError) error {
	if !a.Format.json() {
		return e
	}
	v.Lines, v.Error = []api.HistoryLine{}, e.err
	if err := a.print(v, nil); err != nil {
		return err
	}
	e.printed = true
	return e
}

// stampText is a leader's clock, as one word that sorts.
func stampText(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000Z") }

// freshText says who answered, and how new that is.
func freshText(f api.Freshness) string {
	if f.Strong {
		return fmt.Sprintf("strong read, server %d, index %d", f.Server, f.Applied)
	}
	return fmt.Sprintf("stale read, server %d (%s), index %d, %d behind the furthest of %s that answered",
		f.Server, f.Role, f.Applied, f.Behind, plural(f.Heard, "replica"))
}

func (a *App) historyTable(w io.Writer, v api.History) {
	if a.Format == FormatTable {
		_, _ = fmt.Fprintf(w, "account %s on %s: balance %s, available %s, pending in %s, pending out %s (%s)\n", v.Account, v.Cluster,
			thousands(v.Balance), thousands(v.Available), thousands(v.PendingIn), thousands(v.PendingOut), freshText(v.Freshness))
	} else if !v.Strong {
		a.notef("%s", freshText(v.Freshness))
	}
	var rows [][]string
	for _, l := range v.Lines {
		rows = append(rows, []string{stampText(l.TimeNs), l.ID, l.Counterparty, l.Amount, l.Result, l.Reason, l.Balance, l.Available})
	}
	a.grid(w, columns("time", "id", ">counterparty", "#amount", "result", "reason", "#balance", "#available"), rows)
	if v.Next != "" {
		next := v.Account + " --cursor " + v.Next
		a.notef("older lines: %s", a.command("History "+next, "history "+next))
	}
}
