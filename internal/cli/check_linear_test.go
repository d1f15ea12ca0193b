package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
)

// checkLinear runs the command on a fake bank and decodes what it printed.
func checkLinear(t *testing.T, b bank, args ...string) (int, api.Linearizability, string) {
	t.Helper()
	args = append([]string{"check", "linearizability", "-o", "json"}, args...)
	code, out, errs := runFake(b, "", nil, args...)
	var v api.Linearizability
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("exit %d: %v\n%s\n%s", code, err, out, errs)
	}
	return code, v, errs
}

func TestCheckLinearizabilityOfAnHonestBank(t *testing.T) {
	b := newFakeBank("")
	kept := filepath.Join(t.TempDir(), "history.jsonl")
	page := filepath.Join(t.TempDir(), "page.html")
	code, v, _ := checkLinear(t, b, "--duration", "50ms", "--record", kept, "--visualize", page)
	if code != exitOK || v.OK == nil || !*v.OK || v.Violation != nil {
		t.Fatalf("exit %d, %+v", code, v)
	}
	if len(v.Accounts) != 6 || v.Accounts[0].Account != "999" || v.Accounts[0].Cluster != "C1" || v.Reads == 0 || v.Outcomes["committed"] == 0 {
		t.Errorf("%+v", v)
	}
	for _, a := range v.Accounts {
		if a.Reads == 0 || a.Histories != v.Rounds {
			t.Errorf("account %+v of %d rounds", a, v.Rounds)
		}
	}
	for account, n := range b.balances {
		if n != 10 {
			t.Errorf("account %s ends with %d", account, n)
		}
	}
	if len(v.NotMoved) > 0 {
		t.Errorf("not given back: %v", v.NotMoved)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "<html") {
		t.Errorf("the page: %v", err)
	}
	again, w, _ := checkLinear(t, newFakeBank("down"), "--history", kept)
	if again != exitOK || w.Histories != v.Histories || w.Reads != v.Reads || w.Outcomes["committed"] != v.Outcomes["committed"] {
		t.Errorf("from the file: exit %d, %+v; recorded: %+v", again, w, v)
	}
}

func TestCheckLinearizabilityFindsStaleReads(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "history.jsonl")
	code, v, _ := checkLinear(t, newFakeBank("stale"), "--duration", "10s", "--clients", "2", "--accounts", "5,1005", "--record", kept)
	if code != exitViolation || v.OK == nil || *v.OK || v.Violation == nil || v.Error == nil || v.Error.Code != codeViolation {
		t.Fatalf("exit %d, %+v", code, v)
	}
	if len(v.Violation.Evidence) != 1 || !strings.Contains(v.Violation.Evidence[0], "had been acknowledged before it began") {
		t.Errorf("evidence %q", v.Violation.Evidence)
	}
	if v.ElapsedMs > 9000 {
		t.Errorf("went on for %d ms after the violation", v.ElapsedMs)
	}
	code, out, errs := runFake(newFakeBank(""), "", nil, "check", "linearizability", "--history", kept)
	if code != exitViolation || !strings.Contains(out, "\tno\n") || !strings.Contains(errs, "read saw in 10 out 0") {
		t.Errorf("from the file: exit %d\n%s\n%s", code, out, errs)
	}
}

func TestCheckLinearizabilityTellsForeignTraffic(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "history.jsonl")
	for _, args := range [][]string{{"--duration", "10s", "--accounts", "7,2007", "--record", kept}, {"--history", kept}} {
		b := newFakeBank("foreign")
		code, v, _ := checkLinear(t, b, args...)
		if b.balance(7) != 10 || b.balance(2007) != 10 || len(v.NotMoved) > 0 {
			t.Errorf("what others moved was given back too: %v, %v", b.balances, v.NotMoved)
		}
		if code != exitUnavailable || v.OK != nil || v.Violation == nil || !strings.Contains(v.Note, "of others committed on account") {
			t.Fatalf("%v: exit %d, %+v", args, code, v)
		}
		for _, a := range v.Accounts { // others used both
			if a.OK != nil {
				t.Errorf("account %s: linearizable: %v, and others used it", a.Account, *a.OK)
			}
		}
	}
}

// TestCheckLinearizabilityTellsForeignTrafficByAccount has a history without an order on two accounts, of which others used
// one or both: each is looked at by itself.
func TestCheckLinearizabilityTellsForeignTrafficByAccount(t *testing.T) {
	events := []linear.Event{
		{Kind: linear.KindForeign, Round: 1, Account: "5", ID: fakeID},
		{Kind: linear.KindTransfer, Round: 1, Client: 2, ID: "x", From: "7", To: "2007", Amount: "1", Outcome: linear.OutcomeCommitted, CallUs: 8, ReturnUs: 9},
	}
	for _, account := range []string{"5", "6", "7"} {
		in := "11" // nobody is recorded to have paid that in
		if account == "7" {
			in = "10"
		}
		events = append(events, linear.Event{Kind: linear.KindOpening, Round: 1, Account: account, In: "10", Out: "0"},
			linear.Event{Kind: linear.KindRead, Round: 1, Client: 1, Account: account, In: in, Out: "0", CallUs: 1, ReturnUs: 2})
	}
	for _, c := range []struct {
		foreign string // a further account that others used
		code    int
		ok      map[string]string
		says    string
	}{
		{"", exitViolation, map[string]string{"5": "", "6": "no", "7": "yes"}, "VIOLATION: no order explains the history of account 6 in round 1"},
		{"6", exitUnavailable, map[string]string{"5": "", "6": "", "7": "yes"}, "1 transfer of others committed on account 5 meanwhile"},
	} {
		k := newLinearCheck(newFakeBank("").topology)
		all := events
		if c.foreign != "" {
			all = append([]linear.Event{{Kind: linear.KindForeign, Round: 1, Account: c.foreign, ID: fakeID}}, all...)
		}
		if err := k.add(all); err != nil {
			t.Fatal(err)
		}
		end := k.verdict()
		if end == nil || end.code != c.code || !strings.Contains(end.err.Message, c.says) {
			t.Errorf("foreign %q: %+v", c.foreign, end)
		}
		for _, a := range k.result.Accounts {
			if got := verdict(a.OK, "yes", "no"); got != c.ok[a.Account] && !(a.OK == nil && c.ok[a.Account] == "") {
				t.Errorf("foreign %q: account %s: linearizable: %q, want %q", c.foreign, a.Account, got, c.ok[a.Account])
			}
		}
	}
}

// deafBank is a fake bank with a server that does not tell who used some accounts; for others the question itself fails.
type deafBank struct {
	*fakeBank
	deaf, failing string
}

func (b *deafBank) Datastore(ctx context.Context, server shard.ServerID, q api.DatastoreQuery) (api.Datastore, error) {
	if slices.Contains(strings.Fields(b.failing), q.Account) {
		return api.Datastore{}, noServer(b.topology, 1)
	}
	d, err := b.fakeBank.Datastore(ctx, server, q)
	if slices.Contains(strings.Fields(b.deaf), q.Account) {
		d.Servers[0].Up, d.Servers[0].Note, d.Servers[0].Entries = false, "it does not answer", nil
	}
	return d, err
}

// TestCheckLinearizabilityAsksOfEveryHistory has histories without an order on two accounts, and cannot ask of each who used
// the account, or the round did not end. One that is known to have nobody else is a violation; none is one on a guess.
func TestCheckLinearizabilityAsksOfEveryHistory(t *testing.T) {
	for _, c := range []struct {
		scenario, deaf, failing string
		code                    int
		says                    string
		ok                      [2]string // of accounts 7 and 2007
	}{
		{"stale", "", "", exitViolation, "VIOLATION: no order explains the history of account 7 in round 1", [2]string{"no", "no"}},
		{"stale", "7", "", exitViolation, "VIOLATION: no order explains the history of account 2007 in round 1", [2]string{"-", "no"}},
		{"stale", "2007", "", exitViolation, "VIOLATION: no order explains the history of account 7 in round 1", [2]string{"no", "-"}},
		{"stale", "", "7 2007", exitUnavailable, "whether others used the account cannot be asked", [2]string{"-", "-"}},
		{"stale", "7 2007", "", exitUnavailable, "server 1 does not tell who else used the account: it does not answer", [2]string{"-", "-"}},
		{"foreign", "2007", "", exitUnavailable, "a history of account 2007 has no order, and server 1 does not tell", [2]string{"-", "-"}},
		{"foreign", "", "", exitUnavailable, "of others committed on account 7 meanwhile", [2]string{"-", "-"}},
		{"down", "", "", exitUnavailable, "a history of account 7 has no order", [2]string{"-", "-"}},
	} {
		for _, ended := range []bool{true, false} {
			b := &deafBank{newFakeBank(c.scenario), c.deaf, c.failing}
			r := &linearRecorder{banks: []bank{b}, ids: map[string]bool{}, opening: map[shard.Account]client.AccountBalance{}}
			openedAt := r.opening
			for _, account := range []shard.Account{7, 2007} {
				at := client.AccountBalance{Account: account, Server: 1}
				openedAt[account] = at
				r.events = append(r.events, linear.Event{Kind: linear.KindOpening, Round: 1, Account: account.String(), In: "10", Out: "0"},
					// nobody is recorded to have paid that in
					linear.Event{Kind: linear.KindRead, Round: 1, Client: 1, Account: account.String(), In: "11", Out: "0", CallUs: 1, ReturnUs: 2})
			}
			if ended {
				r.opening = map[shard.Account]client.AccountBalance{7: {Server: 1, Applied: 1300}, 2007: {Server: 1, Applied: 1300}}
			}
			k := newLinearCheck(b.topology)
			if err := r.judge(t.Context(), k, openedAt, ended); err != nil {
				t.Fatal(err)
			}
			end := k.verdict()
			if end == nil || end.code != c.code || !strings.Contains(end.err.Message, c.says) || k.result.Violation == nil || (k.result.OK == nil) != (end.code != exitViolation) {
				t.Errorf("%+v, ended: %t: %+v, %+v", c, ended, end, k.result)
			}
			for i, a := range k.result.Accounts {
				if got := verdict(a.OK, "yes", "no"); got != c.ok[i] && !(a.OK == nil && c.ok[i] == "-") {
					t.Errorf("%+v, ended: %t: account %s: linearizable: %q", c, ended, a.Account, got)
				}
			}
		}
	}
}

// TestCheckLinearizabilityKeepsWhatItCannotJudge runs the command: the round is in the file, and the violation is told.
func TestCheckLinearizabilityKeepsWhatItCannotJudge(t *testing.T) {
	for _, c := range []struct {
		scenario, deaf string
		code           int
	}{{"stale", "5", exitViolation}, {"foreign", "5 1005", exitUnavailable}} {
		kept := filepath.Join(t.TempDir(), "history.jsonl")
		b := &deafBank{newFakeBank(c.scenario), c.deaf, ""}
		code, v, _ := checkLinear(t, b, "--duration", "10s", "--clients", "2", "--accounts", "5,1005", "--record", kept)
		if code != c.code || v.Violation == nil && c.scenario == "foreign" {
			t.Errorf("%+v: exit %d, %+v", c, code, v)
		}
		f, err := os.Open(kept)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if events, err := linear.ReadEvents(f); err != nil || v.Reads == 0 || len(events) < v.Reads+v.Transfers {
			t.Errorf("%+v: of %d reads and %d transfers, %d lines are kept, %v", c, v.Reads, v.Transfers, len(events), err)
		}
		again, w, _ := checkLinear(t, newFakeBank("down"), "--history", kept)
		if again != code || w.Note != v.Note || (w.OK == nil) != (v.OK == nil) {
			t.Errorf("%+v: from the file: exit %d, %+v; recorded: exit %d, %+v", c, again, w, code, v)
		}
	}
}

// TestCheckLinearizabilityPrintsTheErrorAlone: without anything recorded there is no table.
func TestCheckLinearizabilityPrintsTheErrorAlone(t *testing.T) {
	for _, c := range []struct {
		scenario, args string
		code           int
	}{
		{"", "--history /nowhere/history", exitUsage},
		{"", "--accounts 5,9999", exitRefused},
		{"", "--record /nowhere/history", exitUsage},
		{"down", "--duration 1s", exitUnavailable},
	} {
		for _, format := range []string{"table", "plain"} {
			args := append([]string{"check", "linearizability", "-o", format}, strings.Fields(c.args)...)
			if code, out, errs := runFake(newFakeBank(c.scenario), "", nil, args...); code != c.code || out != "" || !strings.Contains(errs, "raftbank: ") {
				t.Errorf("%s as %s: exit %d, printed %q and %q", c.args, format, code, out, errs)
			}
		}
	}
}

func TestCheckLinearizabilityWithoutAnswers(t *testing.T) {
	if code, v, _ := checkLinear(t, newFakeBank("down"), "--duration", "1s"); code != exitUnavailable || v.OK != nil || v.Error == nil {
		t.Errorf("a bank that is down: exit %d, %+v", code, v)
	}
	opening := `{"kind":"opening","round":1,"account":"5","in":"10","out":"0","call_us":0,"return_us":0}` + "\n"
	kept := filepath.Join(t.TempDir(), "history.jsonl")
	if err := os.WriteFile(kept, []byte(opening), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, v, _ := checkLinear(t, newFakeBank(""), "--history", kept); code != exitUnavailable || !strings.Contains(v.Note, "nothing to compare") {
		t.Errorf("an empty history: exit %d, %+v", code, v)
	}
	for _, args := range []string{"--clients 0", "--clients 65", "--cross 101", "--duration 0s", "--hot 1", "--accounts 5", "--accounts 5,5",
		"--accounts 5,x", "--record a --history b", "--history /nowhere/history"} {
		code, out, _ := runFake(newFakeBank(""), "", nil, append([]string{"check", "linearizability", "-o", "json"}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(out, `"code":"usage"`) {
			t.Errorf("%s: exit %d, %s", args, code, out)
		}
	}
	if code, _, _ := runFake(newFakeBank(""), "", nil, "check", "linearizability", "--accounts", "5,9999"); code != exitRefused {
		t.Errorf("an account that does not exist: exit %d", code)
	}
}

// TestCheckFindsASessionThatGoesBack has a history whose only fault lies beyond the bounds of the search.
func TestCheckFindsASessionThatGoesBack(t *testing.T) {
	k := newLinearCheck(newFakeBank("").topology)
	events := []linear.Event{{Kind: linear.KindOpening, Round: 1, Account: "5", In: "10", Out: "0"}}
	for i := range int64(linear.MaxOps + 10) {
		events = append(events, linear.Event{Kind: linear.KindRead, Round: 1, Client: 1, Account: "5", In: "10", Out: "0", CallUs: 10 * i, ReturnUs: 10*i + 5})
	}
	events[len(events)-1].In = "9"
	if err := k.add(events); err != nil {
		t.Fatal(err)
	}
	if end := k.verdict(); len(k.violated) > 0 || end == nil || end.code != exitViolation || !strings.Contains(end.err.Message, "client 1 read account 5") {
		t.Errorf("%v, %v", k.violated, end)
	}
}
