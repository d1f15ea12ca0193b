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
		if b := &r.Blocks[i]; len(b.Votes) == 1 {
			if t := l.traps[b.Votes[0].ID]; t != nil && !slices.Contains(t.content.parts, b.Shard) {
				t.block = b
			}
		}
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
	if l.rng.chance(0.2) {
		l.collude()
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
	l.send(s, l.rng.between(0, 2*second), m)
}

// send hands a liar's message to a server after a while.
func (l *workload) send(s *server, us int64, m wire.Message) {
	l.w.struck(faultLies)
	l.stranger(s, us, m)
}

// stranger sends a message of somebody who is none of the clients. Nobody reads the answer.
func (l *workload) stranger(s *server, us int64, m wire.Message) {
	frame := wire.Append(nil, m)
	l.w.after(us, func() {
		if s.up {
			l.w.note('l', uint64(s.id), 0, frame)
			s.receive(input{conn: liarConn, message: l.w.net.received(frame, false)})
		}
	})
}

// collude lets a bystander write a tombstone for a transfer that is about to begin, and shows its real
// certificate to the participants while they hold the transfer prepared. It must not undo a vote.
func (l *workload) collude() {
	k := l.draw(ledger.TransferID{})
	bystander := pick(l.rng, l.w.servers).shard
	if len(k.parts) != 2 || slices.Contains(k.parts, bystander) {
		return
	}
	l.tombstoneOf(bystander, k, 0)
	l.traps[k.record.ID] = &trap{content: k}
	if c := pick(l.rng, l.w.clients); c.up {
		c.after(l.rng.between(50*millisecond, 500*millisecond), func() {
			if !l.w.calm {
				l.submit(c, k)
			}
		})
	}
}

// tombstoneOf lets a shard write a tombstone for a transfer, whether it takes part in it or not.
func (l *workload) tombstoneOf(id shard.ID, k *content, us int64) {
	q := wire.Inquiry{ID: k.record.ID, Digest: ledger.DigestOf(k.record), Participants: []shard.ID{id}}
	for _, s := range l.w.of(id) {
		l.send(s, us, &wire.InquireRequest{
			Header: wire.Header{Request: l.rng.Uint64(), Shard: id, Epoch: shard.MapEpoch},
			Poison: true, Reason: ledger.ReasonTimedOut, Items: []wire.Inquiry{q},
		})
	}
}

// trap is a transfer for which a bystander has written a tombstone.
type trap struct {
	content *content
	block   *txn.Block // the bystander's certificate, once it has come
}

// spring shows a bystander's certificate to the participants once one of them has voted yes; before that it
// would only write a tombstone, which is anybody's right.
func (l *workload) spring(id ledger.TransferID) {
	t := l.traps[id]
	if t == nil || t.block == nil {
		return
	}
	delete(l.traps, id)
	for _, p := range t.content.parts {
		for _, s := range l.w.of(p) {
			for range 3 {
				l.send(s, l.rng.between(0, 50*millisecond), &wire.FinishRequest{
					Header: wire.Header{Request: l.rng.Uint64(), Shard: p, Epoch: shard.MapEpoch}, Blocks: []txn.Block{*t.block},
				})
			}
		}
	}
}

// tempt shows the participants of a transfer that was just voted on what the other one is said to have done.
func (l *workload) tempt(r *ledger.Row) {
	k := l.contents[r.Record]
	if k == nil || !l.w.plan.liars || l.w.calm || !l.rng.chance(0.05) {
		return
	}
	for i, p := range k.parts {
		b := l.counterfeit(k, k.parts[len(k.parts)-1-i])
		for _, s := range l.w.of(p) {
			l.send(s, l.rng.between(0, 20*millisecond), &wire.FinishRequest{
				Header: wire.Header{Request: l.rng.Uint64(), Shard: p, Epoch: shard.MapEpoch}, Blocks: []txn.Block{b},
			})
		}
	}
}

// counterfeit is a certificate in the name of a shard: with a MAC that is none, under a key that is not in the key
// file, or of another bank that has the same key.
func (l *workload) counterfeit(k *content, by shard.ID) txn.Block {
	votes := []txn.Vote{{
		ID: k.record.ID, Digest: ledger.DigestOf(k.record), Fact: pick(l.rng, []ledger.Fact{ledger.FactAborted, ledger.FactCommitted}),
	}}
	keys := *l.w.keys
	switch l.rng.IntN(3) {
	case 0:
		b := keys.Sign(by, votes)
		_, _ = l.rng.Read(b.MAC[:])
		return b
	case 1:
		keys.Keys = []txn.Key{{ID: 77, Secret: [32]byte{77}}}
	default:
		keys.Bank = txn.BankID{99}
	}
	return keys.Sign(by, votes)
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
