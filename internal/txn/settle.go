package txn

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/planted"
	"raftbank/internal/shard"
)

// settlement waits until each of its transfers is finished here, or was undecided after it began.
type settlement struct {
	token     uint64
	minSeq    uint64
	ids       []ledger.TransferID
	undecided []ledger.TransferID
	remaining int
}

// Settled tells that a settlement is over.
type Settled struct {
	Token uint64
	// Undecided are those of its transfers that were undecided at some instant after it began, and were not
	// finished before that was known. The others are finished.
	Undecided []ledger.TransferID
}

// Settle waits for the ids (those of them that are prepared): its token comes out of Settled once
// each is finished here, or was undecided at some instant after this call.
func (p *Participant) Settle(ids []ledger.TransferID) (token uint64) {
	p.nextToken++
	s := &settlement{token: p.nextToken, minSeq: p.nextSeq, ids: ids}
	for _, id := range ids {
		t := p.pending.get(id)
		if t == nil {
			continue
		}
		s.remaining++
		if len(t.settlers) == 0 {
			p.settling = append(p.settling, id)
		}
		t.settlers = append(t.settlers, s)
		t.askedAt = 0
	}
	if s.remaining == 0 {
		p.settled = append(p.settled, Settled{Token: s.token})
	} else {
		p.open[s.token] = s
	}
	return s.token
}

// Forget ends a settlement that nobody waits for any more: its token will not come out of Settled.
func (p *Participant) Forget(token uint64) {
	s, ok := p.open[token]
	if !ok {
		p.settled = slices.DeleteFunc(p.settled, func(t Settled) bool { return t.Token == token })
		return
	}
	delete(p.open, token)
	for _, id := range s.ids {
		if t := p.pending.get(id); t != nil {
			t.settlers = slices.DeleteFunc(t.settlers, func(o *settlement) bool { return o == s })
		}
	}
}

// Undecided takes a linearizable NONE of another shard for items of inquiry seq.
func (p *Participant) Undecided(seq uint64, id ledger.TransferID) {
	t := p.pending.get(id)
	if t == nil {
		return
	}
	newer := len(t.settlers)
	t.settlers = slices.DeleteFunc(t.settlers, func(s *settlement) bool {
		if newer--; planted.On(planted.ReadAsksAlone) && newer > 0 {
			return false
		}
		if seq < s.minSeq && !planted.On(planted.EarlyNone) {
			return false // asked before the settlement began: says nothing about the time since
		}
		s.undecided = append(s.undecided, id)
		p.release(s)
		return true
	})
}

// Asked returns the ids of inquiry seq by item, and the shard that was asked.
func (p *Participant) Asked(seq uint64) (ids []ledger.TransferID, from shard.ID, ok bool) {
	a, ok := p.asked[seq]
	if !ok {
		return nil, 0, false
	}
	return a.ids, a.shard, true
}

// Reask makes the transfers of inquiry seq be asked about again: the asked server was no leader.
func (p *Participant) Reask(seq uint64) {
	a, ok := p.asked[seq]
	if !ok {
		return
	}
	delete(p.asked, seq)
	for _, id := range a.ids {
		if t := p.pending.get(id); t != nil {
			t.askedAt = 0
			p.again = append(p.again, id)
		}
	}
}

// askSettling asks at once about every transfer that a settlement waits for.
func (p *Participant) askSettling() {
	kept := p.settling[:0]
	for _, id := range p.settling {
		t := p.pending.get(id)
		if t == nil || len(t.settlers) == 0 {
			continue
		}
		kept = append(kept, id)
		if !t.proposed && (t.askedAt == 0 || p.now-t.askedAt >= p.timing.SettleTicks) {
			p.ask(t, false)
		}
	}
	p.settling = kept
}
