package freeport

import (
	"fmt"
	"net"
	"testing"
)

// TestTake: ports are different, can be listened on, and are not those of outgoing connections; what does not exist is an error.
func TestTake(t *testing.T) {
	ports, err := Take(200)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			t.Fatalf("port %d: %v", p, err)
		}
		defer l.Close()
		if seen[p] || p < first || p >= end {
			t.Errorf("port %d was drawn before, or lies outside", p)
		}
		seen[p] = true
	}
	if len(seen) != 200 {
		t.Errorf("%d different ports; want 200", len(seen))
	}
	if ports, err := Take(end); err == nil {
		t.Errorf("%d ports of %d", len(ports), end-first)
	}
}
