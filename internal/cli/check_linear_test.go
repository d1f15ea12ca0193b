package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raftbank/internal/api"
	"raftbank/internal/linear"
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
		for _, a := range v.Accounts {
			if a.Account == v.Violation.Account && a.OK != nil {
				t.Errorf("account %+v", a)
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
	if end := k.verdict(); k.violated != nil || end == nil || end.code != exitViolation || !strings.Contains(end.err.Message, "client 1 read account 5") {
		t.Errorf("%v, %v", k.violated, end)
	}
}
