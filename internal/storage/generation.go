package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/planted"
)

// currentName is the file that says which generation of the applied state counts. Without it, it is the first.
const currentName = "CURRENT"

const (
	stateName   = "state" // the directory of the first generation
	statePrefix = stateName + "-"
)

// generationName returns the directory of a generation: history, id index and checkpoints. A checkpoint that was
// fetched from another replica makes a new one.
func generationName(generation uint64) string {
	if generation == 1 {
		return stateName
	}
	return fmt.Sprintf("%s%010d", statePrefix, generation)
}

func parseGeneration(name string) (uint64, bool) {
	if name == stateName {
		return 1, true
	}
	digits, ok := strings.CutPrefix(name, statePrefix)
	if !ok {
		return 0, false
	}
	g, err := strconv.ParseUint(digits, 10, 64)
	return g, err == nil && g > 1 && generationName(g) == name
}

// generations lists those that are there, ascending.
func (d *Dir) generations() ([]uint64, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path, err)
	}
	var gens []uint64
	for _, name := range names {
		if g, ok := parseGeneration(name); ok {
			gens = append(gens, g)
		}
	}
	slices.Sort(gens)
	return gens, nil
}

// currentGeneration reads CURRENT, and checks that the directory it names is there.
func (d *Dir) currentGeneration() (uint64, error) {
	gens, err := d.generations()
	if err != nil {
		return 0, err
	}
	name := d.file(currentName)
	raw, err := readOwn(d.fs, name)
	if isNotExist(err) {
		if len(gens) > 0 && gens[0] != 1 {
			return 0, damagedFile(name, "is missing, though "+generationName(gens[0])+" is there")
		}
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	id, body, err := decodeHeader(name, raw, currentMagic)
	if err != nil {
		return 0, err
	}
	if err := d.belongs(name, id); err != nil {
		return 0, err
	}
	if len(body) != 8 || binary.LittleEndian.Uint64(body) < 2 {
		return 0, damagedFile(name, "has impossible content")
	}
	g := binary.LittleEndian.Uint64(body)
	if !slices.Contains(gens, g) {
		return 0, damagedFile(d.file(generationName(g)), "is missing, though "+currentName+" names it")
	}
	return g, nil
}

// setCurrent lets a generation count from now on, durably.
func (d *Dir) setCurrent(generation uint64) error {
	data := appendHeader(nil, currentMagic, d.id, binary.LittleEndian.AppendUint64(nil, generation))
	if planted.On(planted.SnapshotUnsynced) {
		return plantedCurrent(d.fs, d.file(currentName), data)
	}
	return writeAtomic(d.fs, d.file(currentName), data)
}

// plantedCurrent is writeAtomic without its syncs.
func plantedCurrent(fsys vfs.FS, name string, data []byte) error {
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// removeOlder removes the generations before the current one.
func (d *Dir) removeOlder(current uint64) error {
	gens, err := d.generations()
	if err != nil {
		return err
	}
	for _, g := range gens {
		if g >= current {
			break
		}
		if err := d.removeAll(generationName(g)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) removeAll(name string) error {
	if err := d.fs.RemoveAll(d.file(name)); err != nil {
		return fmt.Errorf("remove %s: %w", d.file(name), err)
	}
	return syncDir(d.fs, d.path)
}
