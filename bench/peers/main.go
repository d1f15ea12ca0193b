package main

import (
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
		for _, name := range l.systems {
			if name != raftbankName && len(o.Systems) > 0 && !slices.Contains(o.Systems, name) {
				continue
			}
			if _, skipped := out.Skipped[name]; skipped {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: %s\n", l.name, name)
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

// add puts a result into the last load, or what kept it from coming about: the end of ctx, a failure of the system
// under this load, or money that was lost.
func add(ctx context.Context, out *api.BenchPeers, r *api.BenchPeerResult, err error) {
	l := &out.Loads[len(out.Loads)-1]
	if r != nil {
		maps.Copy(out.Versions, r.Result.Versions)
		l.Systems = append(l.Systems, *r)
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

// ratios fills in raftbank over every peer; raftbank comes first.
func ratios(systems []api.BenchPeerResult) {
	if len(systems) == 0 || systems[0].System != raftbankName {
		return
	}
	ratio := func(a, b float64) *float64 {
		if b == 0 {
			return nil
		}
		v := a / b
		return &v
	}
	own := &systems[0].Result
	for i := range systems[1:] {
		s := &systems[i+1]
		r := &s.Result
		s.TPSRatio = ratio(own.TPS, r.TPS)
		s.P50Ratio = ratio(float64(own.LatencyUs.P50), float64(r.LatencyUs.P50))
		s.P99Ratio = ratio(float64(own.LatencyUs.P99), float64(r.LatencyUs.P99))
		if a, b := own.CPUUsPerTransfer.Servers, r.CPUUsPerTransfer.Servers; a != nil && b != nil {
			s.CPURatio = ratio(*a, *b)
		}
	}
}
