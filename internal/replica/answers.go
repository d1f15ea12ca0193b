package replica

import (
	"maps"
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// answers gathers the results of one turn into one reply per request.
type answers struct {
	open   map[call]*answer
	order  []call
	closed map[uint64]bool // connections closed since the last flush
}

// answer is a reply in the making.
type answer struct {
	replies []*wire.Reply
	groups  []voteGroup
	// expectedVotes and expectedResults are how many come of a PREPARE's items, as far as is known.
	expectedVotes, expectedResults int
	audit                          bool // about an audit's course alone: never withheld
}

// voteGroup are votes that share a participant set and hence a MAC.
type voteGroup struct {
	parts []shard.ID
	votes []txn.Vote
}

// groupsSearched bounds the search for a vote's group: a request that names thousands of participant sets must
// not cost their square. A set beyond it may get a second block, which is as good.
const groupsSearched = 64

func (a *answers) init() {
	a.open = map[call]*answer{}
	a.closed = map[uint64]bool{}
}

func (a *answers) get(c call) *answer {
	ans, ok := a.open[c]
	if !ok {
		ans = &answer{}
		a.open[c] = ans
		a.order = append(a.order, c)
	}
	return ans
}

// ok returns the reply that carries results.
func (a *answers) ok(c call) *wire.Reply {
	ans := a.get(c)
	for _, r := range ans.replies {
		if r.Status == wire.StatusOK {
			return r
		}
	}
	r := &wire.Reply{Request: c.request, Status: wire.StatusOK}
	// Results first: a refusing status holds for the items that are then still open.
	ans.replies = slices.Insert(ans.replies, 0, r)
	return r
}

// status answers all items of a request that are still open.
func (a *answers) status(c call, s wire.Status, text string) {
	ans := a.get(c)
	for _, r := range ans.replies {
		if r.Status != wire.StatusOK {
			// LOST leaves most open and must not be hidden by a sure refusal.
			if s == wire.StatusLost {
				r.Status, r.Text = s, text
			}
			return
		}
	}
	ans.replies = append(ans.replies, &wire.Reply{Request: c.request, Status: s, Text: text})
}

// expect says what comes of a PREPARE's items, so that votes and results need not be moved to grow: a vote of each but those
// that are deferred, and a result of each that is no YES. Mostly there are no results.
func (a *answers) expect(c call, results []ledger.Result) {
	ans := a.get(c)
	for i := range results {
		switch res := &results[i]; {
		case res.Code == ledger.ResultState && res.State == ledger.Prepared:
			ans.expectedVotes++
		case res.Code != ledger.ResultDefer:
			ans.expectedVotes++
			ans.expectedResults++
		}
	}
}

func (a *answers) result(c call, item uint32, res *ledger.Result) {
	r := a.ok(c)
	if r.Results == nil {
		r.Results = make([]wire.Result, 0, max(1, a.get(c).expectedResults))
	}
	r.Results = append(r.Results, wireResult(item, res))
}

// committed answers count transfers from item on: they committed.
func (a *answers) committed(c call, item, count uint32) {
	if count == 0 {
		return
	}
	r := a.ok(c)
	r.Committed = withRun(r.Committed, item, count)
}

// voted answers count items of a PREPARE from item on with YES; their votes come by vote.
func (a *answers) voted(c call, item, count uint32) {
	if count == 0 {
		return
	}
	r := a.ok(c)
	r.Voted = withRun(r.Voted, item, count)
}

// withRun adds a run to those of a reply.
func withRun(runs []wire.Run, item, count uint32) []wire.Run {
	if n := len(runs); n == 0 || runs[n-1].First+runs[n-1].Count < item {
		return append(runs, wire.Run{First: item, Count: count})
	}
	// Nearly always a run goes on. One that was deferred may come late.
	i := len(runs)
	for i > 0 && runs[i-1].First > item {
		i--
	}
	return joined(slices.Insert(runs, i, wire.Run{First: item, Count: count}))
}

// joined makes one run of those that touch, in ascending order.
func joined(runs []wire.Run) []wire.Run {
	out := runs[:1]
	for _, run := range runs[1:] {
		last := &out[len(out)-1]
		if run.First > last.First+last.Count {
			out = append(out, run)
			continue
		}
		last.Count = max(last.First+last.Count, run.First+run.Count) - last.First
	}
	return out
}

// audit answers a step of an audit.
func (a *answers) audit(c call, res *ledger.Result) {
	a.get(c).audit = true
	a.result(c, 0, res)
}

func (a *answers) vote(c call, parts []shard.ID, v *txn.Vote) { a.get(c).vote(parts, v) }

func (ans *answer) vote(parts []shard.ID, v *txn.Vote) {
	for i := max(0, len(ans.groups)-groupsSearched); i < len(ans.groups); i++ {
		if sameShards(ans.groups[i].parts, parts) {
			ans.groups[i].votes = append(ans.groups[i].votes, *v)
			return
		}
	}
	// Most requests name one set, so the first one gets all the room.
	room := 1
	if len(ans.groups) == 0 {
		room = max(1, ans.expectedVotes)
	}
	ans.groups = append(ans.groups, voteGroup{parts: parts, votes: append(make([]txn.Vote, 0, room), *v)})
}

// sameShards is slices.Equal, at once for a list that is the same one.
func sameShards(a, b []shard.ID) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

func (a *answers) close(conn uint64) { a.closed[conn] = true }

// flushAnswers signs and sends what the turn gathered.
func (r *Replica) flushAnswers() {
	a := &r.answers
	leader := r.leaderServer()
	withholding := r.state.Withholding() != 0
	if !withholding && len(r.withheld.replies) > 0 {
		r.release()
	}
	for _, c := range a.order {
		ans := a.open[c]
		delete(a.open, c)
		if c.server == 0 && a.closed[c.conn] {
			continue
		}
		if len(ans.groups) > 0 {
			reply := okOf(ans, c)
			for _, g := range ans.groups {
				reply.Blocks = append(reply.Blocks, r.options.Keys.Sign(r.options.Shard, g.votes))
			}
		}
		for _, reply := range ans.replies {
			if withholding && !ans.audit && r.withhold(c, reply) {
				continue
			}
			reply.Leader = leader
			r.out.Sends = append(r.out.Sends, Send{Server: shard.ServerID(c.server), Conn: c.conn, Message: reply})
		}
	}
	a.order = a.order[:0]
	clear(a.closed)
}

func okOf(ans *answer, c call) *wire.Reply {
	for _, r := range ans.replies {
		if r.Status == wire.StatusOK {
			return r
		}
	}
	panic("replica: votes without results")
}

func wireResult(item uint32, res *ledger.Result) wire.Result {
	return wire.Result{
		Item: item, Code: res.Code, State: res.State, Reason: res.Reason, Account: res.Account,
		Available: res.Available, Epoch: res.Epoch, Index: res.Index, Term: res.Term,
	}
}

// sortedTokens lists map keys in order, so that nothing depends on map order.
func sortedTokens[V any](m map[uint64]V) []uint64 { return slices.Sorted(maps.Keys(m)) }
