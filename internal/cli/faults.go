package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// Faults makes and heals faults of the demo's own servers (builder F fills it).
type Faults interface {
	Kill(ctx context.Context, n int) (string, error)
	Restart(ctx context.Context, n int) (string, error)
	Pause(ctx context.Context, n int) (string, error)
	Resume(ctx context.Context, n int) (string, error)
	Partition(ctx context.Context, groups [][]int) (string, error)
	Heal(ctx context.Context) (string, error)
	CrashClient(ctx context.Context, point int, args []string) (string, error)
}

// hostCommands are the commands of server, client and demo.
func hostCommands(a *App) []*cobra.Command { return nil }
