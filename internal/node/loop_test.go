package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/ledger"
	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/transport"
	"raftbank/internal/wire"
)

// world is a machine, a log and a network that write down what happens to them.
type world struct {
	events []string
	// turns are the outputs of the coming turns, each with that of its Persisted.
	turns     [][2]replica.Output
	appendErr error
	markErr   error
	leader    bool
	// afterTurn is called at the end of each turn.
	afterTurn func()
}

func (w *world) note(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

func (w *world) Tick()                                        { w.note("tick") }
func (w *world) StepPeer(from shard.ServerID, _ wire.Message) { w.note("peer %s", from) }
func (w *world) StepClient(conn uint64, _ wire.Message)       { w.note("client %d", conn) }
func (w *world) CloseConn(conn uint64)                        { w.note("closed %d", conn) }
func (w *world) HasWork() bool                                { return len(w.turns) > 0 }
func (w *world) TransferLeadership()                          { w.note("transfer leadership") }
func (w *world) IsLeader() bool                               { return w.leader }

func (w *world) Turn(int64) replica.Output {
	w.note("turn")
	return w.turns[0][0]
}

func (w *world) Persisted() replica.Output {
	w.note("persisted")
	out := w.turns[0][1]
	w.turns = w.turns[1:]
	if w.afterTurn != nil {
		w.afterTurn()
	}
	return out
}

func (w *world) Append(_ *raftpb.HardState, entries []*raftpb.Entry, sync bool) error {
	w.note("append %d entries, sync %v", len(entries), sync)
	return w.appendErr
}

func (w *world) Mark() error {
	w.note("mark")
	return w.markErr
}

func (w *world) Send(es ...transport.Envelope) {
	for _, e := range es {
		w.note("send to server %s, conn %d", e.Server, e.Conn)
	}
}

func (w *world) SetFaults(f transport.Faults) error {
	w.note("faults %v", f)
	return f.Validate()
}

func newLoop(w *world) *loop {
	return &loop{machine: w, log: w, out: w, in: newInbox(), logger: slog.New(slog.DiscardHandler),
		keepAlarm: func(text string) error { w.note("keep alarm %q", text); return nil }}
}

func wantEvents(t *testing.T, w *world, want ...string) {
	t.Helper()
	if !reflect.DeepEqual(w.events, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(w.events, "\n  "), strings.Join(want, "\n  "))
	}
	w.events = nil
}

func writing(sends ...replica.Send) replica.Output {
	return replica.Output{Sends: sends, HardState: &raftpb.HardState{}, Entries: []*raftpb.Entry{{}}, Sync: true}
}

func TestTurnOrder(t *testing.T) {
	w := &world{turns: [][2]replica.Output{
		{writing(replica.Send{Server: 2}, replica.Send{Server: 3}), {Sends: []replica.Send{{Conn: 7}}}},
		{{Sends: []replica.Send{{Conn: 8}}}, {}},
	}}
	l := newLoop(w)
	for range 2 {
		if err := l.turn(); err != nil {
			t.Fatal(err)
		}
	}
	wantEvents(t, w,
		"turn", "send to server 2, conn 0", "send to server 3, conn 0", "append 1 entries, sync true", "persisted", "send to server 0, conn 7",
		"turn", "send to server 0, conn 8", "persisted")
}

func TestFailedAppendEndsTheLoop(t *testing.T) {
	failure := errors.New("disk on fire")
	w := &world{turns: [][2]replica.Output{{writing(), {Sends: []replica.Send{{Conn: 7}}}}}, appendErr: failure}
	err := newLoop(w).run(t.Context(), nil, nil)
	if !errors.Is(err, failure) {
		t.Errorf("got %v, want %v", err, failure)
	}
	wantEvents(t, w, "turn", "append 1 entries, sync true")
}

func TestFatalOutputSendsNothing(t *testing.T) {
	failure := errors.New("configuration disagrees with GENESIS")
	fatal := replica.Output{Sends: []replica.Send{{Server: 2}}, Fatal: failure}
	for _, turn := range [][2]replica.Output{{fatal, {}}, {{}, fatal}} {
		w := &world{turns: [][2]replica.Output{turn}}
		if err := newLoop(w).run(t.Context(), nil, nil); err != failure {
			t.Errorf("got %v, want %v", err, failure)
		}
		for _, e := range w.events {
			if strings.HasPrefix(e, "send") || strings.HasPrefix(e, "append") {
				t.Errorf("after a fatal output: %s", e)
			}
		}
	}
}

func TestLoopDrainsBeforeItTurns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{turns: make([][2]replica.Output, 1), afterTurn: cancel}
	l := newLoop(w)
	l.in.putPeer(2, &wire.Raft{})
	l.in.putClient(5, &wire.StatusRequest{})
	l.in.putClosed(5)
	if err := l.run(ctx, nil, func() { w.note("stopping") }); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, w, "peer 2", "client 5", "closed 5", "turn", "persisted", "stopping", "transfer leadership")
}

func TestLoopHandsOverLeadership(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := &world{leader: true}
	// It turns on until another leads.
	w.afterTurn = func() { w.leader = false }
	l := newLoop(w)
	stopping := func() {
		l.in.putPeer(2, &wire.Raft{})
		w.turns = make([][2]replica.Output, 1)
	}
	if err := l.run(ctx, nil, stopping); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, w, "transfer leadership", "peer 2", "turn", "persisted")
	// Nobody takes over: the wait is bounded.
	w.leader = true
	started := time.Now()
	if err := newLoop(w).run(ctx, nil, func() {}); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(started); d < handoverTimeout || d > 4*handoverTimeout {
		t.Errorf("waited %v, want %v", d, handoverTimeout)
	}
}

func TestIdleMark(t *testing.T) {
	w := &world{}
	l := newLoop(w)
	tick := func(n int) {
		t.Helper()
		for range n {
			if err := l.tick(); err != nil {
				t.Fatal(err)
			}
		}
	}
	tick(4)
	wantEvents(t, w, "tick", "tick", "tick", "tick", "mark")
	tick(2)
	wantEvents(t, w, "tick", "tick")
	w.turns = [][2]replica.Output{{writing(), {}}}
	if err := l.turn(); err != nil {
		t.Fatal(err)
	}
	w.events = nil
	tick(4)
	wantEvents(t, w, "tick", "tick", "tick", "tick", "mark")
	w.markErr = errors.New("disk on fire")
	l.idleTicks = 0
	tick(3)
	if err := l.tick(); !errors.Is(err, w.markErr) {
		t.Errorf("got %v, want %v", err, w.markErr)
	}
}

func TestInboxIsBounded(t *testing.T) {
	b := newInbox()
	half := &wire.AdminRequest{Body: make([]byte, clientInboxBytes/2)}
	if !b.putClient(1, half) || b.putClient(1, half) {
		t.Error("want room for the first request and none for the second")
	}
	if !b.putClient(1, &wire.StatusRequest{}) {
		t.Error("a small request finds no room")
	}
	// A peer waits, and goes on when the loop has taken what was there.
	large := &wire.Raft{Messages: [][]byte{make([]byte, peerInboxBytes)}}
	b.putPeer(2, large)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.putPeer(2, large)
	}()
	if got := b.take(); len(got) < 3 {
		t.Fatalf("took %d inputs", len(got))
	}
	<-done
	go func() { b.close() }()
	b.putPeer(2, large) // returns because of close
	b.putPeer(2, large)
}

func TestFrontAnswersWhatNeedsNoReplica(t *testing.T) {
	var replies []*wire.Reply
	net := &replyNet{world: &world{}, replies: &replies}
	f := newFront(net, "server 1 waits to hear from server 2 of C1")
	ask := func(m wire.Message) *wire.Reply {
		replies = nil
		f.Client(3, m)
		if len(replies) == 0 {
			return nil
		}
		return replies[0]
	}
	header := wire.Header{Request: 9}
	got := ask(&wire.TransferRequest{Header: header})
	want := &wire.Reply{Request: 9, Status: wire.StatusNotReady, Text: "server 1 waits to hear from server 2 of C1"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("before the replica runs: %+v", got)
	}
	f.open()
	if got := ask(&wire.TransferRequest{Header: header}); got != nil {
		t.Errorf("answered without the replica: %+v", got)
	}
	records := make([]ledger.Record, wire.MaxBatch)
	for got = nil; got == nil; {
		got = ask(&wire.TransferRequest{Header: header, Records: records})
	}
	if got.Request != 9 || got.Status != wire.StatusBusy {
		t.Errorf("over the bound: %+v", got)
	}

	fault := &wire.AdminRequest{Header: header, Kind: wire.AdminFault, Body: []byte(`{"block":[3,2],"delay_ms":5}`)}
	got = ask(fault)
	if got.Status != wire.StatusOK || string(got.Body) != `{"block":[2,3]}` {
		t.Errorf("fault: %+v, body %s", got, got.Body)
	}
	wantEvents(t, net.world, "faults {[2 3] [] [] 5 0 0 0 0}")
	for _, body := range []string{"", `{"block":[0]}`, `{"drop_percent":101}`, `{"block_in":[0]}`, `{"reset_percent":-1}`} {
		fault.Body = []byte(body)
		if got := ask(fault); got.Status != wire.StatusBadRequest || got.Text == "" {
			t.Errorf("fault %q: %+v", body, got)
		}
	}
}

// replyNet keeps the replies that are sent.
type replyNet struct {
	*world
	replies *[]*wire.Reply
}

func (n *replyNet) Send(es ...transport.Envelope) {
	for _, e := range es {
		*n.replies = append(*n.replies, e.Message.(*wire.Reply))
	}
}

func TestAlarmIsKeptBeforeItIsTold(t *testing.T) {
	w := &world{turns: [][2]replica.Output{{{Alarm: "lost data", Sends: []replica.Send{{Server: 2}}}, {}}}}
	if err := newLoop(w).turn(); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, w, "turn", `keep alarm "lost data"`, "send to server 2, conn 0", "persisted")
}
