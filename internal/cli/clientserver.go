package cli

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/spf13/cobra"

	"raftbank/client"
)

// clientArgs are the arguments of client.
type clientArgs struct {
	Second      bool
	Port        int // 0: 9000, or 8999 with Second
	Listen      string
	StopOnError bool
	Serve       bool // no shell: serve the port until told to end
}

// newClientCmd builds the command client.
func newClientCmd(a *App) *cobra.Command {
	var c clientArgs
	cmd := &cobra.Command{
		Use:   "client",
		Short: "Run a client server: a shell on the bank",
		Long: `Run a client server. On a terminal it is a shell with history and completion; from a pipe or
file it runs the lines one by one (comments begin with # or //) and goes on after a failure; at
the end of the input it ends. Its port answers /healthz, /metrics and /performance. With --serve
it reads nothing and serves the port until Ctrl-C or SIGTERM.`,
		Example: "  raftbank client\n  raftbank client --second < examples/conflict.txt\n  raftbank client --serve --port 9100",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("port") && (c.Port < 1 || c.Port > 65535) {
				return usageError("--port is 1 to 65535: %d", c.Port)
			}
			return a.runClient(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.Second, "second", false, "the second client server: port 8999")
	f.IntVar(&c.Port, "port", 0, "port `N` in place of 9000")
	f.StringVar(&c.Listen, "listen", "127.0.0.1", "listen on interface `HOST`")
	f.BoolVar(&c.Serve, "serve", false, "no shell: serve the port until Ctrl-C or SIGTERM")
	f.BoolVar(&c.StopOnError, "stop-on-error", false, "end a script at the first line that fails, with its exit code")
	return cmd
}

// runClient serves the port and runs the shell.
func (a *App) runClient(ctx context.Context, c clientArgs) error {
	port := clientPort
	switch {
	case c.Port != 0 && c.Second:
		return usageError("--port %d and --second (port %d) name two ports: give one of them", c.Port, secondClientPort)
	case c.Serve && c.StopOnError:
		return usageError("--serve runs no script that --stop-on-error could end: give one of them")
	case c.Port != 0:
		port = c.Port
	case c.Second:
		port = secondClientPort
	}
	a.Recorder = NewRecorder()
	server := newClientServer(a.Recorder, a.Version)
	if err := server.start(c.Listen, port); err != nil {
		return portError(port, err)
	}
	defer server.close()
	bank, done, err := a.openWith(client.Options{Trace: true})
	if err != nil {
		return err
	}
	defer done()
	a.Client = bank
	greeting := fmt.Sprintf("raftbank %s client on %s: %d clusters, accounts %s",
		a.Version, server.addr, len(a.Topology.Clusters), a.Topology.Accounts())
	if c.Serve {
		a.notef("%s. It serves /healthz, /metrics and /performance until Ctrl-C", greeting)
		<-ctx.Done()
		a.endLine()
		return nil
	}
	a.notef("%s. Type help for the commands", greeting)
	if code := (&shell{app: a, stopOnError: c.StopOnError}).run(ctx); code != exitOK {
		return told(code)
	}
	return nil
}

// portError says why a client server cannot have its port.
func portError(port int, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return usageError("port %d is in use. Another client server? Start this one with --second (8999) or --port N", port)
	}
	return usageError("the client server cannot listen: %v", err).
		hint("it wants an interface of this machine: --listen HOST")
}

// told is the failure of a line that has told it already: only its exit code is left to return.
func told(code int) error {
	e := failure(codeInternal, "a command failed")
	e.code, e.printed = code, true
	return e
}
