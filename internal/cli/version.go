package cli

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
)

func newVersionCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version",
		Args:        arguments(0, 0),
		Annotations: map[string]string{needsNoConfig: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runVersion(cmd.Context())
		},
	}
}

// runVersion prints what program this is.
func (a *App) runVersion(context.Context) error {
	v := api.Version{Version: a.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return a.print(v, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "raftbank %s (%s, %s)\n", v.Version, v.Go, v.Platform)
	})
}
