//go:build !linux

package storage

import "github.com/cockroachdb/pebble/v2/vfs"

// dropCache does nothing here: the kernel finds out by itself.
func dropCache(vfs.File, int64) {}
