package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/bench"
	"raftbank/internal/shard"
)

// raftbankName is the system that the others are compared with.
const raftbankName = "raftbank"

// opening is the balance of every account: refusals are the exception.
const opening = 1_000_000_000_000

// errNotHere means that a peer's programs are not on this machine.
var errNotHere = errors.New("is not on this machine")

// shape is how one system is loaded. Of several numbers of clients the fastest is taken.
type shape struct {
	clients         []int
	batch, inFlight int
}

// alone is the shape with one number of clients.
func alone(clients, batch, inFlight int) shape { return shape{[]int{clients}, batch, inFlight} }

// tried is the shape of a peer of which these numbers of connections are tried.
func tried(batch int, connections ...int) shape { return shape{connections, batch, 1} }

// load is one load. Systems that differ in what suits them get a shape of their own.
type load struct {
	name, text string
	systems    []string // raftbank first
	shape      shape
	shapes     map[string]shape
	shards     int
	cross      int
	chosen     map[string]int // of a system with several numbers of clients, the one that all of its runs have
}

// peer is a system other than raftbank.
type peer interface {
	bench.Target
	// settings says how it runs, version what it is, in words.
	settings() string
	version() string
	// versions are those of what it is made of, and how it was built.
	versions() map[string]string
	// check reports whether the sum of all balances is what was opened with.
	check(ctx context.Context) (bool, error)
	stop()
}

// starter starts a peer in a directory, with accounts of its own.
// Errors: errNotHere.
type starter func(ctx context.Context, o *options, dir string, t *shard.Topology) (peer, error)

const (
	pgSingle = "postgres"
	pgSync   = "postgres-sync"
	pgTwo    = "postgres-2pc"
	etcdName = "etcd"
)

var peers = map[string]starter{pgSingle: startPostgres, pgSync: startPostgresSync, pgTwo: startPostgresTwo, etcdName: startEtcd}

var loads = []load{
	{name: "one", text: "one client, one transfer in flight", shards: 1,
		systems: []string{raftbankName, pgSync, pgSingle, etcdName}, shape: alone(1, 1, 1)},
	{name: "clients", text: "64 clients, one transfer in flight each", shards: 1,
		systems: []string{raftbankName, pgSync, pgSingle, etcdName}, shape: alone(64, 1, 1)},
	{name: "many", text: "single transfers, as many in flight as suit the system", shards: 1,
		systems: []string{raftbankName, pgSync, pgSingle, etcdName}, shape: tried(1, 16, 32, 64, 128, 256),
		shapes: map[string]shape{raftbankName: alone(8, 1, 128), etcdName: tried(1, 64, 256, 512)}},
	{name: "batches", text: "batches of 4096; PostgreSQL: one transaction each, on as many connections as make it fastest", shards: 1,
		systems: []string{raftbankName, pgSync, pgSingle}, shape: tried(4096, 1, 2, 4, 8),
		shapes: map[string]shape{raftbankName: alone(2, 4096, 4)}},
	{name: "cross-one", text: "one client, one transfer between two shards in flight", shards: 2, cross: 100,
		systems: []string{raftbankName, pgTwo}, shape: alone(1, 1, 1)},
	{name: "cross-many", text: "transfers between two shards, as many in flight as suit the system", shards: 2, cross: 100,
		systems: []string{raftbankName, pgTwo}, shape: tried(1, 8, 16, 32, 64),
		shapes: map[string]shape{raftbankName: alone(8, 1, 128)}},
}

// shapeOf returns the shape of a system.
func (l *load) shapeOf(system string) shape {
	if own, ok := l.shapes[system]; ok {
		return own
	}
	return l.shape
}

// options returns the load for a system: with the chosen number of clients, or the first.
func (l *load) options(o *options, system string) bench.Options {
	s := l.shapeOf(system)
	clients := s.clients[0]
	if n, ok := l.chosen[system]; ok {
		clients = n
	}
	return bench.Options{Clients: clients, Batch: s.batch, InFlight: s.inFlight, Cross: l.cross,
		Warmup: o.Warmup, Duration: o.Duration, Seed: o.seed}
}

// measure puts a load on one system that runs for this alone.
func measure(ctx context.Context, o *options, dir string, l *load, name string) (*api.BenchPeerResult, error) {
	if name == raftbankName {
		return measureRaftbank(ctx, o, dir, l)
	}
	if err := choose(ctx, o, dir, l, name); err != nil {
		return nil, err
	}
	t := topology(o.Accounts, l.shards)
	p, stop, err := start(ctx, o, dir, t, name)
	if err != nil {
		return nil, err
	}
	defer stop()
	load := l.options(o, name)
	if err := load.Validate(t); err != nil {
		return nil, err
	}
	m, err := bench.Run(ctx, p, t, load, nil)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case m.Interrupted:
		return nil, ctx.Err() // the rows before it are whole
	}
	r := m.Result()
	r.System, r.Config, r.Versions = name, bench.ConfigOf(t, load, 0), p.versions()
	ok, err := p.check(ctx)
	if err != nil {
		return nil, fmt.Errorf("check the sum of all balances: %w", err)
	}
	r.ConservationOK = &ok
	if !ok {
		r.CheckNote = "the sum of all balances is not what was opened with"
		r.Error = &api.Error{Code: "violation", Message: name + ": " + r.CheckNote}
	}
	return failed(&api.BenchPeerResult{System: name, Version: p.version(), Shape: shapeText(load), Settings: p.settings(), Result: r})
}

// start starts a peer in a directory of its own. stop ends it and removes that.
func start(ctx context.Context, o *options, dir string, t *shard.Topology, name string) (p peer, stop func(), err error) {
	if dir, err = os.MkdirTemp(dir, name+"-"); err != nil {
		return nil, nil, err
	}
	if err = os.Chmod(dir, 0o755); err == nil {
		p, err = peers[name](ctx, o, dir, t)
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, func() {
		p.stop()
		_ = os.RemoveAll(dir) // what stays is removed with the whole
	}, nil
}

const (
	// tryWindow is how long every number of connections is tried, at most; half as long a load is before it.
	tryWindow = 2 * time.Second
	// tryLimit bounds all that is tried of a system under a load, its start included.
	tryLimit = 2 * time.Minute
)

// choose finds the number of connections with which a peer is fastest under the load, unless that is known. It tries
// them on a server that is not measured: one that is has carried nothing before, like raftbank.
func choose(ctx context.Context, o *options, dir string, l *load, name string) error {
	tries := l.shapeOf(name).clients
	if _, known := l.chosen[name]; known || len(tries) == 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	t := topology(o.Accounts, l.shards)
	p, stop, err := start(ctx, o, dir, t, name)
	if err != nil {
		return err
	}
	defer stop()
	n, err := fastest(ctx, p, t, l.options(o, name), tries)
	if err != nil {
		return fmt.Errorf("%s: try numbers of connections: %w", name, err)
	}
	if l.chosen == nil {
		l.chosen = map[string]int{}
	}
	l.chosen[name] = n
	return nil
}

// fastest puts the load on a peer with every number of connections in turn, briefly, and returns the number with the
// largest throughput.
func fastest(ctx context.Context, p peer, t *shard.Topology, load bench.Options, tries []int) (int, error) {
	best, most := 0, -1.0
	load.Warmup, load.Duration = min(load.Warmup, tryWindow/2), min(load.Duration, tryWindow)
	for _, n := range tries {
		load.Clients = n
		m, err := bench.Run(ctx, p, t, load, nil)
		if err == nil && m.Interrupted {
			err = ctx.Err()
		}
		if err != nil {
			return 0, fmt.Errorf("%d connections: %w", n, err)
		}
		r := m.Result()
		fmt.Fprintf(os.Stderr, "%d connections: %.0f transfers per second\n", n, r.TPS)
		if r.TPS > most {
			best, most = n, r.TPS
		}
	}
	return best, nil
}

// failed returns a result with its own failure as the error, if it has one.
func failed(r *api.BenchPeerResult) (*api.BenchPeerResult, error) {
	if r.Result.Error != nil {
		return r, r.Result.Error
	}
	return r, nil
}

// measureRaftbank has raftbank measure itself, on a bank that it spawns.
func measureRaftbank(ctx context.Context, o *options, dir string, l *load) (*api.BenchPeerResult, error) {
	dir, err := os.MkdirTemp(dir, raftbankName+"-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := l.options(o, raftbankName)
	number := strconv.Itoa
	cmd := exec.CommandContext(ctx, o.raftbank, "bench", "--spawn", "--shards", number(l.shards), "--replicas", "3",
		"--accounts", strconv.FormatUint(o.Accounts, 10), "--clients", number(b.Clients), "--batch", number(b.Batch),
		"--in-flight", number(b.InFlight), "--cross", number(l.cross), "--seed", strconv.FormatUint(o.seed, 10),
		"--warmup", o.Warmup.String(), "--duration", o.Duration.String(), "--data-dir", dir, "--quiet", "--output", "json")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	text, ended := cmd.Output()
	r := &api.BenchPeerResult{System: raftbankName, Shape: shapeText(b), Settings: "3 replicas per shard, fdatasync on a majority before every answer"}
	switch err := json.Unmarshal(text, &r.Result); {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case r.Result.Error != nil && r.Result.Committed == 0: // it failed before it measured
		return nil, r.Result.Error
	case ended != nil && r.Result.Error == nil:
		return nil, fmt.Errorf("%s: %w", cmd, ended)
	case err != nil:
		return nil, fmt.Errorf("what %s printed: %w", cmd, err)
	}
	r.Version = "raftbank " + r.Result.Versions["raftbank"]
	return failed(r)
}

// topology says which accounts each shard has, as raftbank deals them. Nobody listens at its addresses.
func topology(accounts uint64, shards int) *shard.Topology {
	t := &shard.Topology{OpeningBalance: opening}
	first := shard.Account(1)
	for i := range shards {
		n := accounts / uint64(shards)
		if uint64(i) < accounts%uint64(shards) {
			n++
		}
		t.Clusters = append(t.Clusters, shard.Cluster{
			Shard: shard.ID(i + 1), Range: shard.Range{First: first, Last: first + shard.Account(n) - 1},
			Servers: []shard.Server{{ID: shard.ServerID(i + 1), Addr: "127.0.0.1:" + strconv.Itoa(i+1)}},
		})
		first += shard.Account(n)
	}
	return t
}

// shapeText says how a system is loaded: connections x transfers per request x requests in flight on each.
func shapeText(o bench.Options) string {
	return fmt.Sprintf("%d x %d x %d", o.Clients, o.Batch, o.InFlight)
}
