package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

// memberArg makes this program a member of an etcd cluster: the rest are etcd's own arguments.
const memberArg = "etcd-member"

// options of a run.
type options struct {
	bench.PeersOptions
	raftbank      string // the program
	postgres      string // directory of PostgreSQL's programs; "": looked for
	seed          uint64
	exitWithStdin bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == memberArg {
		etcdmain.Main(append([]string{"etcd"}, os.Args[2:]...))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	o := parse(os.Args[1:])
	if o.exitWithStdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // until it closes
			stop()
		}()
	}
	lines := json.NewEncoder(os.Stdout)
	out, err := run(ctx, o, lines.Encode)
	if out == nil {
		out = &api.BenchPeers{Error: &api.Error{Code: "internal", Message: err.Error()}}
	}
	if err := lines.Encode(out); err != nil || out.Error != nil { // what failed stands in it
		stop()
		os.Exit(1)
	}
}

func parse(args []string) options {
	var o options
	f := flag.NewFlagSet("peers", flag.ExitOnError)
	f.StringVar(&o.raftbank, "raftbank", "", "the program raftbank")
	f.StringVar(&o.postgres, "postgres", "", "directory of PostgreSQL's programs")
	systems := f.String("systems", "", "only these peers")
	loads := f.String("loads", "", "only these loads")
	f.IntVar(&o.Runs, "runs", 1, "runs of every load on every system")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "measured window")
	f.DurationVar(&o.Warmup, "warmup", 2*time.Second, "load before it")
	f.Uint64Var(&o.Accounts, "accounts", 3000, "accounts")
	f.Uint64Var(&o.seed, "seed", 1, "seed of accounts and amounts")
	f.BoolVar(&o.exitWithStdin, "exit-with-stdin", false, "end when standard input closes")
	_ = f.Parse(args) // ExitOnError
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
	}
	o.Systems, o.Loads = split(*systems), split(*loads)
	return o
}

// run measures every load on raftbank and then on every peer that takes it. keep gets what there is after every
// system; what ends the run early is the Error of what was measured until then.
// Errors, without a result: nothing could begin; those of keep.
func run(ctx context.Context, o options, keep func(v any) error) (*api.BenchPeers, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "raftbank-peers-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // servers of another user work below it
		return nil, err
	}
	out := &api.BenchPeers{Versions: map[string]string{}, Machine: bench.Machine(), Seed: o.seed, Loads: []api.BenchPeerLoad{}, Skipped: map[string]string{}}
	for _, l := range loads {
		if len(o.Loads) > 0 && !slices.Contains(o.Loads, l.name) {
			continue
		}
		out.Loads = append(out.Loads, api.BenchPeerLoad{Name: l.name, Load: l.text, Systems: []api.BenchPeerResult{}})
		for i := range o.Runs * len(l.systems) { // the runs of one system are spread, so that a disturbance does not hit it alone
			name := l.systems[i%len(l.systems)]
			if name != raftbankName && len(o.Systems) > 0 && !slices.Contains(o.Systems, name) {
				continue
			}
			if _, skipped := out.Skipped[name]; skipped {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: %s, run %d of %d\n", l.name, name, i/len(l.systems)+1, o.Runs)
			r, err := measure(ctx, &o, dir, &l, name)
			if errors.Is(err, errNotHere) {
				out.Skipped[name] = err.Error()
				continue
			}
			if add(ctx, out, r, err); out.Error != nil {
				return out, nil
			}
			if err := keep(out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// add puts a run into the last load, or what kept it from coming about: the end of ctx, a failure of the system
// under this load, or money that was lost.
func add(ctx context.Context, out *api.BenchPeers, r *api.BenchPeerResult, err error) {
	l := &out.Loads[len(out.Loads)-1]
	if r != nil {
		maps.Copy(out.Versions, r.Result.Versions)
		l.Systems = addRun(l.Systems, r)
		ratios(l.Systems)
	}
	var told *api.Error
	switch {
	case err == nil:
	case ctx.Err() != nil:
		out.Error = &api.Error{Code: "interrupted", Message: "interrupted under the load " + l.Name}
	case errors.As(err, &told):
		out.Error = &api.Error{Code: told.Code, Message: fmt.Sprintf("load %s: %s", l.Name, told.Message), Hint: told.Hint}
	default:
		out.Error = &api.Error{Code: "internal", Message: fmt.Sprintf("load %s: %v", l.Name, err)}
	}
}

func (o *options) validate() error {
	if o.raftbank == "" {
		return errors.New("no program raftbank was named")
	}
	return o.Validate()
}

// addRun adds a run of a system to those that it has, and takes medians.
func addRun(systems []api.BenchPeerResult, r *api.BenchPeerResult) []api.BenchPeerResult {
	at := slices.IndexFunc(systems, func(s api.BenchPeerResult) bool { return s.System == r.System })
	if at < 0 {
		at, systems = len(systems), append(systems, *r)
	}
	s := &systems[at]
	s.Runs = append(s.Runs, r.Result)
	if r.Result.Error != nil {
		s.Result = r.Result // it ends the command
		return systems
	}
	var tps, p50, p99, cpu []float64
	for i := range s.Runs {
		b := &s.Runs[i]
		tps, p50, p99 = append(tps, b.TPS), append(p50, float64(b.LatencyUs.P50)), append(p99, float64(b.LatencyUs.P99))
		if c := b.CPUUsPerTransfer.Servers; c != nil {
			cpu = append(cpu, *c)
		}
	}
	s.TPS, s.P50Us, s.P99Us, s.CPUUs = bench.Median(tps), bench.Median(p50), bench.Median(p99), nil
	if len(cpu) > 0 {
		v := bench.Median(cpu)
		s.CPUUs = &v
	}
	order := slices.SortedFunc(slices.Values(s.Runs), func(a, b api.Bench) int { return cmp.Compare(a.TPS, b.TPS) })
	s.Result = order[(len(order)-1)/2]
	return systems
}

// ratios fills in raftbank over every peer; raftbank comes first.
func ratios(systems []api.BenchPeerResult) {
	if len(systems) == 0 || systems[0].System != raftbankName {
		return
	}
	ratio := func(a, b float64) *float64 {
		if a == 0 || b == 0 {
			return nil
		}
		v := a / b
		return &v
	}
	own := &systems[0]
	for i := range systems[1:] {
		s := &systems[i+1]
		s.TPSRatio, s.P50Ratio, s.P99Ratio = ratio(own.TPS, s.TPS), ratio(own.P50Us, s.P50Us), ratio(own.P99Us, s.P99Us)
		if own.CPUUs != nil && s.CPUUs != nil {
			s.CPURatio = ratio(*own.CPUUs, *s.CPUUs)
		}
	}
}
