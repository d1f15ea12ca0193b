//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raftbank/internal/api"
)

// TestBenchSpawns measures a bank of the command's own for a moment, and leaves nothing behind.
func TestBenchSpawns(t *testing.T) {
	dir := t.TempDir()
	file, page := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.html")
	o := command(t, "", "bench", "--spawn", "--shards", "2", "--replicas", "3", "--accounts", "100", "--clients", "2", "--batch", "5",
		"--in-flight", "2", "--cross", "50", "--reads", "10", "--duration", "2s", "--warmup", "500ms", "--seed", "1",
		"--json", file, "--report", page, "-o", "json")
	wantCode(t, o, 0)
	r := decode[api.Bench](t, o)
	if r.Committed == 0 || r.Unknown != 0 || len(r.Aborted) != 0 || r.TPS <= 0 || r.LatencyUs.P50 <= 0 {
		t.Errorf("figures: %s", o)
	}
	if len(r.Kinds) != 3 || r.ConservationOK == nil || !*r.ConservationOK || r.HashesOK == nil || !*r.HashesOK {
		t.Errorf("kinds and checks: %s", o)
	}
	for name, v := range map[string]*float64{"servers' CPU": r.CPUUsPerTransfer.Servers, "client's CPU": r.CPUUsPerTransfer.Client,
		"log bytes": r.LogBytesPerTransfer, "syncs": r.SyncsPerTransfer} {
		if v == nil || *v <= 0 {
			t.Errorf("%s: not measured\n%s", name, o)
		}
	}
	if r.RSSBytes == nil || *r.RSSBytes == 0 {
		t.Errorf("resident memory: not measured\n%s", o)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "<svg") {
		t.Errorf("the page: %v", err)
	}
	o = command(t, "", "bench", "compare", file, file, "-o", "json")
	wantCode(t, o, 0)
	if v := decode[api.BenchCompare](t, o); len(v.Rows) == 0 || *v.Rows[0].Ratio != 1 {
		t.Errorf("compared with itself: %s", o)
	}
}

// TestBenchOnARunningBank measures a bank that others run.
func TestBenchOnARunningBank(t *testing.T) {
	b := newRunningBank(t)
	o := b.run("bench", "--duration", "1s", "--warmup", "100ms", "--rate", "200", "--clients", "4", "-o", "json")
	wantCode(t, o, 0)
	r := decode[api.Bench](t, o)
	if r.Committed+len(r.Aborted) == 0 || r.Config.Spawned || r.Config.Rate != 200 || r.ConservationOK == nil || !*r.ConservationOK {
		t.Errorf("figures: %s", o)
	}
	if r.CPUUsPerTransfer.Servers == nil {
		t.Errorf("the servers did not tell their CPU time: %s", o)
	}
}
