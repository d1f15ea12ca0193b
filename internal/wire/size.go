package wire

import (
	"raftbank/internal/ledger"
	"raftbank/internal/txn"
)

// What follows lets a frame be made in one piece. A size that is a little off costs a copy and nothing else.

// fixedBytes is about what a message has beside its lists.
const fixedBytes = 64

func (m *TransferRequest) size() int { return fixedBytes + len(m.Records)*ledger.RecordSize }

func (m *PrepareRequest) size() int {
	return fixedBytes + len(m.Records)*(ledger.RecordSize+digestBytes)
}

func (m *FinishRequest) size() int { return fixedBytes + sizeOfBlocks(m.Blocks) }

func (m *InquireRequest) size() int { return fixedBytes + len(m.Items)*(inquiryBytes+2*4) }

func (m *Reply) size() int {
	return fixedBytes + len(m.Text) + (len(m.Committed)+len(m.Voted))*runBytes + len(m.Results)*resultBytes + sizeOfBlocks(m.Blocks) +
		len(m.Balances)*balanceBytes + len(m.Body)
}

func sizeOfBlocks(blocks []txn.Block) int {
	n := 0
	for i := range blocks {
		n += blockBytes + len(blocks[i].Votes)*txn.VoteSize
	}
	return n
}
