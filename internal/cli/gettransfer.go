package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"raftbank/client"
	"raftbank/internal/api"
)

func newGetTransferCmd(a *App) *cobra.Command {
	f := freshArgs{}
	cmd := &cobra.Command{
		Use:   "get-transfer ID",
		Short: "Show all that the bank holds about a transfer: record, outcome, and its rows at every cluster",
		Long: "Show all that the bank holds about a transfer: its record and outcome, and its rows at every cluster.\n\n" +
			"It changes nothing: resolve settles a transfer that is in doubt, explain shows it on every server.",
		Args: arguments(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runGetTransfer(cmd.Context(), args[0], f)
		},
	}
	f.flags(cmd)
	return cmd
}

// runGetTransfer prints what the bank holds under an id.
func (a *App) runGetTransfer(ctx context.Context, word string, f freshArgs) error {
	bad := func(id string, err error) error {
		e := asExit(err)
		if !a.Format.json() {
			return e
		}
		if err := a.print(api.TransferRecord{ID: id, Shards: []api.ShardTransfer{}, Error: e.err}, nil); err != nil {
			return err
		}
		e.printed = true
		return e
	}
	id, err := parseID(word)
	if err != nil {
		return bad(word, err)
	}
	fresh, err := f.options(a.Topology)
	if err != nil {
		return bad(id.String(), err)
	}
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	v, err := c.GetTransfer(ctx, id, fresh)
	if err != nil {
		return bad(id.String(), err)
	}
	end := a.recordError(&v, fresh)
	if end != nil {
		end.err.ID = v.ID
		v.Error, end.printed = end.err, a.Format.json()
		if v.From == "" && !a.Format.json() {
			return end
		}
	}
	if err := a.print(v, func(w io.Writer) { a.recordTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// recordError gives the answer its exit code: an outcome is told, even if it is in doubt, unless a cluster that may
// know it is silent.
func (a *App) recordError(v *api.TransferRecord, f client.ReadOptions) *exitError {
	switch {
	case v.Error != nil:
		return withError(v.Error)
	case v.Outcome != api.OutcomeNotFound:
		return nil
	case !f.Stale && f.Server == 0:
		return failure(codeRefused, "no cluster knows transfer %s: none has decided anything about it, but it may still come", v.ID).
			hint("rule it out: %s", a.command("Cancel "+v.ID, "cancel "+v.ID))
	}
	var asked []int
	for _, s := range v.Shards {
		asked = append(asked, s.Server)
	}
	return failure(codeRefused, "transfer %s is not known here: %s %s had not applied it, and may be behind",
		v.ID, plural(len(asked), "server"), intRanges(asked)).
		hint("ask the leaders: %s", a.command("GetTransfer "+v.ID, "get-transfer "+v.ID))
}

// recordTable prints the transfer, and one row per row of it at a cluster. In plain the first row is the transfer
// itself, with bank as cluster and its kind.
func (a *App) recordTable(w io.Writer, v api.TransferRecord) {
	cols := columns("cluster", ">server", "#applied", "#behind", "kind", "#index", "#term", "time", "#epoch", ">from", ">to", "#amount", "outcome", "reason")
	var rows [][]string
	if a.Format == FormatTable {
		_, _ = fmt.Fprintf(w, "transfer %s", v.ID)
		if v.From != "" {
			_, _ = fmt.Fprintf(w, "  %s  %s -> %s: %s", v.Kind, v.From, v.To, thousands(v.Amount))
		}
		_, _ = fmt.Fprintf(w, "  %s", a.tint(strings.ToUpper(v.Outcome)))
		if v.Reason != "" {
			_, _ = fmt.Fprintf(w, " (%s)", strings.ReplaceAll(v.Reason, "_", " "))
		}
		_, _ = fmt.Fprintln(w)
	} else {
		rows = append(rows, []string{"bank", "", "", "", v.Kind, "", "", "", "", v.From, v.To, v.Amount, v.Outcome, v.Reason})
	}
	for _, s := range v.Shards {
		if !s.Up {
			a.notef("%s did not answer", s.Cluster)
			continue
		}
		who := []string{s.Cluster, fmt.Sprint(s.Server), fmt.Sprint(s.Applied), fmt.Sprint(s.Behind)}
		if len(s.Entries) == 0 {
			rows = append(rows, append(who, "none", "", "", "", "", "", "", "", "", ""))
		}
		for _, e := range s.Entries {
			rows = append(rows, append(who[:4:4], e.Kind, fmt.Sprint(e.Index), fmt.Sprint(e.Term), stampText(e.TimeNs), fmt.Sprint(e.Epoch),
				e.From, e.To, e.Amount, e.Outcome, e.Reason))
		}
		if !s.Strong {
			a.notef("%s: %s", s.Cluster, freshText(s.Freshness))
		}
	}
	a.grid(w, cols, rows)
	if v.Outcome == api.OutcomeInDoubt {
		a.notef("not finished yet; settle it: %s", a.command("Resolve "+v.ID, "resolve "+v.ID))
	}
}
