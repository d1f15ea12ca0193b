package sim

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
)

// guards are lines that no leader of this program reaches, sound or with a planted bug: a commit is a FINISH of votes by their rows, and
// only a log of an earlier version has a FINISH(commit) by id, let alone one of a transfer that the shard does not know.
var guards = []string{
	"ledger: finish(commit) of an unknown transfer",
}

// TestGuards reaches them by hand, and shows that they guard: nothing changes.
func TestGuards(t *testing.T) {
	bank := Options{Seed: 1, Shards: 2}
	p := drawPlan(bank, newRandom(1, "plan"))
	state := ledger.New(1)
	for i, c := range []ledger.Command{
		{Kind: ledger.CmdGenesis, Genesis: &ledger.Genesis{Shard: 1, Map: p.topology().Map(), Members: []uint64{1 << 32}, OpeningBalance: 10}},
		{Kind: ledger.CmdFinish, Finishes: []ledger.Finish{{ID: ledger.TransferID{9}, Commit: true}}},
	} {
		invariant.Forget()
		rows := state.RowCount()
		r := state.Apply(uint64(i)+1, 1, &ledger.Entry{Commands: []ledger.Command{c}})
		if c.Kind == ledger.CmdFinish && (r[0].Code != ledger.ResultUnknownHere || state.RowCount() != rows) {
			t.Errorf("the commit of an unknown transfer: %+v, %d rows more", r[0], state.RowCount()-rows)
		}
	}
	if reached := invariant.Reached(); !slices.Equal(reached, guards) {
		t.Errorf("reached %q, want %q", reached, guards)
	}
}

// TestMarksAreThoseOfTheSource keeps the list of marks equal to the calls of invariant.Sometimes.
func TestMarksAreThoseOfTheSource(t *testing.T) {
	call := regexp.MustCompile(`invariant\.Sometimes\("([^"]+)"\)`)
	var found []string
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range call.FindAllSubmatch(text, -1) {
			found = append(found, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	listed := slices.Sorted(slices.Values(append(Marks(), guards...)))
	if !slices.Equal(found, listed) {
		t.Errorf("the source has the marks\n%s\nthe list\n%s", strings.Join(found, "\n"), strings.Join(listed, "\n"))
	}
}
