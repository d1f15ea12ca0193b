package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// Identity says whose a data directory is.
type Identity struct {
	Bank        txn.BankID
	Shard       shard.ID
	Server      shard.ServerID
	Incarnation uint32 // drawn with the directory, never 0
}

// formatVersion is the only format that this package writes and reads.
const formatVersion = 1

// A fileMagic is the first eight bytes of a file, and says its kind.
type fileMagic string

const (
	identityMagic fileMagic = "RBANKIDT"
	membersMagic  fileMagic = "RBANKMEM"
	segmentMagic  fileMagic = "RBANKLOG"
	alarmMagic    fileMagic = "RBANKALM"
	historyMagic  fileMagic = "RBANKHIS"
	currentMagic  fileMagic = "RBANKCUR"
	progressMagic fileMagic = "RBANKPRG"
	durableMagic  fileMagic = "RBANKCKP"
)

const (
	identitySize = 16 + 4 + 4 + 4
	// headerFixedSize is magic, version, identity and the body's length.
	headerFixedSize = 8 + 4 + identitySize + 4
	// maxBodySize bounds what a header may claim.
	maxBodySize = 4096
)

// castagnoli is the CRC32C table: constant, and computed once by the standard library.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (id Identity) appendTo(b []byte) []byte {
	b = append(b, id.Bank[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(id.Shard))
	b = binary.LittleEndian.AppendUint32(b, uint32(id.Server))
	return binary.LittleEndian.AppendUint32(b, id.Incarnation)
}

// seed starts every block's checksum, so that a block of another directory is never valid here.
func (id Identity) seed() uint32 {
	return crc32.Checksum(id.appendTo(nil), castagnoli)
}

// appendHeader appends magic, version, identity, a small body and the checksum over all of it.
func appendHeader(b []byte, magic fileMagic, id Identity, body []byte) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = id.appendTo(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// decodeHeader reads what appendHeader wrote, from the start of the file called name.
// Errors: ErrNewerFormat, ErrDamaged.
func decodeHeader(name string, raw []byte, magic fileMagic) (id Identity, body []byte, err error) {
	if len(raw) < headerFixedSize || fileMagic(raw[:8]) != magic {
		return Identity{}, nil, damagedFile(name, fmt.Sprintf("does not start with %q", string(magic)))
	}
	// The version is judged before the checksum: a newer format may keep its checksum elsewhere.
	if v := binary.LittleEndian.Uint32(raw[8:]); v > formatVersion {
		return Identity{}, nil, &describedError{kind: ErrNewerFormat, text: fmt.Sprintf(
			"%s has format %d, but this raftbank reads format %d: start the newer raftbank that wrote it", name, v, formatVersion)}
	}
	size := int(binary.LittleEndian.Uint32(raw[headerFixedSize-4:]))
	if size > maxBodySize || len(raw) < headerFixedSize+size+4 {
		return Identity{}, nil, damagedFile(name, "has an impossible length in its header")
	}
	end := headerFixedSize + size
	if crc32.Checksum(raw[:end], castagnoli) != binary.LittleEndian.Uint32(raw[end:]) {
		return Identity{}, nil, damagedFile(name, "has a header whose checksum does not match")
	}
	if v := binary.LittleEndian.Uint32(raw[8:]); v != formatVersion {
		return Identity{}, nil, damagedFile(name, fmt.Sprintf("has format %d, which never existed", v))
	}
	id.decode(raw[12:])
	return id, raw[headerFixedSize:end], nil
}

func (id *Identity) decode(b []byte) {
	copy(id.Bank[:], b)
	id.Shard = shard.ID(binary.LittleEndian.Uint32(b[16:]))
	id.Server = shard.ServerID(binary.LittleEndian.Uint32(b[20:]))
	id.Incarnation = binary.LittleEndian.Uint32(b[24:])
}

func damagedFile(name, what string) error {
	return &describedError{kind: ErrDamaged, text: fmt.Sprintf("%s is damaged: it %s: %s", name, what, restoreHint)}
}
