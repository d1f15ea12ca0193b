package cli

import (
	"testing"

	"raftbank/internal/shard"
)

func TestPlanPorts(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken []int
		want  portPlan
	}{
		{"all free", nil, portPlan{9000, 9001, true}},
		{"the client's port is taken", []int{9000}, portPlan{9100, 9101, false}},
		{"a server's port is taken", []int{9009}, portPlan{9100, 9101, false}},
		{"a port beside the block does not count", []int{9010, 8999}, portPlan{9000, 9001, true}},
		{"the next block is broken", []int{9005, 9104}, portPlan{9200, 9201, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			taken := map[int]bool{}
			for _, p := range c.taken {
				taken[p] = true
			}
			got, err := planPorts(9, func(p int) bool { return !taken[p] })
			if err != nil || got != c.want {
				t.Errorf("%+v %v, want %+v", got, err, c.want)
			}
		})
	}
	if got, err := planPorts(9, func(int) bool { return false }); err == nil {
		t.Errorf("no port is free, got %+v", got)
	}
}

func TestPlacedTopologyIsValid(t *testing.T) {
	moved := portPlan{client: 9200, first: 9201}.place(shard.DefaultTopology())
	if err := moved.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := moved.Clusters[2].Servers[2]; got.ID != 9 || got.Addr != "127.0.0.1:9209" {
		t.Errorf("server 9: %+v", got)
	}
}
