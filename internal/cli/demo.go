package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"raftbank/client"
	"raftbank/examples"
	"raftbank/internal/api"
	"raftbank/internal/shard"
)

// demoArgs are the arguments of demo.
type demoArgs struct {
	DataDir     string // "" is a temporary one, removed at the end
	Acts        bool
	StopOnError bool
}

// demo is one run of the demo.
type demo struct {
	app  *App
	args demoArgs
	bank *demoBank
	// out gets the acts: with a JSON format it is Err, and Out gets the report alone.
	out    io.Writer
	begin  time.Time
	report demoReport
}

// demoReport is the demo in JSON: what the acts measured.
type demoReport struct {
	OK           bool              `json:"ok"`
	ElapsedMs    int64             `json:"elapsed_ms"`
	StartMs      int64             `json:"start_ms"`
	File         *api.FileTransfer `json:"file_transfer,omitempty"`
	Acknowledged int               `json:"acknowledged"` // while the leader was killed and after
	Lost         int               `json:"lost"`         // of them; must be 0
	FailoverMs   int64             `json:"failover_ms"`  // from the kill to the first transfer on that cluster
	RecoveryMs   int64             `json:"recovery_ms"`  // from the coordinator's death to the end of its transfer
	Check        *api.Check        `json:"check,omitempty"`
	Failures     []string          `json:"failures"` // what did not hold
	Error        *api.Error        `json:"error,omitempty"`
	// crashed is the id of the transfer whose coordinator was killed.
	crashed string
}

// newDemoCmd builds the command demo.
func newDemoCmd(a *App) *cobra.Command {
	d := demoArgs{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start the whole bank, show it at work and under faults, then a shell",
		Long: `Start nine servers as processes of their own and a client server, show transfers, a killed leader
and a killed coordinator, and check every balance. Then: the shell on a terminal, or the lines of a
pipe or file, or the end. Nothing stays: servers end with the demo, its data is removed.`,
		Example: "  raftbank demo\n  raftbank demo --acts=false < examples/lessons/2-kill-a-leader.txt",
		Args:    arguments(0, 0),
		// The demo brings its own configuration: one from a former demo's variable must not stop it.
		Annotations: map[string]string{needsNoConfig: ""},
		RunE:        func(cmd *cobra.Command, _ []string) error { return a.runDemo(cmd.Context(), d) },
	}
	f := cmd.Flags()
	f.StringVar(&d.DataDir, "data-dir", "", "`DIR` for the bank's data, kept at the end (default: a temporary one)")
	f.BoolVar(&d.Acts, "acts", true, "show the acts; --acts=false goes straight to the shell")
	f.BoolVar(&d.StopOnError, "stop-on-error", false, "end a script at the first line that fails, with its exit code")
	return cmd
}

// runDemo runs the demo from the first process to the last.
func (a *App) runDemo(ctx context.Context, args demoArgs) error {
	if a.ConfigPath != "" && a.ConfigPath != a.Getenv(envName("config")) {
		return usageError("the demo brings its own configuration and takes none").
			hint("run your own with: raftbank server ID --config %s", a.ConfigPath)
	}
	d := &demo{app: a, args: args, out: a.Out, begin: time.Now(), report: demoReport{Failures: []string{}}}
	if a.Format.json() {
		d.out = a.Err
	} else {
		a.Format = FormatTable // people look at it, through a pipe too
	}
	end, err := d.open()
	if err == nil {
		err = d.show(ctx)
	}
	end()
	return err
}

// open prepares directory, ports, configuration and client server. The function that it returns,
// with an error too, ends everything that was begun.
func (d *demo) open() (end func(), err error) {
	var undo []func()
	end = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	plan, err := planPorts(len(shard.DefaultTopology().Servers()), portFree)
	if err != nil {
		return end, usageError("%v", err)
	}
	dir, kept, err := d.makeDir()
	if err != nil {
		return end, err
	}
	if !kept {
		undo = append(undo, func() { _ = os.RemoveAll(dir) })
	}
	a := d.app
	a.Topology = plan.place(shard.DefaultTopology())
	if d.bank, err = newDemoBank(dir, a.Topology, os.Environ()); err != nil {
		return end, asExit(err)
	}
	undo = append(undo, d.bank.sup.stopAll)
	a.Recorder = NewRecorder()
	server := newClientServer(a.Recorder, a.Version)
	if err := server.start("127.0.0.1", plan.client); err != nil {
		return end, portError(plan.client, err)
	}
	undo = append(undo, server.close)
	c, done, err := a.openWith(client.Options{Trace: true})
	if err != nil {
		return end, err
	}
	undo = append(undo, done)
	a.Client, d.bank.client, a.Faults = c, c, d.bank
	d.header(plan, kept)
	return end, nil
}

// makeDir makes the data directory and puts the example files into it.
func (d *demo) makeDir() (dir string, kept bool, err error) {
	dir, kept = d.args.DataDir, d.args.DataDir != ""
	if kept {
		if dir, err = filepath.Abs(dir); err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
	} else {
		dir, err = os.MkdirTemp("", "raftbank-demo-")
	}
	if err != nil {
		return dir, kept, usageError("data directory: %v", err)
	}
	for _, name := range []string{transactionsFile, conflictFile} {
		b, err := examples.Files.ReadFile(name)
		if err != nil {
			return dir, kept, failure(codeInternal, "built-in file: %v", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return dir, kept, usageError("data directory: %v", err)
		}
	}
	return dir, kept, nil
}

// Files that the demo brings along.
const (
	transactionsFile = "transactions.txt"
	conflictFile     = "conflict.txt"
)

// header says what is started, where, and how other terminals reach it.
func (d *demo) header(plan portPlan, kept bool) {
	t := d.app.Topology
	accounts := uint64(0)
	for _, c := range t.Clusters {
		accounts += c.Range.Len()
	}
	d.printf("%s: %d clusters x %d servers, each its own process. %s accounts x %d = %s\n",
		d.bold("raftbank "+d.app.Version+" demo"), len(t.Clusters), len(t.Clusters[0].Servers),
		thousands(fmt.Sprint(accounts)), t.OpeningBalance, thousands(t.Total().String()))
	fate := "removed at the end"
	if kept {
		fate = "kept"
	}
	d.printf("ports %d-%d, client %d    data %s (%s)\n", plan.first, plan.first+len(t.Servers())-1, plan.client, d.bank.dir, fate)
	if !plan.usual {
		d.printf("(9000-9009 are not all free, hence other ports)\n")
	}
	d.printf("other terminals: export RAFTBANK_CONFIG=%s\n", d.bank.config)
}

// show runs the acts, then the shell.
func (d *demo) show(ctx context.Context) error {
	if err := d.runActs(ctx); err != nil {
		if ctx.Err() != nil {
			return failure(codeInterrupted, "interrupted; the servers end")
		}
		return asExit(err)
	}
	failed := d.verdict()
	s := &shell{app: d.app, stopOnError: d.args.StopOnError, files: d.bank.dir}
	if code := s.run(ctx); code != exitOK {
		return told(code)
	}
	return failed
}

// verdict prints the report in JSON, and is the failure of acts that did not hold.
func (d *demo) verdict() error {
	d.report.OK = len(d.report.Failures) == 0
	d.report.ElapsedMs = time.Since(d.begin).Milliseconds()
	var failed *exitError
	if !d.report.OK {
		failed = failure(codeViolation, "%s", d.report.Failures[0]).
			hint("please report this with the logs of the servers; keep them with: raftbank demo --data-dir DIR")
		d.report.Error = failed.err
	}
	if d.app.Format.json() && d.args.Acts {
		if err := d.app.print(d.report, nil); err != nil {
			return err
		}
	}
	if failed == nil {
		return nil
	}
	failed.printed = d.app.Format.json()
	return failed
}

// fail notes what did not hold, and shows it.
func (d *demo) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.report.Failures = append(d.report.Failures, text)
	d.printf("  FAILED: %s\n", text)
}

func (d *demo) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }

// bold makes a heading stand out on a terminal.
func (d *demo) bold(s string) string {
	if d.app.NoColor || d.app.Getenv("NO_COLOR") != "" || !isTerminal(d.out) {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}
