package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"raftbank/internal/sim"
)

// TestSimFlagsThatDoNotFit: what would be ignored is refused.
func TestSimFlagsThatDoNotFit(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"--seeds 0", "want at least 1"},
		{"--duration 0", "want at least 1ms"},
		{"--duration -1s", "want at least 1ms"},
		{"--faults=", "--faults is empty"},
		{"--checkers=", "--checkers is empty"},
		{"--faults none,kill", `unknown fault "none": want none alone`},
		{"--record x", "add --planted"},
		{"--replay x", "add --planted"},
		{"--twice --trace", "leave --twice or --trace out"},
		{"--planted=early-ack --twice", "leave --twice or --planted out"},
		{"--planted --trace", "one planted bug"},
		{"--planted=early-ack,stale-read --trace", "one planted bug"},
		{"--planted=early-ack --trace --replay x", "leave --record and --replay out"},
	} {
		cmd := newSimCmd(NewApp(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer)))
		cmd.SetArgs(strings.Fields(c.line))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.Execute()
		var e *exitError
		if !errors.As(err, &e) || e.code != exitUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("sim %s: %v, want a usage error with %q", c.line, err, c.want)
		}
	}
}

// TestSimTraceBesideJSON: the output is one JSON value, and the story goes to the other stream.
func TestSimTraceBesideJSON(t *testing.T) {
	var out, story bytes.Buffer
	a := NewApp(strings.NewReader(""), &out, &story)
	a.Format = FormatJSON
	p := simArgs{Seed: 1, HaveSeed: true, Seeds: 1, Trace: true, Options: sim.Options{DurationMs: 500, Faults: []string{"none"}}}
	if err := a.runSim(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	var v simResult
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || !v.OK {
		t.Errorf("%v, ok %v, in %q", err, v.OK, out.String())
	}
	if len(v.Totals.Faults) != 0 {
		t.Errorf("faults without any: %v", v.Totals.Faults)
	}
	if !strings.Contains(story.String(), "server 1   starts") {
		t.Errorf("no story in %q", story.String())
	}
}

// TestSimInterrupted: what has run is printed, and the exit code is that of an interruption.
func TestSimInterrupted(t *testing.T) {
	var out, notes bytes.Buffer
	a := NewApp(strings.NewReader(""), &out, &notes)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := a.runSim(ctx, simArgs{Seed: 1, HaveSeed: true, Seeds: 1, Options: sim.Options{DurationMs: 500}})
	var e *exitError
	if !errors.As(err, &e) || e.code != exitInterrupted || !strings.Contains(notes.String(), "0 seeds from 1, 0 failed") {
		t.Errorf("got %v and %q, want the sum of no seeds and exit %d", err, notes.String(), exitInterrupted)
	}
}
