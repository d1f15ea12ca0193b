package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

// peersModule is where the program that runs the peers stands in the source.
const peersModule = "bench/peers"

// benchPeersArgs are the flags of bench peers.
type benchPeersArgs struct {
	bench.PeersOptions
	Source   string // root of raftbank's source; "": looked for upwards from here
	Postgres string
	Seed     uint64
	JSON     string
}

func newBenchPeersCmd(a *App) *cobra.Command {
	p := benchPeersArgs{}
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Measure the same transfers on PostgreSQL and etcd, in the same run, and show the ratios",
		Long: "Measure the same transfers on raftbank and on its peers, one after the other on this machine: PostgreSQL\n" +
			"alone, with two synchronous standbys, and as two servers with a client's PREPARE TRANSACTION between them,\n" +
			"if its programs are here; and an etcd of three members, which is built from source. The program that does\n" +
			"it is a module of its own in raftbank's source, so this needs the source and Go.",
		Example:     "  raftbank bench peers --loads one,many --systems postgres-sync,etcd",
		Args:        arguments(0, 0),
		Annotations: map[string]string{needsNoConfig: ""},
		RunE:        func(cmd *cobra.Command, _ []string) error { return a.runBenchPeers(cmd.Context(), p) },
	}
	f := cmd.Flags()
	f.StringVar(&p.Source, "source", "", "root of raftbank's source (default: looked for upwards from here)")
	f.StringSliceVar(&p.Systems, "systems", nil, "only these peers, by name (default: all)")
	f.StringSliceVar(&p.Loads, "loads", nil, "only these loads, by name (default: all)")
	f.StringVar(&p.Postgres, "postgres", "", "directory of PostgreSQL's programs (default: looked for)")
	f.DurationVar(&p.Duration, "duration", 10*time.Second, "length of every measured window")
	f.DurationVar(&p.Warmup, "warmup", 3*time.Second, "load before it")
	f.IntVar(&p.Runs, "runs", 1, "runs of every load on every system, in turn; medians are shown")
	f.Uint64Var(&p.Accounts, "accounts", 3000, "accounts of every system")
	f.Uint64Var(&p.Seed, "seed", 0, "seed of accounts and amounts (default: one is drawn)")
	f.StringVar(&p.JSON, "json", "", "write the result to this file as JSON")
	return cmd
}

// runBenchPeers builds the program, runs it, and prints what it found.
func (a *App) runBenchPeers(ctx context.Context, p benchPeersArgs) error {
	if err := p.Validate(); err != nil {
		return usageError("%v", err)
	}
	if err := writable(p.JSON); err != nil {
		return err
	}
	if p.Seed == 0 {
		p.Seed = uint64(rand.Uint32())
		a.notef("seed %d", p.Seed)
	}
	source, err := findSource(p.Source)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "raftbank-peers-")
	if err != nil {
		return failure(codeInternal, "temporary directory: %v", err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return failure(codeInternal, "find this program: %v", err)
	}
	program := filepath.Join(dir, "peers")
	a.notef("building %s", peersModule)
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join(source, filepath.FromSlash(peersModule))
	if text, err := build.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return asExit(ctx.Err())
		}
		return failure(codeInternal, "build %s: %v\n%s", peersModule, err, bytes.TrimSpace(text))
	}
	v, err := a.peersRun(ctx, p, program, self)
	if err != nil {
		return err
	}
	printed := a.print(v, func(w io.Writer) { a.peersTable(w, v) })
	return a.benchEnd(v.Error, printed, writeJSON(p.JSON, v))
}

// findSource returns the root of raftbank's source.
func findSource(named string) (string, error) {
	dir, err := filepath.Abs(named) // "" is here
	if err != nil {
		return "", usageError("--source: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(peersModule), "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if named != "" || parent == dir {
			return "", usageError("no %s in %s", peersModule, cmp.Or(named, "this directory or above it")).
				hint("name the root of raftbank's source: raftbank bench peers --source DIR")
		}
		dir = parent
	}
}

// peersRun runs the program to its end. It prints a line after every system, which is kept in the file: what fails
// late, or is interrupted, loses nothing that was measured.
func (a *App) peersRun(ctx context.Context, p benchPeersArgs, program, self string) (*api.BenchPeers, error) {
	cmd := exec.CommandContext(ctx, program, "-raftbank", self, "-seed", strconv.FormatUint(p.Seed, 10),
		"-accounts", strconv.FormatUint(p.Accounts, 10), "-duration", p.Duration.String(), "-warmup", p.Warmup.String(),
		"-runs", strconv.Itoa(p.Runs), "-systems", strings.Join(p.Systems, ","), "-loads", strings.Join(p.Loads, ","), "-postgres", p.Postgres,
		"-exit-with-stdin")
	var last lastLine
	cmd.Stderr = &last
	if !a.Quiet {
		cmd.Stderr = io.MultiWriter(a.Err, &last)
	}
	// The pipe closes when this process ends, however it ends; the program then ends too.
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, failure(codeInternal, "run %s: %v", peersModule, err)
	}
	defer pipe.Close()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return nil, failure(codeInternal, "run %s: %v", peersModule, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, failure(codeInternal, "run %s: %v", peersModule, err)
	}
	v, read := lastPeers(lines, func(v *api.BenchPeers) error { return writeJSON(p.JSON, v) })
	ended := cmd.Wait() // before its last words are looked at: they may still be on their way
	return peersEnd(ctx, v, errors.Join(read, ended), last.text)
}

// lastPeers reads what the program prints, one line after every system, and returns the last. keep gets every one.
func lastPeers(r io.Reader, keep func(*api.BenchPeers) error) (last *api.BenchPeers, err error) {
	lines := json.NewDecoder(r)
	for {
		var v api.BenchPeers
		switch bad := lines.Decode(&v); {
		case errors.Is(bad, io.EOF):
			return last, err
		case bad != nil:
			_, _ = io.Copy(io.Discard, r) // so that it can end
			return last, fmt.Errorf("what %s printed: %w", peersModule, bad)
		}
		last, err = &v, keep(&v) // a file that cannot be written now may be later
	}
}

// peersEnd says what came of the program: with a result, what failed is its Error.
func peersEnd(ctx context.Context, v *api.BenchPeers, err error, words string) (*api.BenchPeers, error) {
	var exit *exec.ExitError
	switch {
	case v != nil && v.Error != nil && !slices.ContainsFunc(v.Loads, func(l api.BenchPeerLoad) bool { return len(l.Systems) > 0 }):
		return nil, withError(v.Error) // there is nothing to show
	case err == nil && v != nil:
		return v, nil
	case err == nil:
		return nil, failure(codeInternal, "%s printed nothing", peersModule)
	case v != nil && v.Error != nil:
		return v, nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.As(err, &exit):
		err = failure(codeInternal, "%s: %s", exit, strings.TrimPrefix(words, "peers: "))
	}
	if v == nil {
		return nil, asExit(err)
	}
	v.Error = asExit(err).err
	return v, nil
}

// lastLine keeps the last line that was written to it.
type lastLine struct{ text string }

func (l *lastLine) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			l.text = line
		}
	}
	return len(b), nil
}

// notCommitted counts the transfers of some runs that did not commit.
func notCommitted(runs []api.Bench) int {
	n := 0
	for i := range runs {
		n += sum(runs[i].Aborted) + runs[i].Unavailable + runs[i].Unknown
	}
	return n
}

// peersTable prints one row per load and system.
func (a *App) peersTable(w io.Writer, v *api.BenchPeers) {
	ratio := func(r *float64) string {
		if r == nil {
			return ""
		}
		return fmt.Sprintf("%.3g", *r)
	}
	var rows [][]string
	for i := range v.Loads {
		l := &v.Loads[i]
		for j := range l.Systems {
			s := &l.Systems[j]
			cpu := ""
			if s.CPUUs != nil {
				cpu = fmt.Sprintf("%.1f", *s.CPUUs)
			}
			rows = append(rows, []string{l.Name, s.System, s.Version, s.Shape, fmt.Sprint(len(s.Runs)), fmt.Sprintf("%.0f", s.TPS), a.latencyText(s.P50Us),
				a.latencyText(s.P99Us), cpu, fmt.Sprint(notCommitted(s.Runs)), ratio(s.TPSRatio), ratio(s.P50Ratio), ratio(s.P99Ratio), ratio(s.CPURatio)})
		}
	}
	cols := columns("load", "system", "version", "shape", "#runs", "#tps", ">p50", ">p99", ">servers' CPU us", "#refused", ">tps ratio", ">p50 ratio",
		">p99 ratio", ">CPU ratio")
	if a.Format != FormatTable {
		cols[6].name, cols[7].name = "p50_us", "p99_us"
	}
	a.grid(w, cols, rows)
	if a.Format != FormatTable {
		return
	}
	_, _ = fmt.Fprintln(w, "shape: connections x transfers per request x requests in flight on each; refused: refused or without an answer, in all runs;\n"+
		"figures are medians of the runs; ratios: raftbank over the system. How each system ran stands in the JSON (settings)")
	for _, name := range slices.Sorted(maps.Keys(v.Skipped)) {
		_, _ = fmt.Fprintf(w, "left out: %s: %s\n", name, v.Skipped[name])
	}
	for _, name := range slices.Sorted(maps.Keys(v.Versions)) {
		_, _ = fmt.Fprintf(w, "%s %s\n", name, v.Versions[name])
	}
}
