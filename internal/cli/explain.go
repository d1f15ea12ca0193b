package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
)

// outcomeNotFound is the outcome of an id that no server knows.
const outcomeNotFound = "not-found"

func newExplainCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "explain ID",
		Short: "Show what happened to one transfer on all servers, as one timeline",
		Args:  arguments(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runExplain(cmd.Context(), args[0])
		},
	}
}

// runExplain prints one transfer's timeline over all servers.
func (a *App) runExplain(ctx context.Context, word string) error {
	id, err := parseID(word)
	if err != nil {
		return a.badExplain(word, asExit(err))
	}
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	v, err := c.Explain(ctx, id)
	if err != nil {
		return a.badExplain(id.String(), asExit(err))
	}
	up := 0
	for i, s := range v.Servers {
		if s.Up {
			up++
		}
		if s.Entries == nil {
			v.Servers[i].Entries = []api.Entry{} // JSON has lists, not null
		}
	}
	var end *exitError
	switch {
	case up == 0:
		end = noServerAtAll(a.Topology)
	case v.Outcome == outcomeNotFound:
		end = failure(codeRefused, "no server that answers (%d of %d) knows transfer %s", up, len(v.Servers), id)
	}
	if end != nil {
		end.err.ID = id.String()
		v.Error = end.err
		if !a.Format.json() {
			return end
		}
		end.printed = true
	}
	if err := a.print(v, func(w io.Writer) { a.explainTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

func (a *App) badExplain(id string, e *exitError) error {
	if !a.Format.json() {
		return e
	}
	v := api.Explain{ID: id, Events: []api.ExplainEvent{}, Servers: []api.ServerExplain{}, Error: e.err}
	if err := a.print(v, nil); err != nil {
		return err
	}
	e.printed = true
	return e
}

// explainTable prints the timeline; times are the leaders' clocks, for display alone.
func (a *App) explainTable(w io.Writer, v api.Explain) {
	var first int64
	if len(v.Events) > 0 {
		first = v.Events[0].TimeNs
	}
	if a.Format == FormatTable {
		_, _ = fmt.Fprintf(w, "transfer %s", v.ID)
		if v.From != "" {
			_, _ = fmt.Fprintf(w, "  %s  %s -> %s: %s", v.Kind, v.From, v.To, v.Amount)
		}
		_, _ = fmt.Fprintf(w, "  %s", a.tint(strings.ToUpper(v.Outcome)))
		if v.Reason != "" && v.Reason != "none" {
			_, _ = fmt.Fprintf(w, " (%s)", strings.ReplaceAll(v.Reason, "_", " "))
		}
		_, _ = fmt.Fprintln(w)
		if first != 0 {
			_, _ = fmt.Fprintf(w, "first seen %s\n", time.Unix(0, first).UTC().Format("2006-01-02 15:04:05.000000 MST"))
		}
	}
	var rows [][]string
	for _, e := range v.Events {
		at := fmt.Sprint((e.TimeNs - first) / 1000)
		if a.Format == FormatTable {
			at = fmt.Sprintf("%.2f ms", float64(e.TimeNs-first)/1e6)
		}
		rows = append(rows, []string{at, e.Cluster, fmt.Sprint(e.Index), fmt.Sprint(e.Term), e.Kind, e.Outcome,
			e.Reason, intRanges(e.Servers)})
	}
	cols := columns(">after", "cluster", "#index", "#term", "event", "outcome", "reason", "servers")
	if a.Format != FormatTable {
		cols[0].name = "after_us"
	}
	a.grid(w, cols, rows)
	for _, s := range v.Servers {
		if !s.Up {
			a.notef("server %d of %s is down", s.Server, s.Cluster)
		}
	}
	if v.Outcome == "in-doubt" {
		a.notef("not finished yet; settle it: %s", a.command("Resolve "+v.ID, "resolve "+v.ID))
	}
}

// intRanges lists sorted numbers with runs drawn together: "1-3, 7".
func intRanges(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		switch {
		case j == i:
			parts = append(parts, fmt.Sprint(list[i]))
		case j == i+1:
			parts = append(parts, fmt.Sprint(list[i]), fmt.Sprint(list[j]))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}
