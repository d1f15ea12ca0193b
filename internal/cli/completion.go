package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagValues are the values of the flags that take one of a few.
var flagValues = map[string][]string{
	"output":     {string(FormatTable), string(FormatPlain), string(FormatJSON), string(FormatJSONL)},
	"on-error":   {onErrorStop, onErrorSkip},
	"log-level":  {"debug", "info", "warn", "error"},
	"log-format": {"text", "json"},
}

// namesFile reports whether a flag's value is a file or a directory, by the words of its help.
func namesFile(f *pflag.Flag) bool {
	return slices.ContainsFunc([]string{"`FILE`", "`DIR`", "this file", "a file", "directory"}, func(word string) bool {
		return f.Value.Type() == "string" && strings.Contains(f.Usage, word)
	})
}

// prepareCompletion lets a shell offer files only where a file is meant, and values where there are a few.
func prepareCompletion(cmd *cobra.Command) {
	nothing := cobra.FixedCompletions(nil, cobra.ShellCompDirectiveNoFileComp)
	if cmd.Name() != "file-transfer" && cmd.ValidArgs == nil && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = nothing
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, done := cmd.GetFlagCompletionFunc(f.Name); done || namesFile(f) || f.NoOptDefVal != "" {
			return
		}
		offer := nothing
		if values := flagValues[f.Name]; values != nil {
			offer = cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, offer) // the flag exists and has no function yet
	})
}

func newCompletionCmd(a *App) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:         "completion SHELL",
		Short:       "Print the completion script of a shell: bash, zsh, fish or powershell",
		Example:     "  source <(raftbank completion bash)",
		Args:        arguments(1, 1, "SHELL"),
		ValidArgs:   shells,
		Annotations: map[string]string{needsNoConfig: ""},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.Out)
			}
			return usageError("no completion for shell %q", args[0]).hint("there are: bash, zsh, fish, powershell")
		},
	}
}
