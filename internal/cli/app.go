package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/config"
	"raftbank/internal/shard"
)

// App carries what the commands of one process share. The shell and the demo run the same commands
// on their own App.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string // environment, replaceable in tests

	Format     Format // how data is printed
	Quiet      bool   // no notes and no progress on Err
	NoColor    bool
	ConfigPath string          // file of the configuration; "" means the default bank
	Topology   *shard.Topology // the configuration; loaded before a command runs
	Storage    config.Storage  // likewise; zero: the defaults

	Client   bank      // the shell's client; nil: each command opens its own and closes it
	Recorder *Recorder // counts transfers of a session; nil in one-shot commands
	Faults   Faults    // nil outside the demo
	Version  string

	// InShell makes hints speak the shell's language ("Resolve ID", not "raftbank resolve ID").
	InShell bool
	// connect opens a client; replaced in tests.
	connect func(client.Options) (bank, error)
	// clock tells the time; nil: time.Now. Replaced in tests.
	clock func() time.Time
}

// bank is what the commands need of a client. *client.Client is one; tests have a fake.
type bank interface {
	Topology() *shard.Topology
	Transfer(ctx context.Context, t client.Transfer) (client.Result, error)
	Balance(ctx context.Context, a client.Account) (client.AccountBalance, error)
	Replicas(ctx context.Context, a client.Account) (api.Balance, error)
	Resolve(ctx context.Context, id client.ID) (client.Result, error)
	Cancel(ctx context.Context, id client.ID) (client.Result, error)
	Status(ctx context.Context) (api.Status, error)
	Datastore(ctx context.Context, server shard.ServerID, q api.DatastoreQuery) (api.Datastore, error)
	Explain(ctx context.Context, id client.ID) (api.Explain, error)
	History(ctx context.Context, a client.Account, o client.HistoryOptions) (api.History, error)
	GetTransfer(ctx context.Context, id client.ID, o client.ReadOptions) (api.TransferRecord, error)
	InDoubt(ctx context.Context) (api.InDoubt, error)
	CheckConservation(ctx context.Context) (api.Check, error)
	Audit(ctx context.Context) (api.Audit, error)
	Fault(ctx context.Context, s shard.ServerID, f api.FaultRequest) (api.FaultReply, error)
	Replace(ctx context.Context, q api.ReplaceRequest) (api.ReplaceReply, error)
	Close() error
}

var _ bank = (*client.Client)(nil)

// NewApp returns an App on the given streams with the process's environment. Its Format is plain
// until a flag or a terminal says otherwise.
func NewApp(in io.Reader, out, err io.Writer) *App {
	return &App{
		In: in, Out: out, Err: err, Getenv: os.Getenv, Format: FormatPlain, Version: version,
		connect: func(o client.Options) (bank, error) { return client.Open(o) },
	}
}

// open returns the client to use and what to call when done with it. The shell's client stays open.
func (a *App) open() (bank, func(), error) {
	return a.openWith(client.Options{Trace: true})
}

// openWith is open with options for a one-shot client; the topology is filled in. Options of a
// client that is open already cannot change: then o must ask for no crash.
func (a *App) openWith(o client.Options) (bank, func(), error) {
	if a.Client != nil && o.CrashPoint == 0 {
		return a.Client, func() {}, nil
	}
	o.Topology = a.Topology
	c, err := a.connect(o)
	if err != nil {
		return nil, nil, asExit(fmt.Errorf("open the bank: %w", err))
	}
	return c, func() {
		if err := c.Close(); err != nil && !errors.Is(err, client.ErrClosed) {
			a.notef("close: %v", err)
		}
	}, nil
}

// notef writes a line for people on Err, unless --quiet.
func (a *App) notef(format string, args ...any) {
	if !a.Quiet {
		_, _ = fmt.Fprintf(a.Err, format+"\n", args...)
	}
}

// endLine leaves the line on which a terminal shows ^C.
func (a *App) endLine() {
	if isTerminal(a.Err) {
		_, _ = fmt.Fprintln(a.Err)
	}
}

// now tells the time.
func (a *App) now() time.Time {
	if a.clock != nil {
		return a.clock()
	}
	return time.Now()
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// command returns how a user types a command here: in a shell or on the system's command line.
func (a *App) command(shellForm, oneShot string) string {
	if a.InShell {
		return shellForm
	}
	return "raftbank " + oneShot + a.configFlag()
}

// configFlag is what a suggested command needs to speak to the same bank, with a blank before it.
func (a *App) configFlag() string {
	if a.ConfigPath == "" || a.ConfigPath == a.Getenv(envName("config")) {
		return ""
	}
	return " --config " + shellWord(a.ConfigPath)
}
