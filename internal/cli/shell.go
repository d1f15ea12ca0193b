package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/peterh/liner"
)

// shellLineMaxBytes bounds one line of a script.
const shellLineMaxBytes = 1 << 20

// shell runs the App's commands line by line.
type shell struct {
	app *App
	// stopOnError ends a script with the code of the first line that fails.
	stopOnError bool
	// files is where files named in lines are also looked for; "" is nowhere else.
	files string
}

// run reads In to its end or an exit line: with line editing on a terminal, as a script otherwise.
// It returns the exit code: 0, or that of the failed line with stopOnError.
func (s *shell) run(ctx context.Context) int {
	s.app.InShell = true
	if isTerminal(s.app.In) && isTerminal(s.app.Out) {
		return s.runTerminal(context.WithoutCancel(ctx))
	}
	return s.runScript(ctx)
}

// runScript echoes and runs every line. A line that fails does not end it, unless stopOnError. The
// end of ctx ends it, also while it waits for a line that never comes.
func (s *shell) runScript(ctx context.Context) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	lines := readScript(ctx, s.app.In)
	for {
		select {
		case <-ctx.Done():
			return exitInterrupted
		case text, more := <-lines.next:
			switch {
			case ctx.Err() != nil:
				return exitInterrupted
			case !more && lines.err != nil:
				return s.app.report(usageError("read commands: %v", lines.err))
			case !more:
				return exitOK
			}
			s.echo(text)
			code, leave := s.runLine(ctx, text)
			if leave {
				return exitOK
			}
			if code != exitOK && s.stopOnError {
				return code
			}
		}
	}
}

// scriptLines are the lines of a script as they come.
type scriptLines struct {
	next chan string // closed at the end
	err  error       // why it ended early; set before next is closed
}

// readScript reads lines until the end of in or of ctx. A read that waits when ctx ends is left to
// the end of the process.
func readScript(ctx context.Context, in io.Reader) *scriptLines {
	l := &scriptLines{next: make(chan string)}
	go func() {
		defer close(l.next)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, shellLineMaxBytes)
		for scanner.Scan() {
			select {
			case l.next <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
		l.err = scanner.Err()
	}()
	return l
}

// echo shows a line of a script before it runs; data formats keep it off the data's stream.
func (s *shell) echo(line string) {
	w := s.app.Out
	if s.app.Format.json() {
		w = s.app.Err
	}
	line = strings.TrimSpace(line)
	switch {
	case line == "" || isComment(line):
		_, _ = fmt.Fprintln(w, line)
	default:
		_, _ = fmt.Fprintf(w, "> %s\n", line)
	}
}

// runLine runs one line and reports its failure. leave says that the line ends the shell.
func (s *shell) runLine(ctx context.Context, text string) (code int, leave bool) {
	a := *s.app // flags of a line hold for that line alone
	a.InShell = true
	line, err := parseShellLine(text)
	if err != nil {
		return a.report(err), false
	}
	switch {
	case line.command == nil:
		return exitOK, false
	case line.command.name == "exit":
		return exitOK, true
	case line.command.name == "help":
		printShellHelp(a.Out, a.Faults != nil)
		return exitOK, false
	case line.command.fault:
		return a.runFault(ctx, line), false
	}
	if line.command.name == "Performance" && len(line.args) == 1 && strings.EqualFold(line.args[0], "reset") {
		return a.report(a.runPerformance(ctx, performanceArgs{Reset: true})), false
	}
	argv := line.commandLine(a.Format)
	if argv[0] == "file-transfer" {
		s.findFile(argv)
	}
	return a.main(ctx, argv), false
}

// findFile lets a line name one of the shell's own files wherever the user stands.
func (s *shell) findFile(argv []string) {
	if s.files == "" {
		return
	}
	for i, arg := range argv[1:] {
		if _, err := os.Stat(arg); err == nil || filepath.Base(arg) != arg {
			continue
		}
		own := filepath.Join(s.files, arg)
		if _, err := os.Stat(own); err == nil {
			argv[i+1] = own
		}
	}
}

// printShellHelp lists the commands; those for faults only where they work.
func printShellHelp(out io.Writer, faults bool) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	heading := false
	for _, c := range shellCommands() {
		if c.fault && !faults {
			continue
		}
		if c.fault && !heading {
			heading = true
			_, _ = fmt.Fprintln(w, "faults, on this demo's own servers:\t")
		}
		_, _ = fmt.Fprintf(w, "  %s\t%s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintln(out, "Names need no capitals. Every command takes its flags too, for example: Transfer 1 2 3 -o json")
}

// runTerminal is the shell for people. Ctrl-C ends the running command, at the prompt it clears the
// line; ctx carries no interruption.
func (s *shell) runTerminal(ctx context.Context) int {
	editor := liner.NewLiner()
	defer func() { _ = editor.Close() }()
	editor.SetCtrlCAborts(true)
	editor.SetWordCompleter(s.complete)
	editor.SetTabCompletionStyle(liner.TabPrints)
	defer loadHistory(editor)()

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(term)
	for {
		text, err := promptUntil(editor, term)
		switch {
		case errors.Is(err, liner.ErrPromptAborted):
			_, _ = fmt.Fprintln(s.app.Out, "(exit or Ctrl-D leaves)")
			continue
		case err != nil: // end of input, or told to end
			_, _ = fmt.Fprintln(s.app.Out) // the prompt's line is left to nobody
			return exitOK
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		editor.AppendHistory(text)
		line, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		_, leave := s.runLine(line, text)
		stop()
		if leave {
			return exitOK
		}
	}
}

// promptUntil reads one line, or fails once a signal arrives: the reading goroutine then ends with
// the process.
func promptUntil(editor *liner.State, end <-chan os.Signal) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := editor.Prompt("raftbank> ")
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-end:
		return "", io.EOF
	}
}

// complete offers commands for the first word and files for FileTransfer.
func (s *shell) complete(line string, pos int) (head string, completions []string, tail string) {
	runes := []rune(line)
	typed, tail := string(runes[:pos]), string(runes[pos:])
	start := strings.LastIndexAny(typed, " \t") + 1
	head, word := typed[:start], typed[start:]
	if strings.TrimSpace(head) == "" {
		return head, s.completeCommand(word), tail
	}
	if c := findShellCommand(strings.Fields(head)[0]); c != nil && c.name == "FileTransfer" {
		return head, s.completeFile(word), tail
	}
	return head, nil, tail
}

func (s *shell) completeCommand(word string) []string {
	var names []string
	for _, c := range shellCommands() {
		if c.fault && s.app.Faults == nil {
			continue
		}
		if strings.HasPrefix(strings.ToLower(c.name), strings.ToLower(word)) {
			name := c.name
			if c.args != "" {
				name += " "
			}
			names = append(names, name)
		}
	}
	for i, name := range names {
		if len(names) > 1 { // keep what was typed: the editor goes on from what all have in common
			names[i] = word + name[len(word):]
		}
	}
	return names
}

func (s *shell) completeFile(word string) []string {
	matches, _ := filepath.Glob(word + "*") // a bad pattern matches nothing
	for i, m := range matches {
		if info, err := os.Stat(m); err == nil && info.IsDir() {
			matches[i] = m + string(filepath.Separator)
		}
	}
	if s.files != "" && filepath.Base(word+"x") == word+"x" {
		own, _ := filepath.Glob(filepath.Join(s.files, word+"*.txt"))
		for _, m := range own {
			matches = append(matches, filepath.Base(m))
		}
	}
	return matches
}

// loadHistory reads the lines of former sessions and returns what writes them back. A history that
// cannot be kept is no failure.
func loadHistory(editor *liner.State) (save func()) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return func() {}
	}
	path := filepath.Join(dir, "raftbank", "history")
	if f, err := os.Open(path); err == nil {
		_, _ = editor.ReadHistory(f)
		_ = f.Close()
	}
	return func() {
		if os.MkdirAll(filepath.Dir(path), 0o700) != nil {
			return
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return
		}
		_, _ = editor.WriteHistory(f)
		_ = f.Close()
	}
}
