package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
)

// watchEvery is the time between two looks of status --watch.
const watchEvery = time.Second

func newStatusCmd(a *App) *cobra.Command {
	var s statusArgs
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show clusters, leaders, terms, indexes and who is down",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runStatus(cmd.Context(), s)
		},
	}
	cmd.Flags().BoolVarP(&s.Watch, "watch", "w", false, "look again every second until interrupted")
	return cmd
}

// runStatus prints the state of every server; with Watch again and again until ctx ends, which is
// then success.
func (a *App) runStatus(ctx context.Context, s statusArgs) error {
	if s.Watch && a.Format == FormatJSON {
		return usageError("--watch prints many values").hint("use -o jsonl")
	}
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	if !s.Watch {
		return a.statusOnce(ctx, c)
	}
	for {
		err := a.statusScreen(ctx, c)
		if ctx.Err() != nil {
			a.endLine()
			return nil
		}
		if e := asExit(err); e != nil && !e.printed {
			a.complain(e.err)
		}
		select {
		case <-ctx.Done():
			a.endLine()
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// statusScreen prints one look of --watch; on a terminal it takes the place of the one before.
func (a *App) statusScreen(ctx context.Context, c bank) error {
	if !isTerminal(a.Out) || a.Format != FormatTable {
		return a.statusOnce(ctx, c)
	}
	out := a.Out
	var screen bytes.Buffer
	a.Out = &screen
	err := a.statusOnce(ctx, c)
	a.Out = out
	if ctx.Err() == nil {
		_, _ = fmt.Fprintf(out, "\x1b[H\x1b[2J%s", screen.Bytes())
	}
	return err
}

func (a *App) statusOnce(ctx context.Context, c bank) error {
	v, err := c.Status(ctx)
	if err != nil {
		e := asExit(err)
		if !a.Format.json() {
			return e
		}
		if err := a.print(api.Status{Shards: []api.ShardStatus{}, Error: e.err}, nil); err != nil {
			return err
		}
		e.printed = true
		return e
	}
	var end *exitError
	if !anyUp(v) {
		end = noServerAtAll(a.Topology)
		v.Error = end.err
		end.printed = a.Format.json()
	}
	if err := a.print(v, func(w io.Writer) { a.statusTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// downNote is the cause why a server is down, without what the row tells already.
func downNote(note string) string {
	if _, cause, ok := strings.Cut(note, " does not answer: "); ok {
		return strings.TrimSpace(cause[strings.LastIndex(cause, ": ")+1:])
	}
	if _, cause, ok := strings.Cut(note, " does not serve: "); ok {
		return cause
	}
	return note
}

func anyUp(v api.Status) bool {
	for _, sh := range v.Shards {
		for _, s := range sh.Servers {
			if s.Up {
				return true
			}
		}
	}
	return false
}

// statusTable prints one row per server. A table names a cluster once; plain on every row.
func (a *App) statusTable(w io.Writer, v api.Status) {
	cols := columns("cluster", "accounts", ">server", "addr", "role", "#term", "#commit", "#applied", "#prepared", "note")
	var rows [][]string
	for _, sh := range v.Shards {
		name, accounts := sh.Cluster, sh.First+"-"+sh.Last
		for _, s := range sh.Servers {
			row := []string{name, accounts, fmt.Sprint(s.Server), s.Addr}
			if s.Up {
				row = append(row, s.Role, fmt.Sprint(s.Term), fmt.Sprint(s.Commit), fmt.Sprint(s.Applied), fmt.Sprint(s.Prepared), s.Note)
			} else {
				row = append(row, "down", "", "", "", "", downNote(s.Note))
			}
			rows = append(rows, row)
			if a.Format == FormatTable {
				name, accounts = "", ""
			}
		}
	}
	a.grid(w, cols, rows)
	for _, sh := range v.Shards {
		if sh.Leader == nil {
			a.notef("%s has no leader", sh.Cluster)
		}
	}
}
