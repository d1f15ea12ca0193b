package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sleep is nanosleep: the runtime's timers are late by up to a millisecond when nothing else runs.
func sleep(d time.Duration) {
	left := syscall.NsecToTimespec(d.Nanoseconds())
	for errors.Is(syscall.Nanosleep(&left, &left), syscall.EINTR) {
	}
}

// ownUsage returns what this process has used so far.
func ownUsage() map[string]uint64 {
	m := map[string]uint64{}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		m[UsageCPU] = uint64(u.Utime.Nano()+u.Stime.Nano()) / 1000
	}
	if pages, ok := residentPages("self"); ok {
		m[UsageRSS] = pages * uint64(os.Getpagesize())
	}
	return m
}

func residentPages(pid string) (uint64, bool) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "statm"))
	if err != nil {
		return 0, false
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(f[1]), 10, 64)
	return n, err == nil
}

// clockTicks is the unit of times in /proc/PID/stat, in ticks per second; it has this value on every
// Linux that Go runs on.
const clockTicks = 100

// process is a line of /proc/PID/stat.
type process struct {
	parent int
	cpuUs  uint64 // with that of children that have ended and were waited for
}

func parseStat(text string) (process, error) {
	// The name stands in parentheses and may contain anything.
	_, rest, ok := strings.Cut(text[strings.LastIndexByte(text, ')')+1:], " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 15 {
		return process{}, fmt.Errorf("not a line of /proc/PID/stat: %q", text)
	}
	var p process
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return process{}, err
	}
	p.parent = parent
	for _, field := range f[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return process{}, err
		}
		p.cpuUs += n * (1e6 / clockTicks)
	}
	return p, nil
}

// ProcessUsage returns what processes and all their descendants have used. Errors: a process that is
// not there or belongs to someone else.
func ProcessUsage(pids ...int) (map[string]uint64, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		if all[pid], err = parseStat(string(b)); err != nil {
			return nil, err
		}
	}
	wanted := map[int]bool{}
	for _, pid := range pids {
		if _, ok := all[pid]; !ok {
			return nil, fmt.Errorf("no process %d", pid)
		}
		wanted[pid] = true
	}
	m := map[string]uint64{UsageCPU: 0, UsageRSS: 0, UsageDisk: 0}
	for pid, p := range all {
		for at, depth := pid, 0; at > 1 && depth < 64; at, depth = all[at].parent, depth+1 {
			if wanted[at] {
				m[UsageCPU] += p.cpuUs
				addMemoryAndDisk(m, strconv.Itoa(pid))
				break
			}
		}
	}
	return m, nil
}

func addMemoryAndDisk(m map[string]uint64, pid string) {
	if pages, ok := residentPages(pid); ok {
		m[UsageRSS] += pages * uint64(os.Getpagesize())
	}
	b, err := os.ReadFile(filepath.Join("/proc", pid, "io"))
	if err != nil {
		return // of another user, or gone: what is left is a lower bound
	}
	for line := range bytes.Lines(b) {
		var n uint64
		if _, err := fmt.Sscanf(string(line), "write_bytes: %d", &n); err == nil {
			m[UsageDisk] += n
		}
	}
}
