package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tmpSuffix ends the name of every file that is not complete yet.
const tmpSuffix = ".tmp"

// maxSmallFile bounds the identity, members and key files.
const maxSmallFile = 64 << 10

var errTooLarge = fmt.Errorf("larger than %d bytes", maxSmallFile)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// readSmall reads a whole file of at most maxSmallFile bytes.
func readSmall(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(raw) > maxSmallFile {
		return nil, fmt.Errorf("read %s: %w", name, errTooLarge)
	}
	return raw, nil
}

// readOwn reads a small file that is this package's own: a larger one is none that it wrote.
func readOwn(fsys vfs.FS, name string) ([]byte, error) {
	raw, err := readSmall(fsys, name)
	if errors.Is(err, errTooLarge) {
		return nil, damagedFile(name, "is "+errTooLarge.Error())
	}
	return raw, err
}

// writeAtomic puts a complete, durable file under name, or leaves what was there.
func writeAtomic(fsys vfs.FS, name string, data []byte) error {
	tmp := name + tmpSuffix
	if err := writeNew(fsys, tmp, data, nil); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return fmt.Errorf("rename %s to %s: %w", tmp, name, err)
	}
	return syncDir(fsys, fsys.PathDir(name))
}

// writeNew creates a file, writes and syncs it. Prepare, if not nil, sees the file while it is empty.
func writeNew(fsys vfs.FS, name string, data []byte, prepare func(vfs.File) error) error {
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if prepare != nil {
		err = prepare(f)
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(fsys vfs.FS, path string) error {
	d, err := fsys.OpenDir(path)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", path, err)
	}
	if err = errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// makeDir creates path with its missing parents, and makes their names durable: also those that another
// process made a moment ago and may not have synced.
func makeDir(fsys vfs.FS, path string) error {
	depth := 2 // the data directory and the one that holds all servers' directories
	for p := path; ; p = fsys.PathDir(p) {
		_, err := fsys.Stat(p)
		if err == nil || p == fsys.PathDir(p) {
			break
		}
		if !isNotExist(err) {
			return fmt.Errorf("look at %s: %w", p, err)
		}
		depth++
	}
	if err := fsys.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("create directory %s: %w", path, err)
	}
	for p := path; depth > 0 && p != fsys.PathDir(p); depth-- {
		p = fsys.PathDir(p)
		// A parent that may be passed through but not read is somebody else's, and older than we are.
		if err := syncDir(fsys, p); err != nil && !isNotExist(err) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}
