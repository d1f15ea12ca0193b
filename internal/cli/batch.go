package cli

import (
	"crypto/sha256"
	"strconv"

	"github.com/oklog/ulid/v2"

	"raftbank/client"
	"raftbank/internal/ledger"
)

// batch names one run of a file of transfers. It gives every line its id, so that running the same
// file again under the same name applies nothing twice. A changed file is another batch: its lines
// would meet the ids of other transfers.
type batch struct {
	name string
	time []byte // the six bytes of a ULID's time; nil if the name is no ULID
}

// newBatch returns the batch of a name; "" draws one, a ULID.
func newBatch(name string) batch {
	if name == "" {
		name = client.NewID().String()
	}
	if u, err := ulid.ParseStrict(name); err == nil {
		return batch{name: u.String(), time: u[:6]}
	}
	return batch{name: name}
}

// id returns the id of a line: SHA-256 of the batch name and the line's number, cut to 128 bits. In
// a batch that is named by a ULID the first 48 bits are the ULID's time, so that the ids of batches
// are ordered by time as the ledger likes them.
func (b batch) id(line int) ledger.TransferID {
	sum := sha256.Sum256([]byte("raftbank file-transfer 1\x00" + b.name + "\x00" + strconv.Itoa(line)))
	id := ledger.TransferID(sum[:16])
	copy(id[:6], b.time)
	return id
}
