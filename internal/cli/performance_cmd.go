package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
)

// performanceWait bounds the wait for a client server on this machine.
const performanceWait = 3 * time.Second

func newPerformanceCmd(a *App) *cobra.Command {
	var p performanceArgs
	cmd := &cobra.Command{
		Use:   "performance",
		Short: "Show throughput and latencies that the running client servers have measured",
		Long: "Show what the running client servers have measured since their start or their last reset.\n" +
			"It never generates load. Without --client it asks 127.0.0.1:9000 and 127.0.0.1:8999.",
		Args:        arguments(0, 0),
		Annotations: map[string]string{needsNoConfig: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runPerformance(cmd.Context(), p)
		},
	}
	cmd.Flags().StringVar(&p.Client, "client", "", "one client server, at `HOST:PORT`")
	return cmd
}

// runPerformance prints this session's figures in a shell, else those of the running client servers.
func (a *App) runPerformance(ctx context.Context, p performanceArgs) error {
	if a.Recorder != nil && p.Client == "" {
		return a.sessionPerformance(p.Reset)
	}
	if p.Reset {
		return usageError("only the shell of a client server can reset its figures").hint("there: Performance reset")
	}
	addrs := []string{p.Client}
	if p.Client == "" {
		addrs = []string{localAddr(clientPort), localAddr(secondClientPort)}
	}
	v := api.Performances{Clients: []api.Performance{}}
	var last error
	for _, addr := range addrs {
		one, err := fetchPerformance(ctx, addr)
		if err != nil {
			last = err
			continue
		}
		v.Clients = append(v.Clients, one)
	}
	var end *exitError
	if len(v.Clients) == 0 {
		end = failure(codeUnavailable, "no client server answers (%s): %v", strings.Join(addrs, ", "), innermost(last)).
			hint("start one: raftbank client")
		v.Error = end.err
		if !a.Format.json() {
			return end
		}
		end.printed = true
	}
	if err := a.print(v, func(w io.Writer) { a.performanceTables(w, v.Clients) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// innermost returns the cause of an error of the network: the rest of its text repeats what was asked.
func innermost(err error) error {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

func localAddr(port int) string { return net.JoinHostPort("127.0.0.1", fmt.Sprint(port)) }

// sessionPerformance prints, and with reset forgets, the figures of this session.
func (a *App) sessionPerformance(reset bool) error {
	v := a.Recorder.Snapshot()
	if reset {
		a.Recorder.Reset()
		a.notef("figures of this session reset; these were they:")
	}
	return a.print(v, func(w io.Writer) { a.performanceTables(w, []api.Performance{v}) })
}

// fetchPerformance asks one client server.
func fetchPerformance(ctx context.Context, addr string) (api.Performance, error) {
	var v api.Performance
	ctx, cancel := context.WithTimeout(ctx, performanceWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/performance", nil)
	if err != nil {
		return v, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return v, fmt.Errorf("%s answers %s: not a raftbank client server?", addr, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&v); err != nil {
		return v, fmt.Errorf("%s: %w", addr, err)
	}
	v.Reachable = true
	return v, nil
}

// kindColumns are the figures of one kind of transfer.
var kindColumns = columns("kind", "#committed", "#aborted", "#unavailable", "#unknown",
	"#mean", "#p50", "#p95", "#p99", "#p99.9", "#max")

// kindRow prints one kind. People get milliseconds, programs microseconds.
func (a *App) kindRow(k api.KindPerformance) []string {
	l := k.LatencyUs
	row := []string{k.Kind, fmt.Sprint(k.Committed), fmt.Sprint(sum(k.Aborted)),
		fmt.Sprint(k.Unavailable), fmt.Sprint(k.Unknown)}
	if l == (api.LatencyUs{}) { // nothing was measured: what the rules refuse on the spot takes no time
		return append(row, "", "", "", "", "", "")
	}
	for _, us := range []float64{l.Mean, float64(l.P50), float64(l.P95), float64(l.P99), float64(l.P999), float64(l.Max)} {
		if a.Format == FormatTable {
			row = append(row, fmt.Sprintf("%.1f ms", us/1000))
		} else {
			row = append(row, fmt.Sprintf("%.0f", us))
		}
	}
	return row
}

// performanceTables prints the figures of client servers or of this session.
func (a *App) performanceTables(w io.Writer, clients []api.Performance) {
	if a.Format != FormatTable {
		cols := append(columns("client", "loop", "#tps"), microseconds(kindColumns)...)
		var rows [][]string
		for _, p := range clients {
			for _, k := range append(slices.Clone(p.Kinds), p.Total) {
				rows = append(rows, append([]string{p.Client, p.Loop, fmt.Sprintf("%.1f", k.TPS)}, a.kindRow(k)...))
			}
		}
		a.grid(w, cols, rows)
		return
	}
	for i, p := range clients {
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		_, _ = fmt.Fprintf(w, "%s: %.1f s since the start or the last reset, %.1f s with transfers in flight\n",
			p.Client, float64(p.SinceMs)/1000, float64(p.BusyMs)/1000)
		var rows [][]string
		for _, k := range append(slices.Clone(p.Kinds), p.Total) {
			rows = append(rows, a.kindRow(k))
		}
		a.grid(w, kindColumns, rows)
		answered := p.Total.Committed + sum(p.Total.Aborted)
		_, _ = fmt.Fprintf(w, "%s%s answered, %s per second (%s loop)\n", reasonsLine(p.Total.Aborted),
			thousands(fmt.Sprint(answered)), thousands(fmt.Sprintf("%.0f", p.Total.TPS)), p.Loop)
	}
}

// microseconds renames the latency columns for programs.
func microseconds(cols []column) []column {
	renamed := slices.Clone(cols)
	for i, c := range renamed {
		if strings.HasPrefix(c.name, "p") || c.name == "mean" || c.name == "max" {
			renamed[i].name = strings.ReplaceAll(c.name, ".", "") + "_us"
		}
	}
	return renamed
}

// reasonsLine lists why transfers aborted, the most frequent reason first; "" if none did.
func reasonsLine(aborted map[string]int) string {
	reasons := slices.SortedFunc(maps.Keys(aborted), func(x, y string) int {
		if aborted[x] != aborted[y] {
			return aborted[y] - aborted[x]
		}
		return strings.Compare(x, y)
	})
	if len(reasons) == 0 {
		return ""
	}
	var parts []string
	for _, r := range reasons {
		parts = append(parts, thousands(fmt.Sprint(aborted[r]))+" "+strings.ReplaceAll(r, "_", " "))
	}
	return "aborted: " + strings.Join(parts, ", ") + "\n"
}

// linesDone counts a file's lines, and says so if not all were sent.
func linesDone(v api.FileTransfer) string {
	sent := v.Committed + sum(v.Aborted) + v.Unavailable + v.Unknown
	if sent == v.Total {
		return plural(v.Total, "line")
	}
	return thousands(fmt.Sprint(sent)) + " of " + plural(v.Total, "line")
}

// fileTable prints the summary of a file: by kind, then reasons and throughput.
func (a *App) fileTable(w io.Writer, v api.FileTransfer) {
	total := api.KindPerformance{Kind: "total", Committed: v.Committed, Aborted: v.Aborted,
		Unavailable: v.Unavailable, Unknown: v.Unknown, LatencyUs: v.LatencyUs}
	var rows [][]string
	for _, k := range append(slices.Clone(v.Kinds), total) {
		rows = append(rows, a.kindRow(k))
	}
	if a.Format != FormatTable {
		a.grid(w, microseconds(kindColumns), rows)
		a.notef("%s%s in %d ms, %.1f per second (closed loop)", reasonsLine(v.Aborted), linesDone(v), v.ElapsedMs, v.TPS)
		return
	}
	a.grid(w, kindColumns, rows)
	_, _ = fmt.Fprintf(w, "%s%s in %.2f s, %s per second (closed loop)\n", reasonsLine(v.Aborted),
		linesDone(v), float64(v.ElapsedMs)/1000, thousands(fmt.Sprintf("%.0f", v.TPS)))
}
