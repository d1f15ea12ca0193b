package node

import (
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// load moves an amount of 0 debits net: n requests of 1,000 transfers between accounts 3 and 4, in both directions. Ids go
// on from first.
func (c *cluster) load(first, n int) {
	c.t.Helper()
	for k := range n {
		var records []ledger.Record
		for i := range 1000 {
			r := ledger.Record{Debit: 3, Credit: 4, Amount: ledger.Units(1), Currency: ledger.DefaultCurrency}
			if i%2 == 1 {
				r.Debit, r.Credit = 4, 3
			}
			binary.BigEndian.PutUint64(r.ID[:], uint64(first+k))
			binary.BigEndian.PutUint64(r.ID[8:], uint64(i)+1)
			records = append(records, r)
		}
		c.askLeader(&wire.TransferRequest{Records: records})
	}
}

// TestFetchesCheckpoint lets a server be away until the others have cut their logs, and come back: it fetches a checkpoint
// while the others serve, and counts again: with it the group goes on without another one.
func TestFetchesCheckpoint(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.memory = Memory{SegmentSize: 128 << 10, CheckpointSize: 128 << 10, MaxLogSize: 1, SilentAfter: 200 * time.Millisecond}
	for _, s := range c.topology.Clusters[0].Servers {
		c.start(s.ID)
	}
	leader := c.transfer(1, 10)
	away := leader%3 + 1
	c.load(1, 1)
	c.running[away].cancel()
	if err := c.ended(away); err != nil {
		t.Fatal(err)
	}
	other := 6 - leader - away
	next := 2
	c.waitFor("both have cut their logs", func() (bool, string) {
		c.load(next, 8)
		next += 8
		var names []string
		for _, id := range []string{leader.String(), other.String()} {
			found, _ := filepath.Glob(filepath.Join(c.dir, id, "log-0000000001.seg"))
			names = append(names, found...)
		}
		return len(names) == 0, strings.Join(names, ", ")
	})
	s := c.start(away)
	c.load(next, 4)
	c.transfer(2, 10)
	c.wantBalance(away, 20)
	if !strings.Contains(s.log.String(), "goes on behind a checkpoint of another replica") {
		t.Errorf("the server has not fetched a checkpoint; its log:\n%s", s.log.String())
	}
	c.running[leader].cancel()
	if err := c.ended(leader); err != nil {
		t.Fatal(err)
	}
	c.transfer(3, 10)
	c.wantBalance(away, 30)
	// What was fetched survives a restart, and both have the same state.
	c.running[away].cancel()
	if err := c.ended(away); err != nil {
		t.Fatal(err)
	}
	c.start(away)
	c.waitFor("the same hash at one index", func() (bool, string) {
		a, aText := c.status(away)
		b, bText := c.status(other)
		return a == b && a.hash != "", aText + bText
	})
	c.wantBalance(away, 30)
}

type atIndex struct {
	applied uint64
	hash    string
}

func (c *cluster) status(id shard.ServerID) (atIndex, string) {
	reply, err := c.ask(id, &wire.AdminRequest{Kind: wire.AdminStatus})
	if err != nil {
		return atIndex{}, err.Error()
	}
	var s api.ServerStatus
	if err := json.Unmarshal(reply.Body, &s); err != nil {
		return atIndex{}, err.Error()
	}
	return atIndex{s.Applied, s.Hash}, string(reply.Body)
}
