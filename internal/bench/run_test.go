package bench

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// fakeSystem answers every request after a fixed time, but for a stall.
type fakeSystem struct {
	took    time.Duration
	started time.Time
	// From stallFrom on, for stall, nothing is answered.
	stallFrom, stall time.Duration
	result           client.Result
	failAfter        int64 // requests; 0: never
	noReads          bool
	hears            bool                // the end of the context ends a request, as unknown
	usage            []map[string]uint64 // one per look

	requests, looks atomic.Int64
}

var errBroken = errors.New("the system is broken")

func (f *fakeSystem) Connect(context.Context, int) (Session, error) {
	if f.started.IsZero() {
		f.started = time.Now()
	}
	return f, nil
}

func (f *fakeSystem) Usage(context.Context) (map[string]uint64, error) {
	n := int(f.looks.Add(1)) - 1
	if n >= len(f.usage) {
		return nil, errBroken
	}
	return f.usage[n], nil
}

// wait reports whether the request has an answer.
func (f *fakeSystem) wait(ctx context.Context) bool {
	d := f.took
	if at := time.Since(f.started); f.stall > 0 && at+d > f.stallFrom && at < f.stallFrom+f.stall {
		d += f.stallFrom + f.stall - at
	}
	if !f.hears {
		ctx = context.Background()
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *fakeSystem) Transfer(ctx context.Context, ts []client.Transfer) (client.Tally, error) {
	if n := f.requests.Add(1); f.failAfter > 0 && n > f.failAfter {
		return client.Tally{}, errBroken
	}
	began := time.Now()
	answered := f.wait(ctx)
	out := make([]client.Result, len(ts))
	for i := range out {
		if out[i] = f.result; !answered {
			out[i] = client.Result{Kind: client.Intra, Outcome: client.Unknown}
		}
		out[i].Latency = time.Since(began)
	}
	return TallyOf(out), nil
}

func (f *fakeSystem) Read(ctx context.Context, _ shard.Account) error {
	f.wait(ctx)
	if f.noReads {
		return errBroken
	}
	return nil
}

func (f *fakeSystem) Close() error { return nil }

// runFake runs a load in a bubble with a clock of its own.
func runFake(ctx context.Context, f *fakeSystem, o Options, progress func(Progress)) (*Measured, error) {
	r := &run{o: o, target: f, progress: progress, sleep: func(d time.Duration) { <-time.After(d) }}
	return r.run(ctx, testTopology(1, 100))
}

var committed = client.Result{Kind: client.Intra, Outcome: client.Committed}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSystem{took: 10 * time.Millisecond, result: committed, usage: []map[string]uint64{
			{UsageCPU: 1000, UsageRSS: 5, UsageLog: 100}, {UsageCPU: 13_000, UsageRSS: 7, UsageLog: 100},
		}}
		seen := 0
		m, err := runFake(t.Context(), f, load(func(o *Options) {
			o.Clients, o.InFlight, o.Batch = 2, 3, 2
			o.Warmup, o.Duration = time.Second, time.Second
		}), func(p Progress) {
			if seen++; p.Whole != 2*time.Second || p.Committed == 0 {
				t.Errorf("progress %+v", p)
			}
		})
		if err != nil || seen == 0 {
			t.Fatal(err, seen)
		}
		r := m.Result()
		// 6 requests of 2 transfers, 100 times a second.
		if r.Committed < 1180 || r.Committed > 1212 || r.TPS != float64(r.Committed) || len(r.Kinds) != 1 || r.Kinds[0].Kind != "intra" {
			t.Errorf("%d committed, %g/s, kinds %+v; want about 1200 intra", r.Committed, r.TPS, r.Kinds)
		}
		if r.LatencyUs.P50 < 9_990 || r.LatencyUs.Max > 10_010 {
			t.Errorf("latency %+v, want 10 ms", r.LatencyUs)
		}
		if *r.CPUUsPerTransfer.Servers != 12_000/float64(r.Committed) || *r.RSSBytes != 7 || *r.LogBytesPerTransfer != 0 {
			t.Errorf("usage %v %v %v", *r.CPUUsPerTransfer.Servers, *r.RSSBytes, *r.LogBytesPerTransfer)
		}
		if r.SyncsPerTransfer != nil || r.DiskBytesPerTransfer != nil {
			t.Error("what was not measured is shown as a figure")
		}
		sum := 0
		for _, s := range r.Timeline {
			sum += s.Committed
		}
		if len(r.Timeline) != 10 || sum != r.Committed {
			t.Errorf("%d slices with %d transfers, want 10 with %d", len(r.Timeline), sum, r.Committed)
		}
	})
}

// TestOpenLoopShowsAStall is about coordinated omission: a closed loop would see one slow request.
func TestOpenLoopShowsAStall(t *testing.T) {
	stall := func(rate float64) (int64, int) {
		var p95 int64
		var committedTransfers int
		synctest.Test(t, func(t *testing.T) {
			f := &fakeSystem{took: time.Millisecond, result: committed, stallFrom: 2 * time.Second, stall: time.Second}
			m, err := runFake(t.Context(), f, load(func(o *Options) {
				o.Clients, o.Rate = 4, rate
				o.Warmup, o.Duration = time.Second, 5*time.Second
			}), nil)
			if err != nil {
				t.Fatal(err)
			}
			if m.UsageError == nil {
				t.Error("missing figures of the servers are not told")
			}
			r := m.Result()
			p95, committedTransfers = r.LatencyUs.P95, r.Committed
			if r.CPUUsPerTransfer.Servers != nil {
				t.Error("a figure that could not be had is shown")
			}
		})
		return p95, committedTransfers
	}
	if p95, _ := stall(0); p95 > 2000 {
		t.Errorf("closed loop: p95 is %d us; the stall should have hidden there", p95)
	}
	p95, n := stall(100)
	if n < 400 || n > 600 {
		t.Errorf("open loop: %d transfers in 5 s at 100/s", n)
	}
	if p95 < 500_000 {
		t.Errorf("open loop: p95 is %d us, though a fifth of the requests fell due in a stall of 1 s", p95)
	}
}

// TestOpenLoopSheds puts four times as much on a system as it takes: with a bound on what waits, the rest ends as
// unavailable, all that was due is accounted for, and what is accepted has waited for the bound's length at most.
func TestOpenLoopSheds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSystem{took: 10 * time.Millisecond, result: committed}
		m, err := runFake(t.Context(), f, load(func(o *Options) {
			o.Clients, o.InFlight, o.Batch, o.Queue = 2, 2, 5, 4 // 400 requests a second
			o.Rate = 4 * 400 * 5
			o.Warmup, o.Duration = time.Second, 5*time.Second
		}), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := m.Result()
		if r.Committed < 9_500 || r.Committed > 10_500 || r.Shed < 28_000 || r.Unavailable != r.Shed {
			t.Errorf("%d committed, %d shed, %d unavailable; want 10,000 and 30,000", r.Committed, r.Shed, r.Unavailable)
		}
		if r.LatencyUs.Max > 21_000 {
			t.Errorf("latency %+v; the queue is one request deep", r.LatencyUs)
		}
		if due := r.Committed + r.Shed; due%5 != 0 || due < 39_000 || due > 41_000 {
			t.Errorf("%d of 40,000 transfers accounted for", due)
		}
	})
}

// TestUnsentReads puts ten times as many requests on a system as it takes, of which most are reads, or all: of those that
// are never sent, shed or late, a read counts as one read without an answer, and a request of transfers as its transfers.
func TestUnsentReads(t *testing.T) {
	for _, reads := range []int{100, 90} {
		for _, queue := range []int{4, 0} {
			synctest.Test(t, func(t *testing.T) {
				m, err := runFake(t.Context(), &fakeSystem{took: 10 * time.Millisecond, result: committed}, load(func(o *Options) {
					o.Batch, o.Reads, o.Queue, o.Rate = 5, reads, queue, 5*1000 // takes 100 requests a second
					o.Warmup, o.Duration, o.Drain = 0, 10*time.Second, time.Second
				}), nil)
				if err != nil {
					t.Fatal(err)
				}
				r := m.Result()
				k, failed := readsOf(&r), 0
				for _, s := range r.Timeline {
					failed += s.ReadsFailed
				}
				// A tenth of the 10,000 requests is sent, and in the drain another 100.
				share := float64(reads) / 100
				if due := float64(k.Committed + k.Unavailable); due < 9_500*share || due > 10_500*share || k.Unavailable < int(8_500*share) || failed != k.Unavailable {
					t.Errorf("%d %% reads: %d answered and %d not, %d in the timeline; %g were due", reads, k.Committed, k.Unavailable, failed, 10_000*share)
				}
				unsent := r.Shed + r.Undrained
				if want := 9_000 * 5 * (1 - share); float64(unsent) < want*8/10 || float64(unsent) > want*12/10 || unsent != r.Unavailable {
					t.Errorf("%d %% reads: %d shed and %d late transfers, %d unavailable; want %g", reads, r.Shed, r.Undrained, r.Unavailable, want)
				}
			})
		}
	}
}

// TestDrainIsBounded puts ten times as much on a system as it takes, and one that answers nothing after the window: all
// that was due is accounted for, and the run ends with the drain.
func TestDrainIsBounded(t *testing.T) {
	for _, test := range []struct {
		name  string
		f     *fakeSystem
		queue int
		secs  int
	}{
		{"slow", &fakeSystem{took: 10 * time.Millisecond, result: committed}, 0, 18}, // more than the channel holds
		{"deaf", &fakeSystem{took: 10 * time.Millisecond, result: committed, stallFrom: time.Second, stall: time.Hour, hears: true}, 0, 2},
		{"deaf, with a queue", &fakeSystem{took: 10 * time.Millisecond, result: committed, stallFrom: time.Second, stall: time.Hour, hears: true}, 4, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, draining := time.Now(), false
			m, err := runFake(t.Context(), test.f, load(func(o *Options) {
				o.Clients, o.Batch, o.Rate, o.Queue = 2, 5, 20_000, test.queue // takes 1000
				o.Warmup, o.Duration, o.Drain = 0, time.Duration(test.secs)*time.Second, 3*time.Second
			}), func(p Progress) { draining = draining || p.Phase == Draining })
			if err != nil {
				t.Fatal(err)
			}
			r := m.Result()
			want := 20_000 * test.secs
			if took := time.Since(began); took > time.Duration(test.secs)*time.Second+3100*time.Millisecond || !draining {
				t.Errorf("%s: the run took %s, draining shown: %t", test.name, took, draining)
			}
			sum := 0
			for _, s := range r.Timeline {
				sum += s.Committed + s.Failed
			}
			if due := r.Committed + r.Unavailable + r.Unknown; due < want*95/100 || due > want*105/100 {
				t.Errorf("%s: %d of %d transfers accounted for", test.name, due, want)
			}
			if r.Undrained == 0 || r.Undrained != r.Unavailable+r.Unknown-r.Shed || (test.f.hears && r.Unknown == 0) || sum < want*9/10 {
				t.Errorf("%s: undrained %d, unavailable %d, unknown %d, shed %d; in the timeline %d", test.name, r.Undrained, r.Unavailable, r.Unknown, r.Shed, sum)
			}
		})
	}
}

func TestOutcomesAndReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			result client.Result
			check  func(unavailable, unknown, aborted int) bool
		}{
			{client.Result{Kind: client.Cross, Outcome: client.Aborted, Reason: ledger.ReasonInsufficientFunds},
				func(unavailable, unknown, aborted int) bool { return aborted > 80 && unavailable+unknown == 0 }},
			{client.Result{Kind: client.Cross, Outcome: client.Unavailable},
				func(unavailable, unknown, aborted int) bool { return unavailable > 80 && aborted+unknown == 0 }},
			{client.Result{Kind: client.Cross, Outcome: client.Unknown},
				func(unavailable, unknown, aborted int) bool { return unknown > 80 && aborted+unavailable == 0 }},
		} {
			m, err := runFake(t.Context(), &fakeSystem{took: 10 * time.Millisecond, result: test.result}, load(nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			r := m.Result()
			if !test.check(r.Unavailable, r.Unknown, r.Aborted["insufficient_funds"]) || r.Committed != 0 || r.TPS != 0 {
				t.Errorf("%s: %+v", test.result.Outcome, r)
			}
		}
		reads := load(func(o *Options) { o.Reads = 100 })
		m, err := runFake(t.Context(), &fakeSystem{took: 10 * time.Millisecond}, reads, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := m.Result()
		if r.Committed != 0 || len(r.Kinds) != 1 || r.Kinds[0].Kind != "read" || r.Kinds[0].Committed < 90 {
			t.Errorf("reads: %+v", r.Kinds)
		}
		if s := r.Timeline[3]; s.Reads < 9 || s.ReadP50Us < 9_900 || s.ReadsFailed != 0 || len(r.ReadDistribution) == 0 || len(r.Distribution) != 0 {
			t.Errorf("reads in the timeline: %+v, distribution %v", s, r.ReadDistribution)
		}
		m, err = runFake(t.Context(), &fakeSystem{took: 10 * time.Millisecond, noReads: true}, reads, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := m.Result(); r.Kinds[0].Unavailable < 90 || r.Kinds[0].Committed != 0 || r.Timeline[3].ReadsFailed < 9 {
			t.Errorf("unanswered reads: %+v", r.Kinds)
		}
	})
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSystem{took: time.Millisecond, result: committed, failAfter: 10}
		if _, err := runFake(t.Context(), f, load(nil), nil); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want the session's error", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		f = &fakeSystem{took: time.Millisecond, result: committed}
		if _, err := runFake(ctx, f, load(func(o *Options) { o.Warmup = time.Second }), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the context", err)
		}
	})
}

// TestInterruptedRunKeepsItsPart ends closed and open loops after a quarter of the window, one of them with requests
// that are due in minutes.
func TestInterruptedRunKeepsItsPart(t *testing.T) {
	for _, rate := range []float64{0, 1000, 0.01} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(1500*time.Millisecond, cancel)
			usage := map[string]uint64{UsageRSS: 7}
			f := &fakeSystem{took: time.Millisecond, result: committed, usage: []map[string]uint64{usage, usage}}
			m, err := runFake(ctx, f, load(func(o *Options) {
				o.Warmup, o.Duration, o.Rate = time.Second, 2*time.Second, rate
			}), nil)
			if err != nil {
				t.Fatal(err)
			}
			r := m.Result()
			if !r.Interrupted || r.Seconds < 0.49 || r.Seconds > 0.61 || len(r.Timeline) > 7 || r.RSSBytes == nil {
				t.Errorf("rate %g: %+v", rate, r)
			}
			if rate != 0.01 && (r.Committed < 400 || r.TPS < 800 || r.TPS > 1100) {
				t.Errorf("rate %g: %d committed, %g/s; want about 500 and 1000", rate, r.Committed, r.TPS)
			}
		})
	}
}

func TestSumUsage(t *testing.T) {
	got := SumUsage([]map[string]uint64{{UsageCPU: 1, UsageRSS: 2}, {UsageCPU: 3}})
	if got[UsageCPU] != 4 || len(got) != 1 {
		t.Errorf("got %v, want the CPU time alone", got)
	}
	if got := SumUsage(nil); len(got) != 0 {
		t.Errorf("of no servers: %v", got)
	}
}
