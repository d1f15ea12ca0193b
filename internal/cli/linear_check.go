package cli

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"raftbank/internal/api"
	"raftbank/internal/linear"
	"raftbank/internal/shard"
)

// linearCheck checks histories as they come and adds up what is said of them.
type linearCheck struct {
	topology *shard.Topology
	result   api.Linearizability
	at       map[shard.Account]int // index in result.Accounts
	rounds   map[int]bool
	violated []*linear.Verdict
	longest  linear.History    // to be shown if nothing is wrong
	session  string            // what a client must not have seen
	foreign  map[history]int   // committed transfers of others
	unasked  map[history]error // histories without an order of which it is not known whether others took part, and why
	slow     int               // searches that took too long
}

// history names one account's history in one round.
type history struct {
	round   int
	account string
}

func historyOf(v *linear.Verdict) history { return history{v.Round, v.Account.String()} }

func newLinearCheck(t *shard.Topology) *linearCheck {
	return &linearCheck{topology: t, at: map[shard.Account]int{}, rounds: map[int]bool{}, foreign: map[history]int{}, unasked: map[history]error{},
		result: api.Linearizability{Outcomes: map[string]int{}, Accounts: []api.LinearAccount{}, NotMoved: []api.Moved{}}}
}

// add checks the histories of some whole rounds. Errors: linear.ErrHistory.
func (k *linearCheck) add(events []linear.Event) error {
	histories, err := linear.Collect(events)
	if err != nil {
		return err
	}
	k.count(events)
	verdicts := make([]linear.Verdict, len(histories))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(histories)) {
		wg.Go(func() {
			for i := range next {
				verdicts[i] = histories[i].Check()
			}
		})
	}
	for i := range histories {
		next <- i
	}
	close(next)
	wg.Wait()
	for i := range verdicts {
		k.take(&verdicts[i])
	}
	if k.session == "" {
		if k.session, err = linear.Sessions(events); err != nil {
			return err
		}
	}
	for i := range events {
		switch e := &events[i]; e.Kind {
		case linear.KindForeign:
			k.foreign[history{e.Round, e.Account}]++
		case linear.KindUnasked:
			k.unasked[history{e.Round, e.Account}] = failure(codeUnavailable, "%s", e.Reason)
		}
	}
	return nil
}

// count adds up reads and outcomes.
func (k *linearCheck) count(events []linear.Event) {
	settled := map[string]string{}
	for i := range events {
		if e := &events[i]; e.Kind == linear.KindSettled && e.Outcome != linear.OutcomeUnknown {
			settled[e.ID] = e.Outcome
		}
	}
	for i := range events {
		switch e := &events[i]; e.Kind {
		case linear.KindRead:
			k.result.Reads++
		case linear.KindTransfer:
			k.result.Transfers++
			outcome := e.Outcome
			if s, ok := settled[e.ID]; ok && outcome == linear.OutcomeUnknown {
				outcome = s
			}
			k.result.Outcomes[outcome]++
		case linear.KindOpening:
			k.rounds[e.Round] = true
		}
	}
	k.result.Rounds = len(k.rounds)
}

// take adds one verdict.
func (k *linearCheck) take(v *linear.Verdict) {
	i, known := k.at[v.Account]
	if !known {
		i = len(k.result.Accounts)
		k.at[v.Account] = i
		row := api.LinearAccount{Account: v.Account.String(), OK: new(bool)}
		*row.OK = true
		if id, ok := k.topology.ShardOf(v.Account); ok {
			row.Cluster = id.String()
		}
		k.result.Accounts = append(k.result.Accounts, row)
	}
	row := &k.result.Accounts[i]
	row.Histories++
	row.Left += v.Left
	k.result.Histories++
	for _, op := range v.Ops {
		switch {
		case op.Read:
			row.Reads++
		case op.Open:
			row.Open++
			fallthrough
		default:
			row.Transfers++
		}
	}
	switch v.Result {
	case linear.Violated:
		row.OK = new(bool)
		k.violated = append(k.violated, v)
	case linear.Undecided:
		k.slow++
		if row.OK != nil && *row.OK {
			row.OK = nil
		}
	case linear.Holds:
	}
	if len(v.Ops) > len(k.longest.Ops) {
		k.longest = v.History
	}
}

// verdict fills in the result's end and returns the exit that goes with it; nil is success.
func (k *linearCheck) verdict() *exitError {
	r := &k.result
	notComparable := func(format string, args ...any) *exitError {
		e := failure(codeUnavailable, "not comparable: "+format, args...)
		e.err.Retryable = true
		r.Note = e.err.Message
		return e
	}
	k.withdraw()
	v, why := k.told()
	if v != nil {
		r.Violation = findingOf(v)
	}
	if why == ownTransfers {
		r.OK = new(bool)
		return failure(codeViolation, "VIOLATION: no order explains the history of account %s in round %d", v.Account, v.Round).
			hint("keep every data directory as it is, and the history (--record); see docs/CLI.md, check")
	}
	switch {
	case k.session != "":
		// Transfers of others make no read go back.
		r.OK, r.Violation = new(bool), nil
		return failure(codeViolation, "VIOLATION: %s", k.session)
	case why == notAsked:
		e := asExit(k.unasked[historyOf(v)])
		r.Note = e.err.Message
		return e
	case v != nil:
		return notComparable("%s of others committed on account %s meanwhile", plural(k.foreign[historyOf(v)], "transfer"), v.Account)
	case k.slow > 0:
		return notComparable("%d histories took too long to search", k.slow)
	case r.Reads == 0 || r.Outcomes[linear.OutcomeCommitted] == 0:
		return notComparable("%s and %s: nothing to compare", plural(r.Reads, "read"),
			plural(r.Outcomes[linear.OutcomeCommitted], "committed transfer"))
	}
	ok := true
	r.OK = &ok
	return nil
}

// whose says what is known of the transfers in a history without an order.
type whose int

const (
	othersToo    whose = iota // some are of others
	notAsked                  // nobody could be asked
	ownTransfers              // all are of this recording: the history is a violation
)

// whose returns what is known of a history without an order. One transfer of others is enough, whoever was not asked.
func (k *linearCheck) whose(v *linear.Verdict) whose {
	switch h := historyOf(v); {
	case k.foreign[h] > 0:
		return othersToo
	case k.unasked[h] != nil:
		return notAsked
	}
	return ownTransfers
}

// told returns the history without an order that is to be told: the first that is a violation, or else the first that may be
// one, or else the first. nil: there is none.
func (k *linearCheck) told() (told *linear.Verdict, why whose) {
	for _, v := range k.violated {
		if w := k.whose(v); told == nil || w > why {
			told, why = v, w
		}
	}
	return told, why
}

// withdraw takes back what was said of accounts whose every history without an order has transfers of others, or may have.
func (k *linearCheck) withdraw() {
	own := map[shard.Account]bool{}
	for _, v := range k.violated {
		own[v.Account] = own[v.Account] || k.whose(v) == ownTransfers
	}
	for account, violated := range own {
		if !violated {
			k.result.Accounts[k.at[account]].OK = nil
		}
	}
}

// findingOf words a violation.
func findingOf(v *linear.Verdict) *api.LinearFinding {
	f := &api.LinearFinding{Account: v.Account.String(), Round: v.Round, In: v.Opening.In.String(), Out: v.Opening.Out.String(),
		Evidence: []string{}, Excerpt: []api.LinearOp{}}
	for _, e := range v.Evidence {
		f.Evidence = append(f.Evidence, e.String())
	}
	if len(v.Evidence) == 0 {
		f.Evidence = append(f.Evidence, overdrawn(v))
	}
	for _, op := range v.Excerpt() {
		x := api.LinearOp{Client: op.Client, Kind: linear.KindTransfer, ID: op.Name, In: op.In.String(), Out: op.Out.String(), CallUs: op.Call}
		if op.Read {
			x.Kind, x.ID = linear.KindRead, ""
		}
		if op.Return != linear.Never {
			x.ReturnUs = &op.Return
		}
		f.Excerpt = append(f.Excerpt, x)
	}
	return f
}

// overdrawn words a violation that needs no read.
func overdrawn(v *linear.Verdict) string {
	text := "the transfers alone have no order: the account paid out what it did not have"
	if d, acknowledged, submitted, ok := v.Overdraft(); ok {
		text += fmt.Sprintf("; with %s, %s had been acknowledged as paid out, and no more than %s submitted as paid in, opening included",
			d.Name, acknowledged.Out, submitted.In)
	}
	return text
}

// visualize writes the page, if one is wanted.
func (k *linearCheck) visualize(path string) error {
	if path == "" {
		return nil
	}
	h := k.longest
	if v, _ := k.told(); v != nil {
		h = v.History
	}
	if len(h.Ops) == 0 {
		return nil
	}
	h.Ops = slices.Clone(h.Ops)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := h.Visualize(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("account %s: %w", h.Account, err)
	}
	k.result.Visualized = path
	return f.Close()
}
