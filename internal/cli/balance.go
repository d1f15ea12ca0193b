package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
	"raftbank/internal/shard"
)

func newBalanceCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "balance ID",
		Short: "Show an account, read strongly, and what every replica of its cluster has",
		Long: "Show an account, read strongly, and what every replica of its cluster has applied.\n\n" +
			"Without a majority no strong read is possible: then the most advanced replica's balance is shown, said to be so,\n" +
			"and the exit code is 4.",
		Args: arguments(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runBalance(cmd.Context(), args[0])
		},
	}
}

// runBalance prints an account on every replica of its cluster.
func (a *App) runBalance(ctx context.Context, word string) error {
	account, err := parseAccount(a.Topology, word)
	if err != nil {
		return a.badBalance(api.Balance{Account: word}, asExit(err))
	}
	id, _ := a.Topology.ShardOf(account) // held, or parseAccount had failed
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	v, err := c.Replicas(ctx, account)
	if err != nil {
		return a.badBalance(api.Balance{Account: account.String(), Shard: int(id), Cluster: id.String()}, asExit(err))
	}
	end := balanceError(a.Topology, id, &v)
	if end != nil {
		v.Error = end.err
		end.printed = a.Format.json()
	}
	if err := a.print(v, func(w io.Writer) { a.balanceTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// balanceError says that the read was not a strong one; it takes out figures that nobody answered.
func balanceError(t *shard.Topology, id shard.ID, v *api.Balance) *exitError {
	if v.Strong {
		return nil
	}
	for _, r := range v.Replicas {
		if r.Up {
			return withError(&api.Error{Code: codeUnavailable, Shard: int(id), Phase: "read", Retryable: true,
				Message: fmt.Sprintf("no majority of %s answers: the balance is what the most advanced replica has applied, and may be old", id),
				Hint:    "who is down: raftbank status"})
		}
	}
	v.Balance, v.Available, v.PendingIn, v.PendingOut = "", "", "", ""
	e := noServer(t, id)
	e.Phase = "read"
	return withError(e)
}

// badBalance reports a balance that could not be read.
func (a *App) badBalance(v api.Balance, e *exitError) error {
	if !a.Format.json() {
		return e
	}
	v.Replicas = []api.ReplicaBalance{}
	v.Error = e.err
	if err := a.print(v, nil); err != nil {
		return err
	}
	e.printed = true
	return e
}

// balanceTable prints the strong read and the replicas. In plain the first row is the read itself,
// with role strong or stale.
func (a *App) balanceTable(w io.Writer, v api.Balance) {
	how := "strong"
	if !v.Strong {
		how = "stale"
	}
	figures := columns(">server", "role", "#term", "#applied", "#behind", "#balance", "#available", "#pending in", "#pending out")
	if a.Format != FormatTable {
		rows := [][]string{{v.Account, v.Cluster, "", how, "", "", "", v.Balance, v.Available, v.PendingIn, v.PendingOut}}
		for _, r := range v.Replicas {
			rows = append(rows, append([]string{v.Account, v.Cluster}, replicaRow(r)...))
		}
		a.grid(w, append(columns("account", "cluster"), figures...), rows)
		return
	}
	if v.Balance == "" {
		_, _ = fmt.Fprintf(w, "account %s on %s: no answer\n", v.Account, v.Cluster)
	} else {
		a.balanceLine(w, v, how)
	}
	var rows [][]string
	for _, r := range v.Replicas {
		rows = append(rows, replicaRow(r))
	}
	a.grid(w, figures, rows)
}

func (a *App) balanceLine(w io.Writer, v api.Balance, how string) {
	_, _ = fmt.Fprintf(w, "account %s on %s: balance %s, available %s, pending in %s, pending out %s (%s read)\n",
		v.Account, v.Cluster, thousands(v.Balance), thousands(v.Available), thousands(v.PendingIn), thousands(v.PendingOut), how)
}

func replicaRow(r api.ReplicaBalance) []string {
	if !r.Up {
		return []string{fmt.Sprint(r.Server), "down", "", "", "", "", "", "", ""}
	}
	return []string{fmt.Sprint(r.Server), r.Role, fmt.Sprint(r.Term), fmt.Sprint(r.Applied), fmt.Sprint(r.Behind),
		r.Balance, r.Available, r.PendingIn, r.PendingOut}
}
