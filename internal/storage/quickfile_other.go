//go:build !linux || !(amd64 || arm64)

package storage

import "github.com/cockroachdb/pebble/v2/vfs"

// quick exists where system calls can be made without telling Go's scheduler.
func quick(f vfs.File) vfs.File { return f }
