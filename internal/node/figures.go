package node

import (
	"maps"
	"runtime"
)

// counters returns what status shows beside the replica's own counters. The loop's goroutine calls it.
func (n *node) counters() map[string]uint64 {
	w := n.log.Written()
	m := map[string]uint64{"clients_dropped": n.net.Dropped(), "log_bytes": w.Bytes, "log_syncs": w.Syncs,
		"goroutines": uint64(runtime.NumGoroutine())}
	maps.Copy(m, n.store.Figures())
	processFigures(m)
	return m
}
