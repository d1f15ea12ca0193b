package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// fatalGrace bounds how long a process goes on whose pebble has ended for good, if its owner does not notice.
const fatalGrace = 30 * time.Second

// maxCauseBytes of pebble's own words are shown: it lists every table that is missing.
const maxCauseBytes = 240

// pebbleFailures keeps what pebble's own goroutines have failed at, for Health. It is pebble's logger too, and drops all
// but what pebble says before its process should end.
type pebbleFailures struct {
	path   string
	any    chan struct{} // closed with the first failure
	fatal  chan struct{} // closed by Fatalf: whoever waits for pebble may wait for ever
	closed chan struct{} // closed when the owner closes the table, or gives it up

	mu  sync.Mutex // guards err, and closing the channels
	err error
}

func newPebbleFailures(path string) *pebbleFailures {
	return &pebbleFailures{path: path, any: make(chan struct{}), fatal: make(chan struct{}), closed: make(chan struct{})}
}

// note keeps the first failure.
func (p *pebbleFailures) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		close(p.any)
	}
}

func (p *pebbleFailures) first() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pebbleFailures) closeOnce(c chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !isClosed(c) {
		close(c)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (p *pebbleFailures) close() { p.closeOnce(p.closed) }

func (p *pebbleFailures) isFatal() bool { return isClosed(p.fatal) }

// Infof implements pebble.Logger.
func (p *pebbleFailures) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (p *pebbleFailures) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger: it notes the failure and never returns, as pebble expects. Its goroutine stops where it
// is, with the locks that it holds: so nobody else goes on from there, and no deferred call finds a lock that is not
// held. The owner ends the process by Health; should it not, since it waits for such a lock itself, a panic does.
func (p *pebbleFailures) Fatalf(f string, v ...any) {
	err := fmt.Errorf(f, v...)
	for _, a := range v { // the cause comes as an argument, mostly of %s
		if cause, ok := a.(error); ok {
			err = cause
		}
	}
	err = pebbleError(p.path, "work of the id index", err)
	p.note(err)
	p.closeOnce(p.fatal)
	timer := time.NewTimer(fatalGrace)
	defer timer.Stop()
	select {
	case <-p.closed:
		select {}
	case <-timer.C:
		panic(&ReadError{err})
	}
}

// pebbleError is an error of pebble, nil or not, in our words: ErrDamaged, if it says that a file is wrong, ends early or is
// missing. All else is no reason to replace a server: the disk has refused, or this program is wrong.
func pebbleError(path, doing string, err error) error {
	switch {
	case err == nil || errors.Is(err, ErrDamaged):
		return err
	case pebble.ExtractDataCorruptionInfo(err) != nil:
		info := pebble.ExtractDataCorruptionInfo(err)
		return damagedTable(info.Path, info.Details)
	case pebble.IsCorruptionError(err) || isNotExist(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return damagedTable(path, err)
	}
	return stoppingError(path, doing, err)
}

// openError is an error of opening a database that is locked already, nil or not: what is not the disk's comes from what the
// files hold, and pebble does not mark all of that.
func openError(path string, err error) error {
	if err == nil || refusedBySystem(err) || pebble.ExtractDataCorruptionInfo(err) != nil {
		return err
	}
	return damagedTable(path, err)
}

func stoppingError(path, doing string, err error) error {
	return fmt.Errorf("%s in %s: %w (this server must stop)", doing, path, err)
}

// refusedBySystem reports whether an error is not about what the files hold.
func refusedBySystem(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	var call *os.SyscallError
	var number syscall.Errno
	return errors.As(err, &path) || errors.As(err, &link) || errors.As(err, &call) || errors.As(err, &number) ||
		errors.Is(err, fs.ErrPermission)
}

// damagedTable is the ErrDamaged of a file or directory of a table that pebble does not understand.
func damagedTable(path string, err error) error {
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
	if len(text) > maxCauseBytes {
		text = text[:maxCauseBytes] + "..."
	}
	return damagedFile(path, fmt.Sprintf("cannot be used as id index (%s)", strings.ToValidUTF8(text, "")))
}

// checkPebbleNames refuses a directory that held a table but has lost one of the two files that say which: pebble would
// take it for an empty one and remove the rest. Pebble makes files durable in this order: a MANIFEST, the marker
// that names it, the marker of the format's version, OPTIONS, tables. The markers are in their names.
func checkPebbleNames(fsys vfs.FS, path string) error {
	names, err := fsys.List(path)
	if err != nil {
		return fmt.Errorf("list %s: %w", path, err)
	}
	var manifest, format bool
	var proof string
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, "marker.manifest."):
			manifest = true
		case strings.HasPrefix(name, "marker.format-version."):
			format = true
			if err := checkPebbleFormat(path, name); err != nil {
				return err
			}
		case strings.HasPrefix(name, "OPTIONS-"), strings.HasSuffix(name, ".sst"):
			proof = name
		}
	}
	switch {
	case !manifest && proof != "":
		return damagedFile(fsys.PathJoin(path, "marker.manifest.*"), "is missing, though "+proof+" is there")
	case !manifest && format:
		return damagedFile(fsys.PathJoin(path, "marker.manifest.*"), "is missing, though marker.format-version.* is there")
	case !format && proof != "":
		return damagedFile(fsys.PathJoin(path, "marker.format-version.*"), "is missing, though "+proof+" is there")
	}
	return nil
}

// checkPebbleFormat refuses a format that this program's pebble does not know.
func checkPebbleFormat(path, marker string) error {
	version, err := strconv.ParseUint(marker[strings.LastIndexByte(marker, '.')+1:], 10, 64)
	if err != nil {
		return damagedFile(path, fmt.Sprintf("holds a file %s, which names no format", marker))
	}
	if version > uint64(pebble.FormatNewest) {
		return &describedError{kind: ErrNewerFormat, text: fmt.Sprintf(
			"%s has pebble's format %d, but this raftbank knows formats up to %d: start the newer raftbank that wrote it",
			path, version, uint64(pebble.FormatNewest))}
	}
	return nil
}
