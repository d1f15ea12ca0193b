package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pelletier/go-toml/v2"

	"raftbank/internal/txn"
)

// maxKeys bounds the keys of a file: an old and a new one while they are exchanged, and some room.
const maxKeys = 16

const keyFileComment = `# raftbank key file. Whoever reads it can speak as a server of this bank: keep it secret,
# and give every server of the bank the same file. The first key signs; all are accepted.
`

// keyFileText is the file's form. Format comes first and alone tells a newer file.
type keyFileText struct {
	Format int    `toml:"format"`
	Bank   string `toml:"bank"`
	// Check is the start of a SHA-256 over bank and keys: a garbled or a missing key would otherwise
	// show itself only in peers that refuse each other.
	Check string    `toml:"check"`
	Keys  []keyText `toml:"key"`
}

type keyText struct {
	ID     uint32 `toml:"id"`
	Secret string `toml:"secret"`
}

// KeyFile reads the bank's key file. If it is missing and create is set, it draws a new bank from
// random and creates the file, readable by its owner alone; of several servers that do so at once
// one wins, and all return the winner's content.
// Errors: ErrKeyFile, ErrNewerFormat.
func KeyFile(fsys vfs.FS, path string, create bool, random io.Reader) (*txn.KeyRing, error) {
	ring, err := readKeyFile(fsys, path)
	if isNotExist(err) && create {
		if err := makeDir(fsys, fsys.PathDir(path)); err != nil {
			return nil, err
		}
		if err := createKeyFile(fsys, path, random); err != nil {
			return nil, fmt.Errorf("create key file %s: %w", path, err)
		}
		ring, err = readKeyFile(fsys, path)
	}
	if isNotExist(err) {
		return nil, keyFileError(path, "does not exist", "copy the file bank.key of this bank's first server there, or name it with --key-file")
	}
	if err != nil {
		return nil, err
	}
	if create {
		// The name may be another server's, made a moment ago: it must not vanish after we used it.
		if err := syncDir(fsys, fsys.PathDir(path)); err != nil {
			return nil, err
		}
	}
	return ring, nil
}

func keyFileError(path, what, next string) error {
	return &describedError{kind: ErrKeyFile, text: fmt.Sprintf("key file %s %s: %s", path, what, next)}
}

// createKeyFile links a complete file to path. A file that is there already stays and is no error.
func createKeyFile(fsys vfs.FS, path string, random io.Reader) error {
	var drawn [16 + 32 + 8]byte
	if _, err := io.ReadFull(random, drawn[:]); err != nil {
		return fmt.Errorf("draw a key: %w", err)
	}
	ring := &txn.KeyRing{Keys: []txn.Key{{ID: 1}}}
	copy(ring.Bank[:], drawn[:16])
	copy(ring.Keys[0].Secret[:], drawn[16:48])
	// The name is drawn too: another server may be creating the same file.
	tmp := path + "." + hex.EncodeToString(drawn[48:]) + tmpSuffix
	if err := writeNew(fsys, tmp, encodeKeyFile(ring), keepPrivate); err != nil {
		return err
	}
	err := fsys.Link(tmp, path)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, fsys.Remove(tmp))
}

func encodeKeyFile(ring *txn.KeyRing) []byte {
	var b bytes.Buffer
	b.WriteString(keyFileComment)
	fmt.Fprintf(&b, "format = %d\nbank = \"%s\"\ncheck = \"%s\"\n", formatVersion, hex.EncodeToString(ring.Bank[:]), keyCheck(ring))
	for _, k := range ring.Keys {
		fmt.Fprintf(&b, "\n[[key]]\nid = %d\nsecret = \"%s\"\n", k.ID, hex.EncodeToString(k.Secret[:]))
	}
	return b.Bytes()
}

func keyCheck(ring *txn.KeyRing) string {
	b := append([]byte("raftbank key file"), ring.Bank[:]...)
	for i := range ring.Keys {
		b = binary.LittleEndian.AppendUint32(b, uint32(ring.Keys[i].ID))
		b = append(b, ring.Keys[i].Secret[:]...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// readKeyFile returns an error that isNotExist if the file is missing.
func readKeyFile(fsys vfs.FS, path string) (*txn.KeyRing, error) {
	raw, err := readSmall(fsys, path)
	if isNotExist(err) {
		return nil, err
	}
	if err != nil {
		return nil, keyFileError(path, fmt.Sprintf("cannot be read (%v)", err), "run the server as the file's owner, or name another file with --key-file")
	}
	if err := checkPrivate(fsys, path); err != nil {
		return nil, err
	}
	return decodeKeyFile(path, raw)
}

// decodeKeyFile reads what encodeKeyFile wrote.
// Errors: ErrKeyFile, ErrNewerFormat.
func decodeKeyFile(path string, raw []byte) (*txn.KeyRing, error) {
	const next = "restore it from another server of this bank"
	var version struct {
		Format int `toml:"format"`
	}
	if err := toml.Unmarshal(raw, &version); err != nil {
		return nil, keyFileError(path, fmt.Sprintf("is garbled (%v)", err), next)
	}
	if version.Format > formatVersion {
		return nil, &describedError{kind: ErrNewerFormat, text: fmt.Sprintf(
			"key file %s has format %d, but this raftbank reads format %d: start the newer raftbank that wrote it", path, version.Format, formatVersion)}
	}
	var text keyFileText
	if err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(&text); err != nil {
		return nil, keyFileError(path, fmt.Sprintf("is garbled (%v)", err), next)
	}
	if text.Format != formatVersion {
		return nil, keyFileError(path, "is garbled (it names no format)", next)
	}
	ring := &txn.KeyRing{}
	if !decodeHex(ring.Bank[:], text.Bank) {
		return nil, keyFileError(path, "is garbled (bank is not 32 hexadecimal digits)", next)
	}
	if len(text.Keys) == 0 || len(text.Keys) > maxKeys {
		return nil, keyFileError(path, fmt.Sprintf("holds %d keys; it must hold 1 to %d", len(text.Keys), maxKeys), next)
	}
	for _, kt := range text.Keys {
		k, what := decodeKey(ring, kt)
		if what != "" {
			return nil, keyFileError(path, fmt.Sprintf("is garbled (key %d: %s)", kt.ID, what), next)
		}
		ring.Keys = append(ring.Keys, k)
	}
	if text.Check != keyCheck(ring) {
		return nil, keyFileError(path, "is garbled (check does not match bank and keys)", next)
	}
	return ring, nil
}

// decodeKey returns the key, or what is wrong with it.
func decodeKey(ring *txn.KeyRing, kt keyText) (k txn.Key, what string) {
	k.ID = txn.KeyID(kt.ID)
	if !decodeHex(k.Secret[:], kt.Secret) {
		return k, "secret is not 64 hexadecimal digits"
	}
	for i := range ring.Keys {
		if ring.Keys[i].ID == k.ID {
			return k, "stands there twice"
		}
	}
	return k, ""
}

func decodeHex(dst []byte, s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && copy(dst, b) == len(dst) && len(b) == len(dst)
}
