package sessiontest

import (
	"encoding/json"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// Bank is all the servers of a topology.
type Bank struct {
	Topology *shard.Topology
	Keys     *txn.KeyRing
	// Leaders says which server of a shard leads; 0: none.
	Leaders map[shard.ID]shard.ServerID
	// Status, if not 0, is what every server of the shard answers.
	Status map[shard.ID]wire.Status
	states map[shard.ID]*ledger.State
}

// New returns a bank whose shards are open and led by their first servers.
func New(t *shard.Topology) *Bank {
	b := &Bank{
		Topology: t,
		Keys:     &txn.KeyRing{Bank: txn.BankID{1}, Keys: []txn.Key{{ID: 1, Secret: [32]byte{7}}}},
		Leaders:  map[shard.ID]shard.ServerID{},
		Status:   map[shard.ID]wire.Status{},
		states:   map[shard.ID]*ledger.State{},
	}
	for i := range t.Clusters {
		c := &t.Clusters[i]
		b.Leaders[c.Shard] = c.Servers[0].ID
		b.states[c.Shard] = ledger.New(c.Shard)
		b.apply(c.Shard, ledger.Command{Kind: ledger.CmdGenesis, Genesis: &ledger.Genesis{
			Bank: b.Keys.Bank, Shard: c.Shard, Map: t.Map(), Members: []uint64{uint64(c.Servers[0].ID)<<32 | 1},
			OpeningBalance: t.OpeningBalance,
		}})
	}
	return b
}

// State returns a shard's ledger.
func (b *Bank) State(s shard.ID) *ledger.State { return b.states[s] }

// Prepared returns how many transfers are prepared and not finished, over all shards.
func (b *Bank) Prepared() int {
	n := 0
	for i := range b.Topology.Clusters {
		n += b.states[b.Topology.Clusters[i].Shard].PreparedCount()
	}
	return n
}

// Total returns whether the shards hold together what was opened.
func (b *Bank) Total() (total, expected string) {
	sum := b.states[b.Topology.Clusters[0].Shard].Total()
	for i := 1; i < len(b.Topology.Clusters); i++ {
		sum.Add(sum, b.states[b.Topology.Clusters[i].Shard].Total())
	}
	return sum.String(), b.Topology.Total().String()
}

func (b *Bank) apply(s shard.ID, c ledger.Command) []ledger.Result {
	st := b.states[s]
	index, _ := st.Applied()
	return st.Apply(index+1, 1, &ledger.Entry{Proposer: 1, Seq: index, Commands: []ledger.Command{c}})
}

// Handle answers one message to one server.
func (b *Bank) Handle(to shard.ServerID, m wire.Message) *wire.Reply {
	_, cluster, ok := b.Topology.Server(to)
	if !ok {
		panic("sessiontest: no such server")
	}
	s := cluster.Shard
	h := wire.HeaderOf(m)
	reply := &wire.Reply{Request: h.Request, Status: wire.StatusOK}
	if st := b.Status[s]; st != 0 {
		reply.Status, reply.Text = st, "as told"
		return reply
	}
	if q, isAdmin := m.(*wire.AdminRequest); isAdmin {
		b.admin(to, s, q, reply)
		return reply
	}
	stale := false
	switch q := m.(type) {
	case *wire.BalanceRequest:
		stale = !q.Strong
	case *wire.QueryRequest:
		stale = !q.Strong
	}
	if b.Leaders[s] != to && !stale {
		reply.Status, reply.Leader = wire.StatusNotLeader, b.Leaders[s]
		return reply
	}
	b.serve(to, s, m, reply)
	return reply
}

// withItem adds an item behind those of ascending runs.
func withItem(runs []wire.Run, item uint32) []wire.Run {
	if n := len(runs); n > 0 && runs[n-1].First+runs[n-1].Count == item {
		runs[n-1].Count++
		return runs
	}
	return append(runs, wire.Run{First: item, Count: 1})
}

func (b *Bank) serve(to shard.ServerID, s shard.ID, m wire.Message, reply *wire.Reply) {
	switch m := m.(type) {
	case *wire.TransferRequest:
		for i := range m.Records {
			res := b.settledApply(s, ledger.Command{Kind: ledger.CmdTransfer, Records: m.Records[i : i+1]})
			if res.Code == ledger.ResultState && res.State == ledger.Committed {
				reply.Committed = withItem(reply.Committed, uint32(i))
			} else {
				reply.Results = append(reply.Results, result(uint32(i), res))
			}
		}
	case *wire.PrepareRequest:
		var votes []txn.Vote
		for i := range m.Records {
			c := ledger.Command{Kind: ledger.CmdPrepare, Records: m.Records[i : i+1], Digests: m.Digests[i : i+1]}
			res := b.settledApply(s, c)
			if res.Code == ledger.ResultState && res.State == ledger.Prepared {
				reply.Voted = withItem(reply.Voted, uint32(i))
			} else {
				reply.Results = append(reply.Results, result(uint32(i), res))
			}
			votes = append(votes, vote(m.Records[i].ID, m.Digests[i], res))
		}
		reply.Blocks = append(reply.Blocks, b.Keys.Sign(s, votes))
	case *wire.InquireRequest:
		var votes []txn.Vote
		for i := range m.Items {
			q := &m.Items[i]
			p := ledger.Poison{ID: q.ID, Digest: q.Digest, Reason: m.Reason}
			res := b.apply(s, ledger.Command{Kind: ledger.CmdPoison, Poisons: []ledger.Poison{p}})[0]
			reply.Results = append(reply.Results, result(uint32(i), res))
			votes = append(votes, vote(q.ID, q.Digest, res))
		}
		reply.Blocks = append(reply.Blocks, b.Keys.Sign(s, votes))
	case *wire.FinishRequest:
		b.finish(s, m.Blocks)
	case *wire.AuditRequest:
		b.audit(to, s, m, reply)
	case *wire.StatusRequest:
		for i, id := range m.IDs {
			o, _ := b.states[s].Lookup(id)
			reply.Results = append(reply.Results, wire.Result{
				Item: uint32(i), State: o.State, Reason: o.Reason, Content: wire.ContentOf(&o),
			})
		}
	case *wire.CancelRequest:
		for i, id := range m.IDs {
			res := b.apply(s, ledger.Command{Kind: ledger.CmdCancel, Cancels: []ledger.TransferID{id}})[0]
			reply.Results = append(reply.Results, result(uint32(i), res))
		}
	case *wire.BalanceRequest:
		b.balances(to, s, m, reply)
	case *wire.QueryRequest:
		b.query(to, s, m, reply)
	default:
		panic("sessiontest: no request")
	}
}

// audit serves a step of an audit. Nothing is withheld here: the ledger is told, but replies go on.
func (b *Bank) audit(to shard.ServerID, s shard.ID, m *wire.AuditRequest, reply *wire.Reply) {
	st := b.states[s]
	kinds := map[wire.AuditStep]ledger.CommandKind{
		wire.AuditAllocate: ledger.CmdAllocate, wire.AuditBarrier: ledger.CmdBarrier,
		wire.AuditRelease: ledger.CmdRelease, wire.AuditVoid: ledger.CmdVoid,
	}
	cut, known := st.Cut(m.Number)
	res := ledger.Result{Code: ledger.ResultVoid, Epoch: m.Number}
	switch {
	case m.Step == wire.AuditAllocate && st.Withholding() != 0:
		res.Code = ledger.ResultDefer
	case kinds[m.Step] != 0:
		res = b.apply(s, ledger.Command{Kind: kinds[m.Step], Numbers: []uint32{m.Number}})[0]
		if res.Code == ledger.ResultAllocated {
			reply.Blocks = append(reply.Blocks, b.Keys.Sign(s, []txn.Vote{{Fact: ledger.FactNumber, Epoch: res.Epoch}}))
		}
	case m.Number > st.Epoch():
		res.Code = ledger.ResultNoEffect
	case known && m.Step == wire.AuditCollect:
		b.settleAll(s, st.PreparedBefore(m.Number))
		n, _ := st.Snapshot(m.Number)
		rng, _ := b.Topology.Map().Range(s)
		reply.Body, _ = json.Marshal(&api.ShardAudit{
			Shard: int(s), Cluster: s.String(), Server: int(to), Accounts: n.Accounts, Posted: n.Posted.String(),
			In: n.In.String(), Out: n.Out.String(), Unfinished: n.Unfinished, Total: n.Total().String(),
			Opened: ledger.Units(rng.Len() * b.Topology.OpeningBalance).String(), CutIndex: n.Cut.Index,
		})
		res.Code = ledger.ResultReleased
	case known && cut.Stage == ledger.StageWithholding:
		res.Code = ledger.ResultWithholding
	case known && cut.Stage == ledger.StageReleased:
		res.Code = ledger.ResultReleased
	}
	reply.Results = append(reply.Results, result(0, res))
}

// Void ends a shard's withholding, as a leader without patience does.
func (b *Bank) Void(s shard.ID) {
	b.apply(s, ledger.Command{Kind: ledger.CmdVoid, Numbers: []uint32{b.states[s].Withholding()}})
}

// settledApply applies a command with one item, and once more if it was deferred.
func (b *Bank) settledApply(s shard.ID, c ledger.Command) ledger.Result {
	res := b.apply(s, c)[0]
	if res.Code == ledger.ResultDefer {
		c.Settled = true
		res = b.apply(s, c)[0]
	}
	return res
}

func (b *Bank) balances(to shard.ServerID, s shard.ID, m *wire.BalanceRequest, reply *wire.Reply) {
	reply.Term = 1
	reply.Applied, _ = b.states[s].Applied()
	if b.Leaders[s] == to {
		reply.Role = 2
	}
	for _, id := range m.Accounts {
		if m.Strong {
			b.settle(s, id)
		}
		a, ok := b.states[s].Account(id)
		reply.Balances = append(reply.Balances, wire.Balance{
			Account: id, Exists: ok, DebitsPosted: a.DebitsPosted, CreditsPosted: a.CreditsPosted,
			DebitsPending: a.DebitsPending, CreditsPending: a.CreditsPending, CreditLine: a.CreditLine,
		})
	}
}

// finish applies what verified certificates decide, as a participant would.
func (b *Bank) finish(s shard.ID, blocks []txn.Block) {
	p := txn.NewParticipant(txn.ParticipantOptions{
		Shard: s, Term: 1, Keys: b.Keys, State: b.states[s], Timing: txn.DefaultTiming,
	})
	p.Facts(blocks)
	e := p.Take()
	if len(e.Finishes) > 0 {
		b.apply(s, ledger.Command{Kind: ledger.CmdFinish, Finishes: e.Finishes})
	}
	if len(e.Votes) > 0 {
		b.apply(s, ledger.Command{Kind: ledger.CmdFinishVotes, Votes: e.Votes})
	}
}

// settle finishes, before a strong read, what is pending on an account and committed by all votes.
func (b *Bank) settle(s shard.ID, a shard.Account) { b.settleAll(s, b.states[s].PreparedOn(a)) }

func (b *Bank) settleAll(s shard.ID, ids []ledger.TransferID) {
	for _, id := range ids {
		o, _ := b.states[s].Lookup(id)
		parts, _ := b.states[s].Participants(&o.Record)
		var blocks []txn.Block
		for _, other := range parts {
			held, _ := b.states[other].Lookup(id)
			v := txn.Vote{ID: id, Digest: o.Digest, Epoch: max(held.VoteEpoch, held.CommitEpoch)}
			switch {
			case held.Digest != o.Digest || held.State == ledger.None:
				continue
			case held.State == ledger.Aborted:
				v.Fact = ledger.FactAborted
			default:
				v.Fact = ledger.FactYes
			}
			blocks = append(blocks, b.Keys.Sign(other, []txn.Vote{v}))
		}
		b.finish(s, blocks)
	}
}

// Recover does what the participants' leaders do for a silent client: every shard asks the others,
// with poison, about what it has prepared, and finishes it.
func (b *Bank) Recover() {
	for i := range b.Topology.Clusters {
		s := b.Topology.Clusters[i].Shard
		for _, id := range b.states[s].Prepared() {
			o, _ := b.states[s].Lookup(id)
			parts, _ := b.states[s].Participants(&o.Record)
			var blocks []txn.Block
			for _, other := range parts {
				if other == s {
					continue
				}
				c := ledger.Command{Kind: ledger.CmdPoison, Poisons: []ledger.Poison{{
					ID: id, Digest: o.Digest, Reason: ledger.ReasonTimedOut,
				}}}
				blocks = append(blocks, b.Keys.Sign(other, []txn.Vote{vote(id, o.Digest, b.apply(other, c)[0])}))
			}
			b.finish(s, blocks)
		}
	}
}

func (b *Bank) admin(to shard.ServerID, s shard.ID, m *wire.AdminRequest, reply *wire.Reply) {
	st := b.states[s]
	applied, _ := st.Applied()
	leads := b.Leaders[s] == to
	var v any
	switch m.Kind {
	case wire.AdminStatus:
		role := "follower"
		if leads {
			role = "leader"
		}
		v = api.ServerStatus{Server: int(to), Shard: int(s), Role: role, Term: 1, Applied: applied, Commit: applied, Up: true}
	case wire.AdminCheck:
		c := api.ServerCheck{
			Server: int(to), Shard: int(s), Up: true, Leader: leads, Term: 1, Applied: applied, Commit: applied,
			Prepared: st.PreparedCount(), Total: st.Total().String(), Negative: st.Negative(),
			Hash: api.HashAt{Index: applied, State: "s", Chain: "c"},
		}
		rng, _ := b.Topology.Map().Range(s)
		c.Expected = ledger.Units(rng.Len() * b.Topology.OpeningBalance).String()
		v = c
	case wire.AdminInDoubt:
		d := api.ServerInDoubt{Server: int(to), Shard: int(s), Leader: leads, Total: st.PreparedCount()}
		for _, id := range st.Prepared() {
			d.Transfers = append(d.Transfers, api.InDoubtTransfer{ID: id.String(), Shard: int(s), Cluster: s.String()})
		}
		v = d
	case wire.AdminExplain:
		v = b.explain(to, s, m.Body)
	default:
		reply.Status, reply.Text = wire.StatusBadRequest, "no such question: "+m.Kind
		return
	}
	reply.Body, _ = json.Marshal(v)
}

func (b *Bank) explain(to shard.ServerID, s shard.ID, body []byte) api.ServerExplain {
	var q api.ExplainQuery
	_ = json.Unmarshal(body, &q)
	e := api.ServerExplain{Server: int(to), Shard: int(s), Cluster: s.String(), Up: true, State: "none"}
	id, err := ledger.ParseTransferID(q.ID)
	if err != nil {
		return e
	}
	if o, ok := b.states[s].Lookup(id); ok {
		e.State = o.State.String()
		if o.Reason != ledger.ReasonNone {
			e.Reason = o.Reason.String()
		}
	}
	e.Entries = entries(b.states[s], id)
	return e
}

func result(item uint32, r ledger.Result) wire.Result {
	return wire.Result{
		Item: item, Code: r.Code, State: r.State, Reason: r.Reason, Account: r.Account, Available: r.Available,
		Epoch: r.Epoch, Index: r.Index, Term: r.Term,
	}
}

func vote(id ledger.TransferID, d ledger.Digest, r ledger.Result) txn.Vote {
	v := txn.Vote{ID: id, Digest: d, Reason: r.Reason, Epoch: r.Epoch}
	switch {
	case r.Code == ledger.ResultConflict:
		v.Fact, v.Reason = ledger.FactAborted, ledger.ReasonIDConflict
	case r.State == ledger.Prepared:
		v.Fact = ledger.FactYes
	case r.State == ledger.Committed:
		v.Fact = ledger.FactCommitted
	case r.State == ledger.Aborted:
		v.Fact = ledger.FactAborted
	}
	return v
}
