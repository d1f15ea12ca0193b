//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raftbank/client"
	"raftbank/internal/api"
)

const (
	mixedLines    = 1000
	conflictLines = 120
)

// TestItem1TwoClientsRunTheSameFile starts nine servers in random order and lets both client servers
// run the same file of mixed transfers and one of conflicting ones at the same time.
func TestItem1TwoClientsRunTheSameFile(t *testing.T) {
	b := newBank(t)
	order := rand.Perm(9)
	for _, i := range order {
		b.start(i + 1)
	}
	t.Logf("started in the order %v (+1), ready after %s", order, round(b.awaitReady()))

	mixedFile := b.writeFile("mixed.txt", mixedTransfers(mixedLines))
	conflictFile := b.writeFile("conflict.txt", conflictingTransfers(conflictLines))
	names := []string{"first", "second"}
	runs := make([]clientRun, len(names))
	parallel(len(names), func(i int) {
		script := fmt.Sprintf("# client %s\nFileTransfer %s --batch mixed-%s -o jsonl\nFileTransfer %s --batch conflict-%s -o jsonl\nexit\n",
			names[i], mixedFile, names[i], conflictFile, names[i])
		args := []string{"client", "--port", fmt.Sprint(b.Ports[i]), "--config", b.Config}
		o, err := tryCommand(script, args...)
		runs[i] = clientRun{output: o, err: err}
	})

	want := b.opened()
	for i := range runs {
		runs[i].read(t)
		runs[i].checkBatch(t, "mixed-"+names[i], mixedLines)
		runs[i].checkBatch(t, "conflict-"+names[i], conflictLines)
		for _, line := range runs[i].lines {
			if line.Outcome == api.OutcomeCommitted {
				addLine(t, want, line.Transfer)
			}
		}
	}
	b.awaitNothingPrepared()
	mustEqual(t, "balances against the reported lines", b.balances(), want)
	b.mustConserve()

	b.checkBatchAgain(mixedFile, runs[0].summaries["mixed-first"])
	mustEqual(t, "balances after the same batch again", b.balances(), want)
	b.mustConserve()
}

// checkBatchAgain runs a batch under its old name: the same outcomes, and nothing moves.
func (b *bank) checkBatchAgain(file string, before api.FileTransfer) {
	b.t.Helper()
	o := b.run("file-transfer", file, "--batch", before.Batch, "-o", "json")
	wantCode(b.t, o, 0)
	again := decode[api.FileTransfer](b.t, o)
	if fmt.Sprint(again.Committed, again.Aborted) != fmt.Sprint(before.Committed, before.Aborted) {
		b.t.Fatalf("the same batch again gives other outcomes: %d %v, before %d %v",
			again.Committed, again.Aborted, before.Committed, before.Aborted)
	}
	b.t.Logf("the same batch again: same outcomes, in %d ms", again.ElapsedMs)
}

// clientRun is what one client server printed.
type clientRun struct {
	output    output
	err       error
	lines     []fileLine
	summaries map[string]api.FileTransfer // by batch
}

// fileLine is one line's outcome with -o jsonl; Batch comes from the summary that follows it.
type fileLine struct {
	Line  int    `json:"line"`
	Batch string `json:"-"`
	api.Transfer
}

// read takes the output apart: lines of outcomes, each file's followed by its summary.
func (r *clientRun) read(t *testing.T) {
	t.Helper()
	if r.err != nil {
		t.Fatal(r.err)
	}
	wantCode(t, r.output, 0)
	r.summaries = map[string]api.FileTransfer{}
	first := 0
	d := json.NewDecoder(strings.NewReader(r.jsonLines()))
	for {
		var raw json.RawMessage
		err := d.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("not JSON: %v\n%s", err, r.output)
		}
		if !strings.Contains(string(raw), `"batch":`) {
			var line fileLine
			if err := json.Unmarshal(raw, &line); err != nil || line.Line == 0 {
				t.Fatalf("not a line's outcome (%v): %s", err, raw)
			}
			r.lines = append(r.lines, line)
			continue
		}
		var summary api.FileTransfer
		if err := json.Unmarshal(raw, &summary); err != nil || summary.Batch == "" {
			t.Fatalf("not a summary (%v): %s", err, raw)
		}
		for i := first; i < len(r.lines); i++ {
			r.lines[i].Batch = summary.Batch
		}
		first = len(r.lines)
		r.summaries[summary.Batch] = summary
	}
}

// jsonLines leaves out the echo of the script, which stands on standard output when the client's
// own format is not JSON.
func (r *clientRun) jsonLines() string {
	var keep []string
	for _, line := range strings.Split(r.output.Out, "\n") {
		if strings.HasPrefix(line, "{") {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "\n")
}

// checkBatch checks that every line of a batch was answered exactly once, and that the summary says
// the same as its lines.
func (r *clientRun) checkBatch(t *testing.T, batch string, lines int) {
	t.Helper()
	s, ok := r.summaries[batch]
	if !ok {
		t.Fatalf("no summary of batch %s\n%s", batch, r.output)
	}
	seen := map[int]bool{}
	ids := map[string]bool{}
	outcomes := map[string]int{}
	for _, line := range r.lines {
		if line.Batch != batch {
			continue
		}
		if seen[line.Line] || ids[line.ID] {
			t.Errorf("batch %s: line %d (%s) was reported twice", batch, line.Line, line.ID)
		}
		seen[line.Line], ids[line.ID] = true, true
		outcomes[line.Outcome]++
	}
	aborted := 0
	for _, n := range s.Aborted {
		aborted += n
	}
	told := s.Committed + aborted + s.Unavailable + s.Unknown
	if len(seen) != lines || s.Total != lines || told != lines {
		t.Errorf("batch %s: %d lines, %d reported, summary: total %d, outcomes %d", batch, lines, len(seen), s.Total, told)
	}
	if outcomes[api.OutcomeCommitted] != s.Committed || outcomes[api.OutcomeAborted] != aborted {
		t.Errorf("batch %s: lines say %v, the summary %d committed and %d aborted", batch, outcomes, s.Committed, aborted)
	}
	if s.Unavailable+s.Unknown > 0 {
		t.Errorf("batch %s on a healthy bank: %d unavailable, %d unknown", batch, s.Unavailable, s.Unknown)
	}
	t.Logf("batch %s: %d committed, aborted %v, %d ms, %.0f per second, p50 %d us, p99 %d us",
		batch, s.Committed, s.Aborted, s.ElapsedMs, s.TPS, s.LatencyUs.P50, s.LatencyUs.P99)
}

// addLine adds one committed line to balances.
func addLine(t *testing.T, all []*big.Int, line api.Transfer) {
	t.Helper()
	var from, to int
	amount, ok := new(big.Int).SetString(line.Amount, 10)
	if _, err := fmt.Sscan(line.From+" "+line.To, &from, &to); err != nil || !ok {
		t.Fatalf("odd line: %+v", line)
	}
	move(all, client.Account(from), client.Account(to), amount)
}

// writeFile puts a file beside the bank's data.
func (b *bank) writeFile(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// mixedTransfers is a file of n transfers, 30 % between clusters, in the three forms that a line can
// have. Some are refused.
func mixedTransfers(n int) string {
	r := rand.New(rand.NewSource(7))
	var f strings.Builder
	f.WriteString("# made by the end-to-end test\n\n")
	forms := []string{"(%s,%s,%s)\n", "%s,%s,%s\n", "%s %s %s // amount last\n"}
	for i := range n {
		t := mixed(r)
		fmt.Fprintf(&f, forms[i%len(forms)], t.From, t.To, t.Amount)
	}
	return f.String()
}

// conflictingTransfers all want the money of three accounts, one per cluster.
func conflictingTransfers(n int) string {
	r := rand.New(rand.NewSource(8))
	wanted := []int{100, 1100, 2100}
	var f strings.Builder
	for i := range n {
		from := wanted[i%3]
		to := wanted[(i+1+r.Intn(2))%3] + r.Intn(3)
		if r.Intn(2) == 0 {
			to = from + 1 + r.Intn(3)
		}
		fmt.Fprintf(&f, "(%d,%d,%d)\n", from, to, 2+r.Intn(4))
	}
	return f.String()
}
