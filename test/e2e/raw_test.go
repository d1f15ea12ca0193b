//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/transport"
	"raftbank/internal/wire"
)

// rawConn speaks the wire protocol with one server, to ask what no honest client asks.
type rawConn struct {
	t       testing.TB
	bank    *bank
	conn    *transport.Conn
	shard   shard.ID
	hello   wire.HelloReply
	next    uint64
	replies chan *wire.Reply
}

// dial connects to server n.
func (b *bank) dial(n int) *rawConn {
	b.t.Helper()
	server, cluster, ok := b.Topology.Server(shard.ServerID(n))
	if !ok {
		b.t.Fatalf("no server %d", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), leadBound)
	defer cancel()
	conn, hello, err := transport.Dial(ctx, server.Addr, wire.Hello{Role: wire.RoleClient})
	if err != nil {
		b.t.Fatalf("dial server %d: %v", n, err)
	}
	r := &rawConn{t: b.t, bank: b, conn: conn, shard: cluster.Shard, hello: hello, replies: make(chan *wire.Reply, 1024)}
	go r.receive()
	b.t.Cleanup(func() { _ = conn.Close() })
	return r
}

// receive hands on every reply until the connection ends.
func (r *rawConn) receive() {
	defer close(r.replies)
	for {
		m, err := r.conn.Receive()
		if err != nil {
			return
		}
		if reply, ok := m.(*wire.Reply); ok {
			r.replies <- reply
		}
	}
}

// header is the header of the next request.
func (r *rawConn) header() wire.Header {
	r.next++
	return wire.Header{Request: r.next, Shard: r.shard, Epoch: r.hello.Epoch}
}

// send queues a request without waiting.
func (r *rawConn) send(m wire.Message) {
	r.t.Helper()
	if err := r.conn.Send(m); err != nil {
		r.t.Fatalf("send to a server of %s: %v", r.shard, err)
	}
}

// reply waits for the next reply; nil if the connection ended.
func (r *rawConn) reply(bound time.Duration) *wire.Reply {
	r.t.Helper()
	late := time.NewTimer(bound)
	defer late.Stop()
	select {
	case reply := <-r.replies:
		return reply
	case <-late.C:
		r.t.Fatalf("no reply from a server of %s within %s", r.shard, bound)
		return nil
	}
}

// ask sends a request and waits for its reply.
func (r *rawConn) ask(m wire.Message) *wire.Reply {
	r.t.Helper()
	r.send(m)
	reply := r.reply(leadBound)
	if reply == nil {
		r.t.Fatalf("a server of %s closed the connection instead of answering", r.shard)
	}
	return reply
}

// record is a transfer as the log holds it.
func record(t client.Transfer) ledger.Record {
	return ledger.Record{ID: t.ID, Debit: t.From, Credit: t.To, Amount: t.Amount,
		UserData: t.UserData, Code: t.Code, Currency: ledger.DefaultCurrency}
}

// prepare is one PREPARE.
func (r *rawConn) prepare(t client.Transfer) *wire.Reply {
	r.t.Helper()
	rec := record(t)
	return r.ask(&wire.PrepareRequest{Header: r.header(), Records: []ledger.Record{rec}, Digests: []ledger.Digest{ledger.DigestOf(rec)}})
}

// strongRead asks for one account's balance, strongly.
func (r *rawConn) strongRead(a client.Account) *wire.BalanceRequest {
	return &wire.BalanceRequest{Header: r.header(), Strong: true, Accounts: []shard.Account{a}}
}
