package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"raftbank/internal/wire"
)

// held is a checkpoint that other replicas fetch: what the table held when it was taken, and the history up to its
// length, which never changes.
type held struct {
	manifest wire.Manifest
	head     []byte
	view     View
}

// Hold keeps the newest checkpoint readable for Part until Release, and says what it consists of; false: there is none
// yet. A checkpoint that is held already stays.
// Errors: ErrDamaged, those of the disk.
func (s *Store) Hold() (wire.Manifest, bool, error) {
	if s.held != nil {
		return s.held.manifest, true, nil
	}
	if s.last.Index == 0 {
		return wire.Manifest{}, false, nil
	}
	view, err := s.table.View()
	if err != nil {
		return wire.Manifest{}, false, err
	}
	v, err := s.heldValue(view)
	if err != nil {
		return wire.Manifest{}, false, errors.Join(err, view.Close())
	}
	s.held = &held{head: v.head, view: view, manifest: wire.Manifest{
		Index: v.at.Index, Term: v.at.Term, Rows: v.at.Rows, Pages: uint32(s.state.Pages()),
		HeadBytes: uint64(len(v.head)), HeadSum: sha256.Sum256(v.head),
	}}
	return s.held.manifest, true, nil
}

func (s *Store) heldValue(view View) (checkpointValue, error) {
	value, ok, err := view.Get(checkpointKey, nil)
	if err != nil {
		return checkpointValue{}, err
	}
	if !ok {
		return checkpointValue{}, damagedFile(s.path, "has lost its checkpoint")
	}
	return s.decode(value)
}

// Part reads a part of the checkpoint that is held, of about max bytes and at least one row or page. ok is false if
// there is no such part.
// Errors: those of the disk.
func (s *Store) Part(kind wire.PartKind, position uint64, max int) (data []byte, ok bool, err error) {
	h := s.held
	if h == nil {
		return nil, false, nil
	}
	m := &h.manifest
	switch {
	case kind == wire.PartRows && position < m.Rows:
		for len(data) == 0 || len(data)+rowSize <= max && position < m.Rows {
			was := len(data)
			n := 1
			if was > 0 || max > rowSize {
				n = int(min(uint64((max-was)/rowSize), m.Rows-position))
			}
			data = s.history.raw(data, position, n)
			position += uint64((len(data) - was) / rowSize)
		}
		return data, true, nil
	case kind == wire.PartPages && position < uint64(m.Pages):
		for ; position < uint64(m.Pages) && (len(data) == 0 || len(data) < max); position++ {
			page, ok, err := h.view.Get(pageKey(nil, uint32(position)), nil)
			if err == nil && !ok {
				err = damagedFile(s.path, "has lost a page of the accounts")
			}
			if err != nil {
				return nil, false, err
			}
			data = append(binary.AppendUvarint(data, uint64(len(page))), page...)
		}
		return data, true, nil
	case kind == wire.PartHead && position < m.HeadBytes:
		return h.head[position:min(m.HeadBytes, position+uint64(max))], true, nil
	}
	return nil, false, nil
}

// Release ends what Hold began.
func (s *Store) Release() error {
	if s.held == nil {
		return nil
	}
	view := s.held.view
	s.held = nil
	return view.Close()
}
