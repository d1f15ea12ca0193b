package replica

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// memoryLog is a Log in memory: what Append was given survives a restart.
type memoryLog struct {
	*raft.MemoryStorage
	voters []uint64
}

func newMemoryLog(voters []uint64) *memoryLog {
	return &memoryLog{MemoryStorage: raft.NewMemoryStorage(), voters: voters}
}

func (l *memoryLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs, _, err := l.MemoryStorage.InitialState()
	return hs, &raftpb.ConfState{Voters: l.voters}, err
}

func (l *memoryLog) Append(hs *raftpb.HardState, entries []*raftpb.Entry, _ bool) error {
	if hs != nil {
		if err := l.SetHardState(hs); err != nil {
			return err
		}
	}
	return l.MemoryStorage.Append(entries)
}

// bank is a whole bank of replicas in one goroutine, with a message bus.
type bank struct {
	t        *testing.T
	topology *shard.Topology
	keys     *txn.KeyRing
	replicas map[shard.ServerID]*Replica // nil: down
	logs     map[shard.ServerID]*memoryLog
	cut      map[shard.ServerID]bool // no messages in or out
	bus      []letter
	nextCall uint64
	replies  map[uint64][]*wire.Reply
	limits   Limits
	timing   txn.Timing
	events   []Event
	fatal    map[shard.ServerID]error
	alarms   map[shard.ServerID]string // kept over restarts
	drop     func(letter) bool
	installs []shard.ServerID // those that have fetched a checkpoint
}

type letter struct {
	from, to shard.ServerID
	m        wire.Message
}

func newBank(t *testing.T) *bank {
	b := &bank{
		t: t, topology: shard.DefaultTopology(),
		keys:     &txn.KeyRing{Bank: txn.BankID{1}, Keys: []txn.Key{{ID: 1, Secret: [32]byte{7}}}},
		replicas: map[shard.ServerID]*Replica{}, logs: map[shard.ServerID]*memoryLog{},
		cut: map[shard.ServerID]bool{}, replies: map[uint64][]*wire.Reply{}, fatal: map[shard.ServerID]error{},
		alarms: map[shard.ServerID]string{},
		timing: txn.DefaultTiming,
	}
	return b
}

func (b *bank) boot() *bank {
	for _, c := range b.topology.Clusters {
		for _, s := range c.Servers {
			b.logs[s.ID] = newMemoryLog(b.members(c.Shard))
			b.start(s.ID)
		}
	}
	b.waitLeaders()
	return b
}

func (b *bank) members(id shard.ID) []uint64 {
	var m []uint64
	for _, s := range b.topology.Cluster(id).Servers {
		m = append(m, RaftID(s.ID, 100+uint32(s.ID)))
	}
	return m
}

func (b *bank) start(s shard.ServerID) {
	b.t.Helper()
	_, c, _ := b.topology.Server(s)
	r, err := New(Options{
		Server: s, Shard: c.Shard, Incarnation: 100 + uint32(s), Members: b.members(c.Shard),
		Topology: b.topology, Keys: b.keys, Log: b.logs[s], Limits: b.limits, Timing: b.timing, Alarm: b.alarms[s],
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.replicas[s] = r
}

func (b *bank) kill(s shard.ServerID) { delete(b.replicas, s) }

func (b *bank) servers() []shard.ServerID {
	var ids []shard.ServerID
	for _, c := range b.topology.Clusters {
		for _, s := range c.Servers {
			if b.replicas[s.ID] != nil {
				ids = append(ids, s.ID)
			}
		}
	}
	return ids
}

// settle runs turns and delivers messages until nothing moves.
func (b *bank) settle() {
	b.t.Helper()
	for range 10_000 {
		moved := false
		for _, s := range b.servers() {
			r := b.replicas[s]
			for r != nil && r.HasWork() {
				moved = true
				out := r.Turn(int64(r.now))
				b.take(s, out)
				if out.HardState != nil || len(out.Entries) > 0 {
					if err := b.logs[s].Append(out.HardState, out.Entries, out.Sync); err != nil {
						b.t.Fatal(err)
					}
				}
				b.take(s, r.Persisted())
				r = b.replicas[s]
			}
		}
		bus := b.bus
		b.bus = nil
		for _, l := range bus {
			moved = true
			if r := b.replicas[l.to]; r != nil && !b.cut[l.from] && !b.cut[l.to] && (b.drop == nil || !b.drop(l)) {
				r.StepPeer(l.from, b.copied(l.m))
			}
		}
		if !moved {
			return
		}
	}
	b.t.Fatal("the bank does not come to rest")
}

// copied passes a message through its encoding.
func (b *bank) copied(m wire.Message) wire.Message {
	b.t.Helper()
	out, err := wire.ReadFrame(bufio.NewReader(bytes.NewReader(wire.Append(nil, m))))
	if err != nil {
		b.t.Fatalf("%T does not survive its encoding: %v", m, err)
	}
	return out
}

func (b *bank) take(from shard.ServerID, out Output) {
	b.events = append(b.events, out.Events...)
	if out.Install {
		b.installs = append(b.installs, from)
	}
	if out.Alarm != "" {
		b.alarms[from] = out.Alarm
	}
	for _, s := range out.Sends {
		if s.Server != 0 {
			b.bus = append(b.bus, letter{from: from, to: s.Server, m: s.Message})
			continue
		}
		reply := b.copied(s.Message).(*wire.Reply)
		b.replies[reply.Request] = append(b.replies[reply.Request], reply)
	}
	if out.Fatal != nil {
		b.fatal[from] = out.Fatal
		delete(b.replicas, from)
	}
}

func (b *bank) tick(n int) {
	b.t.Helper()
	for range n {
		for _, s := range b.servers() {
			b.replicas[s].Tick()
		}
		b.settle()
	}
}

func (b *bank) leader(id shard.ID) shard.ServerID {
	for _, s := range b.topology.Cluster(id).Servers {
		if r := b.replicas[s.ID]; r != nil && !b.cut[s.ID] && r.IsLeader() {
			return s.ID
		}
	}
	return 0
}

func (b *bank) waitLeaders(ids ...shard.ID) {
	b.t.Helper()
	if len(ids) == 0 {
		ids = []shard.ID{1, 2, 3}
	}
	for range 200 {
		b.tick(1)
		if !slices.ContainsFunc(ids, func(id shard.ID) bool { return b.leader(id) == 0 }) {
			b.tick(3)
			return
		}
	}
	b.t.Fatal("no leaders after 200 ticks")
}

// call sends a request to a server as a client and returns the request's number.
func (b *bank) call(s shard.ServerID, m wire.Message) uint64 {
	b.t.Helper()
	b.nextCall++
	h := wire.HeaderOf(m)
	h.Request, h.Epoch = b.nextCall, 1
	if h.Shard == 0 {
		_, c, _ := b.topology.Server(s)
		h.Shard = c.Shard
	}
	b.replicas[s].StepClient(1, b.copied(m))
	return b.nextCall
}

// ask is call and settle; it wants exactly one reply.
func (b *bank) ask(s shard.ServerID, m wire.Message) *wire.Reply {
	b.t.Helper()
	n := b.call(s, m)
	b.settle()
	return b.one(n)
}

func (b *bank) one(n uint64) *wire.Reply {
	b.t.Helper()
	if len(b.replies[n]) != 1 {
		b.t.Fatalf("request %d: %d replies, want 1: %+v", n, len(b.replies[n]), b.replies[n])
	}
	return b.replies[n][0]
}

func id(n byte) ledger.TransferID { return ledger.TransferID{15: n} }

func record(n byte, from, to shard.Account, amount uint64) ledger.Record {
	return ledger.Record{ID: id(n), Debit: from, Credit: to, Amount: ledger.Units(amount), Currency: ledger.DefaultCurrency}
}

func (b *bank) transfer(rec ledger.Record) *wire.Reply {
	b.t.Helper()
	s, _ := b.topology.ShardOf(rec.Debit)
	return b.ask(b.leader(s), &wire.TransferRequest{Records: []ledger.Record{rec}})
}

func prepareOf(rec ledger.Record) *wire.PrepareRequest {
	return &wire.PrepareRequest{Records: []ledger.Record{rec}, Digests: []ledger.Digest{ledger.DigestOf(rec)}}
}

func (b *bank) prepare(s shard.ID, rec ledger.Record) *wire.Reply {
	b.t.Helper()
	return b.ask(b.leader(s), prepareOf(rec))
}

// balanceAt is an account as a server has applied it.
func (b *bank) balanceAt(s shard.ServerID, a shard.Account) string {
	acc, ok := b.replicas[s].state.Account(a)
	if !ok {
		return "none"
	}
	text := acc.Balance().String()
	if !acc.DebitsPending.IsZero() {
		text += " out " + acc.DebitsPending.String()
	}
	if !acc.CreditsPending.IsZero() {
		text += " in " + acc.CreditsPending.String()
	}
	return text
}

func (b *bank) wantBalances(want map[shard.Account]string) {
	b.t.Helper()
	for a, w := range want {
		id, _ := b.topology.ShardOf(a)
		for _, s := range b.topology.Cluster(id).Servers {
			if b.replicas[s.ID] == nil || b.cut[s.ID] {
				continue
			}
			if got := b.balanceAt(s.ID, a); got != w {
				b.t.Errorf("account %d at server %d: %s, want %s", a, s.ID, got, w)
			}
		}
	}
}

// wantWhole checks that no money appeared or vanished and that replicas agree.
func (b *bank) wantWhole() {
	b.t.Helper()
	total := uint64(0)
	for _, c := range b.topology.Clusters {
		var first *Replica
		for _, s := range c.Servers {
			r := b.replicas[s.ID]
			if r == nil {
				continue
			}
			if first == nil {
				first = r
				total += r.state.Total().Uint64()
				continue
			}
			a, _ := first.state.Applied()
			o, _ := r.state.Applied()
			if a == o && (first.state.Hash() != r.state.Hash() || !bytes.Equal(first.state.Encode(), r.state.Encode())) {
				b.t.Errorf("%s: states differ at index %d", c.Shard, a)
			}
		}
	}
	if want := b.topology.Total().Uint64(); total != want {
		b.t.Errorf("total %d, want %d", total, want)
	}
}

func resultText(r *wire.Reply) string {
	if r.Status != wire.StatusOK {
		return fmt.Sprintf("status %d %s", r.Status, r.Text)
	}
	s := ""
	for _, run := range r.Committed {
		s += strings.Repeat("committed ", int(run.Count))
	}
	for _, run := range r.Voted {
		s += strings.Repeat("prepared ", int(run.Count))
	}
	for _, res := range r.Results {
		switch {
		case res.Code == ledger.ResultConflict:
			s += "conflict "
		case res.Reason != ledger.ReasonNone:
			s += res.State.String() + "(" + res.Reason.String() + ") "
		default:
			s += res.State.String() + " "
		}
	}
	return s
}

func wantResult(t *testing.T, r *wire.Reply, want string) {
	t.Helper()
	if got := resultText(r); got != want+" " && got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func (b *bank) admin(s shard.ServerID, kind string, q, into any) {
	b.t.Helper()
	body, err := json.Marshal(q)
	if err != nil {
		b.t.Fatal(err)
	}
	r := b.ask(s, &wire.AdminRequest{Kind: kind, Body: body})
	if r.Status != wire.StatusOK {
		b.t.Fatalf("%s: status %d: %s", kind, r.Status, r.Text)
	}
	if err := json.Unmarshal(r.Body, into); err != nil {
		b.t.Fatal(err)
	}
}
