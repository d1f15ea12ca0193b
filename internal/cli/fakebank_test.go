package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// fakeBank is a bank in memory, with the default topology. Its transfers take 1.5 ms by their own
// account and move money at once.
type fakeBank struct {
	replaced int             // calls of Replace
	attempts map[uint64]bool // that they named
	topology *shard.Topology
	// scenario is "", or what is wrong with the bank: down, minority, unknown, busy, violation,
	// empty (nothing is known of any id), stale (strong reads show the opening), foreign (they show more than
	// was moved, and the datastore another's transfer).
	scenario string

	mu       sync.Mutex // guards what follows, but for sent and gate
	balances map[shard.Account]uint64
	credited map[shard.Account]uint64 // since the opening
	debited  map[shard.Account]uint64
	seen     map[client.ID]client.Result
	inFlight int
	peak     int
	sent     []client.Transfer
	gate     func(client.Transfer) // called outside the lock before a transfer; may be nil
}

func newFakeBank(scenario string) *fakeBank {
	return &fakeBank{topology: shard.DefaultTopology(), scenario: scenario,
		attempts: map[uint64]bool{}, balances: map[shard.Account]uint64{}, credited: map[shard.Account]uint64{}, debited: map[shard.Account]uint64{}, seen: map[client.ID]client.Result{}}
}

func (b *fakeBank) Topology() *shard.Topology { return b.topology }
func (b *fakeBank) Close() error              { return nil }

func (b *fakeBank) balance(a shard.Account) uint64 {
	if n, ok := b.balances[a]; ok {
		return n
	}
	return b.topology.OpeningBalance
}

func (b *fakeBank) Transfer(_ context.Context, t client.Transfer) (client.Result, error) {
	b.mu.Lock()
	b.inFlight++
	b.peak = max(b.peak, b.inFlight)
	b.mu.Unlock()
	if b.gate != nil {
		b.gate(t)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
	b.sent = append(b.sent, t)
	if r, ok := b.seen[t.ID]; ok {
		return r, nil
	}
	r := b.apply(t)
	b.seen[t.ID] = r
	return r, nil
}

func (b *fakeBank) apply(t client.Transfer) client.Result {
	r := client.Result{Transfer: t, Kind: client.Intra, Outcome: client.Committed, Latency: 1500 * time.Microsecond}
	from, _ := b.topology.ShardOf(t.From)
	to, _ := b.topology.ShardOf(t.To)
	if from != to {
		r.Kind = client.Cross
		r.Latency *= 2
	}
	r.Steps = []client.Step{
		{At: 0, Actor: "client", Text: "-> server 1, leader of " + from.String()},
		{At: 1400 * time.Microsecond, Actor: from.String(), Text: "index 3"},
	}
	switch b.scenario {
	case "down":
		r.Outcome, r.Shard, r.Steps = client.Unavailable, from, nil
		return r
	case "unknown":
		r.Outcome, r.Shard, r.Detail = client.Unknown, from, "no answer within 3 s"
		return r
	}
	if have := b.balance(t.From); have < t.Amount.Lo || t.Amount.Hi > 0 {
		r.Outcome, r.Reason = client.Aborted, ledger.ReasonInsufficientFunds
		r.Account, r.Available = t.From, ledger.Units(have)
		return r
	}
	b.balances[t.From] = b.balance(t.From) - t.Amount.Lo
	b.balances[t.To] = b.balance(t.To) + t.Amount.Lo
	b.debited[t.From] += t.Amount.Lo
	b.credited[t.To] += t.Amount.Lo
	return r
}

func (b *fakeBank) Balance(_ context.Context, a client.Account) (client.AccountBalance, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	in, out := b.topology.OpeningBalance+b.credited[a], b.debited[a]
	switch b.scenario {
	case "down":
		return client.AccountBalance{}, noServer(b.topology, 1)
	case "stale":
		in, out = b.topology.OpeningBalance, 0
	case "foreign":
		in++
		b.credited[a]++
	}
	return client.AccountBalance{Account: a, Exists: true, Server: 1, Role: "leader", Term: 2, Applied: 1207,
		In: ledger.Units(in), Out: ledger.Units(out)}, nil
}

func (b *fakeBank) Replicas(_ context.Context, a client.Account) (api.Balance, error) {
	id, _ := b.topology.ShardOf(a)
	v := api.Balance{Account: a.String(), Shard: int(id), Cluster: id.String(), Balance: "1204", Available: "1200",
		PendingIn: "0", PendingOut: "4", Strong: b.scenario == ""}
	for i, s := range b.topology.Cluster(id).Servers {
		r := api.ReplicaBalance{Server: int(s.ID), Role: "follower", Term: 2, Applied: 1200, Behind: 4,
			Balance: "1204", Available: "1204", PendingIn: "0", PendingOut: "0", Up: true}
		switch {
		case b.scenario == "down" || b.scenario == "minority" && i > 0:
			r = api.ReplicaBalance{Server: int(s.ID), Role: "unknown"}
		case i == 0:
			r.Role, r.Applied, r.Behind, r.Available, r.PendingOut = "leader", 1204, 0, "1200", "4"
		}
		v.Replicas = append(v.Replicas, r)
	}
	return v, nil
}

func (b *fakeBank) Resolve(_ context.Context, id client.ID) (client.Result, error) {
	if b.scenario == "empty" {
		return client.Result{}, client.ErrNotFound
	}
	t := client.Transfer{ID: id, From: 3, To: 1003, Amount: ledger.Units(4)}
	return b.apply(t), nil
}

func (b *fakeBank) Cancel(ctx context.Context, id client.ID) (client.Result, error) {
	if b.scenario != "empty" {
		return b.Resolve(ctx, id)
	}
	return client.Result{Transfer: client.Transfer{ID: id}, Outcome: client.Aborted,
		Reason: ledger.ReasonCancelled, Latency: time.Millisecond}, nil
}

func (b *fakeBank) Status(context.Context) (api.Status, error) {
	var v api.Status
	for _, c := range b.topology.Clusters {
		sh := api.ShardStatus{Shard: int(c.Shard), Cluster: c.Shard.String(), First: c.Range.First.String(), Last: c.Range.Last.String()}
		for i, s := range c.Servers {
			st := api.ServerStatus{Server: int(s.ID), Addr: s.Addr, Shard: int(c.Shard), Role: "follower", Term: 2,
				Commit: 1204, Applied: 1204, Hash: "9f86d081884c7d65", Up: true}
			leader := int(c.Servers[0].ID)
			st.Leader = &leader
			if i == 0 {
				st.Role = "leader"
				sh.Leader = &leader
			}
			if b.scenario == "down" || b.scenario == "minority" && c.Shard == 1 && i < 2 {
				st = api.ServerStatus{Server: int(s.ID), Addr: s.Addr, Shard: int(c.Shard), Role: "unknown",
					Note: "server " + s.ID.String() + " does not answer: connection refused"}
				sh.Leader = nil
			}
			sh.Servers = append(sh.Servers, st)
		}
		v.Shards = append(v.Shards, sh)
	}
	return v, nil
}

const fakeID = "01J9ZQ6X3K4M8N2P5R7T9V1W3Y"

func (b *fakeBank) Datastore(_ context.Context, server shard.ServerID, q api.DatastoreQuery) (api.Datastore, error) {
	var v api.Datastore
	for _, c := range b.topology.Clusters {
		for _, s := range c.Servers {
			if server != 0 && s.ID != server {
				continue
			}
			sd := api.ServerDatastore{Server: int(s.ID), Shard: int(c.Shard), Cluster: c.Shard.String(), Up: b.scenario != "down"}
			if sd.Up && b.scenario != "stale" {
				sd.FirstIndex, sd.Total, sd.Truncated, sd.Next = 2, 1207, 1205, 1205
				if q.Account != "" {
					sd.FirstIndex, sd.Total, sd.Truncated = 1206, 2, 0
				}
				sd.Entries = []api.Entry{
					{Index: 1206, Term: 3, Kind: "prepare", ID: fakeID, From: "7", To: "2007", Amount: "5", Outcome: "yes", TimeNs: 1e18},
					{Index: 1207, Position: 1, Term: 3, Kind: "commit", ID: fakeID, From: "7", To: "2007", Amount: "5", Outcome: "committed", TimeNs: 1e18 + 1e6},
				}
			}
			if b.scenario == "minority" && s.ID == 1 {
				sd.Up, sd.Note = false, "no older rows: server 1 of C1 does not answer"
			}
			v.Servers = append(v.Servers, sd)
		}
	}
	return v, nil
}

func (b *fakeBank) Explain(_ context.Context, id client.ID) (api.Explain, error) {
	v := api.Explain{ID: id.String(), Outcome: outcomeNotFound, Events: []api.ExplainEvent{}}
	for n := 1; n <= 6; n++ {
		v.Servers = append(v.Servers, api.ServerExplain{Server: n, Shard: (n + 2) / 3, Cluster: fmt.Sprintf("C%d", (n+2)/3), Up: b.scenario != "down" && n != 5})
	}
	if b.scenario == "empty" || b.scenario == "down" {
		return v, nil
	}
	v.From, v.To, v.Amount, v.Kind, v.Outcome = "3", "1003", "4", "cross", "committed"
	v.Events = []api.ExplainEvent{
		{TimeNs: 1700000000123456000, Cluster: "C1", Index: 4, Term: 2, Kind: "prepare", Outcome: "yes", Servers: []int{1, 2, 3}},
		{TimeNs: 1700000000123956000, Cluster: "C2", Index: 3, Term: 2, Kind: "prepare", Outcome: "yes", Servers: []int{4, 6}},
		{TimeNs: 1700000000143456000, Cluster: "C1", Index: 5, Term: 2, Kind: "commit", Outcome: "committed", Servers: []int{1, 2, 3}},
		{TimeNs: 1700000000143956000, Cluster: "C2", Index: 4, Term: 2, Kind: "commit", Outcome: "committed", Servers: []int{4, 6}},
	}
	return v, nil
}

func (b *fakeBank) freshness(server int, o client.ReadOptions) api.Freshness {
	f := api.Freshness{Server: server, Role: "leader", Strong: !o.Stale && o.Server == 0, Term: 2, Applied: 1204}
	if !f.Strong {
		f.Role, f.Applied, f.Behind, f.Heard = "follower", 1200, 4, 3
		if o.Server != 0 {
			f.Server = int(o.Server)
		}
	}
	return f
}

func (b *fakeBank) History(_ context.Context, a client.Account, o client.HistoryOptions) (api.History, error) {
	id, _ := b.topology.ShardOf(a)
	if b.scenario == "down" {
		return api.History{}, noServer(b.topology, id)
	}
	v := api.History{Account: a.String(), Shard: int(id), Cluster: id.String(), Freshness: b.freshness(1, o.ReadOptions),
		Balance: "1204", Available: "1200", PendingIn: "0", PendingOut: "4"}
	const at = 1700000000123456000
	v.Lines = []api.HistoryLine{
		{TimeNs: at + 4e6, ID: fakeID, Counterparty: "1003", Amount: "-4", Result: api.LineReserved, Balance: "1204", Available: "1200", Index: 1204, Term: 2, Row: 905},
		{TimeNs: at + 3e6, ID: fakeID, Counterparty: "2003", Amount: "-7", Result: api.LineReleased, Reason: "timed_out", Balance: "1204", Available: "1204", Index: 1203, Term: 2, Row: 904},
		{TimeNs: at, ID: fakeID, Counterparty: "5", Amount: "1194", Result: api.LinePosted, Balance: "1204", Available: "1197", Index: 1100, Term: 2, Row: 801},
		{TimeNs: at - 9e9, Amount: "10", Result: api.LineOpening, Balance: "10", Available: "10", Index: 2, Term: 1},
	}
	if o.Cursor != "" {
		v.Lines = v.Lines[2:]
	}
	if o.Limit < len(v.Lines) {
		v.Lines, v.Next = v.Lines[:o.Limit], "AQMCfjQ"
	}
	if b.scenario == "minority" {
		v.Next, v.Error = "AQMCfjQ", noServer(b.topology, id)
	}
	return v, nil
}

func (b *fakeBank) GetTransfer(_ context.Context, id client.ID, o client.ReadOptions) (api.TransferRecord, error) {
	v := api.TransferRecord{ID: id.String(), Outcome: api.OutcomeNotFound}
	for n := 1; n <= 3; n++ {
		if o.Server != 0 && (int(o.Server)+2)/3 != n {
			continue
		}
		v.Shards = append(v.Shards, api.ShardTransfer{Shard: n, Cluster: fmt.Sprintf("C%d", n), Up: b.scenario != "down",
			Freshness: b.freshness(3*n-2, o), State: "none", Entries: []api.Entry{}})
	}
	switch b.scenario {
	case "empty":
		return v, nil
	case "down":
		v.Outcome, v.Error = "", noServer(b.topology, 1)
		return v, nil
	}
	v.From, v.To, v.Amount, v.Kind, v.Outcome = "3", "1003", "4", "cross", "committed"
	const at = 1700000000123456000
	e := api.Entry{Row: 7, Index: 40, Term: 2, Kind: "prepare", ID: v.ID, From: "3", To: "1003", Amount: "4", Outcome: "yes", TimeNs: at, Epoch: 1}
	c := e
	c.Row, c.Index, c.Kind, c.Outcome, c.TimeNs = 8, 41, "commit", "committed", at+2e6
	v.Shards[0].State, v.Shards[0].Entries = "committed", []api.Entry{e, c}
	v.Shards[1].State, v.Shards[1].Entries = "prepared", []api.Entry{e}
	if b.scenario == "minority" {
		v.Outcome = api.OutcomeInDoubt
		v.Shards[0].State, v.Shards[0].Entries = "prepared", v.Shards[0].Entries[:1]
		v.Shards[1].Up, v.Shards[1].Entries = false, []api.Entry{}
		v.Error = noServer(b.topology, 2)
	}
	return v, nil
}

func (b *fakeBank) InDoubt(context.Context) (api.InDoubt, error) {
	if b.scenario == "down" {
		return api.InDoubt{}, noServer(b.topology, 1)
	}
	if b.scenario == "empty" {
		return api.InDoubt{}, nil
	}
	one, four := 1, 4
	shards := []api.InDoubtShard{
		{Shard: 1, Cluster: "C1", Leader: &one, Server: &one, Total: 1}, {Shard: 2, Cluster: "C2", Leader: &four, Server: &four},
	}
	if b.scenario == "minority" {
		shards[0].Leader, shards[0].Total = nil, 3
		shards[1].Leader, shards[1].Server = nil, nil
	}
	return api.InDoubt{Shards: shards, Transfers: []api.InDoubtTransfer{{ID: fakeID, Shard: 1, Cluster: "C1", From: "3", To: "1003",
		Amount: "4", Index: 4, AgeMs: 1250, Participants: []int{1, 2}}}}, nil
}

func (b *fakeBank) CheckConservation(context.Context) (api.Check, error) {
	yes, no := true, false
	v := api.Check{OK: &yes, Total: "10000", Expected: "10000"}
	hashes := &yes
	switch b.scenario {
	case "down":
		return api.Check{}, noServer(b.topology, 1)
	case "busy":
		v.OK, v.InFlight, v.Note, hashes = nil, 3, "not comparable while transfers run", nil
	case "violation":
		v.OK, v.Total, hashes = &no, "9999", &no
		v.Note = "C1: servers 1 and 2 differ at index 1204"
	}
	sh := api.ShardCheck{Shard: 1, Cluster: "C1", Total: v.Total, InFlight: v.InFlight, HashesOK: hashes}
	for n := 1; n <= 3; n++ {
		sh.Servers = append(sh.Servers, api.ServerCheck{Server: n, Shard: 1, Up: true, Leader: n == 1, Term: 2, Applied: 1204,
			Commit: 1204, Total: v.Total, Expected: "10000", Hash: api.HashAt{Index: 1204, State: "9f86d081884c7d65"}})
	}
	v.Shards = []api.ShardCheck{sh}
	return v, nil
}

func (b *fakeBank) Replace(_ context.Context, q api.ReplaceRequest) (api.ReplaceReply, error) {
	b.replaced++
	b.attempts[q.Attempt] = true
	server := q.Server
	phases := []string{api.ReplaceWaiting, api.ReplaceRemoved, api.ReplaceStreaming, api.ReplaceLearner, api.ReplacePromoted}
	if server == 9 {
		return api.ReplaceReply{}, &api.Error{Code: codeRefused, Message: "server 9 is alive and takes part: there is nothing to replace"}
	}
	return api.ReplaceReply{Server: server, Leader: 1, Phase: phases[min(b.replaced, len(phases))-1], Percent: 20 * b.replaced}, nil
}

func (b *fakeBank) Audit(context.Context) (api.Audit, error) {
	yes, no := true, false
	if b.scenario == "down" {
		return api.Audit{Error: noServer(b.topology, 1), Retries: 2}, nil
	}
	v := api.Audit{
		OK: &yes, Epoch: 3, Total: "30000", Expected: "30000", Posted: "29993", InFlight: "7", Accounts: 3000,
		Unfinished: 2, DurationUs: 12345, Retries: 1,
		Shards: []api.ShardAudit{
			{Shard: 1, Cluster: "C1", Server: 1, Accounts: 1000, Posted: "9990", In: "0", Out: "0", Total: "9990", Opened: "10000", CutIndex: 1204},
			{Shard: 2, Cluster: "C2", Server: 5, Accounts: 1000, Posted: "10000", In: "9", Out: "0", Unfinished: 1, Total: "10009", Opened: "10000", CutIndex: 1180},
			{Shard: 3, Cluster: "C3", Server: 7, Accounts: 1000, Posted: "10003", In: "0", Out: "2", Unfinished: 1, Total: "10001", Opened: "10000", CutIndex: 977},
		},
	}
	if b.scenario == "violation" {
		v.OK, v.Total, v.InFlight = &no, "29999", "6"
	}
	return v, nil
}

func (b *fakeBank) Fault(context.Context, shard.ServerID, api.FaultRequest) (api.FaultReply, error) {
	return api.FaultReply{}, errors.New("fake bank: no faults")
}
