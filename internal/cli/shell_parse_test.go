package cli

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseShellLine(t *testing.T) {
	for _, c := range []struct {
		line string
		want string // argv, joined; "" asks for nothing
	}{
		{"", ""},
		{"   ", ""},
		{"# a comment", ""},
		{"// another", ""},
		{"Transfer 1 2 3", "transfer 1 2 3"},
		{"tRaNsFeR\t1  2 3", "transfer 1 2 3"},
		{"transfer 1 2 3 # why not", "transfer 1 2 3"},
		{"transfer 1 2 -4", "transfer 1 2 -4"},
		{"(1,2,3)", "transfer 1 2 3"},
		{"  ( 1 , 2 , 3 )  // comment", "transfer 1 2 3"},
		{"Transfer(1,2,3)", "transfer 1 2 3"},
		{"Transfer (1,2,3)", "transfer 1 2 3"},
		{"(1,2,3) # it's one", "transfer 1 2 3"},
		{"(1, 2, 3) -o json // as data", "transfer 1 2 3 -o json"},
		{"Transfer(1,2,3) --id X", "transfer 1 2 3 --id X"},
		{"(1,2)", "transfer 1 2"},
		{"()", "transfer"},
		{"transfer 1 2 3 -o json", "transfer 1 2 3 -o json"},
		{"FileTransfer 'my file.txt' --batch x", "file-transfer|my file.txt|--batch|x"},
		{`filetransfer "a#b"`, "file-transfer a#b"},
		{"PrintBalance 7", "balance 7"},
		{"PrintBalance(7)", "balance 7"},
		{"balance 7", "balance 7"},
		{"PrintDatastore", "datastore"},
		{"printdatastore 3", "datastore --server 3"},
		{"PrintDatastore 3 --limit 5", "datastore --server 3 --limit 5"},
		{"PrintDatastore --all", "datastore --all"},
		{"History 7", "history 7"},
		{"history 7 20", "history 7 --limit 20"},
		{"History(7, 20)", "history 7 --limit 20"},
		{"History 7 --stale", "history 7 --stale"},
		{"GetTransfer X", "get-transfer X"},
		{"Replace 3", "replace 3"},
		{"Leaders", "status"},
		{"Status", "status"},
		{"check", "check conservation"},
		{"Check Linearizability --duration 1s", "check linearizability --duration 1s"},
		{"Check --quiet", "check conservation --quiet"},
		{"InDoubt", "in-doubt"},
		{"performance reset", "performance reset"},
	} {
		line, err := parseShellLine(c.line)
		if err != nil {
			t.Errorf("%q: %v", c.line, err)
			continue
		}
		var got []string
		if line.command != nil {
			got = line.commandLine(FormatPlain)
			at := slices.Index(got, "-o") // the session's format stands before the line's own words
			got = slices.Delete(got, at, at+2)
		}
		want := strings.Fields(c.want)
		if strings.Contains(c.want, "|") {
			want = strings.Split(c.want, "|")
		}
		if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", c.line, got, want)
		}
	}
}

func TestParseShellLineRefuses(t *testing.T) {
	for _, c := range []struct{ line, message, hint string }{
		{"Trasnfer 1 2 3", `unknown command "Trasnfer"`, "did you mean Transfer?"},
		{"printbal 1", `unknown command "printbal"`, "did you mean PrintBalance?"},
		{"leader", `unknown command "leader"`, "did you mean Leaders?"},
		{"kil 3", `unknown command "kil"`, "did you mean Kill?"},
		{"1 2 3", `unknown command "1"`, "(X,Y,AMT)"},
		{"abracadabra", `unknown command "abracadabra"`, "all commands: help"},
		{"FileTransfer 'x", "a quote is open", "close it"},
	} {
		_, err := parseShellLine(c.line)
		var e *exitError
		if !errors.As(err, &e) {
			t.Errorf("%q: %v, want a usage error", c.line, err)
			continue
		}
		if e.code != exitUsage || !strings.Contains(e.err.Message, c.message) || !strings.Contains(e.err.Hint, c.hint) {
			t.Errorf("%q: %d %q, hint %q", c.line, e.code, e.err.Message, e.err.Hint)
		}
	}
}

func TestParseGroups(t *testing.T) {
	for _, c := range []struct {
		text string
		want [][]int
	}{
		{"1,2|3", [][]int{{1, 2}, {3}}},
		{"4|5,6", [][]int{{4}, {5, 6}}},
		{"1 , 2 | 3 | 9", [][]int{{1, 2}, {3}, {9}}},
	} {
		if got, err := parseGroups(c.text); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %v %v, want %v", c.text, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "1,2", "1|", "1|x", "1|1", "0|1", "-1|2", "|"} {
		if got, err := parseGroups(bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func FuzzParseShellLine(f *testing.F) {
	for _, s := range []string{"Transfer 1 2 3", "(1,2,3)", "x'y", "Kill(3)", "# no", "Partition 1,2|3", "(", ")", "Transfer('1,2'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line, err := parseShellLine(s)
		if err != nil || line.command == nil {
			return
		}
		if line.command.argv != nil && len(line.commandLine(FormatPlain)) < len(line.command.argv) {
			t.Fatalf("%q: command lost", s)
		}
		_, _ = parseGroups(strings.Join(line.args, " "))
	})
}
