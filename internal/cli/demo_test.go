package cli

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/shard"
)

func TestLeaderOfIsTheNewest(t *testing.T) {
	c := api.ShardStatus{Servers: []api.ServerStatus{
		{Server: 1, Up: true, Role: "leader", Term: 2}, // cut off, does not know yet
		{Server: 2, Up: true, Role: "leader", Term: 3},
		{Server: 3, Role: "leader", Term: 9}, // down: its last words do not count
	}}
	if l := c.LeadingServer(); l == nil || l.Server != 2 {
		t.Errorf("leader %+v, want server 2", l)
	}
	if l := (api.ShardStatus{}).LeadingServer(); l != nil {
		t.Errorf("leader of nobody: %+v", l)
	}
}

func TestLargestSide(t *testing.T) {
	all := &child{done: make(chan struct{})}
	b := &demoBank{topology: shard.DefaultTopology(), sup: &supervisor{children: map[int]*child{}}}
	for n := 1; n <= 9; n++ {
		b.sup.children[n] = all
	}
	for _, c := range []struct {
		groups  [][]int
		side    []int
		divided bool
	}{
		{[][]int{{1, 2}, {3}}, []int{1, 2}, true},
		{[][]int{{1}, {2}, {3}}, []int{1}, true},
		{[][]int{{1}, {2}}, []int{1, 3}, true}, // 3 stands in no group and sees both
		{[][]int{{4}, {5}}, []int{1, 2, 3}, false},
		{[][]int{{1, 2, 3}, {4, 5}}, []int{1, 2, 3}, false},
	} {
		side, divided := b.largestSide(b.topology.Clusters[0], c.groups)
		if divided != c.divided || (divided && !reflect.DeepEqual(side, c.side)) {
			t.Errorf("%v: %v %v, want %v %v", c.groups, side, divided, c.side, c.divided)
		}
	}
}

func TestLongestGap(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	ack := func(ms int, clusters ...shard.ID) acknowledged { return acknowledged{at: at(ms), clusters: clusters} }
	acks := []acknowledged{ack(5, 2), ack(20, 2), ack(30, 1), ack(40, 1, 2), ack(90, 2), ack(200, 2)}
	for _, c := range []struct{ from, to, want int }{
		{10, 100, 70}, // between 20 and 90: neither C1 nor a cross-shard transfer counts
		{10, 300, 110},
		{10, 400, 200}, // the silence at the end counts
		{300, 350, 50},
	} {
		if got := longestGap(acks, 2, at(c.from), at(c.to)); got.Milliseconds() != int64(c.want) {
			t.Errorf("gap in %d-%d: %s, want %d ms", c.from, c.to, got, c.want)
		}
	}
}

func TestAnsweredSinceSkipsLastWords(t *testing.T) {
	killed := time.UnixMilli(100)
	l := &load{acks: []acknowledged{
		{clusters: []shard.ID{1}, began: killed.Add(-1), at: killed.Add(1)}, // sent before the kill
		{clusters: []shard.ID{2}, began: killed.Add(1), at: killed.Add(2)},  // elsewhere
		{clusters: []shard.ID{1, 2}, began: killed.Add(3), at: killed.Add(9)},
	}}
	if at, ok := l.answeredSince(1, killed); !ok || at != killed.Add(9) {
		t.Errorf("answered at %v %v, want the third", at, ok)
	}
}

func TestLogLines(t *testing.T) {
	e := api.Explain{Outcome: api.OutcomeCommitted, Events: []api.ExplainEvent{
		{Cluster: "C1", Index: 4, Kind: "prepare", Servers: []int{1, 2, 3}},
		{Cluster: "C2", Index: 3, Kind: "prepare", Servers: []int{4, 5, 6}},
		{Cluster: "C1", Index: 5, Kind: "commit", Servers: []int{1, 2, 3}},
		{Cluster: "C2", Index: 4, Kind: "commit", Servers: []int{4, 5}},
	}}
	want := []string{
		"C1       log: prepare at index 4, commit at index 5, on servers 1, 2 and 3",
		"C2       log: prepare at index 3, commit at index 4, on servers 4 and 5",
	}
	if got := logLines(e); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if everywhere(e, shard.DefaultTopology()) {
		t.Error("server 6 lacks an entry, and yet it is everywhere")
	}
	e.Events[3].Servers = []int{4, 5, 6}
	if !everywhere(e, shard.DefaultTopology()) {
		t.Error("every replica has every entry, and yet it is not everywhere")
	}
}

func TestDescribeShards(t *testing.T) {
	e := api.Explain{Servers: []api.ServerExplain{
		{Server: 1, Cluster: "C1", Role: "leader", State: "prepared"},
		{Server: 2, Cluster: "C1", Role: "follower", State: "prepared"},
		{Server: 4, Cluster: "C2", Role: "leader", State: "none"},
		{Server: 7, Cluster: "C3", Role: "leader", State: "aborted", Reason: "timed_out"},
	}}
	if got, want := describeShards(e), "C1 prepared, C3 aborted (timed out)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !prepared(e) {
		t.Error("C1 holds it, and yet nothing is prepared")
	}
}

func TestSmallWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{numbers([]int{4}), "4"},
		{numbers([]int{4, 5, 6}), "4, 5 and 6"},
		{roughly(640 * time.Millisecond), "640 ms"},
		{roughly(1234 * time.Millisecond), "1.2 s"},
		{indent("a\nb\n"), "  a\n  b\n"},
		{indent(""), ""},
		{fmt.Sprint(environWithout([]string{"A=1", "RAFTBANK_X=2"}, "RAFTBANK_")), "[A=1]"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestPrintStepsFoldsRetries(t *testing.T) {
	var steps []api.Step
	for i := range 9 {
		steps = append(steps, api.Step{AtUs: int64(i) * 1000, Actor: "client", Text: fmt.Sprintf("TRANSFER to C2 (server %d)", 4+i%2)})
	}
	steps = append(steps, api.Step{AtUs: 9500, Actor: "C2", Text: "committed"})
	var out bytes.Buffer
	printSteps(&out, foldSteps(steps))
	want := `   0.00 ms  client   TRANSFER to C2 (server 4)
   1.00 ms  client   TRANSFER to C2 (server 5)
   2.00 ms  client   TRANSFER to C2 (server 4)
   8.00 ms  client   the same 6 times more
   9.50 ms  C2       committed
`
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}
