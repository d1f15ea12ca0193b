package sim

import (
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"

	"go.etcd.io/raft/v3/raftpb"
)

// statesFacts: every certificate that leaves a server states what its shard has applied. It is looked at
// after observe, so that what this very turn applied is known.
func (k *checker) statesFacts(s *server, r *wire.Reply) {
	for i := range r.Blocks {
		b := &r.Blocks[i]
		for j := range b.Votes {
			v := &b.Votes[j]
			k.withholds(s, v)
			k.looked(CheckCertificates)
			if v.Fact == ledger.FactNumber {
				if v.Epoch == 0 || v.Epoch > k.truth(s.shard).ref.allocated {
					k.w.fail(CheckCertificates, "%s certifies audit number %d, which %s has not given out", s.name(), v.Epoch, s.shard)
				}
				continue
			}
			if state, voted := k.truth(s.shard).holds(v); !supports(state, voted, v.Fact) {
				k.w.fail(CheckCertificates, "%s certifies fact %d about %s, which at %s is %s", s.name(), v.Fact, v.ID, s.shard, state)
			}
		}
	}
}

// holds returns the state of the content that a vote names, and whether the shard ever voted yes on it.
func (t *shardTruth) holds(v *txn.Vote) (state ledger.TransferState, votedYes bool) {
	o, ok := t.state.Lookup(v.ID)
	switch {
	case !ok:
		return ledger.None, false
	case o.HasRecord && ledger.DigestOf(o.Record) != v.Digest,
		!o.HasRecord && !o.Wildcard && o.Digest != v.Digest:
		return ledger.Aborted, false // the id is taken by other content
	}
	// An abort after a vote has a row of its own.
	return o.State, o.State != ledger.Aborted || o.FinalPos != o.VotePos
}

// supports: a replica that is behind may still state the yes of a transfer that was aborted since.
func supports(state ledger.TransferState, votedYes bool, f ledger.Fact) bool {
	switch f {
	case ledger.FactYes:
		return votedYes
	case ledger.FactCommitted:
		return state == ledger.Committed
	case ledger.FactAborted:
		return state == ledger.Aborted
	case ledger.FactNone, ledger.FactNumber:
	}
	return false
}

// synced is what a server's disk has confirmed: what its log must hold at the next start.
type synced struct {
	term, vote uint64
	terms      []uint64 // of the entries, from index 1
	checkpoint uint64   // index of the last durable checkpoint
	// generation is that of the segment which the newest checkpoint names, durable or not: a start reads from there on, or earlier.
	generation uint64
	// installing is the index, and its term, of a checkpoint of another replica that is being put on disk, or was; 0: none.
	installing, installingTerm uint64
}

// writing notes that a write has begun: entries that it replaces may be gone from now on.
func (y *synced) writing(entries []*raftpb.Entry) {
	if len(entries) > 0 {
		y.terms = y.terms[:min(uint64(len(y.terms)), entries[0].GetIndex()-1)]
	}
}

// written notes that a synced write has ended.
func (y *synced) written(hs *raftpb.HardState, entries []*raftpb.Entry) {
	if hs != nil {
		y.term, y.vote = hs.GetTerm(), hs.GetVote()
	}
	for _, e := range entries {
		if e.GetIndex() == uint64(len(y.terms))+1 {
			y.terms = append(y.terms, e.GetTerm())
		}
	}
}

// installed takes note of a checkpoint of another replica that has come on disk: what the log held before it does not
// count any more, and neither does what it held behind, if that was another leader's.
func (y *synced) installed(kept uint64) {
	i := y.installing
	if i == 0 || kept < i {
		return
	}
	y.installing, y.checkpoint = 0, max(y.checkpoint, i)
	if uint64(len(y.terms)) >= i && y.terms[i-1] == y.installingTerm {
		return
	}
	y.terms = append(y.terms[:min(uint64(len(y.terms)), i)], make([]uint64, i)...)[:i]
	y.terms[i-1] = y.installingTerm
}

// recovered compares a log that was just opened with what its disk had confirmed.
func (k *checker) recovered(s *server, hs *raftpb.HardState) {
	if s.suspect != "" {
		return // an older log, or none
	}
	k.looked(CheckRecovery)
	y := &s.synced
	switch {
	case hs.GetTerm() < y.term, hs.GetTerm() == y.term && y.vote != 0 && hs.GetVote() != y.vote:
		k.w.fail(CheckRecovery, "%s comes back with term %d, vote %x; it had synced term %d, vote %x",
			s.name(), hs.GetTerm(), hs.GetVote(), y.term, y.vote)
	}
	kept := s.store.Last().Index
	y.installed(kept)
	first, _ := s.log.FirstIndex()
	if kept < y.checkpoint || first > kept+1 {
		k.w.fail(CheckRecovery, "%s comes back with a checkpoint at %d and a log from %d on; it had a durable one at %d",
			s.name(), kept, first, y.checkpoint)
	}
	for i, want := range y.terms {
		if uint64(i)+1 < first {
			continue // cut
		}
		if got, err := s.log.Term(uint64(i) + 1); err != nil || got != want {
			k.w.fail(CheckRecovery, "%s comes back with term %d at index %d (%v); it had synced %d entries, that one of term %d",
				s.name(), got, i+1, err, len(y.terms), want)
			return
		}
	}
}

// refused: a server does not start on damage that it has read. This holds however many disks of its shard are damaged.
func (k *checker) refused(s *server, fatal *damage) {
	if fatal != nil {
		k.w.fail(CheckRecovery, "%s starts, though %s shows damage: %s", s.name(), fatal.name, fatal.fault)
	}
}

// mayTakePart: a server whose disk was emptied is not let into its group, and none starts that was told that it
// once acknowledged more than its disk holds.
func (k *checker) mayTakePart(s *server) {
	k.looked(CheckIdentity)
	if s.suspect == string(faultWipe) {
		k.w.fail(CheckIdentity, "%s takes part with a disk that was emptied", s.name())
	}
	if s.outdated != 0 {
		k.w.fail(CheckIdentity, "%s takes part with term %d and last index %d, though server %s remembers that it acknowledged more",
			s.name(), s.self.Term, s.self.LastIndex, s.outdated)
	}
}

// nothingStaysPrepared: what is prepared when the faults end does not stay so.
func (k *checker) nothingStaysPrepared() {
	for _, t := range k.shards {
		for _, id := range t.state.Prepared() {
			k.staysNotPrepared(t, id)
		}
	}
}

// staysNotPrepared: in the liveness phase a transfer is finished pendingUs after it was prepared, or after the shards became healthy.
func (k *checker) staysNotPrepared(t *shardTruth, id ledger.TransferID) {
	since := max(k.w.now, k.w.healed+healthyUs)
	k.w.after(since+pendingUs-k.w.now, func() {
		if k.w.nemesis.lateLeader(k.participants(t, id)...) {
			return // t2 counts a leader's ticks, and one that starves has few; that the bank settles is demanded of it, too
		}
		k.looked(CheckPendingAge)
		if o, _ := t.state.Lookup(id); o.State == ledger.Prepared {
			k.w.fail(CheckPendingAge, "%s has been prepared at %s for %d s on healthy shards", id, t.id, (k.w.now-since)/second)
		}
	})
}

// participants lists the shards of a transfer that one of them holds, of all contents under its id.
func (k *checker) participants(t *shardTruth, id ledger.TransferID) []shard.ID {
	parts := []shard.ID{t.id}
	for _, c := range k.w.load.byID[id] {
		parts = append(parts, c.parts...)
	}
	return parts
}
