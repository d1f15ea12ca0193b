package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/pflag"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

func TestBenchRefuses(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"bench --spawn --batch 0", "batch 0: want at least 1"},
		{"bench --spawn --shards 0", "want at least one shard"},
		{"bench --spawn --replicas 2", "1, 3 or 5 replicas"},
		{"bench --spawn --accounts 5", "--accounts 5: want two or more per shard"},
		{"bench --spawn --shards 1 --cross 5", "no transfers between shards"},
		{"bench --spawn --shards 1 --rate Inf", "rate +Inf: want transfers per second"},
		{"bench --spawn --shards 1 --rate NaN", "rate NaN: want transfers per second"},
		{"bench --spawn --shards 1 --skew NaN", "skew NaN: want an exponent"},
		{"bench --spawn --deadline 0s", "--deadline 0s: want a time"},
		{"bench --config no-such-file.toml", "no-such-file.toml"},
		{"bench --spawn --server-procs -1", "--server-procs -1: want a number"},
		{"bench suite --rows one --server-procs -1", "--server-procs -1: want a number"},
		{"bench peers --loads nope", `no load "nope": there are one, clients`},
		{"bench peers --systems nope", `no system "nope": there are postgres-sync`},
		{"bench peers --duration 0s", "--duration 0s"},
		{"bench peers --warmup -1s", "--warmup -1s"},
		{"bench peers --accounts 3", "--accounts 3: want"},
		{"bench peers --runs 0", "--runs 0: want at least 1"},
		{"bench suite --rows one,nothing", `no row "nothing": the table has batches, shards`},
		{"bench suite --runs 0", "--runs 0"},
		{"bench compare a.json", "missing B.json"},
		{"bench compare none.json none.json", "none.json"},
	} {
		code, out, errs := runFake(nil, "", nil, strings.Fields(test.args)...)
		if code != exitUsage || out != "" || strings.Count(errs, test.want) != 1 || strings.Contains(errs, "building") {
			t.Errorf("%s: exit %d\n%s%swant %q", test.args, code, out, errs, test.want)
		}
	}
}

func TestBenchTopology(t *testing.T) {
	got, err := benchTopology(benchBankArgs{Shards: 3, Replicas: 3, Accounts: 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	if a, n := got.Accounts(), len(got.Servers()); a != "1-10" || n != 9 || got.Clusters[0].Range.Len() != 4 {
		t.Errorf("accounts %s, %d servers, the first shard holds %s", a, n, got.Clusters[0].Range)
	}
	if got := serverProcs(benchBankArgs{Shards: 1000, Replicas: 3}); got != 1 {
		t.Errorf("3000 servers get GOMAXPROCS %d each, want 1", got)
	}
	if got := serverProcs(benchBankArgs{Shards: 1000, Replicas: 3, ServerProcs: 4}); got != 4 {
		t.Errorf("GOMAXPROCS is %d, want the 4 that were asked for", got)
	}
}

func benchSample() *api.Bench {
	cpu, syncs, ok := 7.8, 0.25, true
	rss := uint64(300 << 20)
	cross := 100
	return &api.Bench{
		System: "raftbank", Seconds: 10, Committed: 12_345, Aborted: map[string]int{"insufficient_funds": 2}, TPS: 1234.5,
		LatencyUs: api.LatencyUs{Mean: 812.5, P50: 790, P95: 1200, P99: 2500, P999: 4000, Max: 9000},
		Kinds: []api.KindPerformance{{Kind: "cross", Committed: 12_345, Aborted: map[string]int{"insufficient_funds": 2}, TPS: 1234.5,
			LatencyUs: api.LatencyUs{Mean: 812.5, P50: 790, P95: 1200, P99: 2500, P999: 4000, Max: 9000}}},
		Config: api.BenchConfig{Clients: 1, Batch: 1, InFlight: 1, CrossPercent: &cross, Rate: 2000, ReadsPercent: 5, Hot: 1,
			Shards: 2, Replicas: 3, Accounts: 3000, Seed: 7},
		CPUUsPerTransfer: api.BenchCPU{Servers: &cpu}, RSSBytes: &rss, SyncsPerTransfer: &syncs, ConservationOK: &ok,
	}
}

func TestBenchTables(t *testing.T) {
	var out strings.Builder
	a := NewApp(nil, &out, &out)
	a.Format, a.NoColor = FormatTable, true
	a.benchTables(&out, benchSample())
	const want = `raftbank: 1 client, batches of 1, 1 in flight each, 2000 due per second, 100 % cross-shard, 1 hot account, 5 % reads; 2 shards x 3 replicas, 3,000 accounts; seed 7
  kind     tps  committed  aborted  unavailable  unknown     mean      p50      p95      p99    p99.9      max
  cross  1,234     12,345        2            0        0  0.81 ms  0.79 ms  1.20 ms  2.50 ms  4.00 ms  9.00 ms
1,234 transfers/s over 10 s; 12,345 committed, 0 unavailable, 0 unknown, 2 insufficient_funds
  figure                              value  unit
  CPU per transfer, servers            7.80  us
  CPU per transfer, client     not measured  us
  resident, servers                     300  MiB
  resident, client             not measured  MiB
  log per transfer             not measured  bytes
  disk per transfer            not measured  bytes
  syncs per transfer                 0.2500
  conservation                           ok
  replicas' hashes           not comparable
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestBenchVerdict(t *testing.T) {
	ok, bad := true, false
	died := errors.New("server 2 ended during the run: signal: killed")
	for _, test := range []struct {
		conservation, hashes *bool
		note                 string
		spawned              bool
		died                 error
		code                 int
		want                 string
	}{
		{&ok, &ok, "", true, nil, exitOK, ""},
		{nil, nil, "not comparable while transfers run", false, nil, exitOK, ""}, // others may use a running bank
		{&ok, &ok, "1 servers do not answer and were not checked", false, nil, exitOK, ""},
		{&bad, &ok, "servers 1 and 2 differ", true, nil, exitViolation, "servers 1 and 2 differ"},
		{&ok, &bad, "servers 1 and 2 differ", false, died, exitViolation, "servers 1 and 2 differ"},
		{&ok, &ok, "1 servers do not answer and were not checked", true, died, exitInternal, "server 2 ended"},
		{&ok, &ok, "1 servers do not answer and were not checked", true, nil, exitUnavailable, "do not answer"},
		{nil, nil, "not comparable while transfers run", true, nil, exitUnavailable, "not comparable while"},
		{&ok, nil, "", true, nil, exitUnavailable, "not all replicas"},
	} {
		r := &api.Bench{ConservationOK: test.conservation, HashesOK: test.hashes, CheckNote: test.note}
		r.Config.Spawned, r.Config.Replicas = test.spawned, 3
		e := verdictOf(r, test.died)
		switch {
		case e == nil && test.code != exitOK:
			t.Errorf("%+v: no failure", test)
		case e != nil && (exitCodeOf(e.Code) != test.code || !strings.Contains(e.Message, test.want)):
			t.Errorf("%+v: got %v", test, e)
		}
	}
	alone := &api.Bench{ConservationOK: &ok, Config: api.BenchConfig{Spawned: true, Replicas: 1}}
	if e := verdictOf(alone, nil); e != nil {
		t.Errorf("one replica has nobody to be compared with: %v", e)
	}
}

// TestBenchCheckAsksAgain has a bank that needs two looks, and one of whose servers died.
func TestBenchCheckAsksAgain(t *testing.T) {
	ok := true
	whole := api.Check{OK: &ok, Shards: []api.ShardCheck{{HashesOK: &ok}}}
	var errs strings.Builder
	a := NewApp(nil, io.Discard, &errs)
	looks := 0
	ask := func(context.Context) (api.Check, error) {
		if looks++; looks < 2 {
			return api.Check{OK: &ok, Note: "1 servers do not answer and were not checked", Shards: whole.Shards}, nil
		}
		return whole, nil
	}
	r := &api.Bench{Config: api.BenchConfig{Spawned: true, Replicas: 3}}
	if a.benchCheck(t.Context(), ask, r, func() error { return nil }); looks != 2 || r.Error != nil || !*r.HashesOK {
		t.Errorf("%d looks, %+v", looks, r)
	}
	if !strings.Contains(errs.String(), "checking that no money was lost") {
		t.Errorf("the check said %q", errs.String())
	}
	looks = 0
	if a.benchCheck(t.Context(), ask, r, func() error { return errors.New("server 3 ended") }); looks != 1 || r.Error == nil {
		t.Errorf("%d looks at a bank with a dead server, %v", looks, r.Error)
	}
	ask = func(context.Context) (api.Check, error) { return api.Check{}, errors.New("closed") }
	if a.benchCheck(t.Context(), ask, r, func() error { return nil }); r.Error == nil || !strings.Contains(r.CheckNote, "closed") {
		t.Errorf("a check that failed: %+v", r)
	}
}

// TestBenchCheckKeepsWhatItFound has a bank whose money is all there and whose replicas cannot all be compared, until the time
// for looking is over in the middle of a look.
func TestBenchCheckKeepsWhatItFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ok, looks := true, 0
		ask := func(ctx context.Context) (api.Check, error) {
			if looks++; looks < 3 {
				return api.Check{OK: &ok, Shards: []api.ShardCheck{{}}}, nil
			}
			<-ctx.Done()
			return api.Check{}, ctx.Err()
		}
		r := &api.Bench{Config: api.BenchConfig{Spawned: true, Replicas: 3}}
		NewApp(nil, io.Discard, io.Discard).benchCheck(t.Context(), ask, r, func() error { return nil })
		if looks != 3 || r.ConservationOK == nil || !*r.ConservationOK || r.CheckNote != "" {
			t.Errorf("after %d looks: conservation %v, note %q", looks, r.ConservationOK, r.CheckNote)
		}
		if r.Error == nil || r.Error.Code != codeUnavailable || !strings.Contains(r.Error.Message, "not all replicas could be compared") {
			t.Errorf("got %v", r.Error)
		}
	})
}

func TestSupervisorTellsTheEnd(t *testing.T) {
	s := &supervisor{executable: "/bin/sh", logs: t.TempDir(), args: func(int) []string { return []string{"-c", "echo last; read x; kill -9 $$"} }}
	if _, ended := s.end(1); ended {
		t.Error("a server that was never started has ended")
	}
	if err := s.start(1); err != nil {
		t.Skip(err) // no shell here
	}
	if _, ended := s.end(1); ended {
		t.Error("a server that runs has ended")
	}
	c, err := s.child(1)
	if err != nil {
		t.Fatal(err)
	}
	s.stopAll()
	<-c.done
	if how, ended := s.end(1); !ended || !strings.Contains(how, "killed") {
		t.Errorf("%q, %t", how, ended)
	}
}

func TestBenchCompareCommand(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")
	faster := benchSample()
	faster.TPS, faster.LatencyUs.P50 = 2469, 395
	for name, v := range map[string]*api.Bench{a: benchSample(), b: faster} {
		if err := writeJSON(name, v); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := runFake(nil, "", nil, "bench", "compare", a, b)
	for _, want := range []string{"transfers_per_second\t1,234\t2,469\t1/s\t2.00\ttoo_few_runs\n", "latency,_p50\t790\t395\tus\t0.50\ttoo_few_runs\n",
		"CPU_per_transfer,_client\t-\t-\tus\t-\tnot_comparable\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("exit %d\n%s%swant %q", code, out, errs, want)
		}
	}
	code, out, _ = runFake(nil, "", nil, "bench", "compare", a, b, "-o", "json")
	var v api.BenchCompare
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitOK || v.A != a || len(v.Rows) == 0 || *v.Rows[0].Ratio != 2 {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
}

func TestWriteBench(t *testing.T) {
	dir := t.TempDir()
	p := benchArgs{JSON: filepath.Join(dir, "r.json"), Report: filepath.Join(dir, "r.html")}
	if err := writeBench(p, benchSample()); err != nil {
		t.Fatal(err)
	}
	if r, err := bench.ReadResults(p.JSON); err != nil || r.Run == nil || r.Run.Committed != 12_345 {
		t.Errorf("the file reads %+v, %v", r.Run, err)
	}
	if page, err := os.ReadFile(p.Report); err != nil || !strings.Contains(string(page), "12,345") {
		t.Errorf("the page: %d bytes, %v", len(page), err)
	}
	if err := writeBench(benchArgs{Report: filepath.Join(dir, "none", "r.html")}, benchSample()); err == nil {
		t.Error("a directory that is not there took the page")
	}
}

// TestBenchFindsBadFilesFirst refuses before anything runs, and leaves files as they were.
func TestBenchFindsBadFilesFirst(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none", "r.json")
	for _, args := range [][]string{
		{"bench", "--spawn", "--json", none}, {"bench", "--spawn", "--report", none},
		{"bench", "suite", "--rows", "one", "--json", none}, {"bench", "peers", "--json", none},
	} {
		code, out, errs := runFake(nil, "", nil, args...)
		if code != exitUsage || out != "" || !strings.Contains(errs, "Nothing was measured") || strings.Contains(errs, "starting") {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, errs)
		}
	}
	old, fresh := filepath.Join(dir, "old.json"), filepath.Join(dir, "fresh.json")
	if err := os.WriteFile(old, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writable(old, "", fresh); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(old); err != nil || string(b) != "before" {
		t.Errorf("the old file holds %q, %v", b, err)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("an empty file was left behind")
	}
	if err := writable(dir); err == nil {
		t.Error("a directory takes a result")
	}
}

// TestBenchLeavesLinksAsTheyWere probes links to a file, to nothing and to nowhere.
func TestBenchLeavesLinksAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	file, absent := filepath.Join(dir, "file.json"), filepath.Join(dir, "absent.json")
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{file, absent, filepath.Join(dir, "none", "r.json")} {
		link := filepath.Join(dir, "link")
		if err := os.Symlink(target, link); err != nil {
			t.Skip(err) // no links here
		}
		if err := writable(link); err != nil {
			t.Error(err)
		}
		if to, err := os.Readlink(link); err != nil || to != target {
			t.Errorf("the link to %s leads to %q, %v", target, to, err)
		}
		if err := os.RemoveAll(link); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "before" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if _, err := os.Lstat(absent); err == nil {
		t.Error("the target of the link was made")
	}
}

func TestBenchEnd(t *testing.T) {
	full := usageError("write the result: the disk is full")
	violated := failure(codeViolation, "money was lost").err
	both := errors.Join(full, usageError("report: no such directory"))
	for _, test := range []struct {
		format Format
		failed *api.Error
		err    error
		code   int
		words  string // on stderr, of the whole command
	}{
		{FormatTable, nil, nil, exitOK, ""},
		{FormatTable, nil, full, exitUsage, "raftbank: write the result: the disk is full\n"},
		{FormatJSON, nil, full, exitUsage, "raftbank: write the result: the disk is full\n"},
		{FormatTable, nil, both, exitUsage, "raftbank: write the result: the disk is full; report: no such directory\n"},
		{FormatJSON, nil, both, exitUsage, "raftbank: write the result: the disk is full; report: no such directory\n"},
		{FormatTable, violated, both, exitViolation,
			"raftbank: write the result: the disk is full; report: no such directory\nraftbank: money was lost\n"},
		{FormatTable, violated, nil, exitViolation, "raftbank: money was lost\n"},
		{FormatJSON, violated, nil, exitViolation, ""},
		{FormatTable, violated, full, exitViolation, "raftbank: write the result: the disk is full\nraftbank: money was lost\n"},
	} {
		var out, errs strings.Builder
		a := NewApp(nil, &out, &errs)
		a.Format = test.format
		code := a.report(a.benchEnd(test.failed, nil, test.err))
		if code != test.code || errs.String() != test.words || out.String() != "" {
			t.Errorf("%+v: exit %d, %q, %q", test, code, out.String(), errs.String())
		}
	}
}

func TestInterruptedBench(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := NewApp(nil, io.Discard, io.Discard)
	r := &api.Bench{Seconds: 1.25, Config: api.BenchConfig{Spawned: true, DurationMs: 10_000}}
	a.benchCheck(ctx, nil, r, func() error { return nil })
	if r.Error == nil || exitCodeOf(r.Error.Code) != exitInterrupted || !strings.Contains(r.Error.Message, "after 1.2 s of the 10.0 s") {
		t.Errorf("got %v", r.Error)
	}
	ctx, cancel = context.WithCancel(t.Context())
	ask := func(context.Context) (api.Check, error) {
		cancel()
		return api.Check{Note: "not comparable"}, nil
	}
	if a.benchCheck(ctx, ask, r, func() error { return nil }); r.Error == nil || r.Error.Code != codeInterrupted {
		t.Errorf("interrupted in the check: %v", r.Error)
	}
}

// TestPeersKeepWhatWasMeasured has a program that fails late.
func TestPeersKeepWhatWasMeasured(t *testing.T) {
	kept := 0
	keep := func(*api.BenchPeers) error { kept++; return nil }
	v, err := lastPeers(strings.NewReader(`{"seed":1,"loads":[]}`+"\n"+`{"seed":1,"loads":[{"name":"one","systems":[{}]}]}`+"\n"), keep)
	if err != nil || kept != 2 || len(v.Loads) != 1 {
		t.Fatalf("%+v, %v, %d kept", v, err, kept)
	}
	if v, err := peersEnd(t.Context(), v, &exec.ExitError{}, ""); err != nil || v.Error == nil || v.Error.Code != codeInternal {
		t.Errorf("a program that ended badly: %+v, %v", v, err)
	}
	told := &api.BenchPeers{Loads: v.Loads, Error: failure(codeViolation, "lost").err}
	if v, err := peersEnd(t.Context(), told, &exec.ExitError{}, ""); err != nil || v.Error.Code != codeViolation {
		t.Errorf("a program that told what failed: %+v, %v", v, err)
	}
	if v, err := peersEnd(t.Context(), &api.BenchPeers{Error: told.Error}, nil, ""); err == nil || asExit(err).code != exitViolation {
		t.Errorf("a program that measured nothing gave %+v, %v", v, err)
	}
	if v, err := peersEnd(t.Context(), nil, nil, ""); err == nil {
		t.Errorf("a program that printed nothing gave %+v", v)
	}
	if v, err := lastPeers(strings.NewReader(`{"seed":7} what is this`), keep); err == nil || v == nil || v.Seed != 7 {
		t.Errorf("what was printed before nonsense: %+v, %v", v, err)
	}
}

func TestPeersTable(t *testing.T) {
	cpu, ratio := 12.34, 2.5
	refused := *benchSample()
	refused.Unavailable = 3
	v := &api.BenchPeers{Loads: []api.BenchPeerLoad{{Name: "batches", Systems: []api.BenchPeerResult{
		{System: "raftbank", Version: "raftbank 0.1.0", Shape: "2 x 4096 x 4", TPS: 1000, P50Us: 1500, P99Us: 2500, Runs: make([]api.Bench, 2)},
		{System: "postgres", Version: "PostgreSQL 15.1", Shape: "8 x 4096 x 1", TPS: 400, P50Us: 3000, P99Us: 9000, CPUUs: &cpu, TPSRatio: &ratio,
			Runs: []api.Bench{refused, *benchSample()}},
	}}}, Skipped: map[string]string{"etcd": "is not here"}, Versions: map[string]string{"postgres": "15.1 (Debian), as it stands in /x"}}
	var out strings.Builder
	a := NewApp(nil, &out, &out)
	a.Format, a.NoColor = FormatTable, true
	a.peersTable(&out, v)
	for _, want := range []string{"PostgreSQL 15.1  8 x 4096 x 1     2    400  3.00 ms  9.00 ms", "12.3        7", "2.5", "left out: etcd", "postgres 15.1 (Debian), as it stands in /x", "shape: connections"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestSuiteKeepsItsRuns(t *testing.T) {
	var row api.BenchRow
	if err := keepRun(&row, benchSample()); err != nil {
		t.Error(err)
	}
	failed := benchSample()
	failed.Error = failure(codeInternal, "server 2 ended").err
	if err := keepRun(&row, failed); err == nil || len(row.Runs) != 2 {
		t.Errorf("%d runs, %v", len(row.Runs), err)
	}
	s := measuredRows(api.BenchSuite{Rows: []api.BenchRow{row, {}}})
	if len(s.Rows) != 1 {
		t.Errorf("%d rows were measured, want one", len(s.Rows))
	}
}

func TestSuiteTable(t *testing.T) {
	var out strings.Builder
	a := NewApp(nil, &out, &out)
	a.Format = FormatTable
	load := 0.25
	a.suiteTable(&out, &api.BenchSuite{Machine: api.BenchMachine{Cores: 2, Load1m: &load}, Rows: []api.BenchRow{
		{Name: "one", Load: "one client", Figure: "latency, p50", Unit: "us", Values: []float64{401, 399, 420}, Median: 401},
		{Name: "hot", Load: "hot", Figure: "ratio", Unit: "ratio", Values: []float64{0.91234}, Median: 0.91234},
	}})
	const want = `  row  load        figure        median  unit   runs
  one  one client  latency, p50     401  us     401 399 420
  hot  hot         ratio          0.912  ratio  0.912
2 cores, load average before: 0.25
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// TestCommandsRepeatTheirRuns parses the commands of a suite's rows with the commands' own flags.
func TestCommandsRepeatTheirRuns(t *testing.T) {
	bank := benchBankArgs{Shards: 2, Replicas: 5, Accounts: 30, ServerProcs: 2}
	for _, row := range bench.Standard(true, 9) {
		row.Options.Skew, row.Options.Reads, row.Options.Rate, row.Options.Queue = 0.5, 7, 1234.5, 3
		want := benchArgs{Load: row.Options, Deadline: time.Second, Spawn: true, Bank: bank}
		var got benchArgs
		got.Load.Cross = bench.AsPairsFall
		f := pflag.NewFlagSet("bench", pflag.ContinueOnError)
		loadFlags(f, &got)
		bankFlags(f, &got.Bank)
		f.BoolVar(&got.Spawn, "spawn", false, "")
		command := benchCommand(&want)
		if err := f.Parse(strings.Fields(command)[2:]); err != nil || got != want {
			t.Errorf("row %s, %s: %v\n%+v\n%+v", row.Name, command, err, got, want)
		}
	}
	shards := benchArgs{Load: bench.Standard(true, 9)[1].Options, Bank: bank}
	if c := benchCommand(&shards); !strings.Contains(c, " --cross 0") {
		t.Errorf("without --cross, pairs fall as they like: %s", c)
	}
	got := suiteCommand(benchSuiteArgs{Quick: true, Seed: 9, Bank: bank}, "hot")
	if want := "raftbank bench suite --rows hot --runs 1 --replicas 5 --accounts 30 --seed 9 --server-procs 2 --quick"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
