package ledger

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"
)

// TransferID is the client-given 128-bit id of a transfer. Any value but zero is valid; ids that
// are ordered by time (ULIDs) are the fast ones.
type TransferID [16]byte

// ErrBadID is wrapped by every error of ParseTransferID.
var ErrBadID = errors.New("not a transfer id")

// String returns the 26-character ULID text.
func (id TransferID) String() string { return ulid.ULID(id).String() }

// IsZero reports whether the id is unset.
func (id TransferID) IsZero() bool { return id == TransferID{} }

// Compare orders ids by their bytes: -1, 0 or 1.
func (id TransferID) Compare(o TransferID) int { return ulid.ULID(id).Compare(ulid.ULID(o)) }

// ParseTransferID reads a ULID (26 characters) or a UUID (36 characters with dashes, or 32 hex
// digits). Errors wrap ErrBadID.
func ParseTransferID(s string) (TransferID, error) {
	switch len(s) {
	case ulid.EncodedSize:
		u, err := ulid.ParseStrict(s)
		if err != nil || s[0] > '7' {
			return TransferID{}, fmt.Errorf("%w: %q is not a ULID", ErrBadID, s)
		}
		return nonZero(TransferID(u), s)
	case 36, 32:
		digits := s
		if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
			digits = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
		}
		var id TransferID
		raw, err := hex.DecodeString(digits)
		if err != nil || len(raw) != len(id) {
			return TransferID{}, fmt.Errorf("%w: %q is not a UUID", ErrBadID, s)
		}
		copy(id[:], raw)
		return nonZero(id, s)
	}
	return TransferID{}, fmt.Errorf("%w: %q: want a ULID (26 characters) or a UUID", ErrBadID, s)
}

func nonZero(id TransferID, text string) (TransferID, error) {
	if id.IsZero() {
		return TransferID{}, fmt.Errorf("%w: %q is zero", ErrBadID, text)
	}
	return id, nil
}
