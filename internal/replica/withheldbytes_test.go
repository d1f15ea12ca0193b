package replica

import (
	"encoding/binary"
	"reflect"
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// prepares are n PREPAREs from shard 1 to shard 2. The first has an amount of its own.
func prepares(n int, first uint64) *wire.PrepareRequest {
	m := &wire.PrepareRequest{}
	for i := range n {
		rec := record(0, shard.Account(i%1000+1), shard.Account(i%1000+1001), 1)
		binary.BigEndian.PutUint64(rec.ID[:], uint64(i)+1)
		if i == 0 {
			rec.Amount = ledger.Units(first)
		}
		m.Records, m.Digests = append(m.Records, rec), append(m.Digests, ledger.DigestOf(rec))
	}
	return m
}

// TestOneNoAmongManyYes: results have room for what is no YES, votes for all. While an audit withholds the reply, both are counted.
func TestOneNoAmongManyYes(t *testing.T) {
	const n = 5000
	b := newBank(t).boot()
	b.barrier(1)
	lead := b.leader(1)
	asked := b.send(lead, prepares(n, 1<<60))
	b.wantSilence("a PREPARE behind the cut", asked)
	h := &b.replicas[lead].withheld
	if len(h.replies) != 1 {
		t.Fatalf("%d replies are withheld, want 1", len(h.replies))
	}
	r := h.replies[0].reply
	if len(r.Results) != 1 || cap(r.Results) != 1 {
		t.Errorf("%d results with room for %d, want one", len(r.Results), cap(r.Results))
	}
	if len(r.Blocks) != 1 || len(r.Blocks[0].Votes) != n || cap(r.Blocks[0].Votes) != n {
		t.Errorf("%d blocks, want one that was made for its %d votes", len(r.Blocks), n)
	}
	if want := 56 * n; h.bytes < want || h.bytes > want+1000 {
		t.Errorf("%d bytes are withheld, want %d and little more", h.bytes, want)
	}
}

// TestManyNo: results are not moved to grow, as little as votes are.
func TestManyNo(t *testing.T) {
	const n = 3000
	b := newBank(t).boot()
	m := prepares(n, 1)
	cancel := &wire.CancelRequest{}
	for i := range m.Records {
		cancel.IDs = append(cancel.IDs, m.Records[i].ID)
	}
	b.ask(b.leader(1), cancel)
	b.barrier(1)
	lead := b.leader(1)
	b.wantSilence("a PREPARE behind the cut", b.send(lead, m))
	h := &b.replicas[lead].withheld
	if len(h.replies) != 1 {
		t.Fatalf("%d replies are withheld, want 1", len(h.replies))
	}
	r := h.replies[0].reply
	if len(r.Results) != n || cap(r.Results) != n || len(r.Blocks) != 1 || cap(r.Blocks[0].Votes) != n {
		t.Errorf("%d results with room for %d, want %d, and votes likewise", len(r.Results), cap(r.Results), n)
	}
	if want := (64 + 56) * n; h.bytes < want || h.bytes > want+1000 {
		t.Errorf("%d bytes are withheld, want %d and little more", h.bytes, want)
	}
}

// TestReplyBytes: what replies are counted with is what they take.
func TestReplyBytes(t *testing.T) {
	for _, c := range []struct {
		of   any
		size int
	}{
		{wire.Run{}, runSize},
		{wire.Result{}, resultSize},
		{wire.Content{}, contentSize},
		{wire.Balance{}, balanceSize},
		{txn.Block{}, blockSize},
		{txn.Vote{}, voteSize},
	} {
		if got := int(reflect.TypeOf(c.of).Size()); got != c.size {
			t.Errorf("a %T takes %d bytes and is counted with %d", c.of, got, c.size)
		}
	}
	if got := int(reflect.TypeFor[wire.Reply]().Size() + reflect.TypeFor[withheldReply]().Size()); got > replySize {
		t.Errorf("a reply takes %d bytes and is counted with %d", got, replySize)
	}
	m := &wire.Reply{
		Committed: make([]wire.Run, 1, 10), Results: make([]wire.Result, 1, 20), Balances: make([]wire.Balance, 0, 3),
		Blocks: []txn.Block{{Votes: make([]txn.Vote, 1, 100)}}, Body: make([]byte, 1, 7), Text: "why",
	}
	m.Results[0].Content = &wire.Content{}
	want := replySize + 10*runSize + 20*resultSize + contentSize + 3*balanceSize + blockSize + 100*voteSize + 7 + 3
	if got := replyBytes(m); got != want {
		t.Errorf("counted %d bytes, want %d", got, want)
	}
}
