package session

import (
	"slices"

	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// Bounds of FINISH. Losing one costs time, never an outcome: recovery spreads the certificates.
const (
	// finishTicks is how long a FINISH waits for a frame to ride with.
	finishTicks = 2
	// maxFinishVotes bounds the votes of one FINISH, about 1 MiB of them.
	maxFinishVotes = 2 * wire.MaxBatch
	// maxFinishChunks bounds what is buffered for a shard that cannot be reached.
	maxFinishChunks = 64
	// maxFinishTries bounds how often one FINISH is sent.
	maxFinishTries = 8
)

// finishChunk is the content of one FINISH: blocks, each once, however many transfers they decide.
type finishChunk struct {
	blocks []*txn.Block
	seen   map[*txn.Block]bool
	votes  int
	tries  int
}

func newFinishChunk() *finishChunk { return &finishChunk{seen: map[*txn.Block]bool{}} }

// holds reports whether a block is in the chunk. Most transfers are decided by blocks that others have just brought.
func (c *finishChunk) holds(b *txn.Block) bool {
	const newest = 8
	return slices.Contains(c.blocks[max(0, len(c.blocks)-newest):], b) || c.seen[b]
}

// add takes the blocks that decide one transfer together; false: they do not fit.
func (c *finishChunk) add(blocks []*txn.Block) bool {
	more := 0
	for _, b := range blocks {
		if !c.holds(b) {
			more += len(b.Votes)
		}
	}
	if len(c.blocks) > 0 && c.votes+more > maxFinishVotes {
		return false
	}
	for _, b := range blocks {
		if !c.holds(b) {
			c.seen[b] = true
			c.blocks = append(c.blocks, b)
		}
	}
	c.votes += more
	return true
}

// finish buffers the blocks of one decided transfer for a participant.
func (e *Engine) finish(sh *shardState, blocks []*txn.Block) {
	if e.crash.dropsFinish(sh) {
		return
	}
	n := len(sh.finishes)
	if n > 0 && sh.finishes[n-1].tries == 0 && sh.finishes[n-1].add(blocks) {
		return
	}
	c := newFinishChunk()
	c.add(blocks)
	e.bufferFinish(sh, c)
}

func (e *Engine) bufferFinish(sh *shardState, c *finishChunk) {
	if len(sh.finishes) == 0 {
		sh.finishDue = e.now + finishTicks
	}
	if len(sh.finishes) >= maxFinishChunks {
		sh.finishes = sh.finishes[1:]
	}
	sh.finishes = append(sh.finishes, c)
}

// sendFinishes sends what is buffered for a shard.
func (e *Engine) sendFinishes(sh *shardState, to *serverState) {
	for _, c := range sh.finishes {
		c.tries++
		r := &request{kind: itemFinish, server: to, chunk: c}
		r.id = e.requests.Add(r)
		e.finishing++
		e.arm(e.o.AnswerTicks, timerRequest, r.id)
		m := &wire.FinishRequest{Header: e.header(r.id, sh.id), Blocks: make([]txn.Block, len(c.blocks))}
		for i, b := range c.blocks {
			m.Blocks[i] = *b
		}
		e.send(to, m)
	}
	sh.finishes = nil
}

// refinish sends a FINISH again that was refused or lost, unless it has been tried often enough.
func (e *Engine) refinish(sh *shardState, c *finishChunk) {
	if c.tries < maxFinishTries {
		e.bufferFinish(sh, c)
	}
}
