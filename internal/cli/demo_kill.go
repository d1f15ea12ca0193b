package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// The load that runs while the demo kills a leader.
const (
	loadPerCluster = 2                    // workers with transfers inside each cluster
	loadCross      = 3                    // workers with transfers between clusters
	loadPause      = 4 * time.Millisecond // between two transfers of a worker
	loadKeeps      = 10                   // the first accounts of a cluster are left to the acts and the user
	loadBefore     = 400                  // acknowledgements before the kill
	loadVerify     = 64                   // questions at once afterwards
	// A pause between answers up to this long is no interruption that a user would notice.
	gapUnnoticed = 250 * time.Millisecond
)

// acknowledged is an answered transfer.
type acknowledged struct {
	id       client.ID
	clusters []shard.ID
	outcome  client.Outcome
	began    time.Time
	at       time.Time // of the answer
}

// load runs transfers in a closed loop and remembers every answer.
type load struct {
	bank     bank
	topology *shard.Topology
	observe  func(client.Result)
	stop     context.CancelFunc
	workers  sync.WaitGroup
	// enough is closed at loadBefore answers.
	enough chan struct{}

	mu sync.Mutex // guards what follows
	// acks are the answered transfers, in the order of their answers; others had no outcome.
	acks   []acknowledged
	others int
}

// startLoad starts the workers.
func startLoad(ctx context.Context, b bank, t *shard.Topology, observe func(client.Result)) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{bank: b, topology: t, observe: observe, stop: stop, enough: make(chan struct{})}
	seed := uint64(0)
	start := func(from, to shard.Cluster) {
		seed++
		random := rand.New(rand.NewPCG(seed, 0))
		l.workers.Go(func() { l.work(ctx, random, from, to) })
	}
	for i, c := range t.Clusters {
		for range loadPerCluster {
			start(c, c)
		}
		if i < loadCross {
			start(c, t.Clusters[(i+1)%len(t.Clusters)])
		}
	}
	return l
}

// work transfers one unit at a time between random accounts of two clusters.
func (l *load) work(ctx context.Context, random *rand.Rand, from, to shard.Cluster) {
	pick := func(r shard.Range) shard.Account {
		return r.First + loadKeeps + shard.Account(random.Uint64N(r.Len()-loadKeeps))
	}
	clusters := slices.Compact([]shard.ID{from.Shard, to.Shard})
	tick := time.NewTicker(loadPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t := client.Transfer{ID: client.NewID(), From: pick(from.Range), To: pick(to.Range), Amount: ledger.Units(1)}
		if t.From == t.To {
			continue
		}
		// A transfer that has begun gets its answer, also when the load ends.
		r, err := l.bank.Transfer(context.WithoutCancel(ctx), t)
		if err != nil {
			return
		}
		l.observe(r)
		l.note(r, clusters)
	}
}

func (l *load) note(r client.Result, clusters []shard.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Outcome != client.Committed && r.Outcome != client.Aborted {
		l.others++
		return
	}
	now := time.Now()
	l.acks = append(l.acks, acknowledged{r.Transfer.ID, clusters, r.Outcome, now.Add(-r.Latency), now})
	if len(l.acks) == loadBefore {
		close(l.enough)
	}
}

// end stops the workers and returns all answers.
func (l *load) end() (acks []acknowledged, others int) {
	l.stop()
	l.workers.Wait()
	return l.acks, l.others
}

// count returns the number of answers so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acks)
}

// answeredSince returns when the first transfer that touches the cluster and began after t was
// answered: one that began before may bring the last words of a dead leader.
func (l *load) answeredSince(id shard.ID, t time.Time) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.acks {
		if a.began.After(t) && slices.Contains(a.clusters, id) {
			return a.at, true
		}
	}
	return time.Time{}, false
}

// longestGap is the longest time without an answer from a cluster alone, within from and to.
func longestGap(acks []acknowledged, id shard.ID, from, to time.Time) time.Duration {
	last, gap := from, time.Duration(0)
	for _, a := range acks {
		if len(a.clusters) != 1 || a.clusters[0] != id || a.at.Before(from) || a.at.After(to) {
			continue
		}
		gap = max(gap, a.at.Sub(last))
		last = a.at
	}
	return max(gap, to.Sub(last))
}

// actKillLeader kills a leader under load, waits for the next one, restarts the dead server, and
// asks for every acknowledged transfer again.
func (d *demo) actKillLeader(ctx context.Context, title string) error {
	before := d.bank.lookAt(ctx, demoKilled).LeadingServer()
	if before == nil {
		return fmt.Errorf("%s has no leader", demoKilled)
	}
	victim := before.Server
	d.heading(title, "")
	l := startLoad(ctx, d.bank.client, d.app.Topology, d.app.Recorder.Observe)
	defer l.end()
	select {
	case <-l.enough:
	case <-time.After(demoFollowWait):
		return fmt.Errorf("only %d transfers answered within %s", l.count(), demoFollowWait)
	case <-ctx.Done():
		return ctx.Err()
	}
	acknowledgedBefore := l.count()
	if err := d.bank.sup.kill(victim); err != nil {
		return err
	}
	killed := time.Now()
	since := func() string { return fmt.Sprintf("%.2f s", time.Since(killed).Seconds()) }
	d.printf("  %s  server %d, leader of %s in term %d, killed. %s transfers were acknowledged so far\n",
		since(), victim, demoKilled, before.Term, thousands(fmt.Sprint(acknowledgedBefore)))
	next, err := d.bank.awaitLeader(ctx, demoKilled, victim, before.Term)
	if err != nil {
		return err
	}
	d.printf("  %s  server %d leads %s in term %d\n", since(), next.Server, demoKilled, next.Term)
	served, err := d.awaitAnswer(ctx, l, killed)
	if err != nil {
		return err
	}
	d.report.FailoverMs = served.Sub(killed).Milliseconds()
	d.printf("  %.2f s  %s acknowledges transfers again\n", served.Sub(killed).Seconds(), demoKilled)
	if err := d.bank.sup.start(victim); err != nil {
		return err
	}
	back, err := d.bank.awaitCaughtUp(ctx, demoKilled, victim)
	if err != nil {
		return err
	}
	d.printf("  %s  server %d restarted and caught up to index %s\n", since(), victim, thousands(fmt.Sprint(back.Applied)))
	acks, others := l.end()
	d.tellGaps(acks, killed, served)
	return d.verifyAcks(ctx, acks, others)
}

// awaitAnswer waits for the first transfer on the killed leader's cluster after its death.
func (d *demo) awaitAnswer(ctx context.Context, l *load, killed time.Time) (time.Time, error) {
	var served time.Time
	tick := time.NewTicker(demoPoll)
	defer tick.Stop()
	late := time.After(demoFollowWait)
	for {
		at, ok := l.answeredSince(demoKilled, killed)
		if served = at; ok {
			return served, nil
		}
		select {
		case <-tick.C:
		case <-late:
			return served, fmt.Errorf("%s acknowledges nothing within %s", demoKilled, demoFollowWait)
		case <-ctx.Done():
			return served, ctx.Err()
		}
	}
}

// tellGaps says how the other clusters fared while one had no leader.
func (d *demo) tellGaps(acks []acknowledged, from, to time.Time) {
	var names []string
	longest := time.Duration(0)
	for _, c := range d.app.Topology.Clusters {
		if c.Shard == demoKilled {
			continue
		}
		names = append(names, c.Shard.String())
		longest = max(longest, longestGap(acks, c.Shard, from, to))
	}
	word := "no interruption"
	if longest > gapUnnoticed {
		word = "slowed down"
	}
	d.printf("          %s meanwhile: %s (longest wait for an answer %s)\n", strings.Join(names, " and "), word, roughly(longest))
}

// verifyAcks asks for every acknowledged transfer again.
func (d *demo) verifyAcks(ctx context.Context, acks []acknowledged, others int) error {
	var mu sync.Mutex // guards lost and failed
	lost := 0
	var failed error
	next := make(chan acknowledged)
	var askers sync.WaitGroup
	for range loadVerify {
		askers.Go(func() {
			for a := range next {
				r, err := d.bank.client.Resolve(ctx, a.id)
				mu.Lock()
				switch {
				case err == client.ErrNotFound || (err == nil && r.Outcome != a.outcome):
					lost++
				case err != nil:
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	for _, a := range acks {
		next <- a
	}
	close(next)
	askers.Wait()
	if failed != nil {
		return fmt.Errorf("ask for acknowledged transfers: %w", failed)
	}
	d.report.Acknowledged, d.report.Lost = len(acks), lost
	d.printf("          asked for all %s acknowledged transfers again: lost %d", thousands(fmt.Sprint(len(acks))), lost)
	if others > 0 {
		d.printf(", without an answer %d", others)
	}
	d.printf("\n")
	if lost > 0 {
		d.fail("%d acknowledged transfers of %d are lost or differ", lost, len(acks))
	}
	return d.tellHashes(ctx)
}

// tellHashes compares the replicas of the cluster whose leader was killed.
func (d *demo) tellHashes(ctx context.Context) error {
	check, err := d.bank.client.CheckConservation(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(check.Shards, func(s api.ShardCheck) bool { return s.Shard == int(demoKilled) })
	if at < 0 || check.Shards[at].HashesOK == nil {
		d.fail("the replicas of %s cannot be compared: %s", demoKilled, check.Note)
		return nil
	}
	c := check.Shards[at]
	if !*c.HashesOK {
		d.fail("the replicas of %s differ: %s", demoKilled, c.Note)
		return nil
	}
	var same []string
	for _, s := range c.Servers {
		same = append(same, fmt.Sprint(s.Server))
	}
	d.printf("          servers %s of %s at index %s: same hash %s\n", strings.Join(same, ", "), demoKilled,
		thousands(fmt.Sprint(c.Servers[0].Hash.Index)), c.Servers[0].Hash.State)
	return nil
}
