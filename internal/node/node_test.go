package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"raftbank/internal/freeport"
	"raftbank/internal/ledger"
	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/storage"
	"raftbank/internal/transport"
	"raftbank/internal/wire"
)

// wait bounds what a test waits for; only a failing test reaches it.
const wait = 30 * time.Second

// cluster is a bank in this process, on free ports.
type cluster struct {
	t        *testing.T
	dir      string
	topology *shard.Topology
	running  map[shard.ServerID]*server
	request  uint64
	force    bool // start with --force-bootstrap
	memory   Memory
	replace  map[shard.ServerID]bool // start with --replace
	attempt  uint64                  // of an operator to replace a server
}

// server is one run of a node.
type server struct {
	cancel context.CancelFunc
	done   chan error
	disk   atomic.Bool // fsync fails
	log    safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newCluster returns a bank of one shard on three servers.
func newCluster(t *testing.T) *cluster { return newBank(t, 1, 3) }

// newBank returns a bank of clusters with ten accounts each. Its servers are not started.
func newBank(t *testing.T, clusters, replicas int) *cluster {
	ports, err := freeport.Take(clusters * replicas)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: t.TempDir(), running: map[shard.ServerID]*server{}, topology: &shard.Topology{OpeningBalance: 100}}
	for i := range clusters {
		first := shard.Account(10*i + 1)
		part := shard.Cluster{Shard: shard.ID(i + 1), Range: shard.Range{First: first, Last: first + 9}}
		for k := range replicas {
			part.Servers = append(part.Servers, shard.Server{ID: shard.ServerID(i*replicas + k + 1), Addr: fmt.Sprintf("127.0.0.1:%d", ports[i*replicas+k])})
		}
		c.topology.Clusters = append(c.topology.Clusters, part)
	}
	t.Cleanup(c.stopAll)
	return c
}

func (c *cluster) options(id shard.ServerID) Options {
	return Options{
		Server: id, Topology: c.topology, DataDir: filepath.Join(c.dir, id.String()),
		ForceBootstrap: c.force, Logger: slog.New(slog.DiscardHandler), Version: "test", Memory: c.memory,
		Replace: c.replace[id],
	}
}

func (c *cluster) start(id shard.ServerID) *server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{cancel: cancel, done: make(chan error, 1)}
	c.running[id] = s
	o := c.options(id)
	o.Logger = slog.New(slog.NewTextHandler(&s.log, nil))
	failing := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if s.disk.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			return errDisk
		}
		return nil
	}))
	go func() { s.done <- run(ctx, o, failing) }()
	return s
}

var errDisk = errors.New("injected: the disk does not sync")

// ended waits for a server's end and returns its error.
func (c *cluster) ended(id shard.ServerID) error {
	c.t.Helper()
	s := c.running[id]
	delete(c.running, id)
	defer s.cancel()
	select {
	case err := <-s.done:
		return err
	case <-time.After(wait):
		c.t.Fatalf("server %s does not end; its log:\n%s", id, s.log.String())
		return nil
	}
}

func (c *cluster) stopAll() {
	for id, s := range c.running {
		s.cancel()
		if err := c.ended(id); err != nil {
			c.t.Errorf("server %s: %v", id, err)
		}
		if c.t.Failed() {
			c.t.Logf("log of server %s:\n%s", id, s.log.String())
		}
	}
}

// ask sends one request on a raw connection and returns the reply; an error if the server is down.
func (c *cluster) ask(id shard.ServerID, m wire.Message) (*wire.Reply, error) {
	c.t.Helper()
	server, part, _ := c.topology.Server(id)
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	conn, _, err := transport.Dial(ctx, server.Addr, wire.Hello{})
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	c.request++
	h := wire.HeaderOf(m)
	h.Request, h.Shard, h.Epoch = c.request, part.Shard, c.topology.Map().Epoch()
	if err := conn.Send(m); err != nil {
		return nil, err
	}
	reply, err := conn.Receive()
	if err != nil {
		return nil, err
	}
	return reply.(*wire.Reply), nil
}

// askLeader repeats a request at all servers until one takes it, and returns which did.
func (c *cluster) askLeader(m wire.Message) (shard.ServerID, *wire.Reply) {
	c.t.Helper()
	var last string
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); {
		for _, s := range c.topology.Clusters[0].Servers {
			reply, err := c.ask(s.ID, m)
			switch {
			case err != nil:
				last = err.Error()
			case reply.Status == wire.StatusOK:
				return s.ID, reply
			default:
				last = fmt.Sprintf("status %d: %s", reply.Status, reply.Text)
			}
		}
		<-time.After(5 * time.Millisecond)
	}
	c.t.Fatalf("no leader; last: %s", last)
	return 0, nil
}

// transfer moves amount from account 1 to account 2 and returns the leader.
func (c *cluster) transfer(id byte, amount uint64) shard.ServerID {
	c.t.Helper()
	record := ledger.Record{
		ID: ledger.TransferID{id}, Debit: 1, Credit: 2, Amount: ledger.Units(amount), Currency: ledger.DefaultCurrency,
	}
	leader, reply := c.askLeader(&wire.TransferRequest{Records: []ledger.Record{record}})
	for _, r := range reply.Results {
		if r.Code != ledger.ResultState || r.State != ledger.Committed {
			c.t.Fatalf("transfer %d: %+v", id, r)
		}
	}
	return leader
}

// wantBalance checks account 1 at one server, as it has applied, once it has caught up.
func (c *cluster) wantBalance(id shard.ServerID, debits uint64) {
	c.t.Helper()
	var last string
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		reply, err := c.ask(id, &wire.BalanceRequest{Accounts: []shard.Account{1}})
		if err != nil {
			last = err.Error()
			continue
		}
		if len(reply.Balances) == 1 && reply.Balances[0].DebitsPosted == ledger.Units(debits) {
			return
		}
		last = fmt.Sprintf("%+v", reply)
	}
	c.t.Fatalf("server %s: account 1 has not debits %d; last: %s", id, debits, last)
}

func TestClusterCommitsThroughFailures(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start(2)
	// Alone, it waits for the others and says so.
	c.waitFor("not ready", func() (bool, string) {
		reply, err := c.ask(2, &wire.StatusRequest{})
		if err != nil {
			return false, err.Error()
		}
		return reply.Status == wire.StatusNotReady && strings.Contains(reply.Text, "waits to hear from server 1, 3 of C1"), reply.Text
	})
	c.start(1)
	c.start(3)
	leader := c.transfer(1, 10)

	// The leader's disk stops to sync: the process ends, the others go on.
	c.running[leader].disk.Store(true)
	if _, err := c.ask(leader, &wire.CancelRequest{IDs: []ledger.TransferID{{99}}}); err == nil {
		t.Error("a server without a disk answers")
	}
	if err := c.ended(leader); !errors.Is(err, errDisk) {
		t.Fatalf("got %v, want %v", err, errDisk)
	}
	started := time.Now()
	second := c.transfer(2, 10)
	t.Logf("committed again %v after the leader's death", time.Since(started))
	if second == leader {
		t.Error("a dead server leads")
	}
	c.start(leader)
	c.wantBalance(leader, 20)

	// A graceful stop hands over leadership.
	second = c.transfer(3, 10)
	c.running[second].cancel()
	if err := c.ended(second); err != nil {
		t.Fatal(err)
	}
	started = time.Now()
	c.transfer(4, 10)
	t.Logf("committed again %v after a graceful stop", time.Since(started))
	// The same id again is answered alike and applied once.
	c.transfer(4, 10)
	c.start(second)
	for _, s := range c.topology.Clusters[0].Servers {
		c.wantBalance(s.ID, 40)
	}
}

func (c *cluster) waitFor(what string, ok func() (bool, string)) {
	c.t.Helper()
	var last string
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		var done bool
		if done, last = ok(); done {
			return
		}
	}
	c.t.Fatalf("%s: last: %s", what, last)
}

// TestAbandonedTransferIsSettled lets a client die after it has asked one of two shards to prepare:
// that shard's leader asks the other one, over the link between servers of different shards.
func TestAbandonedTransferIsSettled(t *testing.T) {
	t.Parallel()
	c := newBank(t, 2, 1)
	c.start(1)
	c.start(2)
	record := ledger.Record{
		ID: ledger.TransferID{1}, Debit: 1, Credit: 11, Amount: ledger.Units(10), Currency: ledger.DefaultCurrency,
	}
	_, reply := c.askLeader(&wire.PrepareRequest{Records: []ledger.Record{record}, Digests: []ledger.Digest{ledger.DigestOf(record)}})
	if len(reply.Blocks) != 1 || len(reply.Blocks[0].Votes) != 1 || reply.Blocks[0].Votes[0].Fact != ledger.FactYes {
		t.Fatalf("got %+v, want a certified yes", reply)
	}
	started := time.Now()
	for _, id := range []shard.ServerID{1, 2} {
		c.waitFor("the tombstone", func() (bool, string) {
			reply, err := c.ask(id, &wire.StatusRequest{IDs: []ledger.TransferID{record.ID}})
			if err != nil || len(reply.Results) == 0 {
				return false, fmt.Sprintf("%+v, %v", reply, err)
			}
			r := reply.Results[0]
			return r.State == ledger.Aborted && r.Reason == ledger.ReasonTimedOut, fmt.Sprintf("%+v", r)
		})
	}
	t.Logf("settled %v after the vote", time.Since(started))
	c.wantBalance(1, 0)
}

func TestEmptiedDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for id := range shard.ServerID(3) {
		c.start(id + 1)
	}
	leader := c.transfer(1, 10)
	victim := leader%3 + 1
	c.running[victim].cancel()
	if err := c.ended(victim); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(c.dir, victim.String())); err != nil {
		t.Fatal(err)
	}
	c.start(victim)
	err := c.ended(victim)
	if !errors.Is(err, replica.ErrEmptied) || !strings.Contains(err.Error(), "data directory is empty, but C1 already has a log (term ") {
		t.Fatalf("got %v", err)
	}
	c.transfer(2, 10)
}

func TestForcedGroup(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.force = true
	c.start(1)
	c.start(2)
	c.transfer(1, 10)
	if log := c.running[1].log.String() + c.running[2].log.String(); !strings.Contains(log, "formed by force") {
		t.Errorf("no warning in the log:\n%s", log)
	}
	// The one who was left out is refused, with force or without.
	c.start(3)
	if err := c.ended(3); !errors.Is(err, replica.ErrEmptied) {
		t.Errorf("got %v, want %v", err, replica.ErrEmptied)
	}
}

func TestChangedConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	c := newBank(t, 1, 1)
	c.start(1)
	c.transfer(1, 10)
	c.running[1].cancel()
	if err := c.ended(1); err != nil {
		t.Fatal(err)
	}
	c.topology.OpeningBalance = 101
	c.start(1)
	if err := c.ended(1); err == nil || !strings.Contains(err.Error(), "101") || !strings.Contains(err.Error(), "100") {
		t.Errorf("got %v, want both opening balances", err)
	}
	c.topology.OpeningBalance = 100
	c.start(1)
	c.wantBalance(1, 10)
}

func TestRunRefuses(t *testing.T) {
	c := newCluster(t)
	busy, err := net.Listen("tcp", c.topology.Clusters[0].Servers[2].Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, test := range []struct {
		name   string
		change func(*Options)
		is     error
		text   string
	}{
		{"unknown server", func(o *Options) { o.Server = 9 }, nil, "the configuration has no server 9"},
		{"port in use", func(o *Options) { o.Server = 3 }, transport.ErrPortInUse, "is in use"},
		{"key file missing", func(o *Options) { o.KeyFile = filepath.Join(c.dir, "none.key") }, storage.ErrKeyFile, "none.key does not exist"},
		{"outside loopback", func(o *Options) { o.Listen = "0.0.0.0" }, nil, "would listen on 0.0.0.0:"},
		{"outside loopback, IPv6", func(o *Options) { o.Listen = "::" }, nil, "would listen on [::]:"},
		{"outside loopback, with port", func(o *Options) { o.Listen = ":0" }, nil, "would listen on :0"},
		{"directory of another server", func(o *Options) { o.DataDir = filepath.Join(c.dir, "2") }, storage.ErrForeignDir, "belongs to server 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.is == storage.ErrForeignDir {
				c.start(2)
				c.waitFor("server 2 to open", func() (bool, string) { _, err := c.ask(2, &wire.StatusRequest{}); return err == nil, "" })
				c.running[2].cancel()
				if err := c.ended(2); err != nil {
					t.Fatal(err)
				}
			}
			o := c.options(1)
			test.change(&o)
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			err := Run(ctx, o)
			if err == nil || !strings.Contains(err.Error(), test.text) || (test.is != nil && !errors.Is(err, test.is)) {
				t.Errorf("got %v, want %q", err, test.text)
			}
		})
	}
}
