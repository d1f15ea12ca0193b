package session

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// benchBatch is the number of transfers of a batch that is measured.
const benchBatch = 4096

// BenchmarkCrossBatch is what a batch of transfers between two shards costs its client: with engine the engine
// alone, with wire also encoding what is sent and decoding what comes back. Both leaders vote YES, in a block each,
// and take FINISH; with refusals the first shard refuses every second transfer. One iteration is one batch. What the
// servers do is not measured.
func BenchmarkCrossBatch(b *testing.B) {
	b.Run("engine", func(b *testing.B) { benchCross(b, false, false) })
	b.Run("refusals", func(b *testing.B) { benchCross(b, false, true) })
	b.Run("wire", func(b *testing.B) { benchCross(b, true, false) })
}

func benchCross(b *testing.B, encoded, refusals bool) {
	c := &crossBench{b: b, e: warm(New(Options{Topology: smallBank()})), encoded: encoded, refusals: refusals}
	for id := shard.ServerID(1); id <= 6; id++ {
		c.e.ConnUp(id)
	}
	c.e.Flush()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		records := c.records()
		b.StartTimer()
		c.e.TransferBatch(records)
		c.flush()
		c.answer()
		c.flush() // FINISH rides with the next batch
		c.e.Tick()
	}
	b.StopTimer()
	c.e.Drain()
	c.flush()
	c.answer()
	want := b.N * benchBatch
	if refusals {
		want /= 2
	}
	if c.ended != want || c.e.InFlight() > 0 || c.e.Finishing() > 0 {
		b.Fatalf("%d of %d committed, %d in flight, %d FINISH open", c.ended, want, c.e.InFlight(), c.e.Finishing())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchBatch), "ns/transfer")
}

// crossBench is an engine and servers that vote YES to everything and use their memory again: what is allocated is
// the client's.
type crossBench struct {
	b        *testing.B
	e        *Engine
	encoded  bool
	refusals bool
	last     uint64 // id
	ended    int    // committed
	sent     []inFlight
	frame    []byte
	answers  [7]benchServer // by id
}

type benchServer struct {
	results []wire.Result
	runs    []wire.Run
	votes   []txn.Vote
	frame   []byte
}

func (c *crossBench) records() []ledger.Record {
	out := make([]ledger.Record, benchBatch)
	for i := range out {
		c.last++
		out[i] = record(ledger.TransferID{}, 1+c.last%10, 11+c.last%10, 1)
		binary.BigEndian.PutUint64(out[i].ID[8:], c.last)
	}
	return out
}

func (c *crossBench) flush() {
	out := c.e.Flush()
	for _, s := range out.Sends {
		for _, m := range s.Messages {
			c.sent = append(c.sent, inFlight{s.Server, m})
			if c.encoded {
				c.frame = wire.Append(c.frame[:0], m)
			}
		}
	}
	for i := range out.Dones {
		if out.Dones[i].Result.Decision == txn.DecidedCommitted {
			c.ended++
		}
	}
}

// answer lets every server answer what was sent last. Only taking the answers is measured.
func (c *crossBench) answer() {
	for _, s := range c.sent {
		c.b.StopTimer()
		a := &c.answers[s.to]
		reply := &wire.Reply{Request: wire.HeaderOf(s.m).Request, Status: wire.StatusOK}
		if p, ok := s.m.(*wire.PrepareRequest); ok {
			a.vote(p, reply, c.refusals && p.Shard == 1)
		}
		if c.encoded {
			a.frame = wire.Append(a.frame[:0], reply)
		}
		c.b.StartTimer()
		if !c.encoded {
			c.e.StepReply(s.to, reply)
			continue
		}
		m, err := wire.ReadFrame(bufio.NewReader(bytes.NewReader(a.frame)))
		if err != nil {
			c.b.Fatal(err)
		}
		c.e.StepReply(s.to, m)
	}
	clear(c.sent)
	c.sent = c.sent[:0]
}

// vote puts a vote on every transfer into the reply, as a server does: YES, or to every second one NO.
func (a *benchServer) vote(p *wire.PrepareRequest, reply *wire.Reply, refusals bool) {
	n := len(p.Records)
	a.results, a.votes, a.runs = a.results[:0], slices.Grow(a.votes[:0], n)[:n], a.runs[:0]
	for i := range n {
		a.votes[i] = txn.Vote{ID: p.Records[i].ID, Digest: p.Digests[i], Fact: ledger.FactYes, Epoch: 1}
		if refusals && i%2 == 1 {
			a.votes[i].Fact, a.votes[i].Epoch = ledger.FactAborted, 0
			a.results = append(a.results, wire.Result{Item: uint32(i), Code: ledger.ResultState, State: ledger.Aborted, Reason: ledger.ReasonInsufficientFunds, Index: 1, Term: 1})
		} else if refusals || i == 0 {
			a.runs = append(a.runs, wire.Run{First: uint32(i), Count: 1})
		} else {
			a.runs[0].Count++
		}
	}
	reply.Voted, reply.Results, reply.Blocks = a.runs, a.results, []txn.Block{{Shard: p.Shard, KeyID: 1, Votes: a.votes}}
}
