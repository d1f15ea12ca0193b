package sim

import (
	"encoding/json"
	"math"
	"math/big"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// auditFact is a finished audit that was proven.
type auditFact struct {
	by         string
	start, end int64
	number     uint32
	parts      [][]byte
}

// auditEnds takes the outcome of an audit.
func (k *checker) auditEnds(s *submission, by string, a *session.Audit) {
	k.audits = append(k.audits, &auditFact{by: by, start: s.start, end: k.w.now, number: a.Number, parts: a.Parts})
}

// confirmed: a shard that confirms that it withholds still did so when it was asked, or began to later.
func (k *checker) confirmed(s *submission, by string, res *wire.Result) {
	k.looked(CheckSnapshot)
	if s.over && res.Code == ledger.ResultWithholding {
		k.w.fail(CheckSnapshot, "server %s told %s that %s withholds for audit %d, which had ended there before it was asked at %d ms",
			s.server, by, s.shard, s.number, s.start/millisecond)
	}
}

// commitEpoch returns the commit epoch of a committed transfer by the second model: the highest epoch of its
// votes. ok is false if it is committed nowhere. It is asked for at the end only, when both stand.
func (k *checker) commitEpoch(c *content) (epoch uint32, ok bool) {
	if c.judged {
		return c.epoch, c.committed
	}
	defer func() { c.judged, c.epoch, c.committed = true, epoch, ok }()
	for _, p := range c.parts {
		o := k.truth(p).ref.ids[c.record.ID]
		if o == nil || !o.hasRecord || o.record != c.record {
			continue
		}
		epoch = max(epoch, o.epoch)
		ok = ok || o.state == ledger.Committed
	}
	return epoch, ok
}

// contains says whether an audit's snapshot contains a transfer.
func (k *checker) contains(a *auditFact, c *content) bool {
	epoch, committed := k.commitEpoch(c)
	return committed && epoch < a.number
}

// auditsAreRight: an audit's totals are those of exactly the transfers with a commit epoch below its number, so no
// money is missing at the cut; and its place in the order of all operations, which the servers give, is
// between its beginning and its end (docs/PROTOCOL.md, section 9).
func (k *checker) auditsAreRight(known map[*content]int64) {
	for i, a := range k.audits {
		k.looked(CheckSnapshot)
		if !k.totalsAreRight(a) || !k.cutIsInOrder(a, known) {
			return
		}
		for _, b := range k.audits[:i] {
			if b.end < a.start && b.number >= a.number || a.end < b.start && a.number >= b.number {
				k.w.fail(CheckSnapshot, "%s got number %d, though number %d was proven at another time", a.by, a.number, b.number)
				return
			}
		}
	}
}

// totalsAreRight compares each shard's part with the model.
func (k *checker) totalsAreRight(a *auditFact) bool {
	want := map[shard.ID]*big.Int{}
	for _, c := range k.w.topology.Clusters {
		n := ledger.Units(c.Range.Len()).Big()
		want[c.Shard] = n.Mul(n, new(big.Int).SetUint64(k.w.plan.opening))
	}
	for _, c := range k.w.load.order {
		if !k.contains(a, c) {
			continue
		}
		if p, ok := k.w.topology.ShardOf(c.record.Debit); ok {
			want[p].Sub(want[p], c.record.Amount.Big())
		}
		if p, ok := k.w.topology.ShardOf(c.record.Credit); ok {
			want[p].Add(want[p], c.record.Amount.Big())
		}
	}
	sum := new(big.Int)
	for i, raw := range a.parts {
		var part api.ShardAudit
		if err := json.Unmarshal(raw, &part); err != nil {
			k.w.fail(CheckSnapshot, "%s, audit %d: part %d cannot be read: %v", a.by, a.number, i, err)
			return false
		}
		got, ok := new(big.Int).SetString(part.Total, 10)
		id := k.shards[i].id
		if !ok || part.Shard != int(id) || got.Cmp(want[id]) != 0 {
			k.w.fail(CheckSnapshot, "%s, audit %d: %s holds %q (posted %s, in %s, out %s), the model says %s",
				a.by, a.number, id, part.Total, part.Posted, part.In, part.Out, want[id])
			return false
		}
		sum.Add(sum, got)
	}
	if len(a.parts) != len(k.shards) || sum.Cmp(k.expected) != 0 {
		k.w.fail(CheckSnapshot, "%s, audit %d: %d parts hold %s, and the bank was opened with %s",
			a.by, a.number, len(a.parts), sum, k.expected)
		return false
	}
	return true
}

// bounds of an audit's place in the order: after the last contained transfer was asked for, and before the first
// that is left out was known to be committed.
type bounds struct {
	latest, leftOut int64
	late, early     *content
}

func (k *checker) boundsOf(a *auditFact, known map[*content]int64) bounds {
	b := bounds{latest: math.MinInt64, leftOut: math.MaxInt64}
	for _, c := range k.w.load.order {
		if k.contains(a, c) {
			if c.firstAsk > b.latest {
				b.latest, b.late = c.firstAsk, c
			}
			continue
		}
		if _, committed := k.commitEpoch(c); !committed {
			continue
		}
		if at, ok := known[c]; ok && at < b.leftOut {
			b.leftOut, b.early = at, c
		}
	}
	return b
}

// orderAudits makes known what audits make known: whatever a snapshot contains is visible to all that begins after the
// audit's end, or after somebody knew of a transfer that it leaves out. It returns whether that adds anything.
func (k *checker) orderAudits(known map[*content]int64) (more bool) {
	for _, a := range k.audits {
		cut := min(a.end, k.boundsOf(a, known).leftOut)
		for _, c := range k.w.load.order {
			if at, ok := known[c]; k.contains(a, c) && (!ok || cut < at) {
				known[c], more = cut, true
			}
		}
	}
	return more
}

// cutIsInOrder: the snapshot contains what was known to be committed before the audit began, nothing that was asked for
// after it ended, and with a transfer also all that was known before that one was asked for.
func (k *checker) cutIsInOrder(a *auditFact, known map[*content]int64) bool {
	b := k.boundsOf(a, known)
	switch {
	case b.latest > a.end:
		k.w.fail(CheckSnapshot, "%s, audit %d contains %s, which was asked for after it ended", a.by, a.number, b.late.record.ID)
	case b.leftOut < a.start:
		k.w.fail(CheckSnapshot, "%s, audit %d lacks %s, whose commit was known before it began", a.by, a.number, b.early.record.ID)
	case b.latest > b.leftOut:
		k.w.fail(CheckSnapshot, "%s, audit %d contains %s, but not %s, whose commit was known before that was asked for",
			a.by, a.number, b.late.record.ID, b.early.record.ID)
	default:
		return true
	}
	return false
}

// withholds: while a server's shard withholds for an audit, no certificate of a vote from beyond the cut leaves it.
func (k *checker) withholds(s *server, v *txn.Vote) {
	if s.machine == nil || v.Fact == ledger.FactNumber {
		return
	}
	if n := s.machine.State().Withholding(); n != 0 && v.Epoch >= n {
		k.w.fail(CheckSnapshot, "%s withholds for audit %d, but states fact %d about %s, of epoch %d", s.name(), n, v.Fact, v.ID, v.Epoch)
	}
}
