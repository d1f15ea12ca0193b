package node

import (
	"errors"
	"fmt"
	"slices"

	"raftbank/internal/replica"
	"raftbank/internal/storage"
)

// ErrNoKeyFile says that a server that others can reach was given no key file.
var ErrNoKeyFile = errors.New("give it the bank's key file with --key-file, the same file on every server")

func noKeyFile(server fmt.Stringer, addr string) error {
	return fmt.Errorf("server %s: it would listen on %s, outside this machine: %w", server, addr, ErrNoKeyFile)
}

// BadDirectory reports whether Run ended because the data directory or the key file is not this
// server's, is newer than the program, is in use, or because no key file was given to a server that
// needs one. Nothing was changed.
func BadDirectory(err error) bool {
	return isAny(err, ErrNoKeyFile, storage.ErrForeignDir, storage.ErrNewerFormat, storage.ErrLocked, storage.ErrKeyFile)
}

// Refused reports whether Run ended because the other replicas refused this one: its directory was
// emptied or rolled back, or the configurations disagree. It has voted for and acknowledged nothing.
func Refused(err error) bool {
	return isAny(err, replica.ErrEmptied, replica.ErrRolledBack, replica.ErrForeign)
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}
