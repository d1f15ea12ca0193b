package replica

import (
	"fmt"
	"slices"
	"sort"
	"strconv"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// Bounds of the work for one datastore request: it is done in the server's loop, between transfers. Who wants
// more asks again for the rows below.
const (
	maxRows    = 2048   // returned
	maxScanned = 16_384 // looked at
)

// rowRange are the positions [lo, hi) of a server's history.
type rowRange struct{ lo, hi uint64 }

// rowsAsked returns the positions that a query names.
func (r *Replica) rowsAsked(q *api.DatastoreQuery) rowRange {
	n := r.state.RowCount()
	// Rows are in index order.
	lo := uint64(sort.Search(int(n), func(i int) bool { return r.state.Rows(uint64(i), 1)[0].Index >= q.From }))
	hi := n
	if q.Before > 0 {
		hi = min(hi, q.Before)
	}
	return rowRange{lo: min(lo, hi), hi: hi}
}

// datastore returns the newest rows that match, within the bounds of one request; Next tells where the next
// one goes on.
func (r *Replica) datastore(q *api.DatastoreQuery) (api.ServerDatastore, error) {
	d := api.ServerDatastore{
		Server: int(r.options.Server), Shard: int(r.options.Shard), Cluster: r.options.Shard.String(),
		Up: true, Entries: []api.Entry{},
	}
	f, err := filterOf(q)
	if err != nil {
		return d, err
	}
	limit := q.Limit
	if limit <= 0 || limit > maxRows {
		limit = maxRows
	}
	at := r.rowsAsked(q)
	switch {
	case q.ID != "":
		r.rowsOfOne(&d, f, at)
	case q.Account != "":
		r.rowsOfAccount(&d, f, at, limit)
	default:
		r.newestRows(&d, at, limit)
	}
	slices.Reverse(d.Entries)
	return d, nil
}

// newestRows takes the newest rows of all; the others are counted without a look at them.
func (r *Replica) newestRows(d *api.ServerDatastore, at rowRange, limit int) {
	d.Total = at.hi - at.lo
	if d.Total == 0 {
		return
	}
	d.FirstIndex = r.state.Rows(at.lo, 1)[0].Index
	from := at.hi - min(d.Total, uint64(limit))
	rows := r.state.Rows(from, int(at.hi-from))
	for i := len(rows) - 1; i >= 0; i-- {
		d.Entries = append(d.Entries, entryOf(&rows[i]))
	}
	if from > at.lo {
		d.Truncated, d.Next = from-at.lo, from
	}
}

// rowsOfOne takes the rows of one transfer, which are few.
func (r *Replica) rowsOfOne(d *api.ServerDatastore, f rowFilter, at rowRange) {
	rows := r.state.RowsOf(f.id)
	for i := len(rows) - 1; i >= 0; i-- {
		if row := &rows[i]; row.Position >= at.lo && row.Position < at.hi && f.match(row) {
			takeRow(d, row)
		}
	}
}

// rowsOfAccount looks through the history, newest first, within the bounds of one request.
func (r *Replica) rowsOfAccount(d *api.ServerDatastore, f rowFilter, at rowRange, limit int) {
	stop := at.hi - min(at.hi-at.lo, maxScanned)
	const page = 1024
	for end := at.hi; end > stop; {
		from := end - min(end-stop, page)
		rows := r.state.Rows(from, int(end-from))
		for i := len(rows) - 1; i >= 0; i-- {
			if len(d.Entries) == limit {
				d.Next = rows[i].Position + 1
				return
			}
			if f.match(&rows[i]) {
				takeRow(d, &rows[i])
			}
		}
		end = from
	}
	if stop > at.lo {
		d.Next = stop
	}
}

func takeRow(d *api.ServerDatastore, row *ledger.Row) {
	d.Total++
	d.FirstIndex = row.Index
	d.Entries = append(d.Entries, entryOf(row))
}

// rowFilter is a query's id and account; zeros match every row.
type rowFilter struct {
	id      ledger.TransferID
	account shard.Account
}

func filterOf(q *api.DatastoreQuery) (f rowFilter, err error) {
	if q.ID != "" {
		if f.id, err = ledger.ParseTransferID(q.ID); err != nil {
			return f, err
		}
	}
	if q.Account != "" {
		n, err := strconv.ParseUint(q.Account, 10, 64)
		if err != nil || n == 0 {
			return f, fmt.Errorf("account %q is not a positive number", q.Account)
		}
		f.account = shard.Account(n)
	}
	return f, nil
}

func (f *rowFilter) match(row *ledger.Row) bool {
	return f.account == 0 || row.Record.Debit == f.account || row.Record.Credit == f.account
}

func entryOf(row *ledger.Row) api.Entry {
	e := api.Entry{
		Row: row.Position, Index: row.Index, Position: row.Item, Term: row.Term, Kind: row.Kind.String(),
		TimeNs: row.TimeNs, Epoch: row.Epoch, Outcome: rowOutcome(row),
	}
	if row.Kind != ledger.RowGenesis {
		e.ID = row.Record.ID.String()
	}
	if row.Kind != ledger.RowTombstone {
		e.From, e.To, e.Amount = row.Record.Debit.String(), row.Record.Credit.String(), row.Record.Amount.String()
	}
	if row.Kind == ledger.RowGenesis {
		e.To = "all"
	}
	if row.Reason != ledger.ReasonNone {
		e.Reason = row.Reason.String()
	}
	return e
}

func rowOutcome(row *ledger.Row) string {
	switch {
	case row.Kind == ledger.RowPrepare && row.State == ledger.Prepared:
		return "yes"
	case row.Kind == ledger.RowPrepare:
		return "no"
	case row.State == ledger.Committed:
		return "committed"
	}
	return "aborted"
}
