package storage

import (
	"encoding/binary"
	"fmt"
)

// durableName is the file beside the table that says which checkpoint the table must hold at least. Without it, any.
const durableName = "CHECKPOINT"

// setDurable notes that the job's checkpoint is durable. It comes before anybody relies on that.
func (j *Job) setDurable() error {
	body := binary.LittleEndian.AppendUint64(nil, j.to.Index)
	return writeAtomic(j.fs, j.fs.PathJoin(j.path, durableName), appendHeader(nil, durableMagic, j.id, body))
}

// durableIndex reads CHECKPOINT. Errors: ErrDamaged, ErrForeignDir, ErrNewerFormat, those of the disk.
func (s *Store) durableIndex() (uint64, error) {
	name := s.dir.fs.PathJoin(s.path, durableName)
	raw, err := readOwn(s.dir.fs, name)
	if isNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	id, body, err := decodeHeader(name, raw, durableMagic)
	if err == nil {
		err = s.dir.belongs(name, id)
	}
	if err != nil {
		return 0, err
	}
	if len(body) != 8 {
		return 0, damagedFile(name, "has impossible content")
	}
	return binary.LittleEndian.Uint64(body), nil
}

// checkDurable refuses a table that has lost the checkpoint that was once durable, or fell back to an earlier one: pebble
// takes a MANIFEST that ends early for one that was being written. The log might no longer hold what is missing.
func (s *Store) checkDurable() error {
	index := s.dir.fs.PathJoin(s.path, indexName)
	durable, err := s.durableIndex()
	if err != nil {
		return err
	}
	if s.last.Index > 0 && s.last.Index < durable {
		return damagedFile(index, fmt.Sprintf("holds the checkpoint at index %d, but %s says that it held one at %d", s.last.Index, durableName, durable))
	}
	if s.last.Index > 0 {
		return nil
	}
	if durable > 0 {
		return damagedFile(index, fmt.Sprintf("holds no checkpoint, but %s says that it held one at index %d", durableName, durable))
	}
	if s.generation > 1 {
		return damagedFile(index, "holds no checkpoint, though "+currentName+" names this generation, which began with one")
	}
	gens, err := s.dir.listSegments()
	if err != nil {
		return err
	}
	if len(gens) > 0 && gens[0] > 1 {
		return damagedFile(index, fmt.Sprintf("holds no checkpoint, but the raft log begins with %s: "+
			"the checkpoint is lost, or segments before that", segmentName(gens[0])))
	}
	return nil
}
