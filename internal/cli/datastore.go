package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
	"raftbank/internal/shard"
)

// defaultRows is how many rows of a server's datastore are shown.
const defaultRows = 50

func newDatastoreCmd(a *App) *cobra.Command {
	d := datastoreArgs{}
	cmd := &cobra.Command{
		Use:   "datastore",
		Short: "Show what every server has committed, the newest rows of each",
		Long: "Show what every server has committed: one row per transfer and per state change of one.\n" +
			"Kinds: genesis, intra, prepare, commit, abort, tombstone.",
		Example: "  raftbank datastore --server 3 --limit 10\n  raftbank datastore --id 01J9ZQ6X3K4M8N2P5R7T9V1W3Y",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runDatastore(cmd.Context(), d)
		},
	}
	cmd.Flags().IntVar(&d.Server, "server", 0, "server `N` alone (default: every server)")
	cmd.Flags().BoolVar(&d.All, "all", false, "all rows")
	cmd.Flags().IntVar(&d.Limit, "limit", defaultRows, "the newest `N` rows per server")
	cmd.Flags().Uint64Var(&d.From, "from", 0, "rows from log `INDEX` on")
	cmd.Flags().StringVar(&d.ID, "id", "", "rows of transfer `ID`")
	cmd.Flags().StringVar(&d.Account, "account", "", "rows that touch account `A`")
	return cmd
}

// query checks the arguments.
func (d datastoreArgs) query(t *shard.Topology) (api.DatastoreQuery, error) {
	q := api.DatastoreQuery{Limit: d.Limit, From: d.From}
	switch {
	case d.All:
		q.Limit = 0
	case d.Limit <= 0:
		return q, usageError("--limit must be positive: %d", d.Limit).hint("all rows: --all")
	}
	if d.Server != 0 {
		if err := knownServer(t, d.Server); err != nil {
			return q, err
		}
	}
	if d.ID != "" {
		id, err := parseID(d.ID)
		if err != nil {
			return q, err
		}
		q.ID = id.String()
	}
	if d.Account != "" {
		account, err := parseAccount(t, d.Account)
		if err != nil {
			return q, err
		}
		q.Account = account.String()
	}
	return q, nil
}

// knownServer checks that the configuration has a server.
func knownServer(t *shard.Topology, n int) error {
	if n > 0 {
		if _, _, ok := t.Server(shard.ServerID(n)); ok {
			return nil
		}
	}
	return usageError("server %d does not exist: this configuration has %s", n, serverList(t))
}

// serverList names the servers of a configuration: "1-9" or "1, 2, 5".
func serverList(t *shard.Topology) string {
	var ids []int
	for _, c := range t.Clusters {
		for _, s := range c.Servers {
			ids = append(ids, int(s.ID))
		}
	}
	return intRanges(ids)
}

// runDatastore prints what servers have committed.
func (a *App) runDatastore(ctx context.Context, d datastoreArgs) error {
	q, err := d.query(a.Topology)
	if err != nil {
		return a.badDatastore(asExit(err))
	}
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	v, err := c.Datastore(ctx, shard.ServerID(d.Server), q)
	if err != nil {
		return a.badDatastore(asExit(err))
	}
	for i := range v.Servers {
		if v.Servers[i].Entries == nil {
			v.Servers[i].Entries = []api.Entry{} // JSON has lists, not null
		}
	}
	end := a.datastoreError(d, v)
	if end != nil {
		v.Error = end.err
		end.printed = a.Format.json()
	}
	if err := a.print(v, func(w io.Writer) { a.datastoreTables(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// datastoreError says that no server that was asked answered.
func (a *App) datastoreError(d datastoreArgs, v api.Datastore) *exitError {
	for _, s := range v.Servers {
		if s.Up {
			return nil
		}
	}
	if d.Server == 0 {
		return noServerAtAll(a.Topology)
	}
	s, cluster, _ := a.Topology.Server(shard.ServerID(d.Server)) // query checked it
	e := &api.Error{Code: codeUnavailable, Shard: int(cluster.Shard), Phase: "read", Retryable: true,
		Message: fmt.Sprintf("server %s of %s does not answer (%s)", s.ID, cluster.Shard, s.Addr),
		Hint:    fmt.Sprintf("start it: raftbank server %s %s", s.ID, portOf(s.Addr))}
	return withError(e)
}

// noServerAtAll says that the whole bank is down.
func noServerAtAll(t *shard.Topology) *exitError {
	e := failure(codeUnavailable, "no server of this bank answers (servers %s)", serverList(t))
	e.err.Retryable = true
	return e.hint("start the servers: raftbank server ID PORT each, or try: raftbank demo")
}

// rowsNote says what of a server's rows is shown, and how to see the rest; "" if all are.
func rowsNote(s api.ServerDatastore) string {
	switch {
	case !s.Up:
		return fmt.Sprintf("it stopped answering: the newest %d of %s (%s)", len(s.Entries), plural(int(s.Total), "row"), s.Note)
	case s.Truncated > 0:
		return fmt.Sprintf("the newest %d (--all shows the rest)", len(s.Entries))
	case s.Next > 0:
		return fmt.Sprintf("the newest %d (--all looks through the older rows too)", len(s.Entries))
	}
	return ""
}

func (a *App) badDatastore(e *exitError) error {
	if !a.Format.json() {
		return e
	}
	if err := a.print(api.Datastore{Servers: []api.ServerDatastore{}, Error: e.err}, nil); err != nil {
		return err
	}
	e.printed = true
	return e
}

// entryColumns are the columns of a datastore row.
var entryColumns = columns("#index", ">position", "#term", "kind", "id", ">from", ">to", "#amount", "outcome", "reason")

func entryRow(e api.Entry) []string {
	return []string{fmt.Sprint(e.Index), fmt.Sprint(e.Position), fmt.Sprint(e.Term), e.Kind, e.ID,
		e.From, e.To, e.Amount, e.Outcome, e.Reason}
}

// datastoreTables prints one table per server; plain is one table with the server in front.
func (a *App) datastoreTables(w io.Writer, v api.Datastore) {
	if a.Format != FormatTable {
		var rows [][]string
		for _, s := range v.Servers {
			for _, e := range s.Entries {
				rows = append(rows, append([]string{fmt.Sprint(s.Server), s.Cluster}, entryRow(e)...))
			}
			note := rowsNote(s)
			switch {
			case !s.Up && len(s.Entries) == 0:
				a.notef("server %d of %s is down", s.Server, s.Cluster)
			case s.Truncated > 0 && s.Up:
				a.notef("server %d: %s left out (--all shows the rest)", s.Server, plural(int(s.Truncated), "older row"))
			case note != "":
				a.notef("server %d: %s", s.Server, note)
			}
		}
		a.grid(w, append(columns(">server", "cluster"), entryColumns...), rows)
		return
	}
	for i, s := range v.Servers {
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		if !s.Up && len(s.Entries) == 0 {
			_, _ = fmt.Fprintf(w, "server %d of %s: %s\n", s.Server, s.Cluster, a.tint("down"))
			continue
		}
		_, _ = fmt.Fprintf(w, "server %d of %s: %s", s.Server, s.Cluster, plural(int(s.Total), "row"))
		if note := rowsNote(s); note != "" {
			_, _ = fmt.Fprintf(w, ", %s", note)
		}
		_, _ = fmt.Fprintln(w)
		if len(s.Entries) == 0 {
			continue
		}
		var rows [][]string
		for _, e := range s.Entries {
			if n, err := strconv.ParseUint(e.From, 10, 64); err == nil && shard.Account(n) >= shard.EquityBase {
				e.From = "bank" // its number says nothing to people
			}
			rows = append(rows, entryRow(e))
		}
		a.grid(w, entryColumns, rows)
	}
}
