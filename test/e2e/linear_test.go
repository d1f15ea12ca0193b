//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"

	"raftbank/internal/api"
)

// TestCheckLinearizability records a history while a leader is killed and comes back: every account's history has an
// order, from the bank and from the file, and the money is where it was.
func TestCheckLinearizability(t *testing.T) {
	b := newRunningBank(t)
	before := b.balances()
	kept := filepath.Join(b.Dir, "history.jsonl")
	type ended struct {
		o   output
		err error
	}
	done := make(chan ended, 1)
	go func() {
		o, err := tryCommand("", "check", "linearizability", "-o", "json", "--duration", "4s", "--record", kept, "--config", b.Config)
		done <- ended{o, err}
	}()
	n, _ := b.awaitLeader(1, 0)
	b.kill(n)
	b.awaitLeader(1, n)
	b.restart(n)
	e := <-done
	if e.err != nil {
		t.Fatal(e.err)
	}
	wantCode(t, e.o, 0)
	v := decode[api.Linearizability](t, e.o)
	if v.OK == nil || !*v.OK || v.Reads == 0 || v.Outcomes["committed"] == 0 || len(v.NotMoved) > 0 {
		t.Fatalf("%+v", v)
	}
	t.Logf("%d histories, %d reads, transfers %v", v.Histories, v.Reads, v.Outcomes)
	o := b.run("check", "linearizability", "-o", "json", "--history", kept)
	wantCode(t, o, 0)
	if again := decode[api.Linearizability](t, o); again.Histories != v.Histories || again.Reads != v.Reads {
		t.Errorf("from the file: %+v", again)
	}
	mustEqual(t, "balances after the check", b.balances(), before)
	b.mustConserve()
}
