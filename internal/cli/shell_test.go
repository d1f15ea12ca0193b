package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"raftbank/examples"
	"raftbank/internal/api"
	"raftbank/internal/shard"
)

// scriptShell returns a shell on a fake bank with its output streams.
func scriptShell(script string) (s *shell, out, notes *bytes.Buffer) {
	out, notes = &bytes.Buffer{}, &bytes.Buffer{}
	a := NewApp(strings.NewReader(script), out, notes)
	b := newFakeBank("")
	a.Getenv = func(string) string { return "" }
	a.Client, a.Topology, a.Recorder = b, b.topology, NewRecorder()
	return &shell{app: a}, out, notes
}

func TestScriptEchoesAndGoesOnAfterFailures(t *testing.T) {
	s, out, notes := scriptShell(`# first
Transfer 1 2 3

Trasnfer 1 2 3
transfer 1 2
(1,2,999)
PrintBalance 1
Kill 3
exit
Transfer 1 2 1
`)
	if code := s.run(context.Background()); code != exitOK {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, want := range []string{"# first\n", "> Transfer 1 2 3\n", "> (1,2,999)\n", "> PrintBalance 1\n", "> exit\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	for _, want := range []string{`unknown command "Trasnfer"`, "Did you mean Transfer?", "Kill works in the demo alone"} {
		if !strings.Contains(notes.String(), want) {
			t.Errorf("errors lack %q:\n%s", want, notes)
		}
	}
	if n := len(s.app.Client.(*fakeBank).sent); n != 2 {
		t.Errorf("%d transfers sent, want 2: nothing runs after exit", n)
	}
	if p := s.app.Recorder.Snapshot(); p.Total.Committed != 1 {
		t.Errorf("recorded: %+v", p.Total)
	}
}

func TestScriptStopsOnError(t *testing.T) {
	for _, c := range []struct {
		line string
		want int
	}{
		{"nonsense", exitUsage},
		{"(1,2,999)", exitRefused},
		{"Heal", exitUsage},
		{"(1,2,1)", exitOK},
	} {
		s, _, _ := scriptShell(c.line + "\n(3,4,1)\n")
		s.stopOnError = true
		if code := s.run(context.Background()); code != c.want {
			t.Errorf("%s: exit code %d, want %d", c.line, code, c.want)
		}
		sent := len(s.app.Client.(*fakeBank).sent)
		if c.want != exitOK && sent > 1 {
			t.Errorf("%s: went on after the failure", c.line)
		}
	}
}

func TestScriptEndsWhileItWaitsForALine(t *testing.T) {
	s, out, _ := scriptShell("")
	in, lines := io.Pipe() // stays open: no end of input ever comes
	defer lines.Close()
	s.app.In = in
	ctx, interrupt := context.WithCancel(context.Background())
	go func() {
		_, _ = io.WriteString(lines, "# one\n")
		interrupt()
	}()
	if code := s.run(ctx); code != exitInterrupted {
		t.Errorf("an interrupted script ends with %d, want %d; it printed %q", code, exitInterrupted, out)
	}
}

func TestScriptLineFlagsHoldForTheLine(t *testing.T) {
	s, out, _ := scriptShell("transfer 1 2 1 -o json\nPerformance\n")
	s.run(context.Background())
	lines := strings.SplitN(out.String(), "\n", 4)
	var v api.Transfer
	if err := json.Unmarshal([]byte(lines[1]), &v); err != nil || v.Outcome != api.OutcomeCommitted {
		t.Errorf("line with -o json: %v\n%s", err, out)
	}
	if s.app.Format != FormatPlain {
		t.Errorf("the session's format became %s", s.app.Format)
	}
}

func TestScriptInJSONPrintsValuesAlone(t *testing.T) {
	s, out, notes := scriptShell("# note\ntransfer 1 2 1\nnonsense\n")
	s.app.Format = FormatJSON
	s.run(context.Background())
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %q", line)
		}
	}
	if !strings.Contains(notes.String(), "> transfer 1 2 1") {
		t.Errorf("the echo is not on the other stream: %s", notes)
	}
}

func TestPerformanceReset(t *testing.T) {
	s, _, _ := scriptShell("transfer 1 2 1\nperformance RESET\n")
	s.run(context.Background())
	if p := s.app.Recorder.Snapshot(); p.Total.Committed != 0 {
		t.Errorf("after reset: %+v", p.Total)
	}
}

func TestShellHelp(t *testing.T) {
	for _, faults := range []bool{false, true} {
		var out bytes.Buffer
		printShellHelp(&out, faults)
		if strings.Contains(out.String(), "Kill N") != faults {
			t.Errorf("faults %v:\n%s", faults, out.String())
		}
	}
}

func TestShellCompletion(t *testing.T) {
	s, _, _ := scriptShell("")
	if _, got, _ := s.complete("pri", 3); len(got) != 2 || got[0] != "printBalance " {
		t.Errorf("pri completes to %q", got)
	}
	if _, got, _ := s.complete("printb", 6); len(got) != 1 || got[0] != "PrintBalance " {
		t.Errorf("printb completes to %q", got)
	}
	if _, got, _ := s.complete("kil", 3); len(got) != 0 {
		t.Errorf("kil completes to %q outside the demo", got)
	}
	if head, got, _ := s.complete("FileTransfer shell_te", 21); head != "FileTransfer " || len(got) != 1 || got[0] != "shell_test.go" {
		t.Errorf("file completes to %q %q", head, got)
	}
}

// fakeFaults notes what it is asked for.
type fakeFaults struct {
	Faults
	calls []string
}

func (f *fakeFaults) note(format string, args ...any) (string, error) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return "done", nil
}

func (f *fakeFaults) Kill(_ context.Context, n int) (string, error) { return f.note("kill %d", n) }
func (f *fakeFaults) Restart(_ context.Context, n int) (string, error) {
	return f.note("restart %d", n)
}
func (f *fakeFaults) Pause(_ context.Context, n int) (string, error)  { return f.note("pause %d", n) }
func (f *fakeFaults) Resume(_ context.Context, n int) (string, error) { return f.note("resume %d", n) }
func (f *fakeFaults) Heal(context.Context) (string, error)            { return f.note("heal") }
func (f *fakeFaults) Partition(_ context.Context, groups [][]int) (string, error) {
	return f.note("partition %v", groups)
}
func (f *fakeFaults) CrashClient(_ context.Context, point int, args []string) (string, error) {
	return f.note("crash %d %v", point, args)
}
func (f *fakeFaults) Leader(_ context.Context, id shard.ID) (int, error) { return int(id)*3 - 1, nil }
func (f *fakeFaults) Servers(id shard.ID, in serverState) ([]int, error) {
	first := int(id)*3 - 2
	if in == serverAny {
		return []int{first, first + 1, first + 2}, nil
	}
	return []int{first, first + 2}, nil
}

func TestFaultLines(t *testing.T) {
	s, _, notes := scriptShell(`kill 3
Kill C2
Restart 3
restart c1
Pause 4
Resume C3
Partition 1,2|3
Partition C1
Heal
CrashClient 4
CrashClient 2 7 2007 5
Kill
Kill x
CrashClient 10
CrashClient 2 7
Partition 1
`)
	f := &fakeFaults{}
	s.app.Faults = f
	s.run(context.Background())
	want := []string{
		"kill 3", "kill 5", "restart 3", "restart 1", "restart 3", "pause 4", "resume 7", "resume 9",
		"partition [[1 2] [3]]", "partition [[2] [1 3]]", "heal", "crash 4 []", "crash 2 [7 2007 5]",
	}
	if fmt.Sprint(f.calls) != fmt.Sprint(want) {
		t.Errorf("calls:\n%q\nwant:\n%q", f.calls, want)
	}
	if n := strings.Count(notes.String(), "xample"); n != 5 {
		t.Errorf("%d errors with an example, want 5:\n%s", n, notes)
	}
}

// Every line of every lesson is one that the shell knows.
func TestLessonsParse(t *testing.T) {
	dir, err := examples.Files.ReadDir("lessons")
	if err != nil || len(dir) != 6 {
		t.Fatalf("%d lessons: %v", len(dir), err)
	}
	for _, entry := range dir {
		b, err := examples.Files.ReadFile("lessons/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if _, err := parseShellLine(line); err != nil {
				t.Errorf("%s:%d: %v", entry.Name(), i+1, err)
			}
		}
	}
}
