package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftbank/internal/config"
)

// version is this program's version. It is a constant, so that a build needs no linker flags.
const version = "0.1.0"

// needsNoConfig marks commands that work without a configuration.
const needsNoConfig = "needs-no-config"

// negativeMark stands before a negative number on the command line, so that pflag does not take it
// for a flag. No argument can hold it: the system ends arguments at NUL.
const negativeMark = "\x00"

// Main runs the command line and returns the exit code. The first interrupt ends the command in
// order; a second one ends the process.
func Main(args []string, in io.Reader, out, err io.Writer) int {
	a := NewApp(in, out, err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return a.main(ctx, args)
}

// main runs one command line on the App.
func (a *App) main(ctx context.Context, args []string) int {
	// The format comes first, so that an error of the flags is told in it.
	a.Format = a.formatOf(args)
	root := newRootCmd(a)
	root.SetArgs(markNegatives(root, args))
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	return a.report(root.ExecuteContext(ctx))
}

// newRootCmd builds the tree of commands.
func newRootCmd(a *App) *cobra.Command {
	root := &cobra.Command{
		Use:   "raftbank",
		Short: "A fault-tolerant distributed bank: sharded, double-entry, one binary",
		Long: "raftbank is a distributed bank: Raft inside a shard, two-phase commit between shards.\n" +
			"See it work: raftbank demo\n\n" +
			"Every flag has an environment variable: --data-dir is RAFTBANK_DATA_DIR.\n" +
			"Exit codes: 0 ok, 1 internal, 2 usage, 3 refused by the ledger, 4 unavailable,\n" +
			"5 outcome unknown, 6 not authorised, 7 a check proved a violation, 130 interrupted.",
		Version:       version,
		SilenceErrors: true, SilenceUsage: true,
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
		Annotations:                map[string]string{needsNoConfig: ""},
		Args:                       cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetVersionTemplate("raftbank {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringP("output", "o", "", "output `FORMAT`: table, plain, json or jsonl (default: table on a terminal, else plain)")
	flags.StringVar(&a.ConfigPath, "config", a.ConfigPath, "configuration `FILE` (default: 3 clusters of 3 servers on ports 9001-9009)")
	flags.BoolVarP(&a.Quiet, "quiet", "q", a.Quiet, "no notes and no progress on stderr")
	flags.BoolVar(&a.NoColor, "no-color", a.NoColor, "no colours (NO_COLOR is honoured too)")
	root.AddCommand(
		newTransferCmd(a), newFileTransferCmd(a), newBalanceCmd(a), newHistoryCmd(a), newGetTransferCmd(a), newDatastoreCmd(a), newExplainCmd(a),
		newPerformanceCmd(a), newStatusCmd(a), newResolveCmd(a), newCancelCmd(a), newInDoubtCmd(a),
		newAuditCmd(a), newCheckCmd(a), newReplaceCmd(a), newSimCmd(a), newBenchCmd(a), newConfigCmd(a), newVersionCmd(a), newCompletionCmd(a),
	)
	root.AddCommand(hostCommands(a)...)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%s", flagMessage(err)).hint("see: %s --help", a.typed(cmd.CommandPath()))
	})
	a.prepareAll(root)
	return root
}

// typed returns a command as the user types it here: a shell knows no program name.
func (a *App) typed(command string) string {
	if a.InShell {
		return strings.TrimPrefix(command, "raftbank ")
	}
	return command
}

func unknownCommand(cmd *cobra.Command, name string) error {
	e := usageError("unknown command %q", unmark(name))
	if s := cmd.SuggestionsFor(name); len(s) > 0 {
		return e.hint("did you mean: raftbank %s", s[0])
	}
	return e.hint("see: raftbank --help")
}

// prepareAll wraps every command: negative numbers lose their mark, errors get the exit code of
// wrong usage, and the environment and the configuration are read before a command runs.
func (a *App) prepareAll(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		a.prepareAll(c)
	}
	prepareCompletion(cmd)
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, unmarkAll(args))
			if err == nil {
				return nil
			}
			return usageError("%s: %v", cmd.Name(), err).hint("usage: %s", a.typed(cmd.UseLine()))
		}
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := a.prepare(cmd); err != nil {
				return err
			}
			return run(cmd, unmarkAll(args))
		}
	}
}

// prepare reads the environment, the output format and the configuration.
func (a *App) prepare(cmd *cobra.Command) error {
	if err := a.applyEnv(cmd.Flags()); err != nil {
		return err
	}
	if o := cmd.Flag("output").Value.String(); o != "" {
		format, err := parseFormat(o)
		if err != nil {
			return err
		}
		a.Format = format
	}
	if a.Getenv("NO_COLOR") != "" || !isTerminal(a.Out) {
		a.NoColor = true
	}
	if _, ok := cmd.Annotations[needsNoConfig]; ok || a.Topology != nil {
		return nil
	}
	topology, storage, err := config.Load(a.ConfigPath)
	if err != nil {
		return usageError("%v", err).hint("its form: docs/CLI.md, configuration")
	}
	a.Topology, a.Storage = topology, storage
	return nil
}

// applyEnv gives every flag that the command line left alone the value of its variable.
func (a *App) applyEnv(flags *pflag.FlagSet) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			if v := f.Value.String(); strings.HasPrefix(v, negativeMark) {
				failed = flags.Set(f.Name, unmark(v))
			}
			return
		}
		if f.Name == "help" || f.Name == "version" || failed != nil {
			return
		}
		name := envName(f.Name)
		value := a.Getenv(name)
		if value == "" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failed = usageError("environment variable %s: not a value of type %s: %q", name, f.Value.Type(), value)
		}
	})
	return failed
}

// envName returns the environment variable of a flag: data-dir is RAFTBANK_DATA_DIR.
func envName(flag string) string {
	return "RAFTBANK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// formatOf finds the output format before the flags are parsed. A wrong one is told later.
func (a *App) formatOf(args []string) Format {
	value := a.Getenv(envName("output"))
	for i, arg := range args {
		switch {
		case arg == "--":
		case (arg == "-o" || arg == "--output") && i+1 < len(args):
			value = args[i+1]
		case strings.HasPrefix(arg, "--output="):
			value = strings.TrimPrefix(arg, "--output=")
		case strings.HasPrefix(arg, "-o"):
			value = strings.TrimPrefix(strings.TrimPrefix(arg, "-o"), "=")
		}
	}
	if f, err := parseFormat(value); err == nil {
		return f
	}
	if isTerminal(a.Out) {
		return FormatTable
	}
	return FormatPlain
}

// flagMessage words an error of the flags for people.
func flagMessage(err error) string {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		return fmt.Sprintf("--%s: not a value of type %s: %q", bad.GetFlag().Name, bad.GetFlag().Value.Type(), unmark(bad.GetValue()))
	}
	return unmark(err.Error())
}

// markNegatives marks the arguments that are negative numbers (or begin with one), but for the
// values of flags.
func markNegatives(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	if err != nil {
		cmd = root
	}
	marked := make([]string, len(args))
	for i, arg := range args {
		if i > 0 && takesValue(cmd, args[i-1]) {
			marked[i] = arg
			continue
		}
		if len(arg) >= 2 && arg[0] == '-' && (arg[1] == '.' || '0' <= arg[1] && arg[1] <= '9') {
			arg = negativeMark + arg
		}
		marked[i] = arg
	}
	return marked
}

// takesValue reports whether an argument is a flag whose value is the next argument.
func takesValue(cmd *cobra.Command, arg string) bool {
	var f *pflag.Flag
	switch name := strings.TrimPrefix(arg, "--"); {
	case strings.Contains(arg, "="):
	case name != arg:
		f = cmd.Flag(name)
	case len(arg) == 2 && arg[0] == '-':
		if f = cmd.Flags().ShorthandLookup(arg[1:]); f == nil {
			f = cmd.Root().PersistentFlags().ShorthandLookup(arg[1:])
		}
	}
	return f != nil && f.NoOptDefVal == ""
}

// unmark takes the mark out of an argument or a message that quotes one.
func unmark(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, negativeMark, ""), `\x00`, "")
}

func unmarkAll(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = strings.TrimPrefix(arg, negativeMark)
	}
	return out
}

// arguments checks the number of a command's arguments and names the missing ones.
func arguments(lowest, highest int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < lowest:
			return fmt.Errorf("missing %s", strings.Join(names[len(args):], " "))
		case len(args) > highest:
			return fmt.Errorf("too many arguments: %q is left over", strings.Join(args[highest:], " "))
		}
		return nil
	}
}
