package cli

import (
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
)

func TestBusyTimeIsTheUnionOfSpans(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	for _, c := range []struct {
		name  string
		spans [][2]int
		want  int
	}{
		{"none", nil, 0},
		{"one", [][2]int{{0, 10}}, 10},
		{"apart", [][2]int{{0, 10}, {20, 25}}, 15},
		{"overlapping", [][2]int{{0, 10}, {5, 15}}, 15},
		{"a long one swallows all", [][2]int{{10, 12}, {14, 16}, {0, 20}}, 20},
		{"touching", [][2]int{{0, 10}, {10, 20}}, 20},
		{"same end", [][2]int{{0, 10}, {8, 10}, {9, 10}}, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b busyTime
			for _, s := range c.spans {
				b.add(at(s[0]), at(s[1]))
			}
			if got := b.total.Milliseconds(); got != int64(c.want) {
				t.Errorf("busy %d ms, want %d", got, c.want)
			}
		})
	}
}

func TestRecorderCountsByKindAndOutcome(t *testing.T) {
	now := time.UnixMilli(1000)
	r := &Recorder{Now: func() time.Time { return now }}
	r.Reset()
	var told int
	r.Also = func(client.Result) { told++ }
	for i := range 10 {
		now = now.Add(10 * time.Millisecond)
		r.Observe(client.Result{Kind: client.Intra, Outcome: client.Committed, Latency: time.Duration(i+1) * time.Millisecond})
	}
	r.Observe(client.Result{Kind: client.Cross, Outcome: client.Unknown, Latency: 3 * time.Second})
	r.Observe(client.Result{Kind: client.Intra, Outcome: client.Unavailable, Latency: time.Second})
	r.Observe(client.Result{Outcome: client.Aborted, Reason: ledger.ReasonNoAccount}) // asked no server
	p := r.Snapshot()
	if r := p.Kinds[2]; r.Kind != kindRefused || r.Aborted["no_account"] != 1 || p.Total.Aborted["no_account"] != 1 {
		t.Errorf("refused: %+v, total %+v", r, p.Total)
	}
	intra, cross := p.Kinds[0], p.Kinds[1]
	if intra.Committed != 10 || intra.Unavailable != 1 || cross.Unknown != 1 || p.Total.Committed != 10 {
		t.Errorf("counts: %+v", p)
	}
	if intra.LatencyUs.Max != 10_000+7 && intra.LatencyUs.Max/10 != 1000 {
		t.Errorf("max latency %d us, want about 10,000", intra.LatencyUs.Max)
	}
	if p.BusyMs != 3000 { // the unknown one spans everything
		t.Errorf("busy %d ms, want 3000", p.BusyMs)
	}
	if told != 13 {
		t.Errorf("told of %d results, want 13", told)
	}
	r.Reset()
	if p := r.Snapshot(); p.Total.Committed != 0 || p.BusyMs != 0 {
		t.Errorf("after Reset: %+v", p)
	}
}
