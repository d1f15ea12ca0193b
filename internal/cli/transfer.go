package cli

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftbank/client"
	"raftbank/internal/api"
)

// crashWait bounds the wait for a crash point that lies behind the outcome.
const crashWait = time.Second

// latePrepare is the crash point whose PREPARE copy arrives long after the client died.
const latePrepare = 7

func newTransferCmd(a *App) *cobra.Command {
	var t transferArgs
	var late bool
	cmd := &cobra.Command{
		Use:   "transfer X Y AMT",
		Short: "Move AMT from account X to account Y",
		Long: "Move AMT from account X to account Y. One argument works too: '(X,Y,AMT)'.\n\n" +
			"The same id is never applied twice: after an unknown outcome run the same command with its --id,\n" +
			"or raftbank resolve ID. Exit codes: 0 committed, 3 aborted, 4 unavailable (surely not applied), 5 unknown.",
		Example: "  raftbank transfer 3 1003 4\n  raftbank transfer '(3,1003,4)' -o json",
		Args:    transferWords,
		RunE: func(cmd *cobra.Command, args []string) error {
			words, err := splitTransfer(args)
			if err != nil {
				return err
			}
			t.From, t.To, t.Amount = words[0], words[1], words[2]
			if late {
				t.CrashPoint = latePrepare
			}
			return a.runTransfer(cmd.Context(), t)
		},
	}
	cmd.Flags().StringVar(&t.ID, "id", "", "`ID` of the transfer, a ULID or UUID (default: a new one)")
	cmd.Flags().IntVar(&t.CrashPoint, "crash-point", 0, "kill this client at a crash point of docs/PROTOCOL.md, section 11")
	cmd.Flags().BoolVar(&late, "late-prepare", false, "kill this client; a copy of its PREPARE arrives much later")
	_ = cmd.Flags().MarkHidden("crash-point") // the flags exist, so this cannot fail
	_ = cmd.Flags().MarkHidden("late-prepare")
	return cmd
}

// transferWords accepts X Y AMT, or the three in one argument.
func transferWords(cmd *cobra.Command, args []string) error {
	if len(args) == 1 && strings.ContainsAny(args[0], "(, ") {
		return nil
	}
	return arguments(3, 3, "X", "Y", "AMT")(cmd, args)
}

// splitTransfer returns the three words of a transfer's arguments.
func splitTransfer(args []string) ([3]string, error) {
	if len(args) == 3 {
		return [3]string{args[0], args[1], args[2]}, nil
	}
	words, err := splitLine(strings.Join(args, " "))
	if err != nil {
		return words, usageError("transfer: %v", err)
	}
	return words, nil
}

// runTransfer carries out one transfer and prints its outcome.
func (a *App) runTransfer(ctx context.Context, t transferArgs) error {
	id := client.NewID()
	if t.ID != "" {
		parsed, err := parseID(t.ID)
		if err != nil {
			return a.badTransfer(t, asExit(err))
		}
		id = parsed
	}
	r, err := parseRequest(t.From, t.To, t.Amount)
	if err != nil {
		return a.badTransfer(t, usageError("%v", err).hint("usage: %s",
			a.command("Transfer X Y AMT", "transfer X Y AMT")))
	}
	transfer, why := r.decide(a.Topology)
	if why != nil {
		a.Recorder.Observe(why.result())
		return a.printTransfer(r.refusedTransfer(id, why))
	}
	transfer.ID = id
	c, done, err := a.openWith(client.Options{Trace: true, CrashPoint: t.CrashPoint, Crash: killSelf})
	if err != nil {
		return err
	}
	defer done()
	result, err := c.Transfer(ctx, transfer)
	if err != nil {
		return asExit(err)
	}
	a.Recorder.Observe(result)
	shown := a.transferOf(result)
	if t.ID != "" && result.Outcome == client.Unavailable {
		// Of a given id only this attempt is known not to be applied.
		shown.Error.Message += "; this attempt was not applied"
		shown.Error.Hint = "if the id was sent before: " + a.command("Resolve "+shown.ID, "resolve "+shown.ID)
	}
	err = a.printTransfer(shown)
	if t.CrashPoint != 0 { // the outcome is told; now the crash may come, if the point was reached
		select {
		case <-time.After(crashWait):
		case <-ctx.Done():
		}
	}
	return err
}

// badTransfer prints a transfer that cannot be parsed: with JSON beside the words that were typed.
func (a *App) badTransfer(t transferArgs, e *exitError) error {
	if !a.Format.json() {
		return e
	}
	v := api.Transfer{From: t.From, To: t.To, Amount: t.Amount, Error: e.err}
	if err := a.print(v, nil); err != nil {
		return err
	}
	e.printed = true
	return e
}

// killSelf ends this process as kill -9 would: nothing is flushed, no deferred call runs.
func killSelf() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic("crash point: cannot kill this process: " + err.Error())
	}
	select {} // the kill arrives
}
