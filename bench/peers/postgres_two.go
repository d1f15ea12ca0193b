package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"raftbank/client"
	"raftbank/internal/bench"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// lockTimeout ends a wait that may be half of a deadlock between the two servers, which neither sees.
const lockTimeout = "SET lock_timeout = '100ms'"

// prepared are the statements that a session prepares once. PREPARE TRANSACTION and COMMIT PREPARED take no parameter,
// and name another transaction every time.
var prepared = map[string]string{
	"begin": "BEGIN", "withdraw": "SELECT withdraw($1::uuid, $2::bigint, $3::bigint, $4::bigint)",
	"deposit": "SELECT deposit($1::uuid, $2::bigint, $3::bigint, $4::bigint)",
}

// postgresTwo is two primaries and a client that drives two-phase commit between them. Neither is
// replicated, and a client that dies between the phases leaves locks behind until a person looks.
type postgresTwo struct {
	*postgres
	topology *shard.Topology
}

// startPostgresTwo starts two primaries, each with the accounts of one shard.
func startPostgresTwo(ctx context.Context, o *options, dir string, t *shard.Topology) (peer, error) {
	p, err := newPostgres(o, dir, t)
	if err != nil {
		return nil, err
	}
	p.text = "two servers, not replicated; BEGIN and one function call, both prepared, and PREPARE TRANSACTION in one message to both at once, " +
		"then COMMIT PREPARED to both at once, over Unix sockets; " + lockTimeout + ", then again; " + settingsText("wal_level=minimal")
	for i := range t.Clusters {
		if err := p.primary(ctx, t.Clusters[i].Range, "wal_level=minimal", "max_wal_senders=0"); err != nil {
			p.stop()
			return nil, err
		}
	}
	return &postgresTwo{p, t}, nil
}

func (p *postgresTwo) check(ctx context.Context) (bool, error) {
	return p.sum(ctx, len(p.topology.Clusters))
}

// twoSession is a connection to both servers.
type twoSession struct {
	topology *shard.Topology
	conns    []*pgx.Conn
}

// Connect implements bench.Target.
func (p *postgresTwo) Connect(ctx context.Context, _ int) (bench.Session, error) {
	s := &twoSession{topology: p.topology}
	for i := range p.topology.Clusters {
		c, err := p.connect(ctx, i)
		if err == nil {
			s.conns = append(s.conns, c)
			_, err = c.Exec(ctx, lockTimeout)
		}
		for name, statement := range prepared {
			if err == nil {
				_, err = c.PgConn().Prepare(ctx, name, statement, nil)
			}
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Close implements bench.Session.
func (s *twoSession) Close() error {
	var errs []error
	for _, c := range s.conns {
		errs = append(errs, c.Close(context.Background()))
	}
	return errors.Join(errs...)
}

// Read implements bench.Session.
func (s *twoSession) Read(ctx context.Context, a shard.Account) error {
	i, _ := s.topology.ShardOf(a)
	var balance int64
	return s.conns[i-1].QueryRow(ctx, "SELECT balance FROM accounts WHERE id = $1", int64(a)).Scan(&balance)
}

// Transfer implements bench.Session for transfers between the two servers, one at a time.
func (s *twoSession) Transfer(ctx context.Context, ts []client.Transfer) (client.Tally, error) {
	out := make([]client.Result, len(ts))
	for i := range ts {
		began := time.Now()
		outcome, reason, err := s.one(ctx, &ts[i])
		if err != nil {
			return client.Tally{}, err
		}
		out[i] = client.Result{Kind: client.Cross, Outcome: outcome, Reason: reason, Latency: time.Since(began)}
	}
	return bench.TallyOf(out), nil
}

// one carries out one transfer, again as long as locks are in its way.
func (s *twoSession) one(ctx context.Context, t *client.Transfer) (client.Outcome, client.Reason, error) {
	from, okFrom := s.topology.ShardOf(t.From)
	to, okTo := s.topology.ShardOf(t.To)
	if !okFrom || !okTo || from == to {
		return 0, 0, fmt.Errorf("accounts %s and %s are not on two servers", t.From, t.To)
	}
	id := client.NewID()
	params := [][]byte{[]byte(uuidText(id)), fmt.Append(nil, uint64(t.From)), fmt.Append(nil, uint64(t.To)), fmt.Append(nil, t.Amount.Lo)}
	for {
		ready := s.both(func(i shard.ID) error {
			call := "withdraw"
			if i == to {
				call = "deposit"
			}
			var b pgconn.Batch
			b.ExecPrepared("begin", nil, nil, nil)
			b.ExecPrepared(call, params, nil, nil)
			b.ExecParams("PREPARE TRANSACTION '"+id.String()+"'", nil, nil, nil, nil)
			_, err := s.conns[i-1].PgConn().ExecBatch(ctx, &b).ReadAll()
			return err
		})
		if ready[0] == nil && ready[1] == nil {
			committed := s.both(func(i shard.ID) error { return s.batch(ctx, i, "COMMIT PREPARED '"+id.String()+"'") })
			return client.Committed, 0, errors.Join(committed[:]...)
		}
		undone := s.both(func(i shard.ID) error {
			if ready[i-1] == nil {
				return s.batch(ctx, i, "ROLLBACK PREPARED '"+id.String()+"'")
			}
			return s.batch(ctx, i, "ROLLBACK")
		})
		if err := errors.Join(undone[:]...); err != nil {
			return 0, 0, err
		}
		for _, err := range ready {
			switch state := stateOf(err); {
			case err == nil || again(state):
			case state == stateNoFunds:
				return client.Aborted, ledger.ReasonInsufficientFunds, nil
			default:
				return 0, 0, err
			}
		}
	}
}

// uuidText is an id as PostgreSQL reads one.
func uuidText(id client.ID) string { return fmt.Sprintf("%x", id[:]) }

// both does something at both servers at once.
func (s *twoSession) both(do func(i shard.ID) error) (errs [2]error) {
	var second sync.WaitGroup
	second.Go(func() { errs[1] = do(2) })
	errs[0] = do(1)
	second.Wait()
	return errs
}

// batch sends statements as one message.
func (s *twoSession) batch(ctx context.Context, i shard.ID, statements string) error {
	_, err := s.conns[i-1].PgConn().Exec(ctx, statements).ReadAll()
	return err
}
