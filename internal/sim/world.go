package sim

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"runtime/debug"
	"strings"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// event is something that happens at a simulated time.
type event struct {
	at  int64
	seq uint64 // events of one time happen in the order in which they were planned
	do  func()
	// server or client, if set, is the process whose part this is: it happens only in that generation.
	server     *server
	client     *clientProc
	generation uint64
}

// eventQueue is a binary heap. It is written out because it is the simulator's innermost loop: container/heap
// allocates for every event.
type eventQueue []event

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (q *eventQueue) push(e event) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
	*q = h
}

// pop takes the first event out of a queue that is not empty.
func (q *eventQueue) pop() event {
	h := *q
	first, last := h[0], h[len(h)-1]
	h[len(h)-1] = event{}
	h = h[:len(h)-1]
	*q = h
	if len(h) == 0 {
		return first
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].before(&h[down]) {
			down++
		}
		if !h[down].before(&last) {
			break
		}
		h[i] = h[down]
		i = down
	}
	h[i] = last
	return first
}

// world is one simulated bank.
type world struct {
	o        Options
	plan     plan
	topology *shard.Topology
	keys     *txn.KeyRing
	rng      random

	now   int64 // simulated microseconds
	seq   uint64
	queue eventQueue

	net     *network
	servers []*server // sorted by id
	clients []*clientProc
	load    *workload
	nemesis *nemesis
	check   *checker
	calm    bool  // the liveness phase: no new faults, no new transfers
	healed  int64 // when it began

	report  *Report
	enabled map[Check]bool
	fired   map[Check]bool
	hash    hash.Hash
	noted   []byte    // what note writes
	story   io.Writer // --trace; nil: none
	stopped bool
}

// Run simulates one bank and reports what it found. story, if not nil, gets one line per happening.
// It replaces crypto/rand.Reader while it runs.
func Run(o Options, story io.Writer) *Report {
	random := newRandom(o.Seed, "crypto")
	before := rand.Reader
	rand.Reader = random
	defer func() { rand.Reader = before }()
	defer plant(o.Planted)()

	w := &world{o: o, rng: newRandom(o.Seed, "world"), hash: sha256.New(), story: story, fired: map[Check]bool{}}
	var err error
	if w.enabled, err = enabledChecks(o.Checkers); err != nil {
		panic(err) // Validate was not called
	}
	w.plan = drawPlan(o, newRandom(o.Seed, "plan"))
	w.topology = w.plan.topology()
	w.keys = &txn.KeyRing{Bank: txn.BankID{1, 2, 3}, Keys: []txn.Key{{ID: 1, Secret: [32]byte{7}}}}
	w.report = newReport(o)
	w.report.Shape = fmt.Sprintf("%d shards of %d replicas, %d accounts each, %d clients",
		w.plan.shards, w.plan.replicas, w.plan.accounts, w.plan.clients)
	invariant.Forget()
	w.build()
	w.run()
	w.report.Marks = invariant.Reached()
	w.report.TraceHash = hex.EncodeToString(w.hash.Sum(nil))
	w.report.SimulatedMs = w.now / millisecond
	return w.report
}

// build makes the bank's parts and starts them.
func (w *world) build() {
	w.net = newNetwork(w)
	w.check = newChecker(w)
	for _, c := range w.topology.Clusters {
		for _, s := range c.Servers {
			w.servers = append(w.servers, newServer(w, s.ID, c.Shard))
		}
	}
	for _, s := range w.servers {
		w.after(w.rng.between(0, 200*millisecond), s.start)
	}
	w.load = newWorkload(w)
	for i := range w.plan.clients {
		c := newClientProc(w, i+1)
		w.clients = append(w.clients, c)
		w.after(w.rng.between(0, second), func() { c.start(0) })
	}
	w.nemesis = newNemesis(w)
	if w.plan.beyond {
		w.struck(faultBeyond)
	}
}

// healedBy cuts the end of what a fault has made slow: the liveness phase finds nothing slow any more.
func (w *world) healedBy(t int64) int64 { return max(w.now, min(t, w.plan.durationUs)) }

// run is the safety phase, then the liveness phase.
func (w *world) run() {
	w.after(w.rng.between(200*millisecond, 2*second), w.nemesis.strike)
	w.until(w.plan.durationUs, func() bool { return false })
	w.calm, w.healed = true, w.now
	w.say("world", "faults stop, everything is started again")
	w.nemesis.heal()
	w.nemesis.linger()
	w.check.nothingStaysPrepared()
	if !w.settles() {
		w.fail(CheckProgress, "%d s after the last fault: %s", (w.now-w.healed)/second, w.check.unsettled())
	}
	w.load.resolveAll()
	if !w.until(w.now+resolveUs, w.load.resolved) && !(w.nemesis.lateLeader() && w.until(w.now+w.load.slowResolveUs(), w.load.resolved)) {
		w.fail(CheckProgress, "%d s after the bank settled: %s", resolveUs/second, w.load.unresolved())
	}
	if !w.until(w.now+settleUs, w.check.settled) {
		w.fail(CheckProgress, "after everything was resolved: %s", w.check.unsettled())
	}
	w.load.lastTransfers()
	if !w.until(w.now+lastUs, w.load.lastEnded) {
		w.fail(CheckProgress, "%d s after the bank was at rest: %s", lastUs/second, w.load.lastOpen())
	}
	if !w.until(w.now+settleUs, w.check.settled) {
		w.fail(CheckProgress, "after the last transfers: %s", w.check.unsettled())
	}
	if w.nemesis.release() {
		w.healLast()
	}
	if !w.stopped {
		w.check.atEnd()
	}
}

// healLast lets the bank settle once more, when those are healed that were left in trouble.
func (w *world) healLast() {
	if !w.settles() {
		w.fail(CheckProgress, "when the last servers were healed: %s", w.check.unsettled())
	}
	w.load.askAgain()
	if !w.until(w.now+resolveUs, w.load.resolved) || !w.until(w.now+settleUs, w.check.settled) {
		w.fail(CheckProgress, "%d s after the last servers were healed: %s; %s", resolveUs/second, w.load.unresolved(), w.check.unsettled())
	}
}

// Bounds of the liveness phase. A transfer is poisoned after 5 s in P, and may need 5 s more
// (docs/PROTOCOL.md, section 5); elections and restarts come before that.
const (
	settleUs  = 20 * second
	healthyUs = 2 * second  // after the last fault every shard has restarted what it needs, and has a leader that knows what is prepared
	pendingUs = 10 * second // t2 and 5 s more
	resolveUs = 20 * second
	// slowResolveUs is how much longer what is in doubt may take if a slow server may lead, and lateRoundUs what a round of
	// questions takes on average then: four messages, to the leader, from there to a majority and back, of 210 ms, and two
	// turns of 100.
	slowResolveUs = 100 * second
	lateRoundUs   = 1050 * millisecond
	installUs     = 2 * second // a replica restarts with a checkpoint that it fetched, and gets the entries behind it
	// latePartUs is how long a part of a checkpoint may take from a source in troubleSlow: the question 400 ms, the source's
	// tick and turn 250 and 200, the answer 400. The next is asked for when it has come.
	latePartUs = 1250 * millisecond
)

// settles runs events until the healed bank has come to rest. Where servers send checkpoints as slowly as a plan may have it, 80 kB
// a second, a large one takes longer than the rest: what is missing of it when the time is over has the time that its bytes take.
func (w *world) settles() bool {
	if w.until(w.now+settleUs, w.check.settled) {
		return true
	}
	more := w.fetchUs()
	if more == 0 || !w.until(w.now+more+installUs, w.check.settled) {
		return false
	}
	w.recovery("came to rest later, since a checkpoint was fetched slowly")
	return true
}

// fetchUs is how long it takes to send what servers lack of the checkpoints that they fetch: in every tick of a source at least one
// part leaves, unless the source is slow. All servers of a shard may have the same source. 0 if none fetches.
func (w *world) fetchUs() int64 {
	missing, each := map[shard.ID]uint64{}, map[shard.ID]int64{}
	for _, s := range w.servers {
		if s.up && s.intake != nil {
			have, of := s.intake.Done()
			missing[s.shard] += of - min(have, of)
			each[s.shard] = max(each[s.shard], s.partUs())
		}
	}
	var most int64
	part := uint64(w.plan.snapshots.limits.PartBytes)
	for id, n := range missing { // order does not show: the largest of them
		most = max(most, int64((n+part-1)/part)*each[id])
	}
	return most
}

// partUs is how long a part of a checkpoint that the server fetches may take.
func (s *server) partUs() int64 {
	if s.partFrom != nil && s.partFrom.trouble == troubleSlow {
		return latePartUs
	}
	return tickUs + millisecond // the slowest clock
}

// until runs events up to a time, or until done. It asks done ten times per simulated second.
func (w *world) until(end int64, done func() bool) bool {
	next := w.now
	for !w.stopped {
		if w.now >= next {
			if done() {
				return true
			}
			next = w.now + 100*millisecond
		}
		if len(w.queue) == 0 || w.queue[0].at > end {
			w.now = end
			return done()
		}
		e := w.queue.pop()
		w.now = e.at
		w.report.Events++
		w.step(e)
	}
	return true
}

// step runs one event. A panic of the code under test is a violation.
func (w *world) step(e event) {
	defer func() {
		if v := recover(); v != nil {
			w.fail(CheckPanic, "%v\n%s", v, shortStack())
		}
	}()
	switch {
	case e.server != nil:
		if e.server.up && e.server.generation == e.generation {
			e.server.do(e.do)
		}
	case e.client != nil:
		if e.client.alive(e.generation) {
			e.do()
		}
	default:
		e.do()
	}
}

// shortStack names the functions on the stack below the panic, the simulator's own left out.
func shortStack() string {
	var kept []string
	lines := strings.Split(string(debug.Stack()), "\n")
	for i := 1; i+1 < len(lines); i += 2 {
		name, _, _ := strings.Cut(lines[i], "(0x")
		if strings.Contains(name, "raftbank/") || strings.Contains(name, "raft/v3") {
			_, at, _ := strings.Cut(lines[i+1], "raftbank/")
			kept = append(kept, "    "+name+"  "+strings.TrimSpace(at))
		}
	}
	return strings.Join(kept[:min(len(kept), 16)], "\n")
}

// after plans an event.
func (w *world) after(us int64, do func()) { w.plant(us, event{do: do}) }

func (w *world) plant(us int64, e event) {
	w.seq++
	e.at, e.seq = w.now+max(us, 0), w.seq
	w.queue.push(e)
}

// say adds a line to the story.
func (w *world) say(actor, format string, args ...any) {
	if w.story == nil {
		return
	}
	_, _ = fmt.Fprintf(w.story, "%4d.%06d  %-9s  %s\n", w.now/second, w.now%second, actor, fmt.Sprintf(format, args...))
}

// note adds something to the trace hash.
func (w *world) note(kind byte, a, b uint64, data []byte) {
	w.noted = append(w.noteHead(kind, a, b, len(data)), data...)
	w.hash.Write(w.noted)
}

func (w *world) noteHead(kind byte, a, b uint64, size int) []byte {
	le, head := binary.LittleEndian, append(w.noted[:0], kind)
	for _, v := range [...]uint64{uint64(w.now), a, b, uint64(size)} {
		head = le.AppendUint64(head, v)
	}
	return head
}

// noteResults adds what came of an entry.
func (w *world) noteResults(id shard.ID, index uint64, results []ledger.Result) {
	h := w.noteHead('r', uint64(id), index, len(results))
	for i := range results {
		r := &results[i]
		h = append(h, byte(r.Code), byte(r.State), byte(r.Reason))
		h = binary.LittleEndian.AppendUint32(h, r.Epoch)
		h = binary.LittleEndian.AppendUint64(h, r.Row)
	}
	w.noted = h
	w.hash.Write(h)
}

// noteDisk adds an operation of a server's disk: a write, or what the names of files become.
func (w *world) noteDisk(id shard.ServerID, op byte, name string, offset int64, size int) {
	h := w.noteHead(op, uint64(id), uint64(offset), size)
	w.noted = append(h, name...)
	w.hash.Write(w.noted)
}

// server returns a server by its id: they are numbered from 1 without gaps.
func (w *world) server(id shard.ServerID) *server { return w.servers[id-1] }

// of lists the servers of a shard.
func (w *world) of(id shard.ID) []*server {
	first := (int(id) - 1) * w.plan.replicas
	return w.servers[first : first+w.plan.replicas]
}
