package sim

import (
	"fmt"
	"maps"
	"strings"
)

// Violation is what a checker found.
type Violation struct {
	Check Check  `json:"check"` // the checker's name
	AtMs  int64  `json:"at_ms"` // simulated
	Text  string `json:"text"`
}

// Report is the outcome of one run.
type Report struct {
	Seed        uint64         `json:"seed"`
	Shape       string         `json:"shape"`
	Violation   *Violation     `json:"violation,omitempty"`
	Fired       []*Violation   `json:"fired,omitempty"` // the first of each checker, in order
	TraceHash   string         `json:"trace_hash"`
	SimulatedMs int64          `json:"simulated_ms"`
	Events      uint64         `json:"events"`
	Entries     uint64         `json:"entries"` // applied by a shard for the first time
	Elections   uint64         `json:"elections"`
	Starts      uint64         `json:"starts"` // of server processes
	Checkpoints uint64         `json:"checkpoints"`
	Faults      map[string]int `json:"faults"`     // by kind
	Recoveries  map[string]int `json:"recoveries"` // how processes ended by themselves
	Outcomes    map[string]int `json:"outcomes"`   // of transfers, as their clients were told
	Checked     map[string]int `json:"checked"`    // how often a checker looked
	Repeat      string         `json:"repeat"`     // the line that runs this again
	Marks       []string       `json:"marks"`      // rare lines that were reached
	Options     Options        `json:"-"`
}

func newReport(o Options) *Report {
	return &Report{
		Seed: o.Seed, Options: o, Repeat: o.Line(),
		Faults: map[string]int{}, Recoveries: map[string]int{}, Outcomes: map[string]int{}, Checked: map[string]int{},
	}
}

// Line returns the command that repeats a run.
func (o Options) Line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "raftbank sim --seed %d --seeds 1", o.Seed)
	for _, f := range []struct {
		name  string
		value int
	}{{"shards", o.Shards}, {"replicas", o.Replicas}, {"clients", o.Clients}} {
		if f.value != 0 {
			fmt.Fprintf(&b, " --%s %d", f.name, f.value)
		}
	}
	if o.DurationMs != 0 && o.DurationMs != defaultMs {
		fmt.Fprintf(&b, " --duration %dms", o.DurationMs)
	}
	if len(o.Faults) > 0 {
		fmt.Fprintf(&b, " --faults %s", strings.Join(o.Faults, ","))
	}
	if len(o.Checkers) > 0 {
		fmt.Fprintf(&b, " --checkers %s", strings.Join(o.Checkers, ","))
	}
	if o.Planted != "" {
		fmt.Fprintf(&b, " --planted=%s", o.Planted)
	}
	return b.String()
}

// Totals adds up reports.
type Totals struct {
	Seeds       int            `json:"seeds"`
	Failed      int            `json:"failed"`
	SimulatedMs int64          `json:"simulated_ms"`
	Events      uint64         `json:"events"`
	Entries     uint64         `json:"entries"`
	Elections   uint64         `json:"elections"`
	Starts      uint64         `json:"starts"`
	Checkpoints uint64         `json:"checkpoints"`
	Faults      map[string]int `json:"faults"`
	Recoveries  map[string]int `json:"recoveries"`
	Outcomes    map[string]int `json:"outcomes"`
	Checked     map[string]int `json:"checked"`
}

// NewTotals returns totals of nothing.
func NewTotals() *Totals {
	return &Totals{Faults: map[string]int{}, Recoveries: map[string]int{}, Outcomes: map[string]int{}, Checked: map[string]int{}}
}

// Add adds one report.
func (t *Totals) Add(r *Report) {
	t.Seeds++
	if r.Violation != nil {
		t.Failed++
	}
	t.SimulatedMs += r.SimulatedMs
	t.Events += r.Events
	t.Entries += r.Entries
	t.Elections += r.Elections
	t.Starts += r.Starts
	t.Checkpoints += r.Checkpoints
	add(t.Faults, r.Faults)
	add(t.Recoveries, r.Recoveries)
	add(t.Outcomes, r.Outcomes)
	add(t.Checked, r.Checked)
}

func add(to, from map[string]int) {
	for k, n := range maps.All(from) { // order does not show in sums
		to[k] += n
	}
}
