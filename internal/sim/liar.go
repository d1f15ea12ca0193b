package sim

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// liarConn is the connection of strangers. Nobody reads what comes back.
const liarConn = 1 << 62

// maxOverheard bounds the certificates that liars remember.
const maxOverheard = 64

// overhear keeps certificates of replies, for liars to send where they do not belong.
func (l *workload) overhear(r *wire.Reply) {
	for i := range r.Blocks {
		if len(l.blocks) < maxOverheard {
			l.blocks = append(l.blocks, r.Blocks[i])
		} else if l.rng.chance(0.2) {
			l.blocks[l.rng.IntN(maxOverheard)] = r.Blocks[i]
		}
	}
}

// lie sends something that a client must not be able to do harm with.
func (l *workload) lie() {
	if l.w.calm {
		return
	}
	l.w.after(l.rng.between(0, 500*millisecond), l.lie)
	known := l.recent(1)
	if len(known) == 0 {
		return
	}
	k := known[0]
	s := pick(l.rng, l.w.servers)
	h := wire.Header{Request: l.rng.Uint64(), Shard: s.shard, Epoch: shard.MapEpoch}
	var m wire.Message
	switch l.rng.IntN(4) {
	case 0:
		m = &wire.FinishRequest{Header: h, Blocks: []txn.Block{l.forged(k)}}
	case 1:
		if len(l.blocks) == 0 {
			return
		}
		m = &wire.FinishRequest{Header: h, Blocks: l.misled()}
	case 2:
		// A copy of a PREPARE or TRANSFER that comes late, or to somebody it is not for.
		k.copied = true
		m = &wire.PrepareRequest{Header: h, Records: []ledger.Record{k.record}, Digests: []ledger.Digest{ledger.DigestOf(k.record)}}
		if len(k.parts) == 1 {
			m = &wire.TransferRequest{Header: h, Records: []ledger.Record{k.record}}
		}
	case 3:
		// An inquiry with wrong participants. Poison is anybody's right, and at a bystander it is harmless.
		m = &wire.InquireRequest{Header: h, Poison: l.rng.chance(0.5), Reason: ledger.ReasonTimedOut, Items: []wire.Inquiry{{
			ID: k.record.ID, Digest: ledger.DigestOf(k.record), Participants: []shard.ID{s.shard},
		}}}
	}
	l.w.report.Faults["lie of a client"]++
	frame := wire.Append(nil, m)
	l.w.after(l.rng.between(0, 2*second), func() {
		if s.up {
			l.w.note('l', uint64(s.id), 0, frame)
			s.receive(input{conn: liarConn, message: l.w.net.received(frame, false)})
		}
	})
}

// forged is a certificate that nobody stated.
func (l *workload) forged(k *content) txn.Block {
	fact := pick(l.rng, []ledger.Fact{ledger.FactYes, ledger.FactAborted, ledger.FactCommitted})
	b := txn.Block{
		Bank: l.w.keys.Bank, Shard: shard.ID(l.rng.between(1, int64(l.w.plan.shards))), KeyID: 1,
		Votes: []txn.Vote{{ID: k.record.ID, Digest: ledger.DigestOf(k.record), Fact: fact}},
	}
	_, _ = l.rng.Read(b.MAC[:])
	return b
}

// misled is real certificates: as they are, or changed.
func (l *workload) misled() []txn.Block {
	blocks := []txn.Block{pick(l.rng, l.blocks), pick(l.rng, l.blocks)}
	if l.rng.chance(0.5) && len(blocks[0].Votes) > 0 {
		votes := slices.Clone(blocks[0].Votes)
		votes[0].Fact = pick(l.rng, []ledger.Fact{ledger.FactYes, ledger.FactAborted, ledger.FactCommitted})
		blocks[0].Votes = votes
	}
	return blocks
}
