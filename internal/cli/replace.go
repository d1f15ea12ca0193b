package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
)

// replaceEvery is how often the next step is asked for.
const replaceEvery = 200 * time.Millisecond

func newReplaceCmd(a *App) *cobra.Command {
	var force bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "replace SERVER",
		Short: "Bring a server back that has lost its directory, as a new member of its cluster",
		Long: "Bring a server back that has lost its directory, or whose log is damaged, as a new member of its cluster.\n\n" +
			"Start the server with an empty directory and --replace, then run this. Its old incarnation is removed, the new one gets a\n" +
			"checkpoint and the log as a learner, and votes once it has caught up. The cluster serves meanwhile, if a majority of it is\n" +
			"alive. If the command ends in the middle, run it again: it goes on. Exit 3 if the cluster refuses, 4 if it has no leader.",
		Example: "  raftbank server 3 --replace\n  raftbank replace 3",
		Args:    arguments(1, 1, "SERVER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return a.runReplace(ctx, args[0], force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the server though it is alive")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "give up after `DURATION`; nothing that was done is undone")
	return cmd
}

// runReplace takes one step after the other and tells of each.
func (a *App) runReplace(ctx context.Context, word string, force bool) error {
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil || n == 0 {
		return usageError("not a server number: %q", word).hint("for example: raftbank replace 3")
	}
	c, done, err := a.open()
	if err != nil {
		return err
	}
	defer done()
	ticker := time.NewTicker(replaceEvery)
	defer ticker.Stop()
	q := api.ReplaceRequest{Server: int(n), Attempt: rand.Uint64(), Force: force}
	var last, doing string
	for {
		r, err := c.Replace(ctx, q)
		var e *api.Error
		switch {
		case ctx.Err() != nil:
		case errors.As(err, &e) && e.Retryable:
			doing = e.Message
		case err != nil:
			return asExit(err)
		case r.Phase == api.ReplacePromoted:
			return a.print(r, func(w io.Writer) { _, _ = fmt.Fprintf(w, "server %d: %s\n", r.Server, phaseText(r)) })
		default:
			doing = fmt.Sprintf("server %d: %s", r.Server, phaseText(r))
		}
		if doing != last {
			a.notef("%s", doing)
			last = doing
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return failure(codeUnavailable, "not done in time; last: %s", last).hint("go on with: %s", a.command("Replace "+word, "replace "+word))
			}
			return asExit(ctx.Err())
		case <-ticker.C:
		}
	}
}

// phaseText says how far a replacement is.
func phaseText(r api.ReplaceReply) string {
	switch r.Phase {
	case api.ReplaceWaiting:
		return fmt.Sprintf("waiting for its new process; start it with an empty directory: raftbank server %d --replace", r.Server)
	case api.ReplaceRemoved:
		return fmt.Sprintf("removed; to go on its new process must run: raftbank server %d --replace", r.Server)
	case api.ReplaceLearner:
		return fmt.Sprintf("learner, %d %% of the log", r.Percent)
	case api.ReplaceStreaming:
		return fmt.Sprintf("streaming %d %%", r.Percent)
	case api.ReplacePromoted:
		return "promoted: it takes part"
	}
	return r.Phase
}
