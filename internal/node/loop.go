package node

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/transport"
	"raftbank/internal/wire"
)

const (
	// markAfterTicks without an append, the log gets its idle mark: 200 ms.
	markAfterTicks = 4
	// handoverTimeout bounds the search for another leader at the end.
	handoverTimeout = 2 * time.Second
)

// machine is the replica as the loop sees it; see package replica for the methods.
type machine interface {
	Tick()
	StepPeer(from shard.ServerID, m wire.Message)
	StepClient(conn uint64, m wire.Message)
	CloseConn(conn uint64)
	HasWork() bool
	Turn(nowNs int64) replica.Output
	Persisted() replica.Output
	TransferLeadership()
	IsLeader() bool
}

// raftLog is the log as the loop sees it; see storage.Log.
type raftLog interface {
	Append(hs *raftpb.HardState, entries []*raftpb.Entry, sync bool) error
	Mark() error
}

// sender queues messages without blocking.
type sender interface {
	Send(es ...transport.Envelope)
}

// loop drives a machine. Only the goroutine of run touches machine and log.
type loop struct {
	machine machine
	log     raftLog
	out     sender
	in      *inbox
	logger  *slog.Logger
	alone   bool // the shard has one replica: nobody can take over at the end
	// keepAlarm writes an alarm to disk.
	keepAlarm func(string) error
	// background makes checkpoints; nil: none.
	background *background

	install bool // the machine has fetched a checkpoint, which goes on disk now

	idleTicks int // since the last append; markAfterTicks: the log has its mark
	envelopes []transport.Envelope
}

// run turns until ctx has ended and leadership is handed over, or something fails. ticks is a
// ticker's channel: it holds one tick at most, so that after a pause of the process the replica's
// time goes on where it stood. stopping is called when ctx ends.
func (l *loop) run(ctx context.Context, ticks <-chan time.Time, stopping func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			readFailure(v, &err)
		}
		l.background.wait()
	}()
	done := ctx.Done()
	var deadline <-chan time.Time
	always := make(chan struct{})
	close(always)
	for {
		// With work to do, do not wait: take only what is there already.
		var work <-chan struct{}
		if l.machine.HasWork() {
			work = always
		}
		select {
		case <-done:
			done = nil
			stopping()
			l.logger.Info("stopping")
			l.machine.TransferLeadership()
			timer := time.NewTimer(handoverTimeout)
			defer timer.Stop()
			deadline = timer.C
		case <-deadline:
			return nil
		case <-ticks:
			if err := l.tick(); err != nil {
				return err
			}
		case err := <-l.background.results():
			if err := l.background.finish(err); err != nil {
				return err
			}
		case <-l.in.ready:
			// Other connections that have something to read go first: one write to the log then covers theirs too.
			runtime.Gosched()
		case <-work:
		}
		l.step(l.in.take())
		if l.machine.HasWork() {
			if err := l.turn(); err != nil {
				return err
			}
		}
		if err := l.background.step(); err != nil {
			return err
		}
		if l.install {
			l.install = false
			return errInstall
		}
		if done == nil && !l.machine.HasWork() && (l.alone || !l.machine.IsLeader()) {
			return nil
		}
	}
}

// tick advances the replica's clock and marks an idle log.
func (l *loop) tick() error {
	l.machine.Tick()
	if l.idleTicks >= markAfterTicks {
		return nil
	}
	if l.idleTicks++; l.idleTicks < markAfterTicks {
		return nil
	}
	if err := l.log.Mark(); err != nil {
		return fmt.Errorf("mark the idle log: %w", err)
	}
	return nil
}

func (l *loop) step(inputs []input) {
	for i := range inputs {
		in := &inputs[i]
		switch {
		case in.peer != 0:
			l.machine.StepPeer(in.peer, in.message)
		case in.message == nil:
			l.machine.CloseConn(in.conn)
		default:
			l.machine.StepClient(in.conn, in.message)
		}
	}
}

// turn runs one turn of the machine with its write in the middle. After an error nothing more is
// sent: what the failed write should have held must not be promised to anyone.
func (l *loop) turn() error {
	out := l.machine.Turn(time.Now().UnixNano())
	if err := l.emit(&out); err != nil {
		return err
	}
	if out.HardState != nil || len(out.Entries) > 0 {
		if err := l.log.Append(out.HardState, out.Entries, out.Sync); err != nil {
			return fmt.Errorf("append to the log: %w", err)
		}
		l.idleTicks = 0
	}
	out = l.machine.Persisted()
	return l.emit(&out)
}

// emit logs an output's events and sends its messages, unless the machine says that the process must
// end.
func (l *loop) emit(out *replica.Output) error {
	for i := range out.Events {
		e := &out.Events[i]
		l.logger.Log(context.Background(), slog.Level(e.Level), e.Text, e.Attrs...)
	}
	if out.Alarm != "" {
		if err := l.keepAlarm(out.Alarm); err != nil { // it is in force all the same, until the process ends
			l.logger.Error("the alarm cannot be kept on disk", "alarm", out.Alarm, "err", err)
		}
	}
	if out.Fatal != nil {
		return out.Fatal
	}
	l.install = l.install || out.Install
	if len(out.Sends) > 0 {
		l.envelopes = envelopes(l.envelopes[:0], out.Sends)
		l.out.Send(l.envelopes...)
		clear(l.envelopes)
	}
	return nil
}

// envelopes appends sends to es in the transport's form.
func envelopes(es []transport.Envelope, sends []replica.Send) []transport.Envelope {
	for i := range sends {
		s := &sends[i]
		es = append(es, transport.Envelope{Server: s.Server, Conn: s.Conn, Message: s.Message})
	}
	return es
}
