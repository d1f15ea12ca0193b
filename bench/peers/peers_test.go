package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/bench"
	"raftbank/internal/ledger"
)

func sampleOptions() *options {
	o := &options{raftbank: "x", seed: 5}
	o.PeersOptions = bench.PeersOptions{Duration: time.Second, Accounts: 3001, Runs: 1}
	return o
}

// TestNames holds what is here against what the command line knows, which refuses a name before this program is built.
func TestNames(t *testing.T) {
	var names []string
	for _, l := range loads {
		names = append(names, l.name)
	}
	if !slices.Equal(names, bench.PeerLoads) {
		t.Errorf("loads %q, want %q", names, bench.PeerLoads)
	}
	if got, want := slices.Sorted(maps.Keys(peers)), slices.Sorted(slices.Values(bench.PeerSystems)); !slices.Equal(got, want) {
		t.Errorf("systems %q, want %q", got, want)
	}
}

func TestLoadsAreValid(t *testing.T) {
	o := sampleOptions()
	for _, l := range loads {
		bank := topology(o.Accounts, l.shards)
		if err := bank.Validate(); err != nil {
			t.Errorf("load %s: %v", l.name, err)
		}
		if l.systems[0] != raftbankName {
			t.Errorf("load %s begins with %s: ratios need raftbank first", l.name, l.systems[0])
		}
		for _, name := range l.systems {
			load := l.options(o, name)
			if err := load.Validate(bank); err != nil {
				t.Errorf("load %s on %s: %v", l.name, name, err)
			}
			if _, ok := peers[name]; !ok && name != raftbankName {
				t.Errorf("load %s: no system %s", l.name, name)
			}
			if name != raftbankName && load.InFlight != 1 {
				t.Errorf("load %s on %s: a connection carries one request at a time", l.name, name)
			}
			if n := len(l.shapeOf(name).clients); name == raftbankName && n != 1 {
				t.Errorf("load %s has %d numbers of clients for raftbank, which are not tried", l.name, n)
			}
		}
	}
	if a := topology(10, 3); a.Clusters[0].Range.Len() != 4 || a.Accounts() != "1-10" {
		t.Errorf("10 accounts are dealt as %+v", a.Clusters)
	}
}

func TestSystemsGetTheSameTransfers(t *testing.T) {
	o := sampleOptions()
	for _, l := range loads {
		bank := topology(o.Accounts, l.shards)
		a := bench.NewGenerator(bank, l.options(o, l.systems[0]), 0, 0)
		b := bench.NewGenerator(bank, l.options(o, l.systems[1]), 0, 0)
		for range 100 {
			if x, y := a.Account(), b.Account(); x != y {
				t.Fatalf("load %s: %s and %s", l.name, x, y)
			}
		}
	}
}

func TestMediansAndRatios(t *testing.T) {
	cpu := 10.0
	var systems []api.BenchPeerResult
	run := func(name string, tps float64, p50 int64) {
		systems = addRun(systems, &api.BenchPeerResult{System: name, Result: api.Bench{TPS: tps, LatencyUs: api.LatencyUs{P50: p50},
			CPUUsPerTransfer: api.BenchCPU{Servers: &cpu}}})
	}
	for _, x := range []float64{1000, 3000, 1100} {
		run(raftbankName, x, 300)
		run(etcdName, x/10, 1500)
	}
	ratios(systems)
	own, s := &systems[0], &systems[1]
	if len(systems) != 2 || own.TPS != 1100 || own.Result.TPS != 1100 || len(own.Runs) != 3 || s.TPS != 110 {
		t.Errorf("medians %g and %g", own.TPS, s.TPS)
	}
	if *s.TPSRatio != 10 || *s.P50Ratio != 0.2 || *s.CPURatio != 1 || s.P99Ratio != nil {
		t.Errorf("got %+v", s)
	}
	if own.TPSRatio != nil {
		t.Error("raftbank is compared with itself")
	}
	alone := []api.BenchPeerResult{{System: pgSync, TPS: 5, P50Us: 1}, {System: etcdName, TPS: 5, P50Us: 1}}
	if ratios(alone); alone[0].TPSRatio != nil || alone[1].TPSRatio != nil || alone[1].P50Ratio != nil {
		t.Error("a ratio without raftbank")
	}
}

// TestFailuresEndTheCommand has a system that lost money, one that failed, and an interrupted run.
func TestFailuresEndTheCommand(t *testing.T) {
	lost := &api.Error{Code: "violation", Message: "the sum of all balances is not what was opened with"}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		ctx  context.Context
		err  error
		code string
	}{{t.Context(), lost, "violation"}, {t.Context(), errors.New("no"), "internal"}, {ended, context.Canceled, "interrupted"}, {t.Context(), nil, ""}} {
		out := &api.BenchPeers{Versions: map[string]string{}, Loads: []api.BenchPeerLoad{{Name: "one"}}}
		add(test.ctx, out, &api.BenchPeerResult{System: etcdName, Result: api.Bench{TPS: 1}}, test.err)
		if code := ""; out.Error != nil || test.code != "" {
			if code = out.Error.Code; code != test.code {
				t.Errorf("%v: %+v", test, out.Error)
			}
		}
		if len(out.Loads[0].Systems) != 1 {
			t.Errorf("%v: the run is gone", test)
		}
	}
	if _, err := failed(&api.BenchPeerResult{Result: api.Bench{Error: lost}}); !errors.Is(err, lost) {
		t.Errorf("a wrong sum is %v", err)
	}
}

// TestPostgresBatches has batches that pass each other on several connections, and one with a transfer that lacks money.
func TestPostgresBatches(t *testing.T) {
	o := sampleOptions()
	o.Accounts = 20
	dir, err := os.MkdirTemp("", "peers-test-") // PostgreSQL's user must get there
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bank := topology(o.Accounts, 1)
	p, err := startPostgres(t.Context(), o, dir, bank)
	if errors.Is(err, errNotHere) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	l := load{name: "few", shards: 1, shape: tried(200, 2, 4)}
	o.Duration = 200 * time.Millisecond
	if err := choose(t.Context(), o, dir, &l, pgSingle); err != nil || l.chosen[pgSingle] < 2 || l.options(o, pgSingle).Clients != l.chosen[pgSingle] {
		t.Errorf("%v connections are fastest, %v", l.chosen, err)
	}
	l.chosen[pgSingle] = 3 // what was chosen once is not tried again
	if err := choose(t.Context(), o, dir, &l, pgSingle); err != nil || l.options(o, pgSingle).Clients != 3 {
		t.Errorf("%v connections are chosen, %v", l.chosen, err)
	}
	load := bench.Options{Clients: 4, Batch: 200, InFlight: 1, Duration: 300 * time.Millisecond, Seed: 1}
	m, err := bench.Run(t.Context(), p, bank, load, nil)
	if err != nil || m.Result().Committed == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	s, err := p.Connect(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := client.Transfer{From: 3, To: 4, Amount: ledger.Units(opening - 1_000_000)} // twice is too much
	tally, err := s.Transfer(t.Context(), []client.Transfer{{From: 1, To: 2, Amount: ledger.Units(5)}, all, all, {From: 4, To: 1, Amount: ledger.Units(opening)}})
	if err != nil || len(tally.Others) != 1 || tally.Others[0].Index != 2 || tally.Others[0].Result.Outcome != client.Aborted {
		t.Errorf("got %+v, %v; want the third refused", tally, err)
	}
	if ok, err := p.check(t.Context()); !ok || err != nil {
		t.Errorf("money is conserved: %t, %v", ok, err)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		change func(*options)
		want   string
	}{
		{func(*options) {}, ""},
		{func(o *options) { o.raftbank = "" }, "no program raftbank"},
		{func(o *options) { o.Loads = []string{"two"} }, `no load "two": there are one, clients`},
	} {
		o := sampleOptions()
		test.change(o)
		err := o.validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: got %v, want %q", o, err, test.want)
		}
	}
	o := parse([]string{"-loads", "one,many", "-raftbank", "x", "-runs", "3"})
	if !slices.Equal(o.Loads, []string{"one", "many"}) || len(o.Systems) != 0 || o.Runs != 3 {
		t.Errorf("parsed %+v", o)
	}
}

func TestPostgresStates(t *testing.T) {
	for state, want := range map[string]bool{stateDeadlock: true, stateLockTimeout: true, stateNoFunds: false, stateKnownID: false} {
		if got := again(stateOf(errors.Join(errors.New("transfer"), &pgconn.PgError{Code: state}))); got != want {
			t.Errorf("%s is tried again: %t, want %t", state, got, want)
		}
	}
	if stateOf(errors.New("broken pipe")) != "" {
		t.Error("an error that is no refusal has a state")
	}
	if _, err := findPostgres(t.TempDir()); !errors.Is(err, errNotHere) {
		t.Errorf("an empty directory: %v", err)
	}
}
