package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asProgram makes this test binary the program itself.
const asProgram = "RAFTBANK_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// bankTOML is a bank of one server that is down: port 1 refuses connections.
const bankTOML = `opening_balance = 10

[[cluster]]
shard = 1
accounts = "1-20"
  [[cluster.server]]
  id = 1
  addr = "127.0.0.1:1"
`

// TestExitCodes runs the real program, each line in a process of its own.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"bank.toml": bankTOML, "bad.toml": "opening_balance = [", "bad.txt": "1 2\n1 2 3\nx y z\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		line           string
		code           int
		stdout, stderr string // must be contained; "-" stands for nothing at all
	}{
		{"version", 0, "raftbank ", "-"},
		{"--version", 0, "raftbank ", "-"},
		{"--help", 0, "raftbank demo", "-"},
		{"completion bash", 0, "bash completion", "-"},
		{"config", 0, bankTOML, "-"},
		{"config -o json", 0, `"opening_balance":"10"`, "-"},
		// cannot be parsed
		{"nonsense", 2, "-", `unknown command "nonsense"`},
		{"transfer 1 2", 2, "-", "missing AMT"},
		{"transfer 1 2 x", 2, "-", `amount is not an integer: "x"`},
		{"transfer 1 2 3 -o yaml", 2, "-", "yaml"},
		{"config --config none.toml", 2, "-", "none.toml"},
		{"config --config bad.toml", 2, "-", "bad.toml"},
		{"file-transfer bad.txt", 2, "-", "bad.txt:3: "},
		// refused by the rules of the ledger, before any server is asked
		{"transfer 1 2 -4", 3, "bad_amount", "raftbank: amount must be positive: -4\n"},
		{"transfer -1 2 4", 3, "no_account", "raftbank: account -1 does not exist: this bank holds 1-20\n"},
		{"balance 21", 3, "-", "raftbank: account 21 does not exist: this bank holds 1-20\n"},
		{"transfer 1 2 -4 -o json", 3, `"error":{"code":"refused","message":"amount must be positive: -4"`, "-"},
		// surely not applied
		{"transfer 1 2 3", 4, "unavailable", "127.0.0.1:1"},
		{"transfer 1 2 3 -o json", 4, `"outcome":"unavailable"`, "-"},
		{"balance 1", 4, "", "127.0.0.1:1"},
		{"status", 4, "down", "no server of this bank answers"},
		{"performance --client 127.0.0.1:1", 4, "-", "raftbank client"},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], strings.Fields(c.line)...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), asProgram+"=1", "RAFTBANK_CONFIG=bank.toml")
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			var failed *exec.ExitError
			if err != nil && !errors.As(err, &failed) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			for _, stream := range []struct{ name, got, want string }{{"stdout", out.String(), c.stdout}, {"stderr", errs.String(), c.stderr}} {
				if stream.want == "-" && stream.got != "" || stream.want != "-" && !strings.Contains(stream.got, stream.want) {
					t.Errorf("%s is %q, want %q", stream.name, stream.got, stream.want)
				}
			}
		})
	}
}
