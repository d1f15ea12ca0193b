package session

import (
	"fmt"
	"slices"
	"strings"

	"raftbank/internal/planted"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// Bounds of routing, in ticks unless said otherwise.
const (
	// connectWaitTicks is how long a send waits for the connection to the known leader.
	connectWaitTicks = 20
	// maxRetryTicks bounds the back-off between attempts to connect.
	maxRetryTicks = 100
	// electionTicks is the pause after all a shard said was that it has no leader.
	electionTicks = 5
	// maxHops is how many hints are followed without a pause.
	maxHops = 3
)

// serverState is what the engine knows of one server.
type serverState struct {
	id    shard.ServerID
	addr  string
	shard *shardState

	up           bool
	connecting   bool
	since        uint64 // tick at which connecting began
	retryAt      uint64 // no attempt to connect before this tick
	failures     uint64 // attempts that failed, and connections that brought nothing, in a row
	heard        uint64 // tick of the last message
	suspectUntil uint64 // others are preferred before this tick
	lastError    string
}

// shardState is what the engine knows of one shard.
type shardState struct {
	id      shard.ID
	servers []*serverState
	leader  *serverState // last known or guessed; nil: rotate
	next    int          // where the rotation stands
	everUp  bool         // one of its servers has been connected

	accounts  shard.Range
	window    int      // bounds flying, if anything flies
	flying    int      // records of groups in requests without a full answer
	full      bool     // the last flush left groups for the window's sake
	waiting   int      // records of those
	cutTick   uint64   // when the window was made smaller last
	pacing    pacing   // how long its answers take
	gather    *group   // that single transfers of this turn join
	groups    []*group // to be sent with the next flush
	ready     []*item  // likewise
	holdUntil uint64   // nothing is sent before this tick
	hops      int      // refusals in a row that named a leader
	refusals  uint64   // refusals in a row
	// doubtful: nothing was heard yet, or the last that was heard is that the shard has no leader or
	// does not serve. No transfer is begun with it and another shard until a probe was answered.
	doubtful bool
	probing  bool
	busy     bool       // the last refusal said so, and nothing was served since
	silent   []*request // without an answer from a server that is silent, oldest first
	text     string     // what its servers last gave as the reason

	finishes  []*finishChunk
	finishDue uint64
}

// wants reports whether something is to be sent to the shard.
func (sh *shardState) wants() bool { return len(sh.groups)+len(sh.ready)+len(sh.finishes) > 0 }

// lookElsewhere forgets the leader and moves the rotation on.
func (sh *shardState) lookElsewhere() {
	sh.leader = nil
	sh.next = (sh.next + 1) % len(sh.servers)
}

// server returns a server by id.
func (e *Engine) server(id shard.ServerID) *serverState {
	i, ok := slices.BinarySearchFunc(e.servers, id, func(s *serverState, id shard.ServerID) int {
		return int(s.id) - int(id)
	})
	if !ok {
		return nil
	}
	return e.servers[i]
}

// shardBy returns a shard by id, nil if there is none. Ids are nearly always 1, 2, 3 and so on.
func (e *Engine) shardBy(id shard.ID) *shardState {
	if i := int(id) - 1; i >= 0 && i < len(e.shards) && e.shards[i].id == id {
		return e.shards[i]
	}
	return e.byShard[id]
}

// target returns the server to which a shard's requests go now; nil: none can be reached.
func (e *Engine) target(sh *shardState) *serverState {
	if l := sh.leader; l != nil {
		if l.up && e.now >= l.suspectUntil {
			return l
		}
		if l.connecting && e.now-l.since <= connectWaitTicks {
			return nil
		}
	}
	var suspect *serverState
	for i := range sh.servers {
		s := sh.servers[(sh.next+i)%len(sh.servers)]
		switch {
		case !s.up:
		case e.now >= s.suspectUntil:
			return s
		case suspect == nil:
			suspect = s
		}
	}
	return suspect
}

// ConnUp tells that a connection to a server stands.
func (e *Engine) ConnUp(id shard.ServerID) {
	s := e.server(id)
	if s == nil {
		return
	}
	s.up, s.connecting, s.lastError = true, false, ""
	s.suspectUntil = 0
	s.heard = e.now
	s.shard.everUp = true
}

// ConnDown tells that a connection ended or could not be made. What was sent over it and is not
// answered goes out again, under the same ids.
func (e *Engine) ConnDown(id shard.ServerID, reason string) {
	s := e.server(id)
	if s == nil {
		return
	}
	s.up, s.connecting, s.lastError = false, false, reason
	s.retryAt = e.now + min(uint64(2)<<min(s.failures, 6), maxRetryTicks)
	s.failures++
	if s.shard.leader == s {
		s.shard.lookElsewhere()
		s.shard.doubtful = true
	}
	e.requests.All(func(_ uint64, r *request) {
		if r.server == s {
			e.forget(r)
			e.connLost(r)
		}
	})
	e.direct = slices.DeleteFunc(e.direct, func(it *item) bool {
		if it.server != s {
			return false
		}
		e.failCall(it)
		return true
	})
}

// connLost handles a request whose answer can no longer come.
func (e *Engine) connLost(r *request) {
	if r.kind == itemCall && r.items[0].server != nil {
		e.failCall(r.items[0])
		return
	}
	if planted.On(planted.BreakAsRefusal) && r.group != nil {
		r.group.unrefused--
	}
	for _, it := range r.items {
		if planted.On(planted.BreakAsRefusal) && it != nil && (it.kind == itemTransfer || it.kind == itemPrepare) {
			it.coord.Refused()
		}
	}
	e.resend(r)
}

// failCall ends a call to one server that cannot be reached.
func (e *Engine) failCall(it *item) {
	if it.op.over {
		return
	}
	e.complete(it.op, e.endResult(it.op, txn.DecidedUnavailable))
}

// connect asks for the connections that pending work needs. What was sent to the only server that is connected is pending
// work, too, if that server is silent.
func (e *Engine) connect() {
	for _, sh := range e.shards {
		if to := e.target(sh); !sh.wants() && (to == nil || e.now >= to.suspectUntil) {
			continue
		}
		for _, s := range sh.servers {
			if e.now >= s.retryAt {
				e.dial(s)
			}
		}
	}
	for _, it := range e.direct {
		e.dial(it.server)
	}
}

func (e *Engine) dial(s *serverState) {
	if s.up || s.connecting {
		return
	}
	s.connecting, s.since = true, e.now
	e.out.Connects = append(e.out.Connects, s.id)
}

// blame names the participant that kept an operation from ending, and what was seen of it.
func (e *Engine) blame(o *op) (shard.ID, string) {
	switch {
	case o.kind == opCall && o.call.Server != 0:
		s := e.server(o.call.Server)
		if s == nil {
			return 0, fmt.Sprintf("this bank has no server %s", o.call.Server)
		}
		return s.shard.id, e.whyServer(s)
	case o.kind == opCall:
		return o.call.Shard, e.why(e.shardBy(o.call.Shard))
	case o.kind == opSettle:
		return e.blameAny(o.settle.silent(e.shards))
	case o.kind == opAudit:
		return e.blameAudit(o.audit)
	}
	parts := o.coord.Participants()
	if !o.admitted {
		return parts[0], e.noRoom()
	}
	for _, p := range parts {
		if sh := e.shardBy(p); sh.busy || e.target(sh) == nil || sh.doubtful {
			return p, e.why(sh)
		}
	}
	p, ok := o.coord.Silent()
	if !ok {
		p = parts[0]
	}
	return p, e.why(e.shardBy(p))
}

func (e *Engine) blameAny(silent []*shardState) (shard.ID, string) {
	for _, sh := range silent {
		if e.target(sh) == nil || sh.doubtful {
			return sh.id, e.why(sh)
		}
	}
	if len(silent) > 0 {
		return silent[0].id, e.why(silent[0])
	}
	return 0, "the outcome could not be settled in time"
}

// why says what is known of a shard that does not answer.
func (e *Engine) why(sh *shardState) string {
	if sh == nil {
		return "this bank has no such cluster"
	}
	up := 0
	for _, s := range sh.servers {
		if s.up {
			up++
		}
	}
	switch {
	case up == 0:
		return fmt.Sprintf("no server of %s answers (%s)", sh.id, addresses(sh.servers))
	case sh.text != "":
		return fmt.Sprintf("%s does not serve: %s", sh.id, sh.text)
	case sh.doubtful && sh.refusals > 0:
		return fmt.Sprintf("%s has no leader (%d of %d servers answer)", sh.id, up, len(sh.servers))
	}
	return fmt.Sprintf("%s did not answer in time (%d of %d servers connected)", sh.id, up, len(sh.servers))
}

func (e *Engine) whyServer(s *serverState) string {
	if s.up {
		return fmt.Sprintf("server %s of %s (%s) did not answer in time", s.id, s.shard.id, s.addr)
	}
	text := fmt.Sprintf("server %s of %s (%s) does not answer", s.id, s.shard.id, s.addr)
	if s.lastError != "" {
		text += ": " + s.lastError
	}
	return text
}

// addresses lists addresses, naming a host that they share once: "127.0.0.1:9001, 9002, 9003".
func addresses(servers []*serverState) string {
	var b strings.Builder
	lastHost := ""
	for i, s := range servers {
		if i > 0 {
			b.WriteString(", ")
		}
		host, port := s.addr, ""
		if cut := strings.LastIndexByte(s.addr, ':'); cut >= 0 {
			host, port = s.addr[:cut], s.addr[cut+1:]
		}
		if i > 0 && host == lastHost && port != "" {
			b.WriteString(port)
			continue
		}
		b.WriteString(s.addr)
		lastHost = host
	}
	return b.String()
}

// refusedBy adjusts the routing to a refusal.
func (e *Engine) refusedBy(s *serverState, r *wire.Reply) {
	sh := s.shard
	sh.refusals++
	hint := e.server(r.Leader)
	switch r.Status {
	case wire.StatusNotLeader, wire.StatusLost:
		if hint != nil && hint.shard == sh && hint != s {
			e.follow(sh, hint)
			return
		}
		if sh.leader == s || sh.leader == nil {
			sh.lookElsewhere()
		}
		sh.doubtful = true
		sh.holdUntil = e.now + electionTicks
	case wire.StatusBusy:
		sh.busy = true
		e.shrink(sh, busyTicks)
		sh.text = fmt.Sprintf("server %s is busy: %s", s.id, r.Text)
		sh.holdUntil = e.now + min(uint64(1)<<min(sh.refusals, 5), 20)
	case wire.StatusNotReady:
		sh.text = fmt.Sprintf("server %s: %s", s.id, r.Text)
		sh.doubtful = true
		s.suspectUntil = e.now + connectWaitTicks
		if sh.leader == s || sh.leader == nil {
			sh.lookElsewhere()
		}
		sh.holdUntil = e.now + electionTicks
	case wire.StatusWrongShard, wire.StatusBadRequest:
		sh.text = fmt.Sprintf("server %s: %s", s.id, r.Text)
	case wire.StatusOK:
		panic("unreachable: OK is no refusal")
	default:
		sh.text = fmt.Sprintf("server %s answers with unknown status %d", s.id, r.Status)
		sh.holdUntil = e.now + electionTicks
	}
}

// follow takes a hint. After several in a row there is no leader yet: pause.
func (e *Engine) follow(sh *shardState, hint *serverState) {
	sh.leader = hint
	sh.hops++
	if sh.hops > maxHops {
		sh.hops = 0
		sh.holdUntil = e.now + electionTicks
	}
}
