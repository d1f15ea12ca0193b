package storage

import "errors"

// Errors that callers tell apart. The errors returned wrap them and name the file, both values,
// and what to do.
var (
	// ErrForeignDir says that a directory or a file in it belongs to another bank, shard or server.
	ErrForeignDir = errors.New("data directory is foreign")
	// ErrNewerFormat says that a newer raftbank wrote the file.
	ErrNewerFormat = errors.New("data directory has a newer format")
	// ErrLocked says that another process uses the directory.
	ErrLocked = errors.New("data directory is in use")
	// ErrDamaged says that bytes that were once synced are wrong or missing.
	ErrDamaged = errors.New("data is damaged")
	// ErrMembersSet says that the founding members are recorded already and differ.
	ErrMembersSet = errors.New("founding members cannot be set")
	// ErrFailed says that an earlier write or sync failed: the log takes nothing more.
	ErrFailed = errors.New("raft log has failed")
	// ErrKeyFile says that the key file is missing, unreadable, garbled or open to others.
	ErrKeyFile = errors.New("key file is unusable")
)

// restoreHint is the next step after damage, for a replica that has peers.
const restoreHint = "leave this server stopped (its cluster goes on with the other servers), keep the directory for study," +
	" and restore it whole from a copy made while the server was stopped; or replace the server, N: move the directory away," +
	" start it with an empty one (raftbank server N --replace), and run raftbank replace N"

// describedError is a sentence for people that errors.Is recognises as its sentinel. Wrapping with
// %w would repeat the sentinel's words in front of the sentence.
type describedError struct {
	text string
	kind error
}

func (e *describedError) Error() string { return e.text }

func (e *describedError) Unwrap() error { return e.kind }
