package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"raftbank/client"
	"raftbank/internal/api"
)

// defaultConcurrency is how many transfers of a file are in flight at once.
const defaultConcurrency = 256

// Values of --on-error.
const (
	onErrorStop = "stop" // the default: one bad line, and nothing is sent
	onErrorSkip = "skip"
)

func newFileTransferCmd(a *App) *cobra.Command {
	var f fileTransferArgs
	onError := onErrorStop
	cmd := &cobra.Command{
		Use:   "file-transfer FILE",
		Short: "Carry out the transfers of a file (- is standard input)",
		Long: "Carry out a file of transfers, one per line: (x,y,amt), x,y,amt or x y amt. Blank lines and comments\n" +
			"(# and //) count for nothing. If a line is not three integers, all such lines are reported and nothing is sent.\n\n" +
			"The result is that of running the lines one by one: a line waits for the answers of earlier lines that share\n" +
			"an account (also for an unknown one, then it goes on), the rest run in parallel.\n\n" +
			"Every line's id derives from the batch name and the line's number: run the same file again under the same\n" +
			"--batch, and nothing is applied twice. A changed file is a new batch.\n\n" +
			"Exit codes: 0 all answered, 5 any unknown, 4 any unavailable, 3 any aborted (with --fail-on-abort), 130 interrupted.",
		Example: "  raftbank file-transfer transactions.txt\n  raftbank file-transfer transactions.txt --batch payday-7 -o json",
		Args:    arguments(1, 1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.File = args[0]
			if onError != onErrorStop && onError != onErrorSkip {
				return usageError("--on-error is %s or %s, not %q", onErrorStop, onErrorSkip, onError)
			}
			if f.Concurrency < 1 {
				return usageError("--concurrency must be positive: %d", f.Concurrency)
			}
			f.SkipBad = onError == onErrorSkip
			return a.runFileTransfer(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.Batch, "batch", "", "`NAME` of this run of the file (default: a new one, printed first)")
	cmd.Flags().IntVar(&f.Concurrency, "concurrency", defaultConcurrency, "at most `N` transfers in flight")
	cmd.Flags().BoolVar(&f.Unordered, "unordered", false, "do not keep the order of lines that share an account")
	cmd.Flags().StringVar(&onError, "on-error", onError, "`WHAT` to do about bad lines: stop (send nothing) or skip")
	cmd.Flags().BoolVar(&f.FailOnAbort, "fail-on-abort", false, "exit 3 if any transfer aborted")
	return cmd
}

// fileRun is one run of a file of transfers.
type fileRun struct {
	app     *App
	args    fileTransferArgs
	batch   batch
	lines   []txLine
	skipped int
	bank    bank
	rec     *Recorder // this file's own figures

	transfers []client.Transfer // by line
	refusals  []*refusal        // by line; nil: ask the bank
	unknowns  []string
	bar       *progressbar.ProgressBar // nil: no terminal
}

// unknownsListed bounds the unknown ids that the summary lists.
const unknownsListed = 1000

// runFileTransfer carries out a file of transfers and prints the summary.
func (a *App) runFileTransfer(ctx context.Context, f fileTransferArgs) error {
	if f.Concurrency == 0 {
		f.Concurrency = defaultConcurrency
	}
	if f.Concurrency < 1 || f.Concurrency > 1<<16 {
		return a.badFile(f, nil, usageError("--concurrency is 1 to 65536, not %d", f.Concurrency))
	}
	lines, bad, err := a.readFile(f.File)
	if err != nil {
		return a.badFile(f, nil, usageError("%v", err))
	}
	if len(bad) > 0 && !f.SkipBad {
		e := usageError("%s in %s; nothing was sent", plural(len(bad), "bad line"), f.File)
		return a.badFile(f, bad, e.hint("fix them, or leave them out: --on-error=skip"))
	}
	for _, b := range bad {
		a.notef("%s:%d: %s (skipped)", f.File, b.number, b.what)
	}
	run := &fileRun{app: a, args: f, batch: newBatch(f.Batch), lines: lines, skipped: len(bad),
		rec: NewRecorder()}
	a.notef("batch %s", run.batch.name)
	c, done, err := a.openWith(client.Options{})
	if err != nil {
		return a.badFile(f, nil, asExit(err))
	}
	defer done()
	run.bank = c
	return run.run(ctx)
}

// readFile reads the transfers of a file, or of standard input.
func (a *App) readFile(name string) ([]txLine, []badLine, error) {
	var in io.Reader = a.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		in = f
	}
	lines, bad, err := readTransactions(in)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	return lines, bad, nil
}

// badFile reports a file of which nothing was sent.
func (a *App) badFile(f fileTransferArgs, bad []badLine, e *exitError) error {
	v := api.FileTransfer{Batch: f.Batch, Aborted: map[string]int{}, Error: e.err}
	for _, b := range bad {
		text := fmt.Sprintf("%s:%d: %s", f.File, b.number, b.what)
		v.BadLines = append(v.BadLines, text)
		if !a.Format.json() {
			_, _ = fmt.Fprintln(a.Err, text)
		}
	}
	if !a.Format.json() {
		return e
	}
	if err := a.print(v, nil); err != nil {
		return err
	}
	e.printed = true
	return e
}

// run sends the lines, and prints the summary.
func (r *fileRun) run(ctx context.Context) error {
	jobs := r.decide()
	r.showProgress()
	start := r.app.now()
	// An interruption stops the sending; what is under way keeps its own deadline.
	patient := context.WithoutCancel(ctx)
	answered := runSchedule(ctx, newSchedule(jobs, r.args.Unordered), r.args.Concurrency,
		func(i int) client.Result { return r.send(patient, i) }, r.answer)
	elapsed := r.app.now().Sub(start)
	if r.bar != nil {
		_ = r.bar.Finish() // it clears its line
	}
	return r.finish(answered, elapsed)
}

// decide gives every line its id, and says which ones the rules refuse before any server is asked.
func (r *fileRun) decide() []job {
	r.transfers = make([]client.Transfer, len(r.lines))
	r.refusals = make([]*refusal, len(r.lines))
	jobs := make([]job, len(r.lines))
	for i, line := range r.lines {
		t, why := line.decide(r.app.Topology)
		t.ID = r.batch.id(line.number)
		r.transfers[i], r.refusals[i] = t, why
		jobs[i] = job{from: t.From, to: t.To, free: why != nil}
	}
	return jobs
}

// showProgress draws a bar on a terminal.
func (r *fileRun) showProgress() {
	if r.app.Quiet || !isTerminal(r.app.Err) {
		return
	}
	r.bar = progressbar.NewOptions(len(r.lines),
		progressbar.OptionSetWriter(r.app.Err), progressbar.OptionSetWidth(40),
		progressbar.OptionSetDescription(r.args.File), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("transfers"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// send carries out line i. It runs on many goroutines and touches only what is line i's.
func (r *fileRun) send(ctx context.Context, i int) client.Result {
	if why := r.refusals[i]; why != nil {
		return why.result()
	}
	result, err := r.bank.Transfer(ctx, r.transfers[i])
	if err != nil { // closed under us: what became of it is not known
		return client.Result{Transfer: r.transfers[i], Outcome: client.Unknown, Detail: err.Error()}
	}
	return result
}

// answer counts one line's outcome.
func (r *fileRun) answer(i int, result client.Result) {
	var t api.Transfer
	if why := r.refusals[i]; why != nil {
		t = r.lines[i].refusedTransfer(r.transfers[i].ID, why)
	} else {
		t = r.app.transferOf(result)
	}
	r.rec.Observe(result)
	r.app.Recorder.Observe(result)
	if t.Outcome == api.OutcomeUnknown && len(r.unknowns) < unknownsListed {
		r.unknowns = append(r.unknowns, t.ID)
	}
	if r.app.Format == FormatJSONL {
		t.Steps = nil            // of interest for one transfer, not for a file of them
		_ = r.app.print(struct { // a reader that went away shows at the summary
			Line int `json:"line"`
			api.Transfer
		}{r.lines[i].number, t}, nil)
	}
	if r.bar != nil {
		_ = r.bar.Add(1)
	}
	if r.args.OnLineResult != nil {
		r.args.OnLineResult()
	}
}

// finish prints the summary and says how the run ended.
func (r *fileRun) finish(answered int, elapsed time.Duration) error {
	v := r.summary(elapsed)
	end := r.ending(answered, v)
	if end != nil {
		end.err.Retryable = end.code != exitRefused
		v.Error = end.err
		end.printed = r.app.Format.json()
	}
	if err := r.app.print(v, func(w io.Writer) { r.app.fileTable(w, v) }); err != nil {
		return err
	}
	if end != nil {
		return end
	}
	return nil
}

// summary adds up the outcomes.
func (r *fileRun) summary(elapsed time.Duration) api.FileTransfer {
	p := r.rec.Snapshot()
	v := api.FileTransfer{
		Batch: r.batch.name, Total: len(r.lines), Skipped: r.skipped,
		Committed: p.Total.Committed, Aborted: p.Total.Aborted,
		Unavailable: p.Total.Unavailable, Unknown: p.Total.Unknown,
		ElapsedMs: elapsed.Milliseconds(), LatencyUs: p.Total.LatencyUs,
		Kinds: p.Kinds, Unknowns: r.unknowns,
	}
	for i, k := range v.Kinds {
		v.Kinds[i].TPS = perSecond(k.Committed+sum(k.Aborted), elapsed)
	}
	v.TPS = perSecond(v.Committed+sum(v.Aborted), elapsed)
	return v
}

func perSecond(n int, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return float64(n) / elapsed.Seconds()
}

// kindRefused is the kind of what the rules refuse before a server is asked.
const kindRefused = "refused"

// ending gives the run its exit code; nil is success.
func (r *fileRun) ending(answered int, v api.FileTransfer) *exitError {
	again := r.again()
	switch {
	case answered < len(r.lines):
		return failure(codeInterrupted, "interrupted after %d of %d lines; nothing is applied twice if you go on",
			answered, len(r.lines)).hint("go on: %s", again)
	case v.Unknown > 0:
		return failure(codeUnknown, "%s unknown, nothing is lost", plural(v.Unknown, "outcome")).
			hint("settle them: %s", again)
	case v.Unavailable > 0:
		what := "not applied"
		if r.args.Batch != "" {
			what = "not applied by this run (an earlier run of the batch may have)"
		}
		return failure(codeUnavailable, "%s %s: no server answered", plural(v.Unavailable, "transfer"), what).
			hint("try them again: %s", again)
	case r.args.FailOnAbort && sum(v.Aborted) > 0:
		return failure(codeRefused, "%s aborted", plural(sum(v.Aborted), "transfer"))
	}
	return nil
}

// again returns the command that runs the same file under the same batch.
func (r *fileRun) again() string {
	words := []string{shellWord(r.args.File), "--batch", shellWord(r.batch.name)}
	if r.args.Unordered {
		words = append(words, "--unordered")
	}
	if r.args.SkipBad {
		words = append(words, "--on-error=skip")
	}
	if r.args.Concurrency != defaultConcurrency {
		words = append(words, fmt.Sprintf("--concurrency=%d", r.args.Concurrency))
	}
	tail := strings.Join(words, " ")
	return r.app.command("FileTransfer "+tail, "file-transfer "+tail)
}

// shellWord quotes a word for a POSIX shell if it needs it.
func shellWord(s string) string {
	plain := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:+@%") == ""
	if s != "" && plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// plural counts things: "1 bad line", "2 bad lines".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%s %ss", thousands(fmt.Sprint(n)), thing)
}

func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}
