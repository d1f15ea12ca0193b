package node

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// step asks every other server for the next step of replacing one.
func (c *cluster) step(id shard.ServerID, force bool) (reply api.ReplaceReply, refusal string) {
	c.t.Helper()
	body, err := json.Marshal(api.ReplaceRequest{Server: int(id), Attempt: c.attempt, Force: force})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, s := range c.topology.Clusters[0].Servers {
		if s.ID == id || c.running[s.ID] == nil {
			continue
		}
		r, err := c.ask(s.ID, &wire.AdminRequest{Kind: wire.AdminReplace, Body: body})
		if err != nil {
			continue
		}
		if r.Status == wire.StatusBadRequest {
			return reply, r.Text
		}
		reply = api.ReplaceReply{}
		if err := json.Unmarshal(r.Body, &reply); err == nil && reply.Phase != "" {
			return reply, ""
		}
	}
	return reply, ""
}

// wipe stops a server and empties its directory.
func (c *cluster) wipe(id shard.ServerID) {
	c.t.Helper()
	if c.running[id] != nil {
		c.running[id].cancel()
		if err := c.ended(id); err != nil {
			c.t.Fatal(err)
		}
	}
	c.attempt++ // of an operator who sees that it is gone
	if err := os.RemoveAll(filepath.Join(c.dir, id.String())); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) replaced(id shard.ServerID) (phases []string) {
	c.t.Helper()
	c.replace = map[shard.ServerID]bool{id: true}
	c.start(id)
	c.waitFor("replaced", func() (bool, string) {
		r, refusal := c.step(id, false)
		if strings.Contains(refusal, "nothing to replace") {
			return false, refusal // it died a moment ago
		}
		if refusal != "" {
			c.t.Fatalf("refused: %s", refusal)
		}
		if n := len(phases); n == 0 || phases[n-1] != r.Phase {
			phases = append(phases, r.Phase)
		}
		return r.Phase == api.ReplacePromoted, r.Phase
	})
	return phases
}

// TestReplace lets servers lose their directories, one after the other, until no founding member is left, and replaces
// each: from the log, and by a checkpoint where the others have cut it. A group of replaced servers starts again, and goes
// on without any one of them.
func TestReplace(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.memory = Memory{SegmentSize: 128 << 10, CheckpointSize: 128 << 10, MaxLogSize: 1, SilentAfter: 200 * time.Millisecond}
	for _, s := range c.topology.Clusters[0].Servers {
		c.start(s.ID)
	}
	leader := c.transfer(1, 10)
	c.waitFor("a healthy server is not replaced", func() (bool, string) {
		r, refusal := c.step(leader%3+1, false)
		return strings.Contains(refusal, "nothing to replace"), r.Phase
	})
	c.wipe(3)
	s := c.start(3)
	if err := c.ended(3); !errors.Is(err, replica.ErrEmptied) || !strings.Contains(err.Error(), "raftbank replace 3") {
		t.Fatalf("an emptied directory: %v; log %s", err, s.log.String())
	}
	c.waitFor("it waits for the process", func() (bool, string) {
		r, refusal := c.step(3, false)
		return r.Phase == api.ReplaceWaiting, refusal
	})
	t.Logf("from the log: %v", c.replaced(3))
	c.transfer(2, 10)
	c.wantBalance(3, 20)

	c.wipe(1)
	next := 1
	c.waitFor("the others have cut their logs", func() (bool, string) {
		c.load(next, 8)
		next += 8
		a, _ := filepath.Glob(filepath.Join(c.dir, "2", "log-0000000001.seg"))
		b, _ := filepath.Glob(filepath.Join(c.dir, "3", "log-0000000001.seg"))
		return len(a)+len(b) == 0, strings.Join(append(a, b...), " ")
	})
	t.Logf("by a checkpoint: %v", c.replaced(1))
	if !strings.Contains(c.running[1].log.String(), "goes on behind a checkpoint") {
		t.Error("no checkpoint was fetched")
	}
	c.wipe(2)
	t.Logf("the last founder: %v", c.replaced(2))
	c.transfer(3, 10)

	for _, id := range []shard.ServerID{1, 2, 3} {
		c.running[id].cancel()
		if err := c.ended(id); err != nil {
			t.Fatal(err)
		}
	}
	c.replace = nil
	for _, id := range []shard.ServerID{1, 2, 3} {
		c.start(id)
	}
	leader = c.transfer(4, 10)
	c.running[leader].cancel()
	if err := c.ended(leader); err != nil {
		t.Fatal(err)
	}
	c.transfer(5, 10)
	c.start(leader)
	for _, id := range []shard.ServerID{1, 2, 3} {
		c.wantBalance(id, 50)
	}
}

// TestReplaceRefused: without a majority of the others nothing is removed; and two replacements do not run at once.
func TestReplaceRefused(t *testing.T) {
	t.Parallel()
	c := newBank(t, 1, 5)
	for _, s := range c.topology.Clusters[0].Servers {
		c.start(s.ID)
	}
	c.transfer(1, 10)
	c.wipe(4)
	c.wipe(5)
	c.replace = map[shard.ServerID]bool{4: true, 5: true}
	c.start(4)
	c.waitFor("5 is removed and does not come", func() (bool, string) {
		if c.running[5] == nil {
			c.start(5)
		}
		r, refusal := c.step(5, false)
		return r.Phase == api.ReplaceRemoved || r.Phase == api.ReplaceLearner, r.Phase + refusal
	})
	c.waitFor("the other one is refused or has to wait", func() (bool, string) {
		r, refusal := c.step(4, false)
		return strings.Contains(refusal, "raftbank replace 5"), r.Phase + refusal
	})
	c.waitFor("5 is replaced", func() (bool, string) {
		r, refusal := c.step(5, false)
		return r.Phase == api.ReplacePromoted, r.Phase + refusal
	})
	c.waitFor("4 is replaced", func() (bool, string) {
		r, refusal := c.step(4, false)
		return r.Phase == api.ReplacePromoted, r.Phase + refusal
	})
	c.transfer(2, 10)
	c.wantBalance(4, 20)
	c.wantBalance(5, 20)
}
