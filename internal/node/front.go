package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"

	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/internal/transport"
	"raftbank/internal/wire"
)

// network is what front needs of the transport.
type network interface {
	sender
	SetFaults(transport.Faults) error
}

// front takes what arrives on connections, on their own goroutines: it answers what needs no
// replica and puts the rest into the inbox.
type front struct {
	inbox *inbox
	net   network
	// closedText is why requests are refused; nil once the replica runs.
	closedText atomic.Pointer[string]
}

// newFront returns a front that refuses requests with text until open.
func newFront(net network, text string) *front {
	f := &front{inbox: newInbox(), net: net}
	f.notReady(text)
	return f
}

// notReady sets why requests are refused.
func (f *front) notReady(text string) { f.closedText.Store(&text) }

// open lets requests through to the replica.
func (f *front) open() { f.closedText.Store(nil) }

// Peer implements transport.Handler.
func (f *front) Peer(from shard.ServerID, m wire.Message) { f.inbox.putPeer(from, m) }

// ClientClosed implements transport.Handler.
func (f *front) ClientClosed(conn uint64) { f.inbox.putClosed(conn) }

// Client implements transport.Handler.
func (f *front) Client(conn uint64, m wire.Message) {
	reply := wire.Reply{Request: wire.HeaderOf(m).Request}
	if a, ok := m.(*wire.AdminRequest); ok && a.Kind == wire.AdminFault {
		f.fault(a, &reply)
	} else if text := f.closedText.Load(); text != nil {
		reply.Status, reply.Text = wire.StatusNotReady, *text
	} else if f.inbox.putClient(conn, m) {
		return
	} else {
		reply.Status, reply.Text = wire.StatusBusy, "too many requests are waiting"
	}
	f.net.Send(transport.Envelope{Conn: conn, Message: &reply})
}

// fault changes the faults of this server's transport.
func (f *front) fault(m *wire.AdminRequest, reply *wire.Reply) {
	reply.Status = wire.StatusBadRequest
	var q api.FaultRequest
	if err := json.Unmarshal(m.Body, &q); err != nil {
		reply.Text = fmt.Sprintf("fault request: %v", err)
		return
	}
	slices.Sort(q.Block)
	faults := transport.Faults{DelayMs: q.DelayMs, JitterMs: q.JitterMs, DropPercent: q.DropPercent,
		DuplicatePercent: q.DuplicatePercent, ResetPercent: q.ResetPercent}
	for _, list := range []struct {
		from []int
		to   *[]shard.ServerID
	}{{q.Block, &faults.Block}, {q.BlockIn, &faults.BlockIn}, {q.BlockOut, &faults.BlockOut}} {
		for _, id := range list.from {
			if id < 1 || id > 1<<32-1 {
				reply.Text = fmt.Sprintf("fault request: no server %d", id)
				return
			}
			*list.to = append(*list.to, shard.ServerID(id))
		}
	}
	if err := f.net.SetFaults(faults); err != nil {
		reply.Text = err.Error()
		return
	}
	body, err := json.Marshal(api.FaultReply{Block: append([]int{}, q.Block...)})
	if err != nil {
		panic(fmt.Sprintf("marshal fault reply: %v", err)) // numbers always marshal
	}
	reply.Status, reply.Body = wire.StatusOK, body
}
