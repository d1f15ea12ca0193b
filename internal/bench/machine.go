package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"raftbank/internal/api"
)

// Machine describes this machine, as far as it tells.
func Machine() api.BenchMachine {
	m := api.BenchMachine{CPU: "unknown", Cores: runtime.NumCPU(), System: runtime.GOOS + " " + runtime.GOARCH, Load1m: loadAverage()}
	if name, ok := fieldOf("/proc/cpuinfo", "model name"); ok {
		m.CPU = name
	}
	if text, ok := fieldOf("/proc/meminfo", "MemTotal"); ok {
		if kb, err := strconv.ParseUint(strings.TrimSuffix(text, " kB"), 10, 64); err == nil {
			m.MemoryBytes = kb << 10
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System = runtime.GOOS + " " + strings.TrimSpace(string(b)) + " " + runtime.GOARCH
	}
	return m
}

// fieldOf returns the value of the first line "name : value" of a file.
func fieldOf(file, name string) (string, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// loadAverage returns the load average of the last minute, nil if the system has none.
func loadAverage() *float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return nil
	}
	return &v
}
