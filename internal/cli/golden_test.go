package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"raftbank/client"
)

// runFake runs one command line on a fake bank and returns the exit code and both streams.
func runFake(b bank, stdin string, env map[string]string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	a := NewApp(strings.NewReader(stdin), &stdout, &stderr)
	a.Getenv = func(name string) string { return env[name] }
	a.connect = func(client.Options) (bank, error) { return b, nil }
	ticks := 0
	a.clock = func() time.Time { // every look is 250 ms after the one before
		ticks++
		return time.UnixMilli(int64(ticks) * 250)
	}
	code = a.main(context.Background(), args)
	return code, stdout.String(), stderr.String()
}

// TestGolden runs the command lines of testdata/golden. A directive "raftbank" has optional
// arguments bank=SCENARIO, env=NAME:VALUE and stdin=FILE; its input is the command line, one
// argument per line or, on a single line, separated by spaces.
func TestGolden(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "golden"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "raftbank" {
				d.Fatalf(t, "unknown directive %q", d.Cmd)
			}
			var scenario, stdin string
			d.MaybeScanArgs(t, "bank", &scenario)
			env := map[string]string{}
			if d.HasArg("env") {
				var pair string
				d.ScanArgs(t, "env", &pair)
				name, value, _ := strings.Cut(pair, ":")
				env[name] = value
			}
			if d.HasArg("stdin") {
				var name string
				d.ScanArgs(t, "stdin", &name)
				b, err := os.ReadFile(filepath.Join("testdata", "files", name))
				if err != nil {
					t.Fatal(err)
				}
				stdin = string(b)
			}
			args := strings.Split(strings.TrimSpace(d.Input), "\n")
			if len(args) == 1 {
				args = strings.Fields(args[0])
			}
			code, out, errs := runFake(newFakeBank(scenario), stdin, env, args...)
			checkJSON(t, d.Pos, args, out)
			return show(code, out, errs)
		})
	})
}

// show is the text of a run in a golden file.
func show(code int, out, errs string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "exit %d\n", code)
	for _, stream := range []struct{ name, text string }{{"stdout", out}, {"stderr", errs}} {
		if stream.text != "" {
			fmt.Fprintf(&b, "-- %s\n%s", stream.name, stream.text)
		}
	}
	return b.String()
}

// checkJSON holds what -o json promises: exactly one value on stdout.
func checkJSON(t *testing.T, pos string, args []string, out string) {
	line := strings.Join(args, " ")
	if !strings.Contains(line, "-o json") || strings.Contains(line, "-o jsonl") || strings.Contains(line, "--help") {
		return
	}
	dec := json.NewDecoder(strings.NewReader(out))
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		t.Errorf("%s: stdout is not a JSON object: %v", pos, err)
	}
	if dec.More() {
		t.Errorf("%s: more than one JSON value on stdout", pos)
	}
}
