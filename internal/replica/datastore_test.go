package replica

import (
	"encoding/binary"
	"testing"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/wire"
)

// TestDatastoreIsPaged reads histories longer than one request may look at: page by page every row comes once,
// newest first, and no page looks at more than its bound.
func TestDatastoreIsPaged(t *testing.T) {
	b := newBank(t).boot()
	const n = 2*maxScanned + 100
	for sent := 0; sent < n; {
		m := &wire.TransferRequest{}
		for ; len(m.Records) < wire.MaxBatch && sent < n; sent++ {
			r := record(0, 1, 2, 1_000_000) // refused: a row all the same
			if sent == 10 {
				r.Debit, r.Credit = 7, 8
			}
			binary.BigEndian.PutUint64(r.ID[:], uint64(sent+1))
			m.Records = append(m.Records, r)
		}
		b.ask(b.leader(1), m)
	}
	count := func(q api.DatastoreQuery) (rows, pages int, first api.ServerDatastore) {
		last := ^uint64(0)
		for {
			var d api.ServerDatastore
			b.admin(b.leader(1), wire.AdminDatastore, q, &d)
			if pages++; pages == 1 {
				first = d
			}
			if len(d.Entries) > maxRows {
				t.Fatalf("%d rows in one answer", len(d.Entries))
			}
			for i := len(d.Entries) - 1; i >= 0; i-- {
				if d.Entries[i].Row >= last {
					t.Fatalf("row %d after row %d", d.Entries[i].Row, last)
				}
				last = d.Entries[i].Row
			}
			rows += len(d.Entries)
			if d.Next == 0 {
				return rows, pages, first
			}
			q.Before = d.Next
		}
	}
	rows, pages, first := count(api.DatastoreQuery{})
	if rows != n+1 || pages != (n+1)/maxRows+1 || first.Total != n+1 || first.Truncated != n+1-maxRows { // and genesis
		t.Errorf("%d rows in %d pages, %d in all, %d left out of the first", rows, pages, first.Total, first.Truncated)
	}
	rows, pages, first = count(api.DatastoreQuery{Account: "7"})
	if rows != 1 || pages != 3 || len(first.Entries) != 0 || first.Next != n+1-maxScanned {
		t.Errorf("account 7: %d rows in %d pages, the first went down to %d", rows, pages, first.Next)
	}
	var d api.ServerDatastore
	id := ledger.TransferID{7: 3}
	b.admin(b.leader(1), wire.AdminDatastore, api.DatastoreQuery{ID: id.String()}, &d)
	if d.Total != 1 || len(d.Entries) != 1 || d.Next != 0 {
		t.Errorf("rows of one transfer: %+v", d)
	}
	index := d.Entries[0].Index
	b.admin(b.leader(1), wire.AdminDatastore, api.DatastoreQuery{Limit: 1, From: index + 1}, &d)
	if d.FirstIndex != index+1 || d.Total != n-wire.MaxBatch || d.Truncated != d.Total-1 {
		t.Errorf("from index %d: first %d, total %d", index+1, d.FirstIndex, d.Total)
	}
}
