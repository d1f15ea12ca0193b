package main

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"raftbank/internal/api"
	"raftbank/internal/bench"
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

func TestRatios(t *testing.T) {
	cpu := 10.0
	result := func(name string, tps float64, p50 int64) api.BenchPeerResult {
		return api.BenchPeerResult{System: name, Result: api.Bench{TPS: tps, LatencyUs: api.LatencyUs{P50: p50},
			CPUUsPerTransfer: api.BenchCPU{Servers: &cpu}}}
	}
	systems := []api.BenchPeerResult{result(raftbankName, 1000, 300), result(etcdName, 100, 1500)}
	ratios(systems)
	s := &systems[1]
	if *s.TPSRatio != 10 || *s.P50Ratio != 0.2 || *s.CPURatio != 1 || s.P99Ratio != nil {
		t.Errorf("got %+v", s)
	}
	if systems[0].TPSRatio != nil {
		t.Error("raftbank is compared with itself")
	}
	without := []api.BenchPeerResult{result(etcdName, 100, 1500)}
	if ratios(without); without[0].TPSRatio != nil {
		t.Error("a ratio without raftbank")
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
