//go:build !unix

package storage

import "github.com/cockroachdb/pebble/v2/vfs"

// keepPrivate does nothing where files have no such mode.
func keepPrivate(vfs.File) error { return nil }

// checkPrivate accepts any file where files have no such mode.
func checkPrivate(vfs.FS, string) error { return nil }
