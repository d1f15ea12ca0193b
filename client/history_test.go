package client

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// page is what a server with six rows answers to its n-th question about them, two rows at a time.
func page(n int) api.ServerDatastore {
	d := api.ServerDatastore{Up: true, Total: 6, FirstIndex: 1, Truncated: uint64(4 - 2*n), Next: uint64(4 - 2*n)}
	for row := uint64(4 - 2*n); row < uint64(6-2*n); row++ {
		d.Entries = append(d.Entries, api.Entry{Row: row, Index: row + 1})
	}
	return d
}

func TestDatastoreInPages(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, n *network, c *Client) {
		asked := map[shard.ServerID]int{}
		n.set(func() {
			n.twist = func(to shard.ServerID, r *wire.Reply) error {
				if to == 2 && asked[to] == 2 {
					return errors.New("killed between two pages")
				}
				d := page(asked[to])
				d.Server = int(to)
				asked[to]++
				body, err := json.Marshal(d)
				r.Status, r.Body = wire.StatusOK, body
				return err
			}
		})
		v, err := c.Datastore(t.Context(), 0, api.DatastoreQuery{})
		if err != nil || len(v.Servers) != 6 {
			t.Fatalf("%d servers, %v", len(v.Servers), err)
		}
		for i, s := range v.Servers {
			rows := 6
			if i == 1 {
				rows = 4
				if s.Up || !strings.Contains(s.Note, "no older rows") {
					t.Errorf("the server that died is shown as up %v with note %q", s.Up, s.Note)
				}
			} else if !s.Up || s.Next != 0 || s.Truncated != 0 {
				t.Errorf("server %d: %+v", i+1, s)
			}
			if len(s.Entries) != rows || s.Total != 6 {
				t.Fatalf("server %d: %d rows of %d, want %d of 6", i+1, len(s.Entries), s.Total, rows)
			}
			for j, e := range s.Entries {
				if e.Row != uint64(6-rows+j) {
					t.Errorf("server %d: row %d at position %d", i+1, e.Row, j)
				}
			}
		}
		clear(asked)
		v, err = c.Datastore(t.Context(), 1, api.DatastoreQuery{Limit: 2})
		if err != nil || len(v.Servers[0].Entries) != 2 || asked[1] != 1 {
			t.Errorf("two rows took %d questions: %+v, %v", asked[1], v, err)
		}
	})
}
