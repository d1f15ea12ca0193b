package cli

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"raftbank/internal/planted"
)

func TestPlantedNeedsABuildWithTheTag(t *testing.T) {
	if planted.Built {
		t.Skip("this build has planted bugs")
	}
	var p simArgs
	p.Seeds, p.planted.Names = 1, []string{plantedAll}
	err := (&App{}).runSim(context.Background(), p)
	var e *exitError
	if !errors.As(err, &e) || e.code != 2 || !strings.Contains(err.Error(), "-tags planted") {
		t.Errorf("got %v, want a usage error that names the tag", err)
	}
}

func TestKnownSeeds(t *testing.T) {
	v := &plantedResult{
		Bugs: []plantedBug{
			{Name: "early-ack", Caught: true, Seed: 7, DurationMs: 20_000, Tried: 3, Checkers: []string{"durable", "agreement"}, Faults: []string{"kill", "pause"}},
			{Name: "stale-read", DurationMs: 60_000, Tried: 2000},
		},
		Checkers: []plantedChecker{{Check: "durable", Bug: "early-ack", Seed: 7, DurationMs: 20_000, Caught: true}, {Check: "leader"}},
	}
	known, err := parsePlanted(plantedFile(v))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(known.Bugs, v.Bugs) {
		t.Errorf("bugs %+v, want %+v", known.Bugs, v.Bugs)
	}
	if !reflect.DeepEqual(known.Checkers, v.Checkers[:1]) {
		t.Errorf("checkers %+v, want %+v", known.Checkers, v.Checkers[:1])
	}
	for _, bad := range []string{"bug\tearly-ack\t7", "bug\tearly-ack\tx\t1\t1\tdurable", "bug\tearly-ack\t1\t1\tx\tdurable", "beetle\tearly-ack\t7\t1\t1\tdurable"} {
		if _, err := parsePlanted(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
