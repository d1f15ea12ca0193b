package client

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

func TestAudit(t *testing.T) {
	n := newNetwork()
	c := n.open(t, Options{})
	if r, err := c.Transfer(t.Context(), Transfer{From: 1, To: 11, Amount: ledger.Units(4)}); err != nil || r.Outcome != Committed {
		t.Fatalf("%+v %v", r, err)
	}
	a, err := c.Audit(t.Context())
	if err != nil || a.OK == nil || !*a.OK || a.Error != nil {
		t.Fatalf("%+v %v", a, err)
	}
	if a.Total != "200" || a.Expected != "200" || a.Accounts != 20 || a.Epoch != 1 || len(a.Shards) != 2 ||
		a.Shards[0].Total != "96" || a.Shards[1].Total != "104" {
		t.Errorf("%+v", a)
	}
}

// TestAuditProvesAViolation: only a total at one cut that is not what was opened is one.
func TestAuditProvesAViolation(t *testing.T) {
	n := newNetwork()
	n.twist = func(_ shard.ServerID, r *wire.Reply) error {
		if len(r.Body) == 0 {
			return nil
		}
		var v api.ShardAudit
		err := json.Unmarshal(r.Body, &v)
		if v.Shard == 2 {
			v.Posted, v.Total = "99", "99"
			r.Body, _ = json.Marshal(&v)
		}
		return err
	}
	a, err := n.open(t, Options{}).Audit(t.Context())
	if err != nil || a.OK == nil || *a.OK || a.Error == nil || a.Error.Code != "violation" ||
		a.Error.Message != "the total at cut 1 is 199, opened were 200" {
		t.Errorf("%+v %v %v", a, a.Error, err)
	}
}

func TestAuditWithoutACut(t *testing.T) {
	n := newNetwork()
	for s := shard.ServerID(4); s <= 6; s++ {
		n.down[s] = true
	}
	c := n.open(t, Options{})
	a, err := c.Audit(t.Context())
	if err != nil || a.OK != nil || a.Error == nil || a.Error.Code != "unavailable" || a.Error.Shard != 2 ||
		!strings.Contains(a.Error.Message, "no cut could be had: no server of C2 answers") {
		t.Errorf("%+v %v", a.Error, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if a, err = c.Audit(ctx); err != nil || a.OK != nil || !strings.HasPrefix(a.Error.Message, "the audit was given up before its end") {
		t.Errorf("%+v %v", a.Error, err)
	}
	c.Close()
	if _, err = c.Audit(t.Context()); err != ErrClosed {
		t.Errorf("a closed client: %v", err)
	}
}
