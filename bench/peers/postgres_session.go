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

// Transfer implements bench.Session: one transfer is one function call in its own transaction, and so is a batch.
func (s *pgSession) Transfer(ctx context.Context, ts []client.Transfer) (client.Tally, error) {
	<-s.busy
	defer func() { s.busy <- struct{}{} }()
	for i := range ts {
		ts[i].ID = client.NewID() // its first bits are the time: the index grows at its end
	}
	began := time.Now()
	for {
		refused, err := s.send(ctx, ts)
		state := stateOf(err)
		switch {
		case again(state):
			continue
		case err != nil && state != stateKnownID:
			return client.Tally{}, fmt.Errorf("transfer: %w", err)
		}
		return bench.TallyOf(outcomes(len(ts), refused, time.Since(began))), nil
	}
}

// outcomes returns n results that ended together; refused are the places, from 1, of those that lacked money.
func outcomes(n int, refused []int32, took time.Duration) []client.Result {
	out := make([]client.Result, n)
	for i := range out {
		out[i] = client.Result{Kind: client.Intra, Outcome: client.Committed, Latency: took}
	}
	for _, place := range refused {
		out[place-1].Outcome, out[place-1].Reason = client.Aborted, ledger.ReasonInsufficientFunds
	}
	return out
}

// send makes one call, and returns the places of the transfers that lacked money.
func (s *pgSession) send(ctx context.Context, ts []client.Transfer) (refused []int32, err error) {
	if len(ts) == 1 {
		t := &ts[0]
		_, err := s.conn.Exec(ctx, "SELECT transfer($1, $2, $3, $4)", uuidOf(t.ID), int64(t.From), int64(t.To), int64(t.Amount.Lo))
		if stateOf(err) == stateNoFunds {
			return []int32{1}, nil
		}
		return nil, err
	}
	ids, from, to, amounts := make([]pgtype.UUID, len(ts)), make([]int64, len(ts)), make([]int64, len(ts)), make([]int64, len(ts))
	for i := range ts {
		ids[i], from[i], to[i], amounts[i] = uuidOf(ts[i].ID), int64(ts[i].From), int64(ts[i].To), int64(ts[i].Amount.Lo)
	}
	err = s.conn.QueryRow(ctx, "SELECT transfer_batch($1, $2, $3, $4)", ids, from, to, amounts).Scan(&refused)
	return refused, err
}

func uuidOf(id client.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }
