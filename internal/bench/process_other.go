//go:build !linux

package bench

import (
	"errors"
	"time"
)

func sleep(d time.Duration) { time.Sleep(d) }

// ownUsage knows nothing: only Linux is asked for a process's own figures.
func ownUsage() map[string]uint64 { return nil }

// ProcessUsage fails: only Linux is asked for other processes' figures.
func ProcessUsage(...int) (map[string]uint64, error) {
	return nil, errors.New("this operating system is not asked for figures of processes")
}
