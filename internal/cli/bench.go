package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftbank/internal/api"
	"raftbank/internal/bench"
	"raftbank/internal/config"
	"raftbank/internal/shard"
)

// benchDeadline is the deadline of a transfer, if none is asked for.
const benchDeadline = 10 * time.Second

// benchArgs are the flags of bench.
type benchArgs struct {
	Load     bench.Options
	Deadline time.Duration
	Spawn    bool
	Bank     benchBankArgs
	JSON     string // file for the result; "" none
	Report   string // file for the page; "" none
	Profile  string // directory for CPU profiles; "" none
	Drawn    bool   // the seed was drawn: it is told before the load
}

// benchBankArgs say what bank --spawn makes.
type benchBankArgs struct {
	Shards, Replicas int
	Accounts         uint64
	DataDir          string // kept; "" is a temporary one, removed at the end
	ServerProcs      int    // GOMAXPROCS of a server; 0: chosen by the number of cores
}

func newBenchCmd(a *App) *cobra.Command {
	p := benchArgs{Load: bench.Options{Clients: 1, Batch: 1, InFlight: 1, Cross: bench.AsPairsFall, Warmup: 2 * time.Second, Duration: 10 * time.Second}}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put load on a bank and measure it",
		Long: "Put load on a running bank, or with --spawn on a bank of its own: server processes on free ports, with\n" +
			"a temporary directory, that end with this command. Then check that no money was lost and that replicas\n" +
			"agree. On a running bank the transfers move real money.",
		Example: "  raftbank bench --spawn --shards 1 --batch 8190 --in-flight 4\n" +
			"  raftbank bench --spawn --cross 100 --clients 16 --json cross.json --report cross.html\n" +
			"  raftbank bench --spawn --clients 64 --rate 5000",
		Args:        arguments(0, 0),
		Annotations: map[string]string{needsNoConfig: ""}, // with --spawn it brings its own
		RunE:        func(cmd *cobra.Command, _ []string) error { return a.runBench(cmd.Context(), p) },
	}
	f := cmd.Flags()
	loadFlags(f, &p)
	f.BoolVar(&p.Spawn, "spawn", false, "measure a bank of its own instead of a running one")
	bankFlags(f, &p.Bank)
	f.StringVar(&p.JSON, "json", "", "write the result to this file as JSON")
	f.StringVar(&p.Report, "report", "", "write the result to this file as a page for a browser")
	f.StringVar(&p.Profile, "profile", "", "write CPU profiles of client and spawned servers into this directory")
	cmd.AddCommand(newBenchSuiteCmd(a), newBenchCompareCmd(a), newBenchPeersCmd(a))
	return cmd
}

// loadFlags defines the flags that describe a load.
func loadFlags(f *pflag.FlagSet, p *benchArgs) {
	f.IntVar(&p.Load.Clients, "clients", p.Load.Clients, "independent clients, each with connections of its own")
	f.IntVar(&p.Load.Batch, "batch", p.Load.Batch, "transfers per request")
	f.IntVar(&p.Load.InFlight, "in-flight", p.Load.InFlight, "requests that each client has open")
	f.DurationVar(&p.Load.Duration, "duration", p.Load.Duration, "length of the measured window")
	f.DurationVar(&p.Load.Warmup, "warmup", p.Load.Warmup, "load before it")
	f.IntVar(&p.Load.Cross, "cross", p.Load.Cross, "percent of transfers between two shards (default: as uniform pairs fall)")
	f.Float64Var(&p.Load.Skew, "skew", 0, "exponent of Zipf's law by which accounts are chosen (default: uniform)")
	f.IntVar(&p.Load.Hot, "hot", 0, "hot accounts; every transfer touches one of them (default: none)")
	f.IntVar(&p.Load.Reads, "reads", 0, "percent of requests that are strong reads of one balance")
	f.Float64Var(&p.Load.Rate, "rate", 0, "open loop: transfers due per second (default: closed loop)")
	f.IntVar(&p.Load.Queue, "queue", 0, "open loop: requests that wait for a caller; more end as unavailable (default: all wait)")
	f.Uint64Var(&p.Load.Seed, "seed", 0, "seed of accounts and amounts (default: one is drawn)")
	f.DurationVar(&p.Deadline, "deadline", benchDeadline, "of a transfer; then its outcome is unknown")
}

// bankFlags defines the flags that describe a spawned bank.
func bankFlags(f *pflag.FlagSet, b *benchBankArgs) {
	f.IntVar(&b.Shards, "shards", 3, "shards of the spawned bank")
	f.IntVar(&b.Replicas, "replicas", 3, "replicas per shard of the spawned bank: 1, 3 or 5")
	f.Uint64Var(&b.Accounts, "accounts", 3000, "accounts of the spawned bank")
	f.StringVar(&b.DataDir, "data-dir", "", "directory of the spawned bank's data, kept at the end (default: a temporary one)")
	f.IntVar(&b.ServerProcs, "server-procs", 0, "GOMAXPROCS of the spawned servers (default: 1 if they outnumber the cores)")
}

// runBench runs one load, prints and writes its result.
func (a *App) runBench(ctx context.Context, p benchArgs) error {
	if p.Load.Seed == 0 {
		p.Load.Seed, p.Drawn = uint64(rand.Uint32()), true
	}
	if err := writable(p.JSON, p.Report); err != nil {
		return err
	}
	if !p.Spawn && a.Topology == nil {
		topology, _, err := config.Load(a.ConfigPath)
		if err != nil {
			return usageError("%v", err).hint("its form: docs/CLI.md, configuration")
		}
		a.Topology = topology
	}
	result, err := a.benchOnce(ctx, p)
	if err != nil {
		return asExit(err)
	}
	printed := a.print(result, func(w io.Writer) { a.benchTables(w, result) })
	return a.benchEnd(result.Error, printed, writeBench(p, result))
}

// benchOnce runs one load on a running or a spawned bank.
func (a *App) benchOnce(ctx context.Context, p benchArgs) (result *api.Bench, err error) {
	topology := a.Topology
	var servers *benchServers
	if p.Spawn {
		if servers, err = newBenchServers(p, a.Getenv); err != nil {
			return nil, err
		}
		topology = servers.topology
	}
	if err := p.Load.Validate(topology); err != nil {
		servers.stop()
		return nil, usageError("%v", err)
	}
	p.Load.Drain = p.Deadline // what was due last has its whole time too
	if p.Deadline <= 0 {
		servers.stop()
		return nil, usageError("--deadline %s: want a time", p.Deadline)
	}
	if p.Drawn {
		a.notef("seed %d", p.Load.Seed)
	}
	if servers != nil {
		defer servers.stop()
		a.notef("starting %s", plural(len(topology.Servers()), "server"))
		if err := servers.start(ctx); err != nil {
			return nil, err
		}
	}
	stopProfile, err := profileSelf(p.Profile)
	if err != nil {
		return nil, err
	}
	result, err = a.measure(ctx, p, topology, servers)
	stopProfile()
	if err != nil {
		if died := servers.died(); died != nil {
			return nil, errors.Join(died, err)
		}
		return nil, err
	}
	return result, nil
}

// measure puts the load on a bank that runs, and checks the bank afterwards; what makes the result a failure
// is its Error. servers is nil if they are not this process's.
func (a *App) measure(ctx context.Context, p benchArgs, t *shard.Topology, servers *benchServers) (*api.Bench, error) {
	bank, err := bench.OpenBank(t, p.Load, p.Deadline)
	if err != nil {
		return nil, err
	}
	defer bank.Close()
	bank.Processes = servers.pids()
	show, clear := a.benchProgress()
	measured, err := bench.Run(ctx, bank, t, p.Load, show)
	clear()
	if err != nil {
		return nil, err
	}
	if measured.UsageError != nil {
		a.notef("not all figures of the servers: %v", measured.UsageError)
	}
	result := measured.Result()
	result.System = "raftbank"
	result.Config = bench.ConfigOf(t, p.Load, p.Deadline)
	result.Versions = bench.Versions(a.Version)
	if v, err := bank.Versions(ctx); err == nil && v != "" {
		result.Versions["servers"] = v
	}
	if servers != nil {
		result.Config.Spawned, result.Config.ServerProcs, result.Config.LogSegmentMiB = true, servers.procs, benchSegmentMiB
	}
	a.benchCheck(ctx, bank.Check, &result, servers.died)
	return &result, nil
}

// profileSelf profiles this process into a directory until the function that it returns is called.
func profileSelf(dir string) (stop func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	return startProfile(filepath.Join(dir, "client.pprof"))
}

// startProfile profiles this process into a file until the function that it returns is called.
func startProfile(name string) (stop func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, usageError("profile: %v", err)
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, usageError("profile: %v", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(failure(codeInternal, "profile: %v", err), f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // what is lost is a part of the profile
	}, nil
}

// benchProgress shows progress on a terminal, in one line. clear takes it away.
func (a *App) benchProgress() (show func(bench.Progress), clear func()) {
	if a.Quiet || !isTerminal(a.Err) {
		return nil, func() {}
	}
	show = func(p bench.Progress) {
		share := fmt.Sprintf("%3.0f%%", min(100, 100*p.Elapsed.Seconds()/p.Whole.Seconds()))
		if p.Phase == bench.Draining {
			share = fmt.Sprintf("for %.0f s at most", max(0, p.Left.Seconds()))
		}
		_, _ = fmt.Fprintf(a.Err, "\r\x1b[K%-9s %s  %s committed, %s/s", p.Phase, share,
			thousands(fmt.Sprint(p.Committed)), thousands(fmt.Sprintf("%.0f", p.TPS)))
	}
	return show, func() { _, _ = fmt.Fprint(a.Err, "\r\x1b[K") }
}
