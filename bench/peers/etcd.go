package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"raftbank/client"
	"raftbank/internal/bench"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// etcdMembers is the size of the cluster.
const etcdMembers = 3

// etcdFill is how many accounts one transaction opens; etcd takes 128 operations.
const etcdFill = 100

// etcd is a cluster of three members, each a process of this program.
type etcd struct {
	servers  []*server
	urls     []string
	leader   string
	accounts uint64
}

// startEtcd starts the cluster and opens the accounts.
func startEtcd(ctx context.Context, o *options, dir string, _ *shard.Topology) (peer, error) {
	e := &etcd{accounts: o.Accounts}
	err := e.start(dir)
	if err == nil {
		err = e.open(ctx)
	}
	if err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func (e *etcd) start(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ports, err := freePorts(2 * etcdMembers)
	if err != nil {
		return err
	}
	url := func(i int) string { return "http://127.0.0.1:" + strconv.Itoa(ports[i]) }
	var cluster []string
	for i := range etcdMembers {
		cluster = append(cluster, fmt.Sprintf("m%d=%s", i, url(2*i)))
	}
	for i := range etcdMembers {
		e.urls = append(e.urls, url(2*i+1))
		cmd := exec.Command(self, memberArg, "--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(dir, strconv.Itoa(i)),
			"--listen-peer-urls", url(2*i), "--initial-advertise-peer-urls", url(2*i),
			"--listen-client-urls", url(2*i+1), "--advertise-client-urls", url(2*i+1),
			"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", "new",
			"--quota-backend-bytes", strconv.Itoa(8<<30), "--log-level", "error")
		s, err := startServer(cmd, filepath.Join(dir, fmt.Sprintf("m%d.log", i)), syscall.SIGTERM)
		if err != nil {
			return err
		}
		e.servers = append(e.servers, s)
	}
	return nil
}

// open waits for a leader and opens the accounts.
func (e *etcd) open(ctx context.Context) error {
	c, err := e.client(e.urls...)
	if err != nil {
		return err
	}
	defer c.Close()
	err = await(ctx, "find etcd's leader", e.servers, func(ctx context.Context) error {
		for _, url := range e.urls {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			status, err := c.Status(ctx, url)
			cancel()
			if err != nil {
				return err
			}
			if status.Leader == status.Header.MemberId {
				e.leader = url
				return nil
			}
		}
		return errors.New("no member leads")
	})
	if err != nil {
		return err
	}
	for first := uint64(1); first <= e.accounts; first += etcdFill {
		var puts []clientv3.Op
		for a := first; a < first+etcdFill && a <= e.accounts; a++ {
			puts = append(puts, clientv3.OpPut(accountKey(shard.Account(a)), strconv.Itoa(opening)))
		}
		if _, err := c.Txn(ctx).Then(puts...).Commit(); err != nil {
			return fmt.Errorf("open accounts: %w", err)
		}
	}
	return nil
}

func (e *etcd) client(urls ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: urls, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		MaxCallRecvMsgSize: math.MaxInt32})
}

func accountKey(a shard.Account) string { return fmt.Sprintf("account/%020d", a) }

func (e *etcd) settings() string {
	return "three members; a transfer reads both accounts in one serializable transaction, then compares their revisions and writes both and the " +
		"record in one; clients talk to the leader, each over a connection of its own; quota-backend-bytes=8GB, else defaults (fsync on)"
}

func (e *etcd) version() string { return "etcd " + version.Version }

func (e *etcd) versions() map[string]string {
	return map[string]string{"etcd": version.Version + ", built from its source with " + runtime.Version() + " as a part of this program"}
}

// Usage implements bench.Target.
func (e *etcd) Usage(context.Context) (map[string]uint64, error) {
	return bench.ProcessUsage(pids(e.servers)...)
}

func (e *etcd) stop() {
	for _, s := range e.servers {
		s.stop()
	}
}

// check implements peer.
func (e *etcd) check(ctx context.Context) (bool, error) {
	c, err := e.client(e.urls...)
	if err != nil {
		return false, err
	}
	defer c.Close()
	r, err := c.Get(ctx, "account/", clientv3.WithPrefix())
	if err != nil {
		return false, err
	}
	var sum uint64
	for _, kv := range r.Kvs {
		n, err := strconv.ParseUint(string(kv.Value), 10, 64)
		if err != nil {
			return false, err
		}
		sum += n
	}
	return sum == e.accounts*opening, nil
}

type etcdSession struct{ c *clientv3.Client }

// Connect implements bench.Target.
func (e *etcd) Connect(ctx context.Context, _ int) (bench.Session, error) {
	c, err := e.client(e.leader)
	if err != nil {
		return nil, err
	}
	s := &etcdSession{c}
	if err := s.Read(ctx, 1); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// Close implements bench.Session.
func (s *etcdSession) Close() error { return s.c.Close() }

// Read implements bench.Session.
func (s *etcdSession) Read(ctx context.Context, a shard.Account) error {
	r, err := s.c.Get(ctx, accountKey(a))
	if err == nil && len(r.Kvs) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Transfer implements bench.Session, one transfer after the other.
func (s *etcdSession) Transfer(ctx context.Context, ts []client.Transfer) (client.Tally, error) {
	out := make([]client.Result, len(ts))
	for i := range ts {
		began := time.Now()
		outcome, reason, err := s.one(ctx, &ts[i])
		if err != nil {
			return client.Tally{}, err
		}
		out[i] = client.Result{Kind: client.Intra, Outcome: outcome, Reason: reason, Latency: time.Since(began)}
	}
	return bench.TallyOf(out), nil
}

// balance is an account as it was read.
type balance struct {
	amount   uint64
	revision int64
}

// one carries out one transfer by compare and swap, again as long as others are in its way.
func (s *etcdSession) one(ctx context.Context, t *client.Transfer) (client.Outcome, client.Reason, error) {
	record := "transfer/" + client.NewID().String()
	keys := [2]string{accountKey(t.From), accountKey(t.To)}
	for {
		from, to, err := s.read(ctx, keys)
		if err != nil {
			return 0, 0, err
		}
		if from.amount < t.Amount.Lo {
			return client.Aborted, ledger.ReasonInsufficientFunds, nil
		}
		r, err := s.c.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(keys[0]), "=", from.revision),
				clientv3.Compare(clientv3.ModRevision(keys[1]), "=", to.revision),
				clientv3.Compare(clientv3.CreateRevision(record), "=", 0)).
			Then(clientv3.OpPut(keys[0], strconv.FormatUint(from.amount-t.Amount.Lo, 10)),
				clientv3.OpPut(keys[1], strconv.FormatUint(to.amount+t.Amount.Lo, 10)),
				clientv3.OpPut(record, fmt.Sprintf("%d %d %d", t.From, t.To, t.Amount.Lo))).
			Commit()
		switch {
		case err != nil:
			return 0, 0, err
		case r.Succeeded:
			return client.Committed, 0, nil
		}
	}
}

// read reads both accounts. It may be stale: the comparison finds that.
func (s *etcdSession) read(ctx context.Context, keys [2]string) (from, to balance, err error) {
	r, err := s.c.Txn(ctx).Then(clientv3.OpGet(keys[0], clientv3.WithSerializable()), clientv3.OpGet(keys[1], clientv3.WithSerializable())).Commit()
	if err != nil {
		return from, to, err
	}
	for i, b := range []*balance{&from, &to} {
		kvs := r.Responses[i].GetResponseRange().Kvs
		if len(kvs) != 1 {
			return from, to, fmt.Errorf("no key %s", keys[i])
		}
		b.revision = kvs[0].ModRevision
		if b.amount, err = strconv.ParseUint(string(kvs[0].Value), 10, 64); err != nil {
			return from, to, err
		}
	}
	return from, to, nil
}
