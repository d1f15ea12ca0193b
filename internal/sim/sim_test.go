package sim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shortMs keeps a run of the ordinary tests small.
const shortMs = 10_000

func TestSeeds(t *testing.T) {
	totals := NewTotals()
	for seed := range uint64(60) {
		r := Run(Options{Seed: seed, DurationMs: shortMs}, nil)
		totals.Add(r)
		if v := r.Violation; v != nil {
			t.Errorf("seed %d (%s): %s at %d ms: %s\nrepeat: %s --trace", seed, r.Shape, v.Check, v.AtMs, v.Text, r.Repeat)
		}
	}
	if totals.Outcomes["committed"] == 0 || totals.Elections == 0 || totals.Checked[string(CheckConservation)] == 0 {
		t.Errorf("nothing happened: %+v", totals)
	}
	t.Logf("%+v", totals)
}

// TestSeedsThatFoundSomething runs the seeds of testdata/seeds.txt.
func TestSeedsThatFoundSomething(t *testing.T) {
	text, err := os.ReadFile("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		o, err := regression(fields)
		if err != nil {
			t.Fatalf("testdata/seeds.txt: %q: %v", line, err)
		}
		r := Run(o, nil)
		if v := r.Violation; v != nil {
			t.Errorf("seed %d (%s): %s at %d ms: %s\nrepeat: %s --trace", o.Seed, r.Shape, v.Check, v.AtMs, v.Text, r.Repeat)
		}
		ran++
	}
	if ran == 0 {
		t.Error("testdata/seeds.txt names no seed")
	}
}

// regression reads seed, flags and what was found.
func regression(fields []string) (Options, error) {
	if len(fields) < 3 {
		return Options{}, errors.New("want a seed, flags or -, and what it found")
	}
	seed, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return Options{}, err
	}
	o := Options{Seed: seed}
	if fields[1] == "-" {
		return o, nil
	}
	for _, flag := range strings.Split(fields[1], "--")[1:] {
		name, value, _ := strings.Cut(flag, "=")
		n, err := strconv.Atoi(value)
		switch {
		case name == "faults":
			o.Faults, err = strings.Split(value, ","), nil
		case name == "shards":
			o.Shards = n
		case name == "replicas":
			o.Replicas = n
		case name == "clients":
			o.Clients = n
		case name == "duration":
			var d time.Duration
			d, err = time.ParseDuration(value)
			o.DurationMs = d.Milliseconds()
		default:
			return o, fmt.Errorf("unknown flag %q", flag)
		}
		if err != nil {
			return o, err
		}
	}
	return o, o.Validate()
}

// TestDocumentsNameCheckersAndFaults keeps the tables of the documents complete.
func TestDocumentsNameCheckersAndFaults(t *testing.T) {
	var names []string
	for _, c := range Checks() {
		names = append(names, "../../docs/TESTING.md\x00| `"+string(c.Name)+"` | ")
	}
	for _, f := range Faults() {
		names = append(names, "../../docs/CLI.md\x00| `"+f.Name+"` | "+f.What+" |")
	}
	for _, n := range names {
		file, want, _ := strings.Cut(n, "\x00")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks a line with %q", file, want)
		}
	}
}

// hashesEnv makes TestSameSeedSameTrace print hashes for its other half, in another process.
const hashesEnv = "RAFTBANK_SIM_HASHES"

// traceHashes are those of some seeds, one a line.
func traceHashes() string {
	var b strings.Builder
	for seed := range uint64(5) {
		fmt.Fprintf(&b, "hash %d %s\n", seed, Run(Options{Seed: seed, DurationMs: 5_000}, nil).TraceHash)
	}
	return b.String()
}

func TestSameSeedSameTraceInAnotherProcess(t *testing.T) {
	if os.Getenv(hashesEnv) != "" {
		fmt.Print(traceHashes())
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), hashesEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := traceHashes(); !strings.Contains(string(out), want) {
		t.Errorf("this process has\n%sthe other\n%s", want, out)
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(5) {
		o := Options{Seed: seed, DurationMs: 5_000}
		// The story must not change what happens.
		a, b := Run(o, nil), Run(o, io.Discard)
		if a.TraceHash != b.TraceHash {
			t.Errorf("seed %d: trace hash %s, then %s", seed, a.TraceHash, b.TraceHash)
		}
	}
}
