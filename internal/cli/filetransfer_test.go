package cli

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// drawLines draws a file over few accounts, so that many lines depend on each other.
func drawLines(t *rapid.T) string {
	var b strings.Builder
	account := rapid.IntRange(1, 6)
	for range rapid.IntRange(0, 60).Draw(t, "lines") {
		fmt.Fprintf(&b, "%d %d %d\n", account.Draw(t, "from"), account.Draw(t, "to"), rapid.IntRange(-1, 12).Draw(t, "amount"))
	}
	return b.String()
}

// The scheduler has the same outcomes and balances as running the lines one by one.
func TestFileTransferEqualsOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file := drawLines(t)
		concurrency := rapid.IntRange(2, 32).Draw(t, "concurrency")
		one, many := newFakeBank(""), newFakeBank("")
		for b, n := range map[*fakeBank]int{one: 1, many: concurrency} {
			args := []string{"file-transfer", "-", "--batch", "x", "--concurrency", fmt.Sprint(n), "-o", "json"}
			if code, out, errs := runFake(b, file, nil, args...); code != exitOK {
				t.Fatalf("exit %d: %s%s", code, out, errs)
			}
		}
		if !maps.Equal(one.balances, many.balances) {
			t.Fatalf("balances one by one %v, in parallel %v", one.balances, many.balances)
		}
		for id, r := range one.seen {
			if got := many.seen[id]; got.Outcome != r.Outcome || got.Reason != r.Reason || got.Available != r.Available {
				t.Fatalf("transfer %s: one by one %v %v, in parallel %v %v", id, r.Outcome, r.Reason, got.Outcome, got.Reason)
			}
		}
	})
}

// A line is in flight never together with another that shares an account, and never with more than
// the concurrency allows.
func TestScheduleKeepsAccountsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account := rapid.IntRange(1, 8)
		jobs := make([]job, rapid.IntRange(0, 80).Draw(t, "jobs"))
		for i := range jobs {
			jobs[i] = job{from: shard.Account(account.Draw(t, "from")), to: shard.Account(account.Draw(t, "to"))}
		}
		concurrency := rapid.IntRange(1, 16).Draw(t, "concurrency")
		var busy [9]atomic.Int32
		var inFlight, clashes atomic.Int32
		var order []int
		runSchedule(context.Background(), newSchedule(jobs, false), concurrency, func(i int) int {
			if int(inFlight.Add(1)) > concurrency {
				clashes.Add(1)
			}
			touched := map[shard.Account]bool{jobs[i].from: true, jobs[i].to: true}
			for a := range touched {
				if busy[a].Add(1) > 1 {
					clashes.Add(1)
				}
			}
			for a := range touched {
				busy[a].Add(-1)
			}
			inFlight.Add(-1)
			return i
		}, func(i, v int) { order = append(order, v) })
		if clashes.Load() != 0 {
			t.Fatalf("%d clashes", clashes.Load())
		}
		if len(order) != len(jobs) {
			t.Fatalf("%d of %d lines answered", len(order), len(jobs))
		}
		last := map[shard.Account]int{}
		for _, i := range order {
			for _, a := range []shard.Account{jobs[i].from, jobs[i].to} {
				if before, ok := last[a]; ok && before > i {
					t.Fatalf("line %d answered after line %d of the same account", i, before)
				}
				last[a] = i
			}
		}
	})
}

// Lines that share no account are in flight together.
func TestScheduleRunsInParallel(t *testing.T) {
	const lines = 8
	b := newFakeBank("")
	arrived, proceed := make(chan struct{}, lines), make(chan struct{})
	b.gate = func(client.Transfer) { arrived <- struct{}{}; <-proceed }
	var file strings.Builder
	for i := range lines {
		fmt.Fprintf(&file, "%d %d 1\n", 2*i+1, 2*i+2)
	}
	done := make(chan int)
	go func() {
		code, _, _ := runFake(b, file.String(), nil, "file-transfer", "-", "--batch", "x")
		done <- code
	}()
	for range lines {
		<-arrived
	}
	close(proceed)
	if code := <-done; code != exitOK || b.peak != lines {
		t.Fatalf("exit %d, %d in flight at most, want %d", code, b.peak, lines)
	}
}

// An interruption stops the sending, waits for what is in flight and says how to go on; running
// that command applies every line once.
func TestFileTransferInterrupted(t *testing.T) {
	b := newFakeBank("")
	ctx, cancel := context.WithCancel(context.Background())
	b.gate = func(tr client.Transfer) {
		if tr.Amount == ledger.Units(3) { // the third line
			cancel()
		}
	}
	const file = "1 2 1\n1 2 2\n1 2 3\n1 2 4\n"
	var out, errs bytes.Buffer
	a := NewApp(strings.NewReader(file), &out, &errs)
	a.Getenv = func(string) string { return "" }
	a.connect = func(client.Options) (bank, error) { return b, nil }
	code := a.main(ctx, []string{"file-transfer", "-", "--batch", "x", "--concurrency", "1"})
	if code != exitInterrupted || len(b.sent) != 3 {
		t.Fatalf("exit %d after %d lines, want %d after 3\n%s", code, len(b.sent), exitInterrupted, errs.String())
	}
	for _, want := range []string{"interrupted after 3 of 4 lines", "raftbank file-transfer - --batch x --concurrency=1"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, errs.String())
		}
	}
	b.gate = nil
	if code, _, errs := runFake(b, file, nil, "file-transfer", "-", "--batch", "x"); code != exitOK {
		t.Fatalf("exit %d: %s", code, errs)
	}
	if b.balances[1] != 0 || b.balances[2] != 20 {
		t.Errorf("balances %d and %d after going on, want 0 and 20", b.balances[1], b.balances[2])
	}
}

func TestBatchIDs(t *testing.T) {
	named, again := newBatch("payday"), newBatch("payday")
	if named.id(7) != again.id(7) || named.id(7) == named.id(8) || named.id(7) == newBatch("payday-2").id(7) {
		t.Error("ids must depend on the name and the line, and on nothing else")
	}
	drawn := newBatch("01j9zq6x3k4m8n2p5r7t9v1w3y")
	if drawn.name != "01J9ZQ6X3K4M8N2P5R7T9V1W3Y" {
		t.Errorf("batch is called %s", drawn.name)
	}
	if got := drawn.id(1).String(); got[:9] != "01J9ZQ6X3" {
		t.Errorf("id %s does not begin with the batch's time", got)
	}
	if drawn.id(1) == drawn.id(2) {
		t.Error("two lines have the same id")
	}
	if newBatch("").name == "" {
		t.Error("no batch was drawn")
	}
}
