package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"raftbank/client"
	"raftbank/internal/bench"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// States of PostgreSQL's errors.
const (
	stateNoFunds     = "RB001" // of the schema
	stateKnownID     = "23505" // unique_violation: this id has been applied
	stateDeadlock    = "40P01"
	stateLockTimeout = "55P03"
	stateSerialize   = "40001"
)

// stateOf returns the state of PostgreSQL's refusal; "" if the error is something else.
func stateOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// again reports whether a refusal was another transaction's fault.
func again(state string) bool {
	return state == stateDeadlock || state == stateLockTimeout || state == stateSerialize
}

// pgSession is one connection. A request holds it from begin to end: it carries one at a time.
type pgSession struct {
	conn *pgx.Conn
	busy chan struct{} // holds one token
}

// Connect implements bench.Target.
func (p *postgres) Connect(ctx context.Context, _ int) (bench.Session, error) {
	c, err := p.connect(ctx, 0)
	if err != nil {
		return nil, err
	}
	s := &pgSession{conn: c, busy: make(chan struct{}, 1)}
	s.busy <- struct{}{}
	return s, nil
}

// Close implements bench.Session.
func (s *pgSession) Close() error { return s.conn.Close(context.Background()) }

// Read implements bench.Session.
func (s *pgSession) Read(ctx context.Context, a shard.Account) error {
	<-s.busy
	defer func() { s.busy <- struct{}{} }()
	var balance int64
	return s.conn.QueryRow(ctx, "SELECT balance FROM accounts WHERE id = $1", int64(a)).Scan(&balance)
}

// Transfer implements bench.Session: one transfer is one function call in its own transaction, a batch
// is one transaction that calls the function for every row of three arrays.
func (s *pgSession) Transfer(ctx context.Context, ts []client.Transfer) (client.Tally, error) {
	<-s.busy
	defer func() { s.busy <- struct{}{} }()
	for i := range ts {
		ts[i].ID = client.NewID()
	}
	began := time.Now()
	for {
		err := s.send(ctx, ts)
		state := stateOf(err)
		if again(state) {
			continue
		}
		out := client.Result{Kind: client.Intra, Outcome: client.Committed, Latency: time.Since(began)}
		switch {
		case err == nil || state == stateKnownID:
		case state == stateNoFunds:
			out.Outcome, out.Reason = client.Aborted, ledger.ReasonInsufficientFunds
		default:
			return client.Tally{}, fmt.Errorf("transfer: %w", err)
		}
		return bench.TallyOf(same(out, len(ts))), nil
	}
}

// same returns n equal results.
func same(r client.Result, n int) []client.Result {
	out := make([]client.Result, n)
	for i := range out {
		out[i] = r
	}
	return out
}

func (s *pgSession) send(ctx context.Context, ts []client.Transfer) error {
	if len(ts) == 1 {
		t := &ts[0]
		_, err := s.conn.Exec(ctx, "SELECT transfer($1, $2, $3, $4)", uuidOf(t.ID), int64(t.From), int64(t.To), int64(t.Amount.Lo))
		return err
	}
	ids, from, to, amounts := make([]pgtype.UUID, len(ts)), make([]int64, len(ts)), make([]int64, len(ts)), make([]int64, len(ts))
	for i := range ts {
		ids[i], from[i], to[i], amounts[i] = uuidOf(ts[i].ID), int64(ts[i].From), int64(ts[i].To), int64(ts[i].Amount.Lo)
	}
	_, err := s.conn.Exec(ctx, "SELECT transfer(i, f, t, a) FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS x(i, f, t, a)",
		ids, from, to, amounts)
	return err
}

func uuidOf(id client.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }
