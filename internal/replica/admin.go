package replica

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	"go.etcd.io/raft/v3"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/wire"
)

// maxInDoubt bounds the transfers of one in-doubt reply.
const maxInDoubt = 10_000

// RoleText names a raft state as users see it.
func RoleText(s raft.StateType) string {
	switch s {
	case raft.StateLeader:
		return "leader"
	case raft.StateFollower:
		return "follower"
	case raft.StateCandidate, raft.StatePreCandidate:
		return "candidate"
	}
	return "unknown"
}

// admin answers rare questions from the applied state, on any replica.
func (r *Replica) admin(c call, m *wire.AdminRequest) {
	if !r.roomToWithhold(c) {
		return
	}
	var v any
	var err error
	switch m.Kind {
	case wire.AdminStatus:
		v = r.serverStatus()
	case wire.AdminDatastore:
		var q api.DatastoreQuery
		if err = json.Unmarshal(m.Body, &q); err == nil {
			v, err = r.datastore(&q)
		}
	case wire.AdminExplain:
		var q api.ExplainQuery
		if err = json.Unmarshal(m.Body, &q); err == nil {
			v, err = r.explain(&q)
		}
	case wire.AdminInDoubt:
		v = r.inDoubt()
	case wire.AdminReplace:
		var q api.ReplaceRequest
		if err = json.Unmarshal(m.Body, &q); err == nil {
			v, err = r.replace(&q)
		}
	case wire.AdminCheck:
		v = r.check()
	default:
		err = fmt.Errorf("server %s knows no request of kind %q", r.options.Server, m.Kind)
	}
	if err != nil {
		r.answers.status(c, wire.StatusBadRequest, err.Error())
		return
	}
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("replica: marshal %T: %v", v, err))
	}
	r.answers.ok(c).Body = body
}

func (r *Replica) serverStatus() api.ServerStatus {
	st := r.rn.BasicStatus()
	applied, _ := r.state.Applied()
	addr := ""
	if s, _, ok := r.options.Topology.Server(r.options.Server); ok {
		addr = s.Addr
	}
	s := api.ServerStatus{
		Server: int(r.options.Server), Addr: addr, Shard: int(r.options.Shard),
		Role: RoleText(st.RaftState), Term: st.GetTerm(), Commit: st.GetCommit(), Applied: applied,
		Prepared: r.state.PreparedCount(), Hash: hashText(r.state.Hash()), Up: true, Version: r.options.Version,
		Counters: r.countersMap(),
	}
	if l := int(ServerOf(st.Lead)); l != 0 {
		s.Leader = &l
	}
	switch {
	case r.alarm != "":
		s.Note = r.alarm
	case r.Replaying():
		s.Note = "replaying its log"
	}
	return s
}

func (r *Replica) countersMap() map[string]uint64 {
	c := &r.counters
	m := map[string]uint64{
		"proposals": c.proposals, "transfers": c.transfers, "prepares": c.prepares, "finishes": c.finishes,
		"poisons": c.poisons, "reads": c.reads, "deferred": c.deferred, "busy": c.busy,
		"wrong_incarnation": c.wrongIncarnation, "bad_messages": c.badMessages, "elections": c.elections,
		"unknown_here": c.unknownHere, "inquiries": c.inquiries,
		"audit_barriers": c.barriers, "audit_voids": c.voids, "audit_withheld": c.withheld,
		"snapshot_parts_sent": c.partsSent, "snapshot_parts_taken": c.partsTaken,
	}
	if r.lead.part != nil {
		m["certificates_ignored"] = r.lead.part.Ignored
	}
	if r.options.MoreCounters != nil {
		maps.Copy(m, r.options.MoreCounters())
	}
	return m
}

func hashText(h uint64) string { return fmt.Sprintf("%016x", h) }

func (r *Replica) explain(q *api.ExplainQuery) (api.ServerExplain, error) {
	id, err := ledger.ParseTransferID(q.ID)
	e := api.ServerExplain{
		Server: int(r.options.Server), Shard: int(r.options.Shard), Cluster: r.options.Shard.String(),
		Role: RoleText(r.rn.BasicStatus().RaftState), Up: true, State: ledger.None.String(), Entries: []api.Entry{},
	}
	if err != nil {
		return e, err
	}
	if o, ok := r.state.Lookup(id); ok {
		e.State = o.State.String()
		if o.Reason != ledger.ReasonNone {
			e.Reason = o.Reason.String()
		}
	}
	rows := r.state.RowsOf(id)
	for i := range rows {
		e.Entries = append(e.Entries, entryOf(&rows[i]))
	}
	return e, nil
}

func (r *Replica) inDoubt() api.ServerInDoubt {
	d := api.ServerInDoubt{
		Server: int(r.options.Server), Shard: int(r.options.Shard), Leader: r.lead.part != nil,
		Transfers: []api.InDoubtTransfer{},
	}
	ids := r.state.Prepared()
	d.Total = len(ids)
	for _, id := range ids[:min(len(ids), maxInDoubt)] {
		o, _ := r.state.Lookup(id)
		t := api.InDoubtTransfer{
			ID: id.String(), Shard: int(r.options.Shard), Cluster: r.options.Shard.String(),
			From: o.Record.Debit.String(), To: o.Record.Credit.String(), Amount: o.Record.Amount.String(), Index: o.Index,
		}
		for _, p := range r.participants(&o.Record) {
			t.Participants = append(t.Participants, int(p))
		}
		if r.lead.part != nil {
			if ticks, ok := r.lead.part.Age(id); ok {
				t.AgeMs = int64(ticks) * tickMs
			}
		}
		d.Transfers = append(d.Transfers, t)
	}
	return d
}

// tickMs is the length of a tick on a server, for ages shown to people.
const tickMs = 50

func (r *Replica) check() api.ServerCheck {
	st := r.rn.BasicStatus()
	applied, _ := r.state.Applied()
	_, chain := r.state.Chain()
	c := api.ServerCheck{
		Server: int(r.options.Server), Shard: int(r.options.Shard), Up: true, Leader: r.lead.part != nil,
		Term: st.GetTerm(), Applied: applied, Commit: st.GetCommit(), Prepared: r.state.PreparedCount(),
		Total: r.state.Total().String(), Expected: r.opened(), Negative: r.state.Negative(),
		Hash:   api.HashAt{Index: applied, State: hashText(r.state.Hash()), Chain: hex.EncodeToString(chain[:])},
		Hashes: []api.HashAt{},
	}
	const newest = 64
	points := r.state.Hashes()
	for _, p := range points[max(0, len(points)-newest):] {
		c.Hashes = append(c.Hashes, api.HashAt{Index: p.Index, State: hashText(p.State), Chain: hex.EncodeToString(p.Chain[:])})
	}
	return c
}
