package replica

import (
	"slices"

	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// lifeTicks is how often a leader tells clients that have waited for so long that it works: 100 ms. A client that
// hears nothing for half a second looks for another leader.
const lifeTicks = 2

// life is what a leader knows of its own progress.
type life struct {
	applied uint64 // index at the last look
}

// showLife tells the clients that have waited for a while that their requests are being worked at, so that they do
// not send copies: those would come on top of what the leader is slow with already. A leader whose log does not
// move, for it has lost its majority or its disk hangs, says nothing.
func (r *Replica) showLife() {
	applied, _ := r.state.Applied()
	moved := applied > r.life.applied
	r.life.applied = applied
	if r.lead.part == nil {
		return
	}
	var conns []uint64
	if oldest := r.queue.oldest(); oldest != nil {
		if !moved {
			return
		}
		if r.now-oldest.since >= lifeTicks {
			conns = r.queue.conns(conns)
		}
	}
	for _, after := range r.settling { // order does not show: the numbers are sorted
		if c := after.call(); c.server == 0 {
			conns = append(conns, c.conn)
		}
	}
	for _, w := range r.withheld.replies {
		if w.call.server == 0 {
			conns = append(conns, w.call.conn)
		}
	}
	slices.Sort(conns)
	leader := r.leaderServer()
	for _, conn := range slices.Compact(conns) {
		r.out.Sends = append(r.out.Sends, Send{Conn: conn, Message: lifeSign(leader)})
	}
}

// lifeSign answers no request.
func lifeSign(leader shard.ServerID) *wire.Reply {
	return &wire.Reply{Status: wire.StatusOK, Leader: leader}
}

// oldest returns the proposal that has been on its way through the log for longest, nil if none is.
func (q *queue) oldest() *proposal {
	for _, s := range q.order {
		if p := q.proposed[s]; p != nil {
			return p
		}
	}
	return nil
}

// conns appends the connections of clients that wait for a proposal; some more than once.
func (q *queue) conns(out []uint64) []uint64 {
	add := func(p *proposal) {
		for i := range p.waiters {
			c := &p.waiters[i].call
			if p.waiters[i].some && c.server == 0 && (len(out) == 0 || out[len(out)-1] != c.conn) {
				out = append(out, c.conn)
			}
		}
	}
	for _, s := range q.order {
		if p := q.proposed[s]; p != nil {
			add(p)
		}
	}
	for _, p := range q.open {
		add(p)
	}
	return out
}
