//go:build chaos && linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
	"raftbank/test/process"
)

const (
	workers = 20
	// workPause is how long a worker rests between two operations: the load is for faults to happen under.
	workPause = 12 * time.Millisecond
	// groupAccounts is how many accounts of each shard are used at a time, groupSpan for how long at least:
	// histories stay short enough to be searched, and begin with the account's opening.
	groupAccounts = 3
	groupSpan     = 1500 * time.Millisecond
	groups        = 320
	// recentIDs is from how many transfers one is drawn to be sent again.
	recentIDs = 256
	readBound = 10 * time.Second
)

// told is a transfer and what clients said of it.
type told struct {
	transfer client.Transfer
	group    int
	outcome  client.Outcome // of the first call
	reason   client.Reason
	settled  client.Outcome // the first definite answer of any call; 0: none yet
	crashed  bool           // its first client was killed
}

// load is the clients at work, and the history of what they did.
type load struct {
	t       interface{ Errorf(string, ...any) }
	bank    *bank
	clients []*client.Client
	links   links
	flood   *client.Client // for what is not recorded
	start   time.Time
	span    time.Duration
	stopped chan struct{}
	wait    sync.WaitGroup

	mu sync.Mutex
	// guarded by mu
	events []linear.Event
	told   map[client.ID]*told
	recent []client.ID
	opened map[int]bool
	acked  map[shard.ID]time.Time // when a transfer within the shard was last acknowledged
	failed int                    // reads without an answer
	looks  int                    // statements read
	again  int                    // transfers sent again
	broken bool                   // the run has failed
}

func newLoad(b *bank, total time.Duration) (*load, error) {
	l := &load{t: b.t, bank: b, start: time.Now(), span: max(groupSpan, total/(groups-20)), stopped: make(chan struct{}),
		told: map[client.ID]*told{}, opened: map[int]bool{}, acked: map[shard.ID]time.Time{}}
	var through *shard.Topology
	var err error
	if l.links, through, err = newLinks(b.Topology); err != nil {
		return nil, err
	}
	if err := l.openWorkers(through); err != nil {
		return nil, err
	}
	l.flood, err = client.Open(client.Options{Topology: b.Topology})
	return l, err
}

// run starts the workers.
func (l *load) run(seed uint64) {
	for i := range l.clients {
		random := rand.New(rand.NewPCG(seed, uint64(100+i)))
		l.wait.Go(func() {
			tick := time.NewTicker(workPause)
			defer tick.Stop()
			for {
				select {
				case <-l.stopped:
					return
				case <-tick.C:
					l.step(i, random)
				}
			}
		})
	}
}

// stop ends the load and waits for its last answers.
func (l *load) stop() {
	close(l.stopped)
	l.wait.Wait()
}

func (l *load) close() {
	for _, c := range append(l.clients, l.flood) {
		_ = c.Close() // nothing can fail
	}
	l.links.close()
}

func (l *load) now() int64 { return time.Since(l.start).Microseconds() }

// group returns the accounts in use now, by shard, and notes their openings.
func (l *load) group() (int, [3][]shard.Account) {
	g := int(time.Since(l.start)/l.span) % groups
	l.mu.Lock()
	defer l.mu.Unlock()
	accounts := groupOf(g)
	if !l.opened[g] {
		l.opened[g] = true
		for _, list := range accounts {
			for _, a := range list {
				l.events = append(l.events, linear.Event{Kind: linear.KindOpening, Round: g, Account: a.String(),
					In: fmt.Sprint(l.bank.Topology.OpeningBalance), Out: "0"})
			}
		}
	}
	return g, accounts
}

func groupOf(g int) (accounts [3][]shard.Account) {
	for s := range 3 {
		for i := range groupAccounts {
			accounts[s] = append(accounts[s], shard.Account(1000*s+groupAccounts*g+i+1))
		}
	}
	return accounts
}

// pick draws a transfer within the group, half of them between shards.
func pick(random *rand.Rand, accounts [3][]shard.Account, cross bool) client.Transfer {
	s := random.IntN(3)
	from := accounts[s][random.IntN(groupAccounts)]
	if cross {
		s = (s + 1 + random.IntN(2)) % 3
	}
	to := accounts[s][random.IntN(groupAccounts)]
	for to == from {
		to = accounts[s][random.IntN(groupAccounts)]
	}
	return client.Transfer{ID: client.NewID(), From: from, To: to, Amount: ledger.Units(1 + random.Uint64N(4))}
}

// step is one operation of one worker.
func (l *load) step(i int, random *rand.Rand) {
	g, accounts := l.group()
	switch n := random.IntN(100); {
	case n < 40:
		l.read(i, g, accounts[random.IntN(3)][random.IntN(groupAccounts)])
	case n < 45:
		l.look(i, accounts[random.IntN(3)][random.IntN(groupAccounts)])
	case n < 92:
		l.transfer(i, g, pick(random, accounts, random.IntN(2) == 0))
	default:
		l.repeat(i, random)
	}
}

// read is one strong read.
func (l *load) read(i, g int, a shard.Account) {
	ctx, cancel := context.WithTimeout(context.Background(), readBound)
	defer cancel()
	e := linear.Event{Kind: linear.KindRead, Round: g, Client: i + 1, Account: a.String(), CallUs: l.now()}
	b, err := l.clients[i].Balance(ctx, a)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed++
		return
	}
	e.ReturnUs, e.In, e.Out = l.now(), b.In.String(), b.Out.String()
	e.Server, e.Term, e.Applied = int(b.Server), b.Term, b.Applied
	l.events = append(l.events, e)
}

// transfer is one new transfer.
func (l *load) transfer(i, g int, t client.Transfer) {
	call := l.now()
	r, err := l.clients[i].Transfer(context.Background(), t)
	if err != nil {
		l.t.Errorf("transfer %s: %v", t.ID, err)
		return
	}
	l.explained(&r)
	l.keep(&told{transfer: t, group: g, outcome: r.Outcome, reason: r.Reason}, i+1, call)
}

// keep notes a new transfer with what its client was told.
func (l *load) keep(k *told, clientNumber int, call int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := k.transfer
	e := linear.Event{Kind: linear.KindTransfer, Round: k.group, Client: clientNumber, ID: t.ID.String(), From: t.From.String(),
		To: t.To.String(), Amount: t.Amount.String(), Outcome: k.outcome.String(), CallUs: call, ReturnUs: l.now()}
	if k.outcome == client.Aborted {
		e.Reason = k.reason.String()
	}
	l.events = append(l.events, e)
	if k.outcome == client.Committed || k.outcome == client.Aborted {
		k.settled = k.outcome
	}
	l.told[t.ID] = k
	if k.outcome != client.Unavailable { // sent again, that one may be applied after all
		if len(l.recent) == recentIDs {
			l.recent = l.recent[1:]
		}
		l.recent = append(l.recent, t.ID)
	}
	from, _ := l.bank.Topology.ShardOf(t.From)
	if to, _ := l.bank.Topology.ShardOf(t.To); to == from && k.outcome == client.Committed {
		l.acked[from] = time.Now()
	}
}

// repeat sends a former transfer again, as another client: the same id must get the same outcome.
func (l *load) repeat(i int, random *rand.Rand) {
	l.mu.Lock()
	if len(l.recent) == 0 {
		l.mu.Unlock()
		return
	}
	t := l.told[l.recent[random.IntN(len(l.recent))]].transfer
	l.again++
	l.mu.Unlock()
	call := l.now()
	r, err := l.clients[i].Transfer(context.Background(), t)
	if err != nil {
		l.t.Errorf("transfer %s again: %v", t.ID, err)
		return
	}
	l.settle(t.ID, &r, fmt.Sprintf("client %d, sending it again", i+1), call)
}

// settle notes a further answer about a transfer. Definite answers never differ.
func (l *load) settle(id client.ID, r *client.Result, who string, call int64) {
	o := r.Outcome
	if o != client.Committed && o != client.Aborted {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.told[id]
	switch k.settled {
	case 0:
		k.settled = o
		e := linear.Event{Kind: linear.KindSettled, Round: k.group, ID: id.String(), Outcome: o.String(), CallUs: call, ReturnUs: l.now()}
		if o == client.Aborted {
			e.Reason = r.Reason.String()
		}
		l.events = append(l.events, e)
	case o:
	default:
		l.t.Errorf("TWO ANSWERS: transfer %s was %s, and %s for %s", id, k.settled, o, who)
	}
}

// ask resolves a transfer as one client; an id that no shard knows is cancelled, so that the answer is final.
func (l *load) ask(i int, id client.ID) (client.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), settleBound)
	defer cancel()
	r, err := l.clients[i].Resolve(ctx, id)
	if errors.Is(err, client.ErrNotFound) {
		r, err = l.clients[i].Cancel(ctx, id)
	}
	return r, err
}

// awaitAck waits until a transfer within the shard is acknowledged that began after now, or nearly so.
func (l *load) awaitAck(id shard.ID) (time.Duration, error) {
	since := time.Now()
	over := false
	took, err := process.Await(recoverBound, "a transfer within "+id.String()+" is acknowledged", func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		over = l.broken
		return l.acked[id].After(since) || over, "none"
	})
	if err == nil && over {
		err = errBroken
	}
	return took, err
}

// errBroken says that the run has failed elsewhere, so that nothing is to be waited for.
var errBroken = errors.New("the run has failed already")

// giveUp ends what waits for acknowledgements.
func (l *load) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
}
