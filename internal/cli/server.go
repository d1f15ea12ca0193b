package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"raftbank/internal/config"
	"raftbank/internal/node"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/transport"
)

// serverArgs are the arguments of server.
type serverArgs struct {
	ID, Port            string // as typed; Port may be ""
	DataDir, Listen     string
	KeyFile             string
	LogLevel, LogFormat string
	AllowFaults         bool
	ForceBootstrap      bool
	Replace             bool
	ExitWithStdin       bool // end at once when standard input closes: a child of the demo
	CPUProfile          string
	Storage             config.Storage
	SilentAfter         time.Duration
}

// newServerCmd builds the command server.
func newServerCmd(a *App) *cobra.Command {
	var s serverArgs
	cmd := &cobra.Command{
		Use:   "server ID [PORT]",
		Short: "Run one server of the bank",
		Long: `Run one server: a replica of its cluster's shard, as the configuration says (raftbank config).
PORT, if given, must be the configuration's. It ends on Ctrl-C or SIGTERM after handing over
leadership; a second signal ends it at once, which is as safe as kill -9: nothing is lost.`,
		Example: "  raftbank server 1\n  raftbank server 8 9008 --data-dir /var/lib/raftbank/8",
		Args:    arguments(1, 2, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.ID = args[0]
			if len(args) == 2 {
				s.Port = args[1]
			}
			var err error
			if s.Storage, err = a.effectiveStorage(cmd.Flags(), s.Storage); err != nil {
				return err
			}
			return a.runServer(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.DataDir, "data-dir", "", "`DIR` of this server's data (default ./raftbank-data/ID)")
	f.StringVar(&s.Listen, "listen", "", "listen on interface `HOST`, for example 0.0.0.0 (default: the configuration's)")
	f.StringVar(&s.KeyFile, "key-file", "", "`FILE` with the bank's key (default bank.key beside the data directory)")
	f.StringVar(&s.LogLevel, "log-level", "info", "`LEVEL` is debug, info, warn or error")
	f.StringVar(&s.LogFormat, "log-format", "text", "`FORMAT` is text or json")
	f.BoolVar(&s.AllowFaults, "allow-faults", false, "let clients cut this server's network, for demo and tests")
	f.BoolVar(&s.ForceBootstrap, "force-bootstrap", false, "open a new bank without asking every replica; can lose a bank that exists")
	f.BoolVar(&s.Replace, "replace", false, "with an empty directory, wait to take the place of this server's lost one (raftbank replace)")
	f.BoolVar(&s.ExitWithStdin, "exit-with-stdin", false, "end when standard input closes")
	f.StringVar(&s.CPUProfile, "cpu-profile", "", "write a CPU profile of the whole run to this file")
	addStorageFlags(f, &s.Storage)
	f.DurationVar(&s.SilentAfter, "silent-after", 30*time.Second, "`DURATION` without a word after which a server counts as away")
	_ = f.MarkHidden("silent-after")
	_ = f.MarkHidden("exit-with-stdin") // the flags are defined above
	_ = f.MarkHidden("cpu-profile")
	return cmd
}

// runServer runs a server until it is told to end or cannot go on.
func (a *App) runServer(_ context.Context, s serverArgs) error {
	me, cluster, err := a.findServer(s.ID, s.Port)
	if err != nil {
		return err
	}
	if s.SilentAfter <= 0 {
		return usageError("--silent-after must be positive: %v", s.SilentAfter)
	}
	logger, err := newLogger(a.Err, s.LogLevel, s.LogFormat)
	if err != nil {
		return err
	}
	if s.DataDir == "" {
		s.DataDir = filepath.Join("raftbank-data", me.ID.String())
	}
	ctx, stop := untilSignalled()
	defer stop()
	if s.CPUProfile != "" {
		stopProfile, err := startProfile(s.CPUProfile)
		if err != nil {
			return err
		}
		defer stopProfile()
	}
	if s.ExitWithStdin {
		go exitWith(a.In)
	}
	if planted.Built { // never in a program that is meant to be used: see package planted
		bug, _ := planted.Named(a.Getenv(envName("planted")))
		planted.Plant(bug.Bug)
	}
	memory := memoryOf(s.Storage)
	memory.SilentAfter = s.SilentAfter
	err = node.Run(ctx, node.Options{
		Server: me.ID, Topology: a.Topology, DataDir: s.DataDir, KeyFile: s.KeyFile, Listen: s.Listen,
		AllowFaults: s.AllowFaults, ForceBootstrap: s.ForceBootstrap, Replace: s.Replace, Logger: logger, Version: a.Version,
		Memory: memory,
		Ready: func(addr string) {
			_, _ = fmt.Fprintf(a.Out, "server %s of %s (accounts %s), %s, data %s\n",
				me.ID, cluster.Shard, cluster.Range, addr, s.DataDir)
		},
	})
	return serverFailure(me, err)
}

// findServer returns the server that the arguments name.
func (a *App) findServer(id, port string) (shard.Server, *shard.Cluster, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return shard.Server{}, nil, usageError("not a server number: %q", id).hint("for example: raftbank server 1")
	}
	me, cluster, ok := a.Topology.Server(shard.ServerID(n))
	if !ok {
		return shard.Server{}, nil, usageError("this config has no server %d: it has %s", n, serverNumbers(a.Topology)).
			hint("see it with: raftbank config")
	}
	_, want, err := net.SplitHostPort(me.Addr)
	if err != nil {
		return shard.Server{}, nil, usageError("address of server %d: %v", n, err)
	}
	if port != "" && port != want {
		return shard.Server{}, nil, usageError("server %d is at port %s in this config; got %s", n, want, port)
	}
	return me, cluster, nil
}

// serverNumbers lists the servers of a topology, cluster by cluster.
func serverNumbers(t *shard.Topology) string {
	var parts []string
	for _, c := range t.Clusters {
		var ids []string
		for _, s := range c.Servers {
			ids = append(ids, s.ID.String())
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", strings.Join(ids, ", "), c.Shard))
	}
	return strings.Join(parts, ", ")
}

// newLogger builds the server's log.
func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError("--log-level is debug, info, warn or error: %q", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, usageError("--log-format is text or json: %q", format)
}

// untilSignalled returns a context that the first SIGINT or SIGTERM ends; the second ends the
// process.
func untilSignalled() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitInterrupted)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}

// exitWith ends the process when the stream does. Nothing needs cleaning up: a server may end at
// any instruction.
func exitWith(in io.Reader) {
	_, _ = io.Copy(io.Discard, in)
	pprof.StopCPUProfile() // does nothing if there is none
	os.Exit(exitOK)
}

// serverFailure adds to a fatal error what it means for the data and what to do next.
func serverFailure(me shard.Server, err error) error {
	text := ""
	if err != nil {
		text = "server " + me.ID.String() + ": " + strings.TrimPrefix(err.Error(), "server "+me.ID.String()+": ")
	}
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, transport.ErrPortInUse):
		return usageError("%s", text).hint("perhaps this server runs already: raftbank status. Data: untouched")
	case errors.Is(err, transport.ErrListen):
		return usageError("%s", text).
			hint("the address is the configuration's, or that of --listen, and must be one of this machine. Data: untouched")
	case node.BadDirectory(err):
		return usageError("%s", text).hint("data: untouched")
	case node.Refused(err):
		return failure(codeInternal, "%s", text).
			hint("data: this server has voted for nothing and acknowledged nothing; its cluster goes on without it")
	}
	return failure(codeInternal, "%s", text).
		hint("data: what was acknowledged is on the disks of a majority. Next: mend the cause, then raftbank server %s", me.ID)
}
