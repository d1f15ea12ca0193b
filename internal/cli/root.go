package cli

import (
	"context"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is this program's version. It is a constant, so that a build needs no linker flags.
const version = "0.1.0"

// Main runs the command line and returns the exit code.
func Main(args []string, in io.Reader, out, err io.Writer) int {
	a := NewApp(in, out, err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return a.main(ctx, args)
}

// main runs one command line on the App.
func (a *App) main(ctx context.Context, args []string) int {
	root := newRootCmd(a)
	root.SetArgs(args)
	return a.report(root.ExecuteContext(ctx))
}

// newRootCmd builds the tree of commands.
func newRootCmd(a *App) *cobra.Command {
	root := &cobra.Command{
		Use: "raftbank", Short: "A fault-tolerant distributed bank",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(hostCommands(a)...)
	return root
}
