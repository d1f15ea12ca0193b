package session

import (
	"testing"

	"raftbank/internal/shard"
)

// TestALoneSilentServerIsNotEnough: what is sent to the only server that is connected leaves nothing to be sent, and it may stand
// still for long. The others must be dialled all the same.
func TestALoneSilentServerIsNotEnough(t *testing.T) {
	e := New(Options{Topology: smallBank()})
	e.Transfer(record(nameID("a"), 1, 2, 3))
	first := e.byShard[1].servers
	e.Flush()
	e.ConnUp(first[0].id)
	for _, s := range first[1:] {
		e.ConnDown(s.id, "connection refused")
	}
	if out := e.Flush(); len(out.Sends) != 1 {
		t.Fatalf("%d sends to the server that is connected, want 1", len(out.Sends))
	}
	dialled := map[shard.ServerID]bool{}
	for range 100 {
		e.Tick()
		for _, id := range e.Flush().Connects {
			dialled[id] = true
		}
	}
	for _, s := range first[1:] {
		if !dialled[s.id] {
			t.Errorf("server %s was not dialled in a second of silence", s.id)
		}
	}
}
