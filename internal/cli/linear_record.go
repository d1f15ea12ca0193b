package cli

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
)

const (
	// roundOps ends a round when an account has so many operations: those under way and the last read still
	// fit the bounds of the search.
	roundOps = linear.MaxOps - maxLinearClients - 2
	// settlePause is between two attempts to settle a transfer, and after a read that failed.
	settlePause = 100 * time.Millisecond
	// settleTries bounds them.
	settleTries = 50
)

// linearRecorder records rounds of transfers and strong reads. A round begins with what every account has, ends
// when an account has enough operations, and is complete once everything unknown is settled and every account has
// been read again.
type linearRecorder struct {
	p        linearArgs
	banks    []bank // one per client
	accounts []shard.Account
	shards   map[shard.Account]shard.ID
	start    time.Time
	opening  map[shard.Account]client.AccountBalance // of this round
	moved    map[shard.Account]*big.Int              // by all rounds, into each account; others may move money too
	ids      map[string]bool                         // of this round's transfers

	mu sync.Mutex
	// guarded by mu
	events []linear.Event
	ops    map[shard.Account]int // of this round
	failed int
}

// recordLinear records rounds, checks each one and gives the money back.
func (a *App) recordLinear(ctx context.Context, p linearArgs, check *linearCheck) (err error) {
	accounts, err := a.linearAccounts(&p)
	if err != nil {
		return err
	}
	r := &linearRecorder{p: p, accounts: accounts, shards: map[shard.Account]shard.ID{}, moved: map[shard.Account]*big.Int{}}
	for _, account := range accounts {
		r.moved[account] = new(big.Int)
		r.shards[account], _ = a.Topology.ShardOf(account) // they exist
	}
	for range p.Clients {
		c, err := a.connect(client.Options{Topology: a.Topology})
		if err != nil {
			return err
		}
		defer func() {
			if e := c.Close(); e != nil && !errors.Is(e, client.ErrClosed) {
				a.notef("close: %v", e)
			}
		}()
		r.banks = append(r.banks, c)
	}
	var keep *os.File
	if p.Record != "" {
		if keep, err = os.OpenFile(p.Record, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
			return usageError("--record: %v", err)
		}
		defer func() {
			if e := keep.Close(); e != nil && err == nil {
				err = failure(codeInternal, "write %s: %v", p.Record, e)
			}
		}()
	}
	a.notef("%s for %s on accounts %s", plural(p.Clients, "client"), p.Duration, joinAccounts(accounts))
	r.start = time.Now()
	err = r.rounds(ctx, check, keep)
	check.result.ElapsedMs = time.Since(r.start).Milliseconds()
	check.result.Failed = r.failed
	check.result.NotMoved = r.giveBack(context.WithoutCancel(ctx))
	return err
}

func joinAccounts(list []shard.Account) string {
	text := ""
	for i, account := range list {
		if i > 0 {
			text += ", "
		}
		text += account.String()
	}
	return text
}

// rounds records and checks until the time is up or something is found.
func (r *linearRecorder) rounds(ctx context.Context, check *linearCheck, keep *os.File) error {
	if err := r.readAll(ctx, false); err != nil {
		return err
	}
	for round := 1; time.Since(r.start) < r.p.Duration && ctx.Err() == nil; round++ {
		r.begin(round)
		r.load(ctx, round)
		// An interruption ends the load, not the round: what is open is settled and read all the same.
		whole := context.WithoutCancel(ctx)
		openedAt := r.opening
		incomplete := r.settle(whole, round)
		r.addUp()
		if incomplete == nil {
			incomplete = r.readAll(whole, true)
		}
		wrong := r.judge(whole, check, openedAt, incomplete == nil)
		if keep != nil {
			if err := linear.WriteEvents(keep, r.events); err != nil {
				return failure(codeInternal, "write %s: %v", r.p.Record, err)
			}
		}
		if wrong != nil {
			return wrong
		}
		if len(check.violated) > 0 || check.session != "" {
			return nil
		}
		if incomplete != nil {
			return incomplete
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
}

// judge checks a round. Whatever cannot be asked about a history without an order is kept with it: the round is to be
// written all the same, and another history may be a violation.
func (r *linearRecorder) judge(ctx context.Context, check *linearCheck, openedAt map[shard.Account]client.AccountBalance, ended bool) error {
	if err := check.add(r.events); err != nil {
		return failure(codeInternal, "%v", err)
	}
	for _, v := range check.violated { // of this round: it is the last one
		if err := r.lookForOthers(ctx, check, v, openedAt[v.Account], ended); err != nil {
			check.unasked[historyOf(v)] = err
			r.add(linear.Event{Kind: linear.KindUnasked, Round: v.Round, Account: v.Account.String(), Reason: asExit(err).err.Message})
		}
	}
	return nil
}

// begin opens a round with what every account has.
func (r *linearRecorder) begin(round int) {
	r.events, r.ops, r.ids = nil, map[shard.Account]int{}, map[string]bool{}
	for _, account := range r.accounts {
		b := r.opening[account]
		r.events = append(r.events, linear.Event{Kind: linear.KindOpening, Round: round, Account: account.String(),
			In: b.In.String(), Out: b.Out.String(), Server: int(b.Server), Term: b.Term, Applied: b.Applied, CallUs: r.now(), ReturnUs: r.now()})
	}
}

func (r *linearRecorder) now() int64 { return time.Since(r.start).Microseconds() }

// add keeps an event and counts it for its accounts. It reports whether the round has room for more.
func (r *linearRecorder) add(e linear.Event, accounts ...shard.Account) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if e.Kind == linear.KindTransfer {
		r.ids[e.ID] = true
	}
	room := true
	for _, account := range accounts {
		r.ops[account]++
		room = room && r.ops[account] < roundOps
	}
	return room
}

// load runs all clients until an account has enough operations or the time is up.
func (r *linearRecorder) load(ctx context.Context, round int) {
	ctx, stop := context.WithDeadline(ctx, r.start.Add(r.p.Duration))
	defer stop()
	var wg sync.WaitGroup
	for i := range r.banks {
		random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		wg.Go(func() {
			for ctx.Err() == nil {
				if room := r.step(ctx, round, i, random); !room {
					stop()
				}
			}
		})
	}
	wg.Wait()
}

// step is one operation of a client. What began is ended, whatever becomes of ctx, within the client's own deadline.
func (r *linearRecorder) step(ctx context.Context, round, i int, random *rand.Rand) (room bool) {
	whole := context.WithoutCancel(ctx)
	if random.IntN(2) == 0 {
		account := r.accounts[random.IntN(len(r.accounts))]
		ok, room := r.read(whole, round, i, account)
		if !ok {
			pause(ctx)
		}
		return room
	}
	from, to := r.pick(random)
	t := client.Transfer{ID: client.NewID(), From: from, To: to, Amount: ledger.Units(1 + random.Uint64N(3))}
	e := linear.Event{Kind: linear.KindTransfer, Round: round, Client: i + 1, ID: t.ID.String(), From: from.String(), To: to.String(),
		Amount: t.Amount.String(), CallUs: r.now()}
	res, err := r.banks[i].Transfer(whole, t)
	e.ReturnUs, e.Outcome = r.now(), res.Outcome.String()
	if err != nil {
		e.Outcome = linear.OutcomeUnknown
	}
	if res.Outcome == client.Aborted {
		e.Reason = res.Reason.String()
	}
	room = r.add(e, from, to)
	if e.Outcome == linear.OutcomeUnavailable || err != nil {
		pause(ctx)
	}
	return room
}

func pause(ctx context.Context) {
	select {
	case <-time.After(settlePause):
	case <-ctx.Done():
	}
}

// pick draws two accounts, of two clusters or of one as --cross wants it, as far as there are such pairs.
func (r *linearRecorder) pick(random *rand.Rand) (from, to shard.Account) {
	cross := random.IntN(100) < r.p.Cross
	for range 100 {
		from, to = r.accounts[random.IntN(len(r.accounts))], r.accounts[random.IntN(len(r.accounts))]
		if from != to && (r.shards[from] != r.shards[to]) == cross {
			return from, to
		}
	}
	at := random.IntN(len(r.accounts))
	return r.accounts[at], r.accounts[(at+1)%len(r.accounts)]
}

// read reads an account strongly, as client i+1.
func (r *linearRecorder) read(ctx context.Context, round, i int, account shard.Account) (ok, room bool) {
	e := linear.Event{Kind: linear.KindRead, Round: round, Client: i + 1, Account: account.String(), CallUs: r.now()}
	b, err := r.banks[i].Balance(ctx, account)
	if err != nil {
		r.mu.Lock()
		r.failed++
		r.mu.Unlock()
		return false, true
	}
	e.ReturnUs, e.In, e.Out = r.now(), b.In.String(), b.Out.String()
	e.Server, e.Term, e.Applied = int(b.Server), b.Term, b.Applied
	return true, r.add(e, account)
}

// settle asks for the outcome of everything that is unknown.
func (r *linearRecorder) settle(ctx context.Context, round int) error {
	for _, e := range r.events {
		if e.Kind != linear.KindTransfer || e.Outcome != linear.OutcomeUnknown {
			continue
		}
		id, err := ledger.ParseTransferID(e.ID)
		if err != nil {
			return failure(codeInternal, "id %s: %v", e.ID, err)
		}
		s := linear.Event{Kind: linear.KindSettled, Round: round, ID: e.ID, CallUs: r.now()}
		for range settleTries {
			res, err := r.banks[0].Resolve(ctx, id)
			switch {
			case errors.Is(err, client.ErrNotFound):
				s.Outcome = linear.OutcomeNotFound
			case err == nil && (res.Outcome == client.Committed || res.Outcome == client.Aborted):
				s.Outcome, s.Reason = res.Outcome.String(), res.Reason.String()
			default:
				pause(ctx)
				continue
			}
			break
		}
		if s.Outcome == "" {
			return failure(codeUnavailable, "transfer %s cannot be settled now", e.ID).hint("raftbank resolve %s", e.ID)
		}
		s.ReturnUs = r.now()
		r.add(s)
	}
	return nil
}

// readAll reads every account: the opening of the next round, and, with record, the end of this one.
func (r *linearRecorder) readAll(ctx context.Context, record bool) error {
	all := map[shard.Account]client.AccountBalance{}
	for _, account := range r.accounts {
		e := linear.Event{Kind: linear.KindRead, Account: account.String(), CallUs: r.now()}
		b, err := r.banks[0].Balance(ctx, account)
		for n := 0; err != nil && record && n < settleTries; n++ {
			pause(ctx)
			b, err = r.banks[0].Balance(ctx, account)
		}
		if err != nil {
			return fmt.Errorf("read account %s: %w", account, err)
		}
		all[account] = b
		if record {
			e.Round, e.ReturnUs, e.In, e.Out = r.events[0].Round, r.now(), b.In.String(), b.Out.String()
			e.Server, e.Term, e.Applied = int(b.Server), b.Term, b.Applied
			r.add(e)
		}
	}
	r.opening = all
	return nil
}

// lookForOthers asks the server that read an account last, whose history has no order, for committed transfers that are
// not of this recording. If the round did not come to its end, that is a read which is not recorded.
func (r *linearRecorder) lookForOthers(ctx context.Context, check *linearCheck, v *linear.Verdict, from client.AccountBalance, ended bool) error {
	account := v.Account
	to := r.opening[account]
	var err error
	if !ended {
		to, err = r.banks[0].Balance(ctx, account)
	}
	var d api.Datastore
	if err == nil {
		d, err = r.banks[0].Datastore(ctx, to.Server, api.DatastoreQuery{From: from.Applied + 1, Account: account.String()})
	}
	if err != nil {
		return failure(asExit(err).err.Code, "a history of account %s has no order, and whether others used the account cannot be asked: %v", account, err)
	}
	for _, s := range d.Servers {
		if !s.Up {
			return failure(codeUnavailable, "a history of account %s has no order, and server %d does not tell who else used the account: %s",
				account, s.Server, s.Note)
		}
		for _, row := range s.Entries {
			if row.Outcome != linear.OutcomeCommitted || r.ids[row.ID] || row.Index > to.Applied {
				continue
			}
			check.foreign[historyOf(v)]++
			r.add(linear.Event{Kind: linear.KindForeign, Round: v.Round, Account: account.String(), ID: row.ID})
		}
	}
	return nil
}

// addUp adds this round's committed transfers to what was moved.
func (r *linearRecorder) addUp() {
	committed := map[string]bool{}
	for i := range r.events {
		if e := &r.events[i]; e.Outcome == linear.OutcomeCommitted {
			committed[e.ID] = true
		}
	}
	for i := range r.events {
		e := &r.events[i]
		if e.Kind != linear.KindTransfer || !committed[e.ID] {
			continue
		}
		for _, account := range r.accounts {
			amount, err := ledger.ParseAmount(e.Amount)
			if err != nil {
				panic("unreachable: an amount of this recording: " + e.Amount)
			}
			switch account.String() {
			case e.From:
				r.moved[account].Sub(r.moved[account], amount.Big())
			case e.To:
				r.moved[account].Add(r.moved[account], amount.Big())
			}
		}
	}
}

// giveBack moves money until nothing is left of what was moved, and returns what it could not give back.
func (r *linearRecorder) giveBack(ctx context.Context) []api.Moved {
	for _, from := range r.accounts {
		for _, to := range r.accounts {
			amount := new(big.Int).Neg(r.moved[to])
			if r.moved[from].Cmp(amount) < 0 {
				amount.Set(r.moved[from])
			}
			if amount.Sign() > 0 && r.back(ctx, from, to, amount) {
				r.moved[from].Sub(r.moved[from], amount)
				r.moved[to].Add(r.moved[to], amount)
			}
		}
	}
	left := []api.Moved{}
	for _, account := range r.accounts {
		if r.moved[account].Sign() != 0 {
			left = append(left, api.Moved{Account: account.String(), Amount: r.moved[account].String()})
		}
	}
	return left
}

// back moves an amount and reports whether it is committed, in the end.
func (r *linearRecorder) back(ctx context.Context, from, to shard.Account, amount *big.Int) bool {
	n, err := ledger.ParseAmount(amount.String())
	if err != nil {
		return false // larger than any transfer; it is told as not given back
	}
	id := client.NewID()
	res, err := r.banks[0].Transfer(ctx, client.Transfer{ID: id, From: from, To: to, Amount: n})
	for n := 0; err == nil && res.Outcome == client.Unknown && n < settleTries; n++ {
		pause(ctx)
		if res, err = r.banks[0].Resolve(ctx, id); errors.Is(err, client.ErrNotFound) {
			return false
		}
	}
	return err == nil && res.Outcome == client.Committed
}
