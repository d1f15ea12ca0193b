//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

// TestCommandsOnARealBank runs every data command against real servers.
func TestCommandsOnARealBank(t *testing.T) {
	b := newRunningBank(t)
	v, code := b.transfer("3", "1003", "4")
	if code != 0 || v.Outcome != api.OutcomeCommitted || v.Kind != api.KindCross || v.LatencyUs <= 0 {
		t.Fatalf("exit %d: %+v", code, v)
	}
	b.awaitNothingPrepared()
	b.checkEveryFormat(v.ID)

	for account, want := range map[string]string{"3": "6", "1003": "14", "2003": "10"} {
		o := b.run("balance", account, "-o", "json")
		wantCode(t, o, 0)
		balance := decode[api.Balance](t, o)
		if balance.Balance != want || balance.Available != want || !balance.Strong || len(balance.Replicas) != 3 {
			t.Errorf("balance of %s: want %s, strong, three replicas\n%s", account, want, o)
		}
	}
	b.checkHistory(v.ID)
	b.checkSettling(v.ID)

	b.kill(1)
	await(t, leadBound, "status shows that server 1 is down", func() (bool, string) {
		o := b.run("status", "-o", "json")
		wantCode(t, o, 0)
		s := decode[api.Status](t, o)
		return len(s.Shards) == 3 && !s.Shards[0].Servers[0].Up && s.Shards[0].Leader != nil, o.Out
	})
	o := b.run("balance", "3", "-o", "json")
	wantCode(t, o, 0)
	if balance := decode[api.Balance](t, o); balance.Balance != "6" || !balance.Strong || balance.Replicas[0].Up {
		t.Errorf("with server 1 down\n%s", o)
	}
	b.mustConserve()

	b.kill(2, 3, 4, 5, 6, 7, 8, 9)
	for _, args := range [][]string{{"status"}, {"balance", "1"}, {"check", "conservation"}, {"transfer", "1", "2", "1"}, {"transfer", "1", "1001", "1"}} {
		o := b.run(append(args, "-o", "json")...)
		wantCode(t, o, 4)
		if e := decode[struct{ Error *api.Error }](t, o).Error; e == nil || e.Code != "unavailable" || !e.Retryable {
			t.Errorf("without any server: want the error unavailable\n%s", o)
		}
		t.Logf("without any server, %s: exit 4 after %s", args[0], round(o.Took))
	}
}

// checkEveryFormat runs the commands that only read in all four formats.
func (b *bank) checkEveryFormat(id string) {
	b.t.Helper()
	for _, args := range [][]string{{"status"}, {"balance", "3"}, {"datastore"}, {"datastore", "--server", "2"}, {"explain", id},
		{"resolve", id}, {"in-doubt"}, {"check", "conservation"}, {"audit"}, {"config"}, {"version"}} {
		for _, format := range []string{"table", "plain", "json", "jsonl"} {
			o := b.run(append(args, "-o", format)...)
			wantCode(b.t, o, 0)
			if format == "json" && !json.Valid([]byte(o.Out)) {
				b.t.Errorf("not one JSON value\n%s", o)
			}
			if o.Out == "" && args[0] != "in-doubt" {
				b.t.Errorf("nothing on stdout\n%s", o)
			}
		}
	}
}

// checkHistory looks at what the servers have committed for the transfer 3 -> 1003.
func (b *bank) checkHistory(id string) {
	b.t.Helper()
	o := b.run("datastore", "--id", id, "-o", "json")
	wantCode(b.t, o, 0)
	for _, s := range decode[api.Datastore](b.t, o).Servers {
		var kinds []string
		for _, e := range s.Entries {
			kinds = append(kinds, e.Kind)
		}
		want := "prepare commit"
		if s.Shard == 3 {
			want = ""
		}
		if got := strings.Join(kinds, " "); got != want || !s.Up {
			b.t.Errorf("datastore of server %d: %q, want %q\n%s", s.Server, got, want, o)
		}
	}
	o = b.run("explain", id, "-o", "json")
	wantCode(b.t, o, 0)
	if e := decode[api.Explain](b.t, o); e.Outcome != "committed" || e.From != "3" || e.To != "1003" || len(e.Events) != 4 {
		b.t.Errorf("explain: want committed with four events\n%s", o)
	}
}

// checkSettling resolves and cancels known and unknown ids.
func (b *bank) checkSettling(committed string) {
	b.t.Helper()
	o := b.run("cancel", committed, "-o", "json")
	wantCode(b.t, o, 3)
	fresh := client.NewID().String()
	wantCode(b.t, b.run("resolve", fresh), 3)
	wantCode(b.t, b.run("cancel", fresh), 0)
	for _, to := range []string{"2", "1002"} {
		v, code := b.transfer("1", to, "1", "--id", fresh)
		if code != 3 || v.Reason != "cancelled" {
			b.t.Errorf("a cancelled id to %s: exit %d %+v; want cancelled", to, code, v)
		}
	}
	wantCode(b.t, b.run("resolve", fresh), 3)
}

// TestServerStopsInOrder ends leaders with SIGTERM: they hand over, end with 0, and nobody waits for
// an election.
func TestServerStopsInOrder(t *testing.T) {
	b := newRunningBank(t)
	var results []client.Result
	for id := shard.ID(1); id <= 3; id++ {
		n, _ := b.awaitLeader(id, 0)
		account := client.Account(int(id-1)*1000 + 1)
		results = append(results, b.mustCommit(units(account, account+1, 1)))
		start := time.Now()
		signal(t, b.servers[n], syscall.SIGTERM)
		results = append(results, b.mustCommitWithin(units(account+2, account+3, 1), leadBound))
		acked := time.Since(start)
		code := awaitEnd(t, b.servers[n], leadBound)
		t.Logf("SIGTERM to server %d, leader of %s: exit %d after %s; next transfer acknowledged after %s",
			n, id, code, round(time.Since(start)), round(acked))
		if code != 0 {
			t.Errorf("server %d: exit %d: %s", n, code, process.LastLines(b.Log(n), 5))
		}
		b.restart(n)
	}
	b.mustAgree(results)
	b.mustConserve()
}

// TestClientServerAnswersOnItsPort runs a client server and asks for its figures with the command
// performance.
func TestClientServerAnswersOnItsPort(t *testing.T) {
	b := newRunningBank(t)
	script := "# a comment, then a blank line\n\nTransfer 1 2 1\n(3,1003,2)\ntransfer 5 6 99\nNoSuchCommand\nPerformance\nprintbalance 1\nLeaders\nCheck\nexit\nTransfer 1 2 1\n"
	o := command(t, script, "client", "--port", fmt.Sprint(b.Ports[0]), "--config", b.Config)
	wantCode(t, o, 0) // goes on after a failure
	for _, text := range []string{"> Transfer 1 2 1", "> (3,1003,2)", "insufficient_funds", "unknown command", "> Check"} {
		wantText(t, o, text)
	}
	if strings.Count(o.Out, "> Transfer 1 2 1") != 1 {
		t.Errorf("lines after exit were run\n%s", o)
	}
	o = command(t, "Transfer 5 6 99\nTransfer 1 2 1\n", "client", "--stop-on-error", "--port", fmt.Sprint(b.Ports[0]), "--config", b.Config)
	wantCode(t, o, 3)
	want := b.opened()
	addLine(t, want, api.Transfer{From: "1", To: "2", Amount: "1"})
	addLine(t, want, api.Transfer{From: "3", To: "1003", Amount: "2"})
	mustEqual(t, "balances", b.balances(), want)
}
