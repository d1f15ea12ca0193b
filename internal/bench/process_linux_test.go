package bench

import (
	"os"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	line := "42 (a ) name) S 7 1 1 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 5 0 9 1 1"
	p, err := parseStat(line)
	if err != nil || p.parent != 7 || p.cpuUs != 1_240_000 {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, bad := range []string{"", "42 (x) S", strings.Replace(line, " 100 ", " much ", 1)} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestProcessUsage(t *testing.T) {
	m, err := ProcessUsage(os.Getpid())
	if err != nil || m[UsageRSS] < 1<<20 {
		t.Errorf("got %v, %v", m, err)
	}
	if own := ownUsage(); own[UsageCPU] == 0 || own[UsageRSS] == 0 {
		t.Errorf("own usage %v", own)
	}
	if _, err := ProcessUsage(1 << 30); err == nil {
		t.Error("a process that cannot be was found")
	}
}
