package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// testTopology has clusters of one server each; accounts are per cluster.
func testTopology(clusters int, accounts uint64) *shard.Topology {
	t := &shard.Topology{OpeningBalance: 100}
	for i := range clusters {
		first := shard.Account(uint64(i)*accounts + 1)
		t.Clusters = append(t.Clusters, shard.Cluster{
			Shard: shard.ID(i + 1), Range: shard.Range{First: first, Last: first + shard.Account(accounts) - 1},
			Servers: []shard.Server{{ID: shard.ServerID(i + 1), Addr: "127.0.0.1:1"}},
		})
	}
	return t
}

func load(change func(*Options)) Options {
	o := Options{Clients: 1, Batch: 1, InFlight: 1, Duration: time.Second, Cross: AsPairsFall, Seed: 1}
	if change != nil {
		change(&o)
	}
	return o
}

func draw(t *shard.Topology, o Options, n int) []client.Transfer {
	ts := make([]client.Transfer, n)
	NewGenerator(t, o, 0, 0).Fill(ts)
	return ts
}

func TestGeneratorRepeatsItsSeed(t *testing.T) {
	bank := testTopology(3, 1000)
	a, b := draw(bank, load(nil), 1000), draw(bank, load(nil), 1000)
	if !slices.Equal(a, b) {
		t.Error("the same seed drew other transfers")
	}
	if c := draw(bank, load(func(o *Options) { o.Seed = 2 }), 1000); slices.Equal(a, c) {
		t.Error("another seed drew the same transfers")
	}
	other := make([]client.Transfer, 1000)
	NewGenerator(bank, load(nil), 0, 1).Fill(other)
	if slices.Equal(a, other) {
		t.Error("another slot drew the same transfers")
	}
	for i := range a {
		x := &a[i]
		if x.From == x.To || x.From < 1 || x.From > 3000 || x.To < 1 || x.To > 3000 {
			t.Fatalf("transfer %d goes from %d to %d", i, x.From, x.To)
		}
		if x.Amount.IsZero() || x.Amount.Cmp(ledger.Units(maxAmount)) > 0 || !x.ID.IsZero() {
			t.Fatalf("transfer %d: amount %s, id %s", i, x.Amount, x.ID)
		}
	}
}

func TestCrossShare(t *testing.T) {
	bank := testTopology(3, 100)
	const n = 20_000
	for _, test := range []struct {
		cross int
		want  float64
	}{{0, 0}, {30, 0.3}, {100, 1}, {AsPairsFall, 2.0 / 3}} {
		crossing := 0
		for _, x := range draw(bank, load(func(o *Options) { o.Cross = test.cross }), n) {
			from, _ := bank.ShardOf(x.From)
			to, _ := bank.ShardOf(x.To)
			if from != to {
				crossing++
			}
		}
		if got := float64(crossing) / n; math.Abs(got-test.want) > 0.02 {
			t.Errorf("--cross %d: %.3f of the transfers cross, want %.3f", test.cross, got, test.want)
		}
	}
}

func TestHotAccounts(t *testing.T) {
	bank := testTopology(2, 100)
	hot := []shard.Account{1, 101, 2}
	o := load(func(o *Options) { o.Hot = 3 })
	payer := 0
	for i, x := range draw(bank, o, 3000) {
		from, to := slices.Contains(hot, x.From), slices.Contains(hot, x.To)
		if !from && !to {
			t.Fatalf("transfer %d, %d to %d, touches no hot account", i, x.From, x.To)
		}
		if from {
			payer++
		}
	}
	if payer < 1300 || payer > 1800 {
		t.Errorf("a hot account paid %d of 3000 times, want about half", payer)
	}
	if a := NewGenerator(bank, o, 0, 0).Account(); !slices.Contains(hot, a) {
		t.Errorf("account %d is read, which is not hot", a)
	}
}

func TestZipf(t *testing.T) {
	const n, draws = 50, 200_000
	for _, s := range []float64{0.5, 0.99, 1, 1.5} {
		rng := rand.New(rand.NewPCG(1, 2))
		z := newZipf(s, n)
		counts := make([]int, n)
		for range draws {
			counts[z.draw(rng)]++
		}
		var norm float64
		for k := 1.0; k <= n; k++ {
			norm += math.Pow(k, -s)
		}
		for rank, got := range counts {
			want := math.Pow(float64(rank+1), -s) / norm * draws
			if math.Abs(float64(got)-want) > 5*math.Sqrt(want) {
				t.Errorf("exponent %g: rank %d was drawn %d times, want about %.0f", s, rank, got, want)
			}
		}
	}
}

func TestReadsShare(t *testing.T) {
	g := NewGenerator(testTopology(1, 10), load(func(o *Options) { o.Reads = 25 }), 0, 0)
	reads := 0
	for range 10_000 {
		if g.IsRead() {
			reads++
		}
	}
	if reads < 2300 || reads > 2700 {
		t.Errorf("%d of 10000 requests are reads, want about 2500", reads)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		change func(*Options)
		want   string
	}{
		{func(*Options) {}, ""},
		{func(o *Options) { o.Clients = 0 }, "clients 0: want at least 1"},
		{func(o *Options) { o.Batch = 8191 }, "batch 8191: a request holds at most 8190"},
		{func(o *Options) { o.InFlight = -1 }, "in-flight -1"},
		{func(o *Options) { o.Cross = 101 }, "cross 101: want a percentage"},
		{func(o *Options) { o.Cross = 10 }, "one shard has no transfers between shards"},
		{func(o *Options) { o.Cross = 0 }, ""},
		{func(o *Options) { o.Reads = -3 }, "reads -3"},
		{func(o *Options) { o.Skew = -1 }, "skew -1"},
		{func(o *Options) { o.Skew, o.Hot = 1, 1 }, "exclude each other"},
		{func(o *Options) { o.Hot = 10 }, "hot 10: the bank has 10 accounts"},
		{func(o *Options) { o.Skew = math.NaN() }, "skew NaN: want an exponent"},
		{func(o *Options) { o.Rate = -1 }, "rate -1"},
		{func(o *Options) { o.Rate = math.NaN() }, "rate NaN: want transfers per second from 0.001 to 10000000"},
		{func(o *Options) { o.Rate = math.Inf(1) }, "rate +Inf"},
		{func(o *Options) { o.Rate = 1e-300 }, "rate 1e-300"},
		{func(o *Options) { o.Rate = 1e12 }, "rate 1e+12"},
		{func(o *Options) { o.Rate = minRate }, ""},
		{func(o *Options) { o.Queue = 4 }, "queue 4: requests wait only in an open loop"},
		{func(o *Options) { o.Queue, o.Rate = 4, 10 }, ""},
		{func(o *Options) { o.Queue, o.Rate = 1<<20+1, 10 }, "queue 1048577: want 0 (all wait) to 1048576"},
		{func(o *Options) { o.Drain = -1 }, "drain: not below 0"},
		{func(o *Options) { o.Duration = 0 }, "duration"},
	} {
		o := load(test.change)
		err := o.Validate(testTopology(1, 10))
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%+v: %v", o, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%+v: got %v, want %q", o, err, test.want)
		}
	}
	o := load(nil)
	if err := o.Validate(testTopology(2, 1)); err == nil || !strings.Contains(err.Error(), "C1 has 1 account") {
		t.Errorf("clusters of one account: %v", err)
	}
}
