package client

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// inBubble runs a test with a fake clock, a network and a client that it closes.
func inBubble(t *testing.T, o Options, f func(t *testing.T, n *network, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		c := n.open(t, o)
		defer c.Close()
		f(t, n, c)
	})
}

func mustTransfer(t *testing.T, c *Client, from, to, amount uint64) Result {
	t.Helper()
	r, err := c.Transfer(t.Context(), Transfer{From: Account(from), To: Account(to), Amount: ledger.Units(amount)})
	if err != nil {
		t.Error(err)
	}
	return r
}

func apiError(t *testing.T, err error, code string) *api.Error {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got error %v (%T), want an api.Error with code %s", err, err, code)
	}
	return e
}

func TestOutcomes(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		for _, x := range []struct {
			from, to, amount uint64
			kind             Kind
			outcome          Outcome
			reason           Reason
			account          Account
		}{
			{1, 2, 3, Intra, Committed, ledger.ReasonNone, 0},
			{1, 11, 3, Cross, Committed, ledger.ReasonNone, 0},
			{1, 2, 100, Intra, Aborted, ledger.ReasonInsufficientFunds, 1},
			{12, 1, 11, Cross, Aborted, ledger.ReasonInsufficientFunds, 12},
			{1, 21, 1, 0, Aborted, ledger.ReasonNoAccount, 21},
			{1, 1, 1, Intra, Aborted, ledger.ReasonSameAccount, 0},
			{1, 2, 0, Intra, Aborted, ledger.ReasonBadAmount, 0},
		} {
			r := mustTransfer(t, c, x.from, x.to, x.amount)
			if r.Kind != x.kind || r.Outcome != x.outcome || r.Reason != x.reason || r.Account != x.account {
				t.Errorf("%d -> %d %d: got %s %s %s account %s", x.from, x.to, x.amount, r.Kind, r.Outcome, r.Reason, r.Account)
			}
			if r.Transfer.ID.IsZero() {
				t.Errorf("%d -> %d %d: no id was drawn", x.from, x.to, x.amount)
			}
		}
		b, err := c.Balance(t.Context(), 1)
		if err != nil || b.Balance != "4" || b.Role != "leader" {
			t.Errorf("balance of 1: got %+v, %v, want 4", b, err)
		}
	})
}

func TestSameIDIsAppliedOnce(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		x := Transfer{ID: NewID(), From: 1, To: 11, Amount: ledger.Units(2)}
		for range 3 {
			if r, _ := c.Transfer(t.Context(), x); r.Outcome != Committed {
				t.Fatalf("got %s %s, want committed", r.Outcome, r.Reason)
			}
		}
		if b, _ := c.Balance(t.Context(), 1); b.Balance != "8" {
			t.Errorf("balance is %s, want 8", b.Balance)
		}
		x.Amount = ledger.Units(3)
		if r, _ := c.Transfer(t.Context(), x); r.Outcome != Aborted || r.Reason != ledger.ReasonIDConflict {
			t.Errorf("other content: got %s %s, want aborted id_conflict", r.Outcome, r.Reason)
		}
	})
}

func TestConcurrentCallers(t *testing.T) {
	inBubble(t, Options{MaxInFlight: 7}, func(t *testing.T, n *network, c *Client) {
		var wg sync.WaitGroup
		for i := range uint64(200) {
			wg.Go(func() { mustTransfer(t, c, i%10+1, (i*7)%10+11, 1) })
		}
		wg.Wait()
		out, err := c.CheckConservation(t.Context())
		if err != nil || out.OK == nil || !*out.OK || out.Total != "200" {
			t.Errorf("check: %+v, %v", out, err)
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		n.set(func() { n.down[1], n.down[2], n.down[3] = true, true, true })
		r := mustTransfer(t, c, 1, 11, 1)
		if r.Outcome != Unavailable || r.Shard != 1 || r.Detail != "no server of C1 answers (127.0.0.1:9001, 9002, 9003)" {
			t.Errorf("got %s %s %q", r.Outcome, r.Shard, r.Detail)
		}
		apiError(t, r.Err(), "unavailable")
		_, err := c.Balance(t.Context(), 1)
		e := apiError(t, err, "unavailable")
		if e.Hint != "start one: raftbank server 1 9001, or try: raftbank demo" || !e.Retryable || e.Shard != 1 {
			t.Errorf("got %+v", e)
		}
		_, err = c.BalanceAt(t.Context(), 2, 1)
		if e := apiError(t, err, "unavailable"); !strings.HasPrefix(e.Message, "server 2 of C1 (127.0.0.1:9002) does not answer") {
			t.Errorf("got %q", e.Message)
		}
		if r := mustTransfer(t, c, 11, 12, 1); r.Outcome != Committed {
			t.Errorf("the other cluster: got %s, want committed", r.Outcome)
		}
	})
}

func TestUnknownAndResolve(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		mustTransfer(t, c, 2, 12, 1) // everything is connected
		n.set(func() { n.mute[4], n.mute[5], n.mute[6] = true, true, true })
		begin := time.Now()
		r := mustTransfer(t, c, 1, 11, 1)
		if r.Outcome != Unknown || r.Shard != 2 {
			t.Fatalf("got %s %s %q", r.Outcome, r.Shard, r.Detail)
		}
		if took := time.Since(begin); took < 3900*time.Millisecond || took > 4200*time.Millisecond {
			t.Errorf("it took %s, want the deadline of 3 s and the grace of 1 s", took)
		}
		if e := apiError(t, r.Err(), "unknown"); e.Message != "outcome unknown, nothing is lost: raftbank resolve "+r.Transfer.ID.String() {
			t.Errorf("got %q", e.Message)
		}
		doubt, err := c.InDoubt(t.Context())
		if err != nil || len(doubt.Transfers) != 1 || doubt.Error == nil {
			t.Errorf("in doubt: %+v, %v", doubt, err)
		}
		if s := doubt.Shards; len(s) != 2 || s[0].Leader == nil || s[0].Total != 1 || s[1].Server != nil {
			t.Errorf("in doubt, by cluster: %+v", s)
		}
		n.set(func() { clear(n.mute) })
		res, err := c.Resolve(t.Context(), r.Transfer.ID)
		if err != nil || res.Outcome != Aborted || res.Reason != ledger.ReasonTimedOut || res.Transfer.From != 1 {
			t.Errorf("resolve: %+v, %v", res, err)
		}
	})
}

func TestContextEnds(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		n.set(func() { n.mute[1] = true })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		r, err := c.Transfer(ctx, Transfer{From: 1, To: 2, Amount: ledger.Units(1)})
		if err != nil || r.Outcome != Unknown || r.Latency != 100*time.Millisecond {
			t.Errorf("got %s after %s, %v", r.Outcome, r.Latency, err)
		}
		done, stop := context.WithCancel(t.Context())
		stop()
		n.set(func() { n.down[4], n.down[5], n.down[6] = true, true, true })
		if r, err := c.Transfer(done, Transfer{From: 11, To: 12, Amount: ledger.Units(1)}); err != nil || r.Outcome != Unavailable {
			t.Errorf("got %s, %v, want unavailable: nothing was ever sent", r.Outcome, err)
		}
	})
}

func TestLeaderDies(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		mustTransfer(t, c, 1, 2, 1)
		n.set(func() { n.down[1], n.bank.Leaders[1] = true, 0 })
		time.AfterFunc(700*time.Millisecond, func() { n.set(func() { n.bank.Leaders[1] = 3 }) })
		r := mustTransfer(t, c, 1, 2, 1)
		if r.Outcome != Committed || r.Latency < 700*time.Millisecond || r.Latency > 800*time.Millisecond {
			t.Errorf("got %s after %s, want committed soon after the new leader", r.Outcome, r.Latency)
		}
	})
}

func TestResolveAndCancel(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		id := NewID()
		if _, err := c.Resolve(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("resolve of nothing: %v, want ErrNotFound", err)
		}
		if r, err := c.Cancel(t.Context(), id); err != nil || r.Outcome != Aborted || r.Reason != ledger.ReasonCancelled {
			t.Errorf("cancel: %+v, %v", r, err)
		}
		r, _ := c.Transfer(t.Context(), Transfer{ID: id, From: 1, To: 2, Amount: ledger.Units(1)})
		if r.Outcome != Aborted || r.Reason != ledger.ReasonCancelled {
			t.Errorf("transfer after cancel: %s %s", r.Outcome, r.Reason)
		}
		x := mustTransfer(t, c, 1, 11, 1)
		if r, err := c.Cancel(t.Context(), x.Transfer.ID); err != nil || r.Outcome != Committed || r.Kind != Cross {
			t.Errorf("cancel of what is committed: %+v, %v", r, err)
		}
		if _, err := c.Resolve(t.Context(), ID{}); err == nil {
			t.Error("a zero id was taken")
		}
	})
}

func TestReplicas(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		n.set(func() { n.down[2] = true })
		b, err := c.Replicas(t.Context(), 1)
		if err != nil || !b.Strong || b.Balance != "10" || b.Available != "10" || len(b.Replicas) != 3 {
			t.Fatalf("got %+v, %v", b, err)
		}
		if !b.Replicas[0].Up || b.Replicas[0].Role != "leader" || b.Replicas[1].Up || b.Replicas[2].Role != "follower" {
			t.Errorf("got %+v", b.Replicas)
		}
		n.set(func() { n.bank.Leaders[1] = 0 })
		b, err = c.Replicas(t.Context(), 1)
		if err != nil || b.Strong || b.Error == nil || b.Balance != "10" {
			t.Errorf("without a leader: %+v, %v", b, err)
		}
		if b.Error.Message != "C1 has no leader (2 of 3 servers answer)" {
			t.Errorf("got %q", b.Error.Message)
		}
		_, err = c.Replicas(t.Context(), 21)
		if e := apiError(t, err, "refused"); e.Message != "account 21 does not exist: this bank holds 1-20" {
			t.Errorf("got %q", e.Message)
		}
	})
}

func TestStatusAndExplain(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		n.set(func() { n.down[6] = true })
		st, err := c.Status(t.Context())
		if err != nil || len(st.Shards) != 2 || st.Shards[1].Leader == nil || *st.Shards[1].Leader != 4 || st.Error != nil {
			t.Fatalf("got %+v, %v", st, err)
		}
		if s := st.Shards[1].Servers[2]; s.Up || s.Server != 6 || s.Addr != "127.0.0.1:9006" || s.Note == "" {
			t.Errorf("got %+v", s)
		}
		x := mustTransfer(t, c, 1, 11, 2)
		<-time.After(30 * time.Millisecond) // of the bubble's clock: FINISH travels within 20 ms
		e, err := c.Explain(t.Context(), x.Transfer.ID)
		if err != nil || e.Outcome != "committed" || e.From != "1" || e.To != "11" || e.Amount != "2" || e.Kind != "cross" {
			t.Fatalf("got %+v, %v", e, err)
		}
		var lines []string
		for _, ev := range e.Events {
			b, _ := json.Marshal(ev.Servers)
			lines = append(lines, ev.Cluster+" "+ev.Kind+" "+string(b))
		}
		want := "C1 prepare [1,2,3]; C1 commit [1,2,3]; C2 prepare [4,5]; C2 commit [4,5]"
		if got := strings.Join(lines, "; "); got != want {
			t.Errorf("timeline:\n got %s\nwant %s", got, want)
		}
		if e, _ := c.Explain(t.Context(), NewID()); e.Outcome != "not-found" {
			t.Errorf("got %s, want not-found", e.Outcome)
		}
	})
}

// twistCheck changes what servers say for the check.
func twistCheck(n *network, change func(to shard.ServerID, v *api.ServerCheck)) {
	n.set(func() {
		n.twist = func(to shard.ServerID, r *wire.Reply) error {
			var v api.ServerCheck
			if len(r.Body) == 0 || json.Unmarshal(r.Body, &v) != nil || v.Expected == "" {
				return nil
			}
			change(to, &v)
			r.Body, _ = json.Marshal(v)
			return nil
		}
	})
}

func TestCheckConservation(t *testing.T) {
	hash := func(index uint64, state string) api.HashAt { return api.HashAt{Index: index, State: state, Chain: "c"} }
	for _, x := range []struct {
		name   string
		change func(n *network)
		want   string // "true", "false" or "null"
		note   string
	}{
		{"at rest", func(n *network) {}, "true", ""},
		{"one down", func(n *network) { n.set(func() { n.down[2] = true }) }, "true", "1 servers do not answer and were not checked"},
		{"no majority", func(n *network) { n.set(func() { n.down[2], n.down[3] = true, true }) }, "null", "not comparable: a cluster has no majority"},
		{"cluster down", func(n *network) { n.set(func() { n.down[4], n.down[5], n.down[6] = true, true, true }) }, "null",
			"no server of C2 answers (127.0.0.1:9004, 9005, 9006)"},
		{"no leader", func(n *network) { n.set(func() { n.bank.Leaders[1] = 0 }) }, "null", "not comparable: C1 has no leader"},
		{"prepared", func(n *network) {
			twistCheck(n, func(to shard.ServerID, v *api.ServerCheck) { v.Prepared = 1 })
		}, "null", noteRunning},
		{"wrong total", func(n *network) {
			twistCheck(n, func(to shard.ServerID, v *api.ServerCheck) {
				if to == 1 {
					v.Total = "99"
				}
			})
		}, "false", "the total is 199, opened were 200"},
		{"overdraft", func(n *network) {
			twistCheck(n, func(to shard.ServerID, v *api.ServerCheck) {
				if to == 5 {
					v.Negative = 2
				}
			})
		}, "false", "server 5 of C2: 2 accounts are below their floor at index 1"},
		{"hashes differ", func(n *network) {
			twistCheck(n, func(to shard.ServerID, v *api.ServerCheck) {
				v.Hash = hash(1, map[bool]string{true: "x", false: "s"}[to == 3])
			})
		}, "false", "servers 1 and 3 of C1 differ at index 1: state s and x"},
		{"a lagging server, equal at a common index", func(n *network) {
			twistCheck(n, func(to shard.ServerID, v *api.ServerCheck) {
				v.Hashes = []api.HashAt{hash(64, "y")}
				if v.Hash = hash(70, "s"); to == 3 {
					v.Hash, v.Applied = hash(66, "z"), 66
				}
			})
		}, "true", ""},
		{"a lagging server, different at a common index", func(n *network) {
			twistCheck(n, func(to shard.ServerID, v *api.ServerCheck) {
				v.Hashes = []api.HashAt{hash(64, "y")}
				if v.Hash = hash(70, "s"); to == 3 {
					v.Hash, v.Hashes = hash(66, "z"), []api.HashAt{hash(64, "q")}
				}
			})
		}, "false", "servers 1 and 3 of C1 differ at index 64: state y and q"},
	} {
		t.Run(x.name, func(t *testing.T) {
			inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
				x.change(n)
				out, err := c.CheckConservation(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ok, _ := json.Marshal(out.OK)
				if string(ok) != x.want || out.Note != x.note {
					t.Errorf("got ok %s, note %q, want %s, %q", ok, out.Note, x.want, x.note)
				}
				if (out.Error != nil) == (x.want == "true") {
					t.Errorf("got error %+v", out.Error)
				}
			})
		})
	}
}

func TestTraceAndCrash(t *testing.T) {
	inBubble(t, Options{Trace: true}, func(t *testing.T, n *network, c *Client) {
		var got []string
		for _, s := range mustTransfer(t, c, 1, 11, 1).Steps {
			got = append(got, s.Actor+": "+s.Text)
		}
		if s := strings.Join(got, "; "); !strings.Contains(s, "client: PREPARE to C1 (server 1)") || !strings.HasSuffix(s, "client: committed") {
			t.Errorf("steps: %s", s)
		}
	})
	for point := 1; point <= 8; point++ {
		crashed := make(chan struct{})
		var once sync.Once
		o := Options{CrashPoint: point}
		synctest.Test(t, func(t *testing.T) {
			crashed = make(chan struct{})
			o.Crash = func() { once.Do(func() { close(crashed) }) }
			n := newNetwork()
			c := n.open(t, o)
			defer c.Close()
			amount := uint64(1)
			if point == 6 {
				amount = 100
			}
			go mustTransfer(t, c, 1, 11, amount)
			<-crashed
			n.set(n.bank.Recover)
			n.set(func() {
				if p := n.bank.Prepared(); p != 0 {
					t.Errorf("point %d: %d transfers stay prepared", point, p)
				}
			})
		})
	}
}

func TestHooks(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		x := Transfer{ID: NewID(), From: 1, To: 11, Amount: ledger.Units(1)}
		if r, err := c.Cancel(t.Context(), x.ID); err != nil || r.Outcome != Aborted {
			t.Fatal(r, err)
		}
		a, err := c.SendLatePrepare(t.Context(), x)
		if err != nil || a.Shard != 2 || a.State != ledger.Aborted || a.Reason != ledger.ReasonCancelled {
			t.Errorf("late copy: %+v, %v", a, err)
		}
		report, err := c.Lie(t.Context(), Transfer{From: 1, To: 11, Amount: ledger.Units(1)})
		if err != nil || len(report.After) != 2 {
			t.Fatal(report, err)
		}
		if report.Bank != n.bank.Keys.Bank {
			t.Errorf("lies in the name of bank %x, not %x", report.Bank, n.bank.Keys.Bank)
		}
		seen := txn.Block{Bank: report.Bank, KeyID: n.bank.Keys.Keys[0].ID}
		lie := forged(seen, []shard.ID{1}, []ledger.Record{recordOf(x)}, ledger.FactYes)
		if err := n.bank.Keys.Verify(&lie[0]); !errors.Is(err, txn.ErrForged) {
			t.Errorf("a lie is refused with %v, want %v", err, txn.ErrForged)
		}
		for i := range report.After {
			if report.Prepared[i].State != ledger.Prepared || report.After[i].State != ledger.Prepared {
				t.Errorf("%s: before %s, after the lies %s, want prepared", report.After[i].Shard, report.Prepared[i].State, report.After[i].State)
			}
		}
		if _, err := c.Lie(t.Context(), Transfer{From: 1, To: 2, Amount: ledger.Units(1)}); err == nil {
			t.Error("a lie within one cluster was taken")
		}
		_, err = c.Fault(t.Context(), 1, api.FaultRequest{})
		apiError(t, err, "refused")
	})
}

func TestWrongServerAtAddress(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		n.set(func() { n.named[1] = 7 })
		_, err := c.BalanceAt(t.Context(), 1, 1)
		e := apiError(t, err, "unavailable")
		if !strings.Contains(e.Message, "at 127.0.0.1:9001 answers server 7 of C1, not server 1 of C1") {
			t.Errorf("got %q", e.Message)
		}
		n.set(func() { n.bank.Leaders[1] = 2 })
		if r := mustTransfer(t, c, 1, 2, 1); r.Outcome != Committed {
			t.Errorf("got %s", r.Outcome)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		c := n.open(t, Options{})
		if r := mustTransfer(t, c, 1, 11, 1); r.Outcome != Committed {
			t.Fatal(r.Outcome)
		}
		n.set(func() { n.mute[1], n.mute[2], n.mute[3] = true, true, true })
		done := make(chan Result, 1)
		go func() { done <- mustTransfer(t, c, 1, 2, 1) }()
		synctest.Wait()
		c.Close()
		if r := <-done; r.Outcome != Unknown {
			t.Errorf("a transfer in flight at Close: got %s, want unknown", r.Outcome)
		}
		c.Close()
		if _, err := c.Transfer(t.Context(), Transfer{From: 1, To: 2, Amount: ledger.Units(1)}); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if _, err := c.Status(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if p := n.bank.State(2).PreparedCount(); p != 0 {
			t.Error("Close lost a FINISH")
		}
	})
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{},
		{Topology: smallTopology(), Deadline: -1},
		{Topology: smallTopology(), CrashPoint: 9, Crash: func() {}},
		{Topology: smallTopology(), CrashPoint: 1},
		{Topology: &shard.Topology{}},
	} {
		if _, err := Open(o); err == nil {
			t.Errorf("options %+v were taken", o)
		}
	}
}

func TestNewIDIsOrdered(t *testing.T) {
	last := NewID()
	for range 1000 {
		next := NewID()
		if next.Compare(last) <= 0 {
			t.Fatalf("%s after %s", next, last)
		}
		last = next
	}
}
