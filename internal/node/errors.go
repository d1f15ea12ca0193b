package node

import (
	"errors"
	"slices"

	"raftbank/internal/replica"
	"raftbank/internal/storage"
)

// BadDirectory reports whether Run ended because the data directory or the key file is not this
// server's, is newer than the program, or is in use. Nothing was changed.
func BadDirectory(err error) bool {
	return isAny(err, storage.ErrForeignDir, storage.ErrNewerFormat, storage.ErrLocked, storage.ErrKeyFile)
}

// Refused reports whether Run ended because the other replicas refused this one: its directory was
// emptied or rolled back, or the configurations disagree. It has voted for and acknowledged nothing.
func Refused(err error) bool {
	return isAny(err, replica.ErrEmptied, replica.ErrRolledBack, replica.ErrForeign)
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}
