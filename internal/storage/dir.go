package storage

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Names of the files in a data directory, beside the log's segments.
const (
	lockName     = "LOCK"
	identityName = "IDENTITY"
	membersName  = "MEMBERS"
)

// maxMembers bounds the founding membership.
const maxMembers = 64

// Dir is a server's data directory, locked while open.
type Dir struct {
	fs   vfs.FS
	path string
	lock io.Closer
	id   Identity
	// logMade is durable in the identity file once the first segment is: from then on a directory
	// without segments has lost them.
	logMade bool
	members []uint64 // nil: the directory is empty
	logOpen bool
	pool    []string // files of segments that a log which was closed has left to be used again
}

// OpenDir opens the data directory at path for the server named by want, and locks it. A missing
// or empty directory is given want's identity, durably, before OpenDir returns; in one that is there
// the incarnation of want is ignored.
// Errors: ErrLocked, ErrForeignDir, ErrNewerFormat, ErrDamaged.
func OpenDir(fsys vfs.FS, path string, want Identity) (*Dir, error) {
	if err := makeDir(fsys, path); err != nil {
		return nil, err
	}
	lock, err := fsys.Lock(fsys.PathJoin(path, lockName))
	if err != nil {
		return nil, lockError(path, err)
	}
	d := &Dir{fs: fsys, path: path, lock: lock}
	if err := d.load(want); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

func lockError(path string, err error) error {
	if isNotExist(err) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("lock data directory %s: %w", path, err)
	}
	return &describedError{kind: ErrLocked, text: fmt.Sprintf(
		"data directory %s is in use by another process (%v): stop that server first, or name another directory with --data-dir", path, err)}
}

// load reads the identity and the members, or gives the directory its identity.
func (d *Dir) load(want Identity) error {
	if err := d.removeTemporary(); err != nil {
		return err
	}
	// A process that was killed may have renamed a file and not synced the name: what is read below
	// must not vanish after it was relied on.
	if err := syncDir(d.fs, d.path); err != nil {
		return err
	}
	name := d.file(identityName)
	raw, err := readOwn(d.fs, name)
	if isNotExist(err) {
		return d.found(want)
	}
	if err != nil {
		return err
	}
	id, body, err := decodeHeader(name, raw, identityMagic)
	if err != nil {
		return err
	}
	if len(body) != 1 || body[0] > 1 || id.Incarnation == 0 {
		return damagedFile(name, "has impossible content")
	}
	if err := d.compare(id, want); err != nil {
		return err
	}
	d.id, d.logMade = id, body[0] == 1
	return d.loadMembers()
}

// found gives a directory without an identity the wanted one.
func (d *Dir) found(want Identity) error {
	if want.Incarnation == 0 {
		return fmt.Errorf("data directory %s: the incarnation of a new directory must not be 0", d.path)
	}
	names, err := d.fs.List(d.path)
	if err != nil {
		return fmt.Errorf("list %s: %w", d.path, err)
	}
	slices.Sort(names)
	for _, n := range names {
		if _, ok := parseSegmentName(n); ok || n == membersName {
			return damagedFile(d.file(identityName), "is missing, though "+n+" is there")
		}
	}
	d.id = want
	return d.writeIdentity()
}

func (d *Dir) writeIdentity() error {
	body := []byte{0}
	if d.logMade {
		body[0] = 1
	}
	return writeAtomic(d.fs, d.file(identityName), appendHeader(nil, identityMagic, d.id, body))
}

// compare refuses the directory of another bank or server.
func (d *Dir) compare(have, want Identity) error {
	if have.Bank != want.Bank {
		return &describedError{kind: ErrForeignDir, text: fmt.Sprintf(
			"data directory %s belongs to bank %s, but the key file is of bank %s: name that bank's key file with --key-file, or another directory with --data-dir",
			d.path, hex.EncodeToString(have.Bank[:]), hex.EncodeToString(want.Bank[:]))}
	}
	if have.Server != want.Server || have.Shard != want.Shard {
		return &describedError{kind: ErrForeignDir, text: fmt.Sprintf(
			"data directory %s belongs to server %s of %s, not to server %s of %s: start that server on it, or name another directory with --data-dir",
			d.path, have.Server, have.Shard, want.Server, want.Shard)}
	}
	return nil
}

func (d *Dir) loadMembers() error {
	name := d.file(membersName)
	raw, err := readOwn(d.fs, name)
	if isNotExist(err) {
		if d.logMade {
			return damagedFile(name, "is missing, though the directory has had a raft log") // else it would pass for a new one
		}
		return nil
	}
	if err != nil {
		return err
	}
	id, body, err := decodeHeader(name, raw, membersMagic)
	if err != nil {
		return err
	}
	if err := d.belongs(name, id); err != nil {
		return err
	}
	if len(body) == 0 || len(body)%8 != 0 || len(body) > 8*maxMembers {
		return damagedFile(name, "has an impossible list of members")
	}
	for ; len(body) > 0; body = body[8:] {
		d.members = append(d.members, binary.LittleEndian.Uint64(body))
	}
	return nil
}

// belongs checks that a file in the directory was written for it.
func (d *Dir) belongs(name string, id Identity) error {
	if id == d.id {
		return nil
	}
	return &describedError{kind: ErrForeignDir, text: fmt.Sprintf(
		"%s belongs to server %s of %s (incarnation %d), but its directory to server %s of %s (incarnation %d): put the file back where it was",
		name, id.Server, id.Shard, id.Incarnation, d.id.Server, d.id.Shard, d.id.Incarnation)}
}

// removeTemporary deletes what a crash left half made.
func (d *Dir) removeTemporary() error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return fmt.Errorf("list %s: %w", d.path, err)
	}
	slices.Sort(names)
	for _, n := range names {
		if !strings.HasSuffix(n, tmpSuffix) {
			continue
		}
		if err := d.fs.Remove(d.file(n)); err != nil {
			return fmt.Errorf("remove %s: %w", d.file(n), err)
		}
	}
	return nil
}

func (d *Dir) file(name string) string { return d.fs.PathJoin(d.path, name) }

// Identity returns whose directory it is, with the incarnation that the directory bears.
func (d *Dir) Identity() Identity { return d.id }

// Members returns the raft ids that founded the group; ok is false in a directory that is empty,
// that is, whose server never was a member of a group.
func (d *Dir) Members() (ids []uint64, ok bool) {
	return slices.Clone(d.members), len(d.members) > 0
}

// SetMembers records the founding membership durably. It must come before OpenLog, and comes once:
// the same ids again change nothing.
// Errors: ErrMembersSet.
func (d *Dir) SetMembers(ids []uint64) error {
	if len(ids) == 0 || len(ids) > maxMembers {
		return fmt.Errorf("data directory %s: %d founding members; it must be 1 to %d", d.path, len(ids), maxMembers)
	}
	if d.members != nil {
		if slices.Equal(d.members, ids) {
			return nil
		}
		return &describedError{kind: ErrMembersSet, text: fmt.Sprintf(
			"data directory %s was founded with members %x; they cannot become %x", d.path, d.members, ids)}
	}
	var body []byte
	for _, id := range ids {
		body = binary.LittleEndian.AppendUint64(body, id)
	}
	if err := writeAtomic(d.fs, d.file(membersName), appendHeader(nil, membersMagic, d.id, body)); err != nil {
		return err
	}
	d.members = slices.Clone(ids)
	return nil
}

// Close releases the lock. Close the log first.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	lock := d.lock
	d.lock = nil
	if err := lock.Close(); err != nil {
		return fmt.Errorf("unlock data directory %s: %w", d.path, err)
	}
	return nil
}
