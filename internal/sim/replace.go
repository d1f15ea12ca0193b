package sim

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"raftbank/internal/api"
	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// operatorConn is the connection of whoever replaces servers; it is never lost.
const operatorConn = ^uint64(0)

// askEveryUs is how often the operator asks for the next step.
const askEveryUs = 250 * millisecond

// replacing are the servers that are being replaced.
type replacing struct {
	rng     random
	chance  float64
	servers []*server // in the order in which they began
	attempt uint64    // that began last
}

func newReplacing(w *world) replacing {
	r := replacing{rng: newRandom(w.o.Seed, "replacing")}
	r.chance = pick(r.rng, []float64{0, 0.7, 1})
	if on, err := enabledFaults(w.o.Faults); err != nil || !on[faultReplace] || w.plan.beyond {
		r.chance = 0
	}
	return r
}

// replaceLater may give a server whose disk is lost an empty one, and begin to replace it.
func (n *nemesis) replaceLater(s *server) {
	r := &n.replacing
	if n.w.calm || n.w.plan.replicas == 1 || !r.rng.chance(r.chance) {
		return
	}
	n.w.after(r.rng.between(0, 8*second), func() {
		if n.w.calm {
			return
		}
		n.w.struck(faultReplace)
		n.w.say(s.name(), "gets an empty disk, to be replaced")
		s.disk.wipe()
		r.attempt++
		s.lost, s.suspect, s.replacing, s.attempt, s.synced = false, "", true, r.attempt, synced{}
		r.servers = append(r.servers, s)
		s.start()
		if len(r.servers) == 1 {
			n.askToReplace()
		}
	})
}

// askToReplace asks every server of the shards concerned for the next step; the leader takes it.
func (n *nemesis) askToReplace() {
	r := &n.replacing
	if len(r.servers) == 0 {
		return
	}
	for _, s := range r.servers {
		body, err := json.Marshal(api.ReplaceRequest{Server: int(s.id), Attempt: s.attempt})
		if err != nil {
			panic(err) // numbers always marshal
		}
		for _, t := range n.w.of(s.shard) {
			t.receive(input{conn: operatorConn, message: &wire.AdminRequest{
				Header: wire.Header{Request: s.attempt, Shard: s.shard, Epoch: n.w.topology.Map().Epoch()},
				Kind:   wire.AdminReplace, Body: body,
			}})
		}
	}
	n.w.after(askEveryUs, n.askToReplace)
}

// replaceAnswered takes a leader's answer. What is replaced may break again.
func (n *nemesis) replaceAnswered(id shard.ID, m wire.Message) {
	r := &n.replacing
	reply, ok := m.(*wire.Reply)
	var v api.ReplaceReply
	if !ok || reply.Status != wire.StatusOK || json.Unmarshal(reply.Body, &v) != nil || v.Phase != api.ReplacePromoted {
		return
	}
	at := slices.IndexFunc(r.servers, func(s *server) bool { return s.attempt == reply.Request })
	if at < 0 {
		return // an answer to an earlier question
	}
	s := r.servers[at]
	r.servers = slices.Delete(r.servers, at, at+1)
	s.replacing = false
	n.returnLater(s)
	if r.rng.chance(r.chance / 4) {
		n.breakNext(n.w.server(shard.ServerID(v.Leader)))
	}
	n.w.recovery("replaced a server")
	n.w.say(fmt.Sprint(id), "server %d is replaced", v.Server)
}

// breakNext empties the disk of the leader that has said that a replacement is done, at once: that is what the operator may rely on.
func (n *nemesis) breakNext(leader *server) {
	n.w.after(0, func() {
		if !n.w.calm && n.w.now >= n.shieldUntil && n.breakDisk(faultWipe, leader) {
			n.w.struck(faultWipe)
		}
	})
}

// promotionSlack is how many entries a new voter may lack when the entry that makes it one is first applied: what replica
// allows, and what came in between.
const promotionSlack = 16 + 32

// promoted: a server that is made a voter holds about what the others hold, or it would be a vote less where one is needed.
func (k *checker) promoted(e *raftpb.Entry) {
	var cc raftpb.ConfChange
	if err := proto.Unmarshal(e.GetData(), &cc); err != nil || cc.GetType() != raftpb.ConfChangeAddNode {
		return
	}
	k.looked(CheckIdentity)
	s := k.w.server(replica.ServerOf(cc.GetNodeId()))
	if s.log == nil {
		return
	}
	if last, err := s.log.LastIndex(); err != nil || last+promotionSlack < e.GetIndex() {
		k.w.fail(CheckIdentity, "%s votes from entry %d on, and its log ends with entry %d (%v)", s.name(), e.GetIndex(), last, err)
	}
}
