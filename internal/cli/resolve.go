package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"raftbank/client"
	"raftbank/internal/api"
)

func newResolveCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "resolve ID",
		Short: "Settle a transfer whose outcome is unknown, or tell its outcome",
		Long: "Settle a transfer whose outcome is unknown, or tell the outcome that it has.\n" +
			"Exit codes as the transfer itself would have had: 0 committed, 3 aborted or not known, 4 and 5 as there.",
		Args: arguments(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runResolve(cmd.Context(), args[0])
		},
	}
}

func newCancelCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID",
		Short: "Make sure that a transfer is not applied, unless it already is",
		Long: "Make sure that a transfer is not applied, unless it already is.\n" +
			"Exit codes: 0 it is aborted for ever, 3 too late: it is committed, 4 and 5 as for transfer.",
		Args: arguments(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runCancel(cmd.Context(), args[0])
		},
	}
}

func newInDoubtCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "in-doubt",
		Short: "List cross-shard transfers that are prepared and not finished",
		Long: "List cross-shard transfers that are prepared and not finished, as every cluster's leader tells them.\n" +
			"They finish by themselves within seconds when the shards concerned have majorities.",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runInDoubt(cmd.Context())
		},
	}
}

// runResolve settles a transfer and prints its outcome.
func (a *App) runResolve(ctx context.Context, word string) error {
	t, err := a.settle(ctx, word, bank.Resolve)
	if err != nil {
		return err
	}
	return a.printTransfer(t)
}

// runCancel cancels a transfer and prints the outcome. An abort is what was asked for; that the
// transfer is committed is a refusal.
func (a *App) runCancel(ctx context.Context, word string) error {
	t, err := a.settle(ctx, word, bank.Cancel)
	if err != nil {
		return err
	}
	switch t.Outcome {
	case api.OutcomeAborted:
		t.Error = nil
	case api.OutcomeCommitted:
		t.Error = &api.Error{Code: codeRefused, Message: "too late to cancel: the transfer is committed", ID: t.ID}
	}
	return a.printTransfer(t)
}

// settle runs Resolve or Cancel on an id.
func (a *App) settle(ctx context.Context, word string,
	do func(bank, context.Context, client.ID) (client.Result, error)) (api.Transfer, error) {
	id, err := parseID(word)
	if err != nil {
		return api.Transfer{}, a.badSettle(word, asExit(err))
	}
	c, done, err := a.open()
	if err != nil {
		return api.Transfer{}, err
	}
	defer done()
	r, err := do(c, ctx, id)
	switch {
	case errors.Is(err, client.ErrNotFound):
		e := failure(codeRefused, "no shard knows transfer %s: it was never sent, or never arrived", id).
			hint("make sure that it never will be applied: %s", a.command("Cancel "+id.String(), "cancel "+id.String()))
		return api.Transfer{}, a.badSettle(id.String(), e)
	case err != nil:
		return api.Transfer{}, a.badSettle(id.String(), asExit(err))
	}
	if r.Transfer.ID.IsZero() {
		r.Transfer.ID = id
	}
	return a.transferOf(r), nil
}

// badSettle reports an id for which there is no outcome to print.
func (a *App) badSettle(id string, e *exitError) error {
	e.err.ID = id
	if !a.Format.json() {
		return e
	}
	t := api.Transfer{ID: id, Error: e.err}
	if e.err.Code != codeUsage && e.err.Code != codeRefused { // of no transfer, or of none that a shard knows
		t.Outcome = api.OutcomeUnknown
	}
	if err := a.print(t, nil); err != nil {
		return err
	}
	e.printed = true
	return e
}

// runInDoubt lists what is prepared and not finished.
func (a *App) runInDoubt(ctx context.Context) error {
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	v, err := c.InDoubt(ctx)
	end := asExit(err)
	if end == nil && v.Error != nil {
		end = withError(v.Error)
	}
	if v.Transfers == nil {
		v.Transfers = []api.InDoubtTransfer{}
	}
	if v.Shards == nil {
		v.Shards = []api.InDoubtShard{}
	}
	if end != nil {
		v.Error = end.err
		end.printed = a.Format.json()
	}
	if err := a.print(v, func(w io.Writer) { a.inDoubtTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// tellUnconfirmed says of which clusters the list may be old or short, and whether there is none.
func (a *App) tellUnconfirmed(v api.InDoubt) (confirmed bool) {
	confirmed = true
	listed := map[int]int{}
	for _, t := range v.Transfers {
		listed[t.Shard]++
	}
	for _, sh := range v.Shards {
		switch {
		case sh.Server == nil:
			a.notef("%s: no server answers, what is in doubt there is not known", sh.Cluster)
			confirmed = false
		case sh.Leader == nil:
			a.notef("%s: no leader confirms its list; it is what server %d has applied, and may be old", sh.Cluster, *sh.Server)
			confirmed = false
		}
		if more := sh.Total - listed[sh.Shard]; more > 0 {
			a.notef("%s: %s not listed", sh.Cluster, plural(more, "more transfer"))
		}
	}
	return confirmed
}

func (a *App) inDoubtTable(w io.Writer, v api.InDoubt) {
	confirmed := a.tellUnconfirmed(v)
	if len(v.Transfers) == 0 && a.Format == FormatTable {
		if v.Error == nil && confirmed {
			_, _ = fmt.Fprintln(w, "nothing is in doubt: every prepared transfer is finished")
		}
		return
	}
	var rows [][]string
	for _, t := range v.Transfers {
		var shards []string
		for _, p := range t.Participants {
			shards = append(shards, fmt.Sprintf("C%d", p))
		}
		rows = append(rows, []string{t.ID, t.Cluster, t.From, t.To, t.Amount, fmt.Sprint(t.Index),
			fmt.Sprint(t.AgeMs), strings.Join(shards, ",")})
	}
	a.grid(w, columns("id", "cluster", ">from", ">to", "#amount", "#index", "#age ms", "participants"), rows)
}
