package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
)

// linearArgs are the flags of check linearizability.
type linearArgs struct {
	Duration  time.Duration
	Clients   int
	Accounts  []string
	Hot       int
	Cross     int
	Record    string
	History   string
	Visualize string
}

// Bounds of the flags.
const (
	maxLinearClients  = 64
	maxLinearAccounts = 64
	maxLinearDuration = 24 * time.Hour
)

func newCheckLinearCmd(a *App) *cobra.Command {
	p := linearArgs{Duration: 10 * time.Second, Clients: 8, Hot: 6, Cross: 50}
	cmd := &cobra.Command{
		Use:   "linearizability",
		Short: "Record transfers and strong reads of a few accounts, and search for an order that explains them",
		Long: "Record a history of transfers and strong reads on a few accounts, from several clients at once, and search\n" +
			"for every account for one order that explains what everybody was told. Money moves between the named\n" +
			"accounts alone and is given back at the end.\n\n" +
			"Nobody else may use these accounts meanwhile: committed transfers of others make the result not comparable (exit 4).\n" +
			"Exit 0: every history has an order; 7: one has none.",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runCheckLinear(cmd.Context(), p)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&p.Duration, "duration", p.Duration, "how long to record")
	f.IntVar(&p.Clients, "clients", p.Clients, "clients at once, each with one operation under way")
	f.StringSliceVar(&p.Accounts, "accounts", nil, "accounts to use, separated by commas (default: chosen, see --hot)")
	f.IntVar(&p.Hot, "hot", p.Hot, "how many accounts to choose, the last ones of every cluster")
	f.IntVar(&p.Cross, "cross", p.Cross, "percentage of transfers between clusters")
	f.StringVar(&p.Record, "record", "", "keep the history in `FILE`, one JSON value per line")
	f.StringVar(&p.History, "history", "", "check the history kept in `FILE` instead; no bank is needed")
	f.StringVar(&p.Visualize, "visualize", "", "write a page to `FILE` that shows the history that was found wrong, or else the longest one")
	return cmd
}

// validate reports the first flag that is out of its bounds.
func (p *linearArgs) validate() error {
	switch {
	case p.History != "" && p.Record != "":
		return usageError("--history and --record exclude each other")
	case p.Duration <= 0 || p.Duration > maxLinearDuration:
		return usageError("--duration %s: want more than 0 and at most %s", p.Duration, maxLinearDuration)
	case p.Clients < 1 || p.Clients > maxLinearClients:
		return usageError("--clients %d: want 1 to %d", p.Clients, maxLinearClients)
	case p.Cross < 0 || p.Cross > 100:
		return usageError("--cross %d: want 0 to 100", p.Cross)
	case len(p.Accounts) == 0 && (p.Hot < 2 || p.Hot > maxLinearAccounts):
		return usageError("--hot %d: want 2 to %d", p.Hot, maxLinearAccounts)
	case len(p.Accounts) == 1 || len(p.Accounts) > maxLinearAccounts:
		return usageError("--accounts: want 2 to %d, got %d", maxLinearAccounts, len(p.Accounts))
	}
	return nil
}

// linearAccounts returns the accounts to use: those that were named, or the last ones of every cluster in turn.
func (a *App) linearAccounts(p *linearArgs) ([]shard.Account, error) {
	var list []shard.Account
	for _, text := range p.Accounts {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
		account := shard.Account(n)
		if err != nil {
			return nil, usageError("--accounts: %q is no account", text)
		}
		if _, ok := a.Topology.ShardOf(account); !ok {
			return nil, failure(codeRefused, "account %s does not exist: this bank holds %s", account, a.Topology.Accounts())
		}
		if slices.Contains(list, account) {
			return nil, usageError("--accounts: %s is named twice", account)
		}
		list = append(list, account)
	}
	if len(list) > 0 {
		return list, nil
	}
	for i := shard.Account(0); len(list) < p.Hot; i++ {
		before := len(list)
		for _, c := range a.Topology.Clusters {
			if len(list) < p.Hot && c.Range.Last-c.Range.First >= i {
				list = append(list, c.Range.Last-i)
			}
		}
		if len(list) == before {
			return nil, usageError("--hot %d: this bank has %d accounts", p.Hot, before)
		}
	}
	slices.Sort(list)
	return list, nil
}

// runCheckLinear records or reads a history, checks it and prints the verdict.
func (a *App) runCheckLinear(ctx context.Context, p linearArgs) error {
	if err := p.validate(); err != nil {
		return err
	}
	check := newLinearCheck(a.Topology)
	var end *exitError
	if p.History != "" {
		end = asExit(check.kept(p.History))
	} else {
		end = asExit(a.recordLinear(ctx, p, check))
	}
	if end != nil && len(check.result.Accounts) == 0 && (end.code == exitUsage || end.code == exitRefused || !a.Format.json()) {
		return end // nothing was recorded or read: there is nothing to print but the error
	}
	if end == nil {
		end = check.verdict()
	}
	if err := check.visualize(p.Visualize); err != nil {
		return failure(codeInternal, "write %s: %v", p.Visualize, err)
	}
	v := &check.result
	v.Record = p.Record
	if end != nil {
		v.Error = end.err
		end.printed = a.Format.json()
	}
	if err := a.print(v, func(w io.Writer) { a.linearTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// kept checks a history from a file.
func (k *linearCheck) kept(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return usageError("--history: %v", err)
	}
	events, err := linear.ReadEvents(f)
	_ = f.Close() // it was only read
	if err == nil {
		err = k.add(events)
	}
	if errors.Is(err, linear.ErrHistory) {
		return usageError("%s: %v", path, err).hint("such files come from: raftbank check linearizability --record FILE")
	}
	return err
}

// linearTable prints one row per account, and what was found.
func (a *App) linearTable(w io.Writer, v *api.Linearizability) {
	cols := columns(">account", "cluster", "#histories", "#reads", "#transfers", "#open", "#left_out", "linearizable")
	var rows [][]string
	for _, c := range v.Accounts {
		rows = append(rows, []string{c.Account, c.Cluster, fmt.Sprint(c.Histories), fmt.Sprint(c.Reads),
			fmt.Sprint(c.Transfers), fmt.Sprint(c.Open), fmt.Sprint(c.Left), verdict(c.OK, "yes", "no")})
	}
	a.grid(w, cols, rows)
	if a.Format == FormatTable {
		_, _ = fmt.Fprintf(w, "histories %d in %s: %s, %s   %s\n", v.Histories, plural(v.Rounds, "round"),
			plural(v.Reads, "read"), plural(v.Transfers, "transfer"), a.tint(verdict(v.OK, "OK", "VIOLATION")))
	}
	if f := v.Violation; f != nil {
		a.linearFinding(f)
	}
	for _, m := range v.NotMoved {
		a.notef("not given back: account %s has %s more than before", m.Account, m.Amount)
	}
}

// linearFinding tells a violation: what was read, and the operations around it.
func (a *App) linearFinding(f *api.LinearFinding) {
	_, _ = fmt.Fprintf(a.Err, "account %s, round %d, began with in %s out %s:\n", f.Account, f.Round, f.In, f.Out)
	for _, text := range f.Evidence {
		_, _ = fmt.Fprintf(a.Err, "  %s\n", text)
	}
	_, _ = fmt.Fprintln(a.Err, "  the operations around it, in microseconds since the recording began:")
	for _, op := range f.Excerpt {
		ends := "(never told)"
		if op.ReturnUs != nil {
			ends = fmt.Sprint(*op.ReturnUs)
		}
		what := fmt.Sprintf("transfer adds in %s out %s  %s", op.In, op.Out, op.ID)
		if op.Kind == linear.KindRead {
			what = fmt.Sprintf("read saw in %s out %s", op.In, op.Out)
		}
		_, _ = fmt.Fprintf(a.Err, "  %10d to %-12s client %-2d %s\n", op.CallUs, ends, op.Client, what)
	}
}
