package session

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/session/sessiontest"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// smallBank has two clusters of three servers, accounts 1-10 and 11-20 with 10 each.
func smallBank() *shard.Topology {
	t := &shard.Topology{OpeningBalance: 10}
	for c := 1; c <= 2; c++ {
		cluster := shard.Cluster{Shard: shard.ID(c), Range: shard.Range{
			First: shard.Account(10*c - 9), Last: shard.Account(10 * c),
		}}
		for i := 1; i <= 3; i++ {
			id := 3*(c-1) + i
			cluster.Servers = append(cluster.Servers, shard.Server{
				ID: shard.ServerID(id), Addr: fmt.Sprintf("127.0.0.1:%d", 9000+id),
			})
		}
		t.Clusters = append(t.Clusters, cluster)
	}
	return t
}

// world is an engine, the bank, and what is on its way between them.
type world struct {
	t       *testing.T
	bank    *sessiontest.Bank
	e       *Engine
	names   map[ledger.TransferID]string
	ops     map[OpID]string
	batches map[OpID]bool
	sent    []inFlight
	replies []answered
	out     strings.Builder
}

type inFlight struct {
	to shard.ServerID
	m  wire.Message
}

type answered struct {
	from shard.ServerID
	r    *wire.Reply
}

func newWorld(t *testing.T, o Options) *world {
	o.Topology = smallBank()
	return &world{
		t: t, bank: sessiontest.New(o.Topology), e: warm(New(o)),
		names: map[ledger.TransferID]string{}, ops: map[OpID]string{}, batches: map[OpID]bool{},
	}
}

// warm makes an engine believe that every shard was seen to serve.
func warm(e *Engine) *Engine {
	for _, sh := range e.shards {
		sh.doubtful = false
	}
	return e
}

func nameID(name string) ledger.TransferID {
	var id ledger.TransferID
	copy(id[:], name)
	return id
}

func (w *world) id(name string) ledger.TransferID {
	w.names[nameID(name)] = name
	return nameID(name)
}

func record(id ledger.TransferID, from, to, amount uint64) ledger.Record {
	return ledger.Record{
		ID: id, Debit: shard.Account(from), Credit: shard.Account(to), Amount: ledger.Units(amount),
		Currency: ledger.DefaultCurrency,
	}
}

// flush takes the engine's effects.
func (w *world) flush() bool {
	out := w.e.Flush()
	for _, id := range out.Connects {
		fmt.Fprintf(&w.out, "connect %s\n", id)
	}
	for _, s := range out.Sends {
		for _, m := range s.Messages {
			fmt.Fprintf(&w.out, "-> %s %s\n", s.Server, w.describe(m))
			w.sent = append(w.sent, inFlight{s.Server, m})
		}
	}
	for _, s := range out.Steps {
		actor := "client"
		if s.Actor != 0 {
			actor = s.Actor.String()
		}
		fmt.Fprintf(&w.out, "step %s %s: %s\n", w.ops[s.Op], actor, s.Text)
	}
	for _, c := range out.Committed {
		fmt.Fprintf(&w.out, "done %s", w.ops[c.Op])
		for i := range c.Count {
			place := c.First + i
			if c.Places != nil {
				place = c.Places[i]
			}
			fmt.Fprintf(&w.out, " %d", place)
		}
		fmt.Fprintf(&w.out, " committed\n")
	}
	for _, d := range out.Dones {
		name := w.ops[d.Op]
		if w.batches[d.Op] {
			name += fmt.Sprintf(" %d", d.Place)
		}
		fmt.Fprintf(&w.out, "done %s %s\n", name, describeResult(&d.Result))
	}
	if out.Crash {
		w.out.WriteString("CRASH\n")
	}
	return len(out.Sends) > 0
}

func describeResult(r *Result) string {
	s := r.Decision.String()
	switch {
	case r.Reply != nil:
		return fmt.Sprintf("reply of server %s", r.Server)
	case r.Audit != nil:
		s = fmt.Sprintf("audit %d after %d retries", r.Audit.Number, r.Audit.Retries)
		for _, part := range r.Audit.Parts {
			var v api.ShardAudit
			if err := json.Unmarshal(part, &v); err != nil {
				return err.Error()
			}
			s += fmt.Sprintf("; %s %s + %s - %s", v.Cluster, v.Posted, v.In, v.Out)
		}
		return s
	case r.NotFound:
		return "not found"
	case r.Decision == txn.DecidedAborted:
		s += " " + r.Reason.String()
		if r.Account != 0 {
			s += fmt.Sprintf(" account=%s available=%s", r.Account, r.Available)
		}
	case r.Detail != "":
		s += fmt.Sprintf(" %s: %s", r.Shard, r.Detail)
	}
	return s
}

func (w *world) describe(m wire.Message) string {
	var b strings.Builder
	switch m := m.(type) {
	case *wire.TransferRequest:
		b.WriteString("TRANSFER")
		if m.Again {
			b.WriteString(" again")
		}
		b.WriteString(w.recordNames(m.Records))
	case *wire.PrepareRequest:
		b.WriteString("PREPARE")
		if m.Again {
			b.WriteString(" again")
		}
		b.WriteString(w.recordNames(m.Records))
	case *wire.InquireRequest:
		fmt.Fprintf(&b, "INQUIRE poison=%v %s", m.Poison, m.Reason)
		for _, q := range m.Items {
			fmt.Fprintf(&b, " %s%v", w.names[q.ID], q.Participants)
		}
	case *wire.FinishRequest:
		b.WriteString("FINISH")
		for _, k := range m.Blocks {
			for _, v := range k.Votes {
				fmt.Fprintf(&b, " %s:%s=%s", k.Shard, w.names[v.ID], v.Fact)
			}
		}
	case *wire.StatusRequest:
		b.WriteString("STATUS" + w.idNames(m.IDs))
	case *wire.CancelRequest:
		b.WriteString("CANCEL" + w.idNames(m.IDs))
	case *wire.AuditRequest:
		names := []string{"", "ALLOCATE", "BARRIER", "CONFIRM", "RELEASE", "COLLECT", "VOID"}
		fmt.Fprintf(&b, "%s %d", names[m.Step], m.Number)
		for _, k := range m.Blocks {
			fmt.Fprintf(&b, " certified by %s", k.Shard)
		}
	default:
		b.WriteString(m.Type().String())
	}
	return b.String()
}

func (w *world) recordNames(rs []ledger.Record) (s string) {
	for i := range rs {
		s += " " + w.names[rs[i].ID]
	}
	return s
}

func (w *world) idNames(ids []ledger.TransferID) (s string) {
	for _, id := range ids {
		s += " " + w.names[id]
	}
	return s
}

// arrive lets the bank handle what is on its way to the servers (all of them if none is named).
func (w *world) arrive(servers ...shard.ServerID) {
	var left []inFlight
	for _, f := range w.sent {
		if !wanted(f.to, servers) {
			left = append(left, f)
			continue
		}
		w.replies = append(w.replies, answered{f.to, w.bank.Handle(f.to, f.m)})
	}
	w.sent = left
}

// answer steps the replies of the servers into the engine.
func (w *world) answer(servers ...shard.ServerID) {
	var left []answered
	for _, a := range w.replies {
		if !wanted(a.from, servers) {
			left = append(left, a)
			continue
		}
		if a.r.Status != wire.StatusOK {
			fmt.Fprintf(&w.out, "<- %s %s\n", a.from, statusText(a.r))
		}
		w.e.StepReply(a.from, a.r)
	}
	w.replies = left
}

func statusText(r *wire.Reply) string {
	names := []string{"", "ok", "not leader", "busy", "wrong shard", "not ready", "bad request", "lost"}
	if r.Leader != 0 {
		return fmt.Sprintf("%s, %s leads", names[r.Status], r.Leader)
	}
	return names[r.Status]
}

func wanted(s shard.ServerID, servers []shard.ServerID) bool {
	for _, x := range servers {
		if x == s {
			return true
		}
	}
	return len(servers) == 0
}

// run flushes and delivers until nothing is on its way.
func (w *world) run() {
	for range 20 {
		if !w.flush() && len(w.sent)+len(w.replies) == 0 {
			return
		}
		w.arrive()
		w.answer()
	}
}

// live lets time pass on a network that delivers within a tick.
func (w *world) live(ticks uint64) {
	for range ticks {
		w.flush()
		w.arrive()
		w.answer()
		w.flush()
		w.e.Tick()
	}
	w.flush()
}

func (w *world) ups(ids ...shard.ServerID) {
	for _, s := range ids {
		w.e.ConnUp(s)
	}
}

// TestScripts runs the stories of testdata. Commands, one a line:
//
//	new [crash=N] [trace] [cold]  a new engine and a new bank; cold: it knows of no shard that it serves
//	restart                    a new engine on the same bank: the client's second incarnation
//	up/down SERVERS|all        connections
//	leader C SERVER            who leads; 0: nobody
//	status C CODE              what every server of the cluster answers; 0: normal
//	transfer NAME FROM TO AMT  and audit NAME, resolve NAME, cancel NAME, balance C, abandon NAME
//	batch NAME TRANSFERS       a batch, each transfer as ID:FROM:TO:AMT
//	life SERVERS               they say that they work at what they were asked, and lead
//	tick N                     clock, with a flush after each tick
//	live N, quiet N            clock and network together; quiet shows only how operations end
//	flush                      show what the engine wants
//	arrive/answer/lose [SERVERS]  the bank handles messages; the engine gets replies; both are dropped
//	run                        flush and deliver until quiet
//	void C                     the cluster loses patience with the audit that runs
//	recover                    what the servers do for silent clients
//	bank NAMES                 what the shards hold
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w *world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			for _, line := range strings.Split(strings.TrimSpace(d.Cmd+" "+joinArgs(d)+"\n"+d.Input), "\n") {
				f := strings.Fields(line)
				if len(f) == 0 {
					continue
				}
				if f[0] == "new" {
					w = newWorld(t, optionsOf(f[1:]))
					if slices.Contains(f, "cold") {
						w.e = New(w.e.o)
					}
					continue
				}
				w.command(f[0], f[1:])
			}
			s := w.out.String()
			w.out.Reset()
			return s
		})
	})
}

func joinArgs(d *datadriven.TestData) string {
	var s []string
	for _, a := range d.CmdArgs {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

func optionsOf(args []string) Options {
	var o Options
	for _, a := range args {
		switch {
		case a == "trace":
			o.Trace = true
		case strings.HasPrefix(a, "crash="):
			o.CrashPoint, _ = strconv.Atoi(a[len("crash="):])
		case strings.HasPrefix(a, "inflight="):
			o.MaxInFlight, _ = strconv.Atoi(a[len("inflight="):])
		}
	}
	return o
}

func (w *world) command(cmd string, args []string) {
	switch cmd {
	case "restart":
		w.e = warm(New(Options{Topology: w.bank.Topology}))
		w.sent, w.replies = nil, nil
	case "up":
		w.ups(w.servers(args)...)
	case "down":
		for _, s := range w.servers(args) {
			w.lose(s)
			w.e.ConnDown(s, "connection refused")
		}
	case "leader":
		w.bank.Leaders[clusterOf(args[0])] = w.servers(args[1:])[0]
	case "status":
		w.bank.Status[clusterOf(args[0])] = wire.Status(number(args[1]))
	case "tick":
		for range number(args[0]) {
			w.e.Tick()
			w.flush()
		}
	case "live":
		w.live(number(args[0]))
	case "quiet": // the same, showing only how operations end
		before := w.out.String()
		w.out.Reset()
		w.live(number(args[0]))
		shown := before
		for _, line := range strings.SplitAfter(w.out.String(), "\n") {
			if strings.HasPrefix(line, "done") {
				shown += line
			}
		}
		w.out.Reset()
		w.out.WriteString(shown)
	case "flush":
		w.flush()
	case "arrive":
		w.arrive(w.servers(args)...)
	case "answer":
		w.answer(w.servers(args)...)
	case "lose":
		w.lose(w.servers(args)...)
	case "life":
		for _, s := range w.servers(args) {
			w.e.StepReply(s, &wire.Reply{Status: wire.StatusOK, Leader: s})
		}
	case "run":
		w.run()
	case "void":
		w.bank.Void(clusterOf(args[0]))
	case "recover":
		w.bank.Recover()
	case "bank":
		w.showBank(args)
	default:
		w.submit(cmd, args)
	}
}

func (w *world) submit(cmd string, args []string) {
	name := args[0]
	switch cmd {
	case "transfer":
		op := w.e.Transfer(record(w.id(name), number(args[1]), number(args[2]), number(args[3])))
		w.ops[op] = name
	case "batch":
		var records []ledger.Record
		for _, arg := range args[1:] {
			f := strings.Split(arg, ":")
			records = append(records, record(w.id(f[0]), number(f[1]), number(f[2]), number(f[3])))
		}
		op := w.e.TransferBatch(records)
		w.ops[op], w.batches[op] = name, true
	case "audit":
		w.ops[w.e.Audit()] = name
	case "resolve":
		w.ops[w.e.Resolve(w.id(name))] = "resolve " + name
	case "cancel":
		w.ops[w.e.Cancel(w.id(name))] = "cancel " + name
	case "balance":
		w.ops[w.e.Call(Call{Shard: clusterOf(name), Build: func(h wire.Header) wire.Message {
			return &wire.BalanceRequest{Header: h, Strong: true, Accounts: []shard.Account{1}}
		}})] = "balance"
	case "abandon":
		for op, n := range w.ops {
			if n == name {
				w.e.Abandon(op)
			}
		}
	case "finish": // a FINISH whose blocks nobody signed
		to := w.servers(args[1:])[0]
		_, c, _ := w.bank.Topology.Server(to)
		r := record(w.id(name), 1, 11, 1)
		m := &wire.FinishRequest{Header: wire.Header{Shard: c.Shard}}
		for _, s := range []shard.ID{1, 2} {
			m.Blocks = append(m.Blocks, txn.Block{Shard: s, KeyID: 1, Bank: w.bank.Keys.Bank, Votes: []txn.Vote{
				{ID: r.ID, Digest: ledger.DigestOf(r), Fact: ledger.FactCommitted},
			}})
		}
		w.bank.Handle(to, m)
	case "rawcancel": // without asking what the shards hold
		to := w.servers(args[1:])[0]
		_, c, _ := w.bank.Topology.Server(to)
		w.bank.Handle(to, &wire.CancelRequest{Header: wire.Header{Shard: c.Shard}, IDs: []ledger.TransferID{w.id(name)}})
	case "poison": // a tombstone of one content, on one shard alone
		to := w.servers(args[1:2])[0]
		_, c, _ := w.bank.Topology.Server(to)
		r := record(w.id(name), number(args[2]), number(args[3]), number(args[4]))
		w.bank.Handle(to, &wire.InquireRequest{
			Header: wire.Header{Shard: c.Shard}, Poison: true, Reason: ledger.ReasonTimedOut,
			Items: []wire.Inquiry{{ID: r.ID, Digest: ledger.DigestOf(r), Participants: []shard.ID{1, 2}}},
		})
	case "prepare": // a late copy, from nowhere
		to := w.servers(args[1:2])[0]
		_, c, _ := w.bank.Topology.Server(to)
		r := record(w.id(name), number(args[2]), number(args[3]), number(args[4]))
		reply := w.bank.Handle(to, &wire.PrepareRequest{
			Header: wire.Header{Shard: c.Shard}, Records: []ledger.Record{r}, Digests: []ledger.Digest{ledger.DigestOf(r)},
		})
		v := reply.Blocks[0].Votes[0]
		fmt.Fprintf(&w.out, "late copy: %s %s\n", v.Fact, v.Reason)
	default:
		w.t.Fatalf("unknown command %q", cmd)
	}
}

func (w *world) lose(servers ...shard.ServerID) {
	var sent []inFlight
	for _, f := range w.sent {
		if !wanted(f.to, servers) {
			sent = append(sent, f)
		}
	}
	var replies []answered
	for _, a := range w.replies {
		if !wanted(a.from, servers) {
			replies = append(replies, a)
		}
	}
	w.sent, w.replies = sent, replies
}

func (w *world) showBank(names []string) {
	for _, name := range names {
		fmt.Fprintf(&w.out, "%s:", name)
		for i := range w.bank.Topology.Clusters {
			s := w.bank.Topology.Clusters[i].Shard
			o, _ := w.bank.State(s).Lookup(nameID(name))
			fmt.Fprintf(&w.out, " %s=%s", s, o.State)
			if o.Reason != ledger.ReasonNone {
				fmt.Fprintf(&w.out, "(%s)", o.Reason)
			}
		}
		w.out.WriteString("\n")
	}
	total, expected := w.bank.Total()
	fmt.Fprintf(&w.out, "prepared=%d total=%s of %s\n", w.bank.Prepared(), total, expected)
}

func (w *world) servers(args []string) []shard.ServerID {
	var out []shard.ServerID
	for _, a := range args {
		if a == "all" {
			for _, s := range w.bank.Topology.Servers() {
				out = append(out, s.ID)
			}
			continue
		}
		out = append(out, shard.ServerID(number(a)))
	}
	return out
}

func clusterOf(s string) shard.ID { return shard.ID(number(strings.TrimPrefix(s, "C"))) }

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
