package cli

import (
	"slices"
	"strconv"
	"strings"

	"raftbank/internal/shard"
)

// shellCommand is one command of the shell.
type shellCommand struct {
	name    string   // as help shows it; matched without case
	aliases []string // other names, in lower case
	args    string
	help    string
	// argv is the command line that it stands for; nil for the shell's own commands and faults.
	argv  []string
	fault bool // only on the demo's own servers
}

// shellCommands lists the commands in the order of help.
func shellCommands() []*shellCommand {
	return []*shellCommand{
		{name: "Transfer", args: "X Y AMT", help: "move AMT from account X to Y; short: (X,Y,AMT)", argv: []string{"transfer"}},
		{name: "FileTransfer", aliases: []string{"file-transfer"}, args: "FILE", help: "every transfer of a file", argv: []string{"file-transfer"}},
		{name: "PrintBalance", aliases: []string{"balance"}, args: "ID", help: "an account on every replica of its cluster", argv: []string{"balance"}},
		{name: "PrintDatastore", aliases: []string{"datastore"}, args: "[N]", help: "what every server (or server N) has committed", argv: []string{"datastore"}},
		{name: "History", args: "ID [N]", help: "an account's statement, the newest N lines, with the running balance", argv: []string{"history"}},
		{name: "GetTransfer", aliases: []string{"get-transfer"}, args: "ID", help: "a transfer's record, outcome and rows at every cluster", argv: []string{"get-transfer"}},
		{name: "Explain", args: "ID", help: "one transfer over all servers, as a timeline", argv: []string{"explain"}},
		{name: "Performance", args: "[reset]", help: "throughput and latency of this session", argv: []string{"performance"}},
		{name: "Leaders", aliases: []string{"status"}, help: "clusters, leaders, terms, who is down; also: Status", argv: []string{"status"}},
		{name: "Resolve", args: "ID", help: "settle a transfer whose outcome is unknown", argv: []string{"resolve"}},
		{name: "Cancel", args: "ID", help: "make sure that a transfer is not applied", argv: []string{"cancel"}},
		{name: "InDoubt", aliases: []string{"in-doubt"}, help: "unfinished cross-shard transfers", argv: []string{"in-doubt"}},
		{name: "Replace", args: "N", help: "bring server N back that has lost its directory, as a new member", argv: []string{"replace"}},
		{name: "Audit", help: "the whole bank's total at one cut, while transfers run", argv: []string{"audit"}},
		{name: "Check", args: "[linearizability]", help: "no money lost, no replica differs; or: do all reads make sense", argv: []string{"check"}},
		{name: "Config", help: "the configuration in force", argv: []string{"config"}},
		{name: "Version", help: "the version of this program", argv: []string{"version"}},
		{name: "Kill", args: "N|C1", help: "kill -9 server N, or the leader of C1", fault: true},
		{name: "Restart", args: "N|C1", help: "start server N again, or all of C1 that are dead", fault: true},
		{name: "Pause", args: "N|C1", help: "stop server N, or the leader of C1, in its tracks (SIGSTOP)", fault: true},
		{name: "Resume", args: "N|C1", help: "let server N, or all of C1, go on (SIGCONT)", fault: true},
		{name: "Partition", args: "1,2|3", help: "cut the network between groups of servers; C1: cut its leader off", fault: true},
		{name: "Heal", help: "mend the network", fault: true},
		{name: "CrashClient", aliases: []string{"crash-client"}, args: "POINT [X Y AMT]", help: "kill a coordinator at crash point 1 to 9", fault: true},
		{name: "help", aliases: []string{"?"}, help: "this list"},
		{name: "exit", aliases: []string{"quit", "q"}, help: "leave"},
	}
}

// shellLine is one parsed line: a command with its arguments. The zero value is a line that asks
// for nothing.
type shellLine struct {
	command *shellCommand
	args    []string
}

// parseShellLine reads one line of the shell: blank and comment lines give the zero value. Names of
// commands are matched without case; `(x,y,amt)` is a transfer, and `Name(a,b)` is `Name a b`.
// Errors are usage errors: an unknown command with a suggestion, an open quote.
func parseShellLine(line string) (shellLine, error) {
	line = strings.TrimSpace(line)
	if line == "" || isComment(line) {
		return shellLine{}, nil
	}
	name, rest := cutName(line)
	command := findShellCommand(name)
	if command == nil {
		return shellLine{}, unknownLine(name)
	}
	if inner, flags, ok := tuple(rest); ok {
		more, err := splitWords(flags)
		return shellLine{command, append(inner, more...)}, err
	}
	args, err := splitWords(rest)
	if err != nil {
		return shellLine{}, err
	}
	return shellLine{command, args}, nil
}

func isComment(line string) bool {
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//")
}

// cutName splits a line that is not blank into the name of its command and the rest.
func cutName(line string) (name, rest string) {
	if strings.HasPrefix(line, "(") {
		return "transfer", line
	}
	end := strings.IndexAny(line, " \t(")
	if end < 0 {
		return line, ""
	}
	return line[:end], strings.TrimSpace(line[end:])
}

// tuple reads "(a, b, c)"; flags are those behind it. A comment there counts for nothing.
func tuple(s string) (parts []string, flags string, ok bool) {
	if !strings.HasPrefix(s, "(") {
		return nil, "", false
	}
	inner, after, closed := strings.Cut(s[1:], ")")
	after = strings.TrimSpace(after)
	if !closed || (after != "" && !isComment(after) && !strings.HasPrefix(after, "-")) {
		return nil, "", false
	}
	if strings.TrimSpace(inner) != "" {
		parts = strings.Split(inner, ",")
	}
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts, after, true
}

// splitWords splits at blanks; single or double quotes hold a word together, and an unquoted word
// that begins like a comment ends the line.
func splitWords(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	started := false
	flush := func() {
		if started {
			words = append(words, word.String())
			word.Reset()
			started = false
		}
	}
	for i, c := range s {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, started = c, true
		case c == ' ' || c == '\t':
			flush()
		case !started && isComment(s[i:]):
			return words, nil
		default:
			started = true
			word.WriteRune(c)
		}
	}
	if quote != 0 {
		return nil, usageError("a quote is open: %s", s).hint("close it with %c", quote)
	}
	flush()
	return words, nil
}

func findShellCommand(name string) *shellCommand {
	lower := strings.ToLower(name)
	for _, c := range shellCommands() {
		if strings.ToLower(c.name) == lower || slices.Contains(c.aliases, lower) {
			return c
		}
	}
	return nil
}

// unknownLine says so, and what was probably meant.
func unknownLine(name string) error {
	err := usageError("unknown command %q", name)
	if name != "" && strings.ContainsRune("0123456789-", rune(name[0])) {
		return err.hint("a transfer is: Transfer X Y AMT, or (X,Y,AMT)")
	}
	if s := suggestion(name); s != "" {
		return err.hint("did you mean %s? All commands: help", s)
	}
	return err.hint("all commands: help")
}

// suggestion returns the shell command that name was probably meant to be, or "".
func suggestion(name string) string {
	lower := strings.ToLower(name)
	best, bestDistance := "", 3 // more than two edits away is another word
	for _, c := range shellCommands() {
		for _, candidate := range append([]string{strings.ToLower(c.name)}, c.aliases...) {
			if len(lower) >= 2 && strings.HasPrefix(candidate, lower) {
				return c.name
			}
			if d := editDistance(lower, candidate); d < bestDistance && d < len(candidate)-1 {
				best, bestDistance = c.name, d
			}
		}
	}
	return best
}

// editDistance is the Levenshtein distance of two words, with 3 standing for anything longer words
// could add: words of very different length are not compared.
func editDistance(a, b string) int {
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			above := row[j]
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j]+1, row[j-1]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}

// commandLine returns the arguments of the one-shot command that the line stands for; its output
// format is that of the session unless the line names another.
func (l shellLine) commandLine(format Format) []string {
	argv, args := slices.Clone(l.command.argv), l.args
	if argv[0] == "check" {
		if len(args) == 0 || strings.HasPrefix(args[0], "-") {
			args = append([]string{"conservation"}, args...)
		}
		argv, args = append(argv, strings.ToLower(args[0])), args[1:]
	}
	argv = append(argv, "-o", string(format))
	if argv[0] == "datastore" && len(args) > 0 {
		if _, err := strconv.Atoi(args[0]); err == nil {
			argv, args = append(argv, "--server", args[0]), args[1:]
		}
	}
	if argv[0] == "history" && len(args) > 1 {
		if _, err := strconv.Atoi(args[1]); err == nil {
			argv, args = append(argv, args[0], "--limit", args[1]), args[2:]
		}
	}
	return append(argv, args...)
}

// target is what a fault command is about: one server, or what it means of a cluster.
type target struct {
	server  int
	cluster shard.ID // if not 0: its leader, or its servers that are down
}

// parseTarget reads "3" or "C1".
func parseTarget(args []string) (target, error) {
	if len(args) != 1 {
		return target{}, usageError("want one server number or cluster, got %d arguments", len(args))
	}
	word := args[0]
	if digits, ok := strings.CutPrefix(strings.ToLower(word), "c"); ok {
		if n, err := strconv.ParseUint(digits, 10, 32); err == nil && n > 0 {
			return target{cluster: shard.ID(n)}, nil
		}
	}
	n, err := strconv.Atoi(word)
	if err != nil || n < 1 {
		return target{}, usageError("not a server number or cluster: %q", word)
	}
	return target{server: n}, nil
}

// parseGroups reads "1,2|3": groups of servers that lose sight of each other.
func parseGroups(text string) ([][]int, error) {
	var groups [][]int
	seen := map[int]bool{}
	for _, part := range strings.Split(text, "|") {
		var group []int
		for _, word := range strings.FieldsFunc(part, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' }) {
			n, err := strconv.Atoi(word)
			switch {
			case err != nil || n < 1:
				return nil, usageError("not a server number: %q", word)
			case seen[n]:
				return nil, usageError("server %d stands in two places", n)
			}
			seen[n] = true
			group = append(group, n)
		}
		if len(group) == 0 {
			return nil, usageError("a group of servers is empty in %q", text).hint("for example: Partition 1,2|3")
		}
		groups = append(groups, group)
	}
	if len(groups) < 2 {
		return nil, usageError("a partition needs two groups").hint("for example: Partition 1,2|3")
	}
	return groups, nil
}
