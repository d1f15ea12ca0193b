package cli

import (
	"github.com/spf13/cobra"
)

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
