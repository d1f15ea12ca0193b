package ledger

// IDTable maps ids to numbers above 0, in one array: what is not there is mostly known after one look, where a Go map
// takes several. It forgets nothing by itself and is never listed, so that no result depends on its order. The zero
// value is not ready: NewIDTable.
type IDTable struct {
	hash  IDHash
	slots []idSlot // open addressing; the length is a power of two
	used  int
}

// idSlot is an id with its number; 0: the slot is free.
type idSlot struct {
	id     TransferID
	hash   uint32 // the low bits
	number int32
}

// minIDSlots is the length of an empty table.
const minIDSlots = 16

// NewIDTable returns an empty table.
func NewIDTable() IDTable {
	return IDTable{hash: NewIDHash(), slots: make([]idSlot, minIDSlots)}
}

// Len returns the number of ids.
func (t *IDTable) Len() int { return t.used }

// find returns where the id is or belongs, and its hash.
func (t *IDTable) find(id *TransferID) (at, hash uint32) {
	hash = uint32(t.hash.Of(id))
	mask := uint32(len(t.slots) - 1)
	for at = hash & mask; ; at = (at + 1) & mask {
		if s := &t.slots[at]; s.number == 0 || s.hash == hash && s.id == *id {
			return at, hash
		}
	}
}

// Get returns the number of an id; 0: it is not there.
func (t *IDTable) Get(id TransferID) int32 {
	if t.used == 0 {
		return 0
	}
	at, _ := t.find(&id)
	return t.slots[at].number
}

// Put gives an id a number above 0, and returns the one that it had; 0: none.
func (t *IDTable) Put(id TransferID, number int32) (before int32) {
	if t.used >= len(t.slots)/2 {
		t.resize(2 * len(t.slots))
	}
	at, hash := t.find(&id)
	s := &t.slots[at]
	before = s.number
	if before == 0 {
		t.used++
	}
	*s = idSlot{id: id, hash: hash, number: number}
	return before
}

// PutNew gives an id a number above 0, unless it has one, and reports whether it did.
func (t *IDTable) PutNew(id TransferID, number int32) bool {
	if t.used >= len(t.slots)/2 {
		t.resize(2 * len(t.slots))
	}
	at, hash := t.find(&id)
	s := &t.slots[at]
	if s.number != 0 {
		return false
	}
	t.used++
	*s = idSlot{id: id, hash: hash, number: number}
	return true
}

// Delete takes an id out, and returns the number that it had; 0: it was not there.
func (t *IDTable) Delete(id TransferID) int32 {
	if t.used == 0 {
		return 0
	}
	at, _ := t.find(&id)
	number := t.slots[at].number
	if number == 0 {
		return 0
	}
	t.used--
	// What follows without a gap moves up, unless it would come before the place where a search for it begins.
	mask := uint32(len(t.slots) - 1)
	for next := (at + 1) & mask; t.slots[next].number != 0; next = (next + 1) & mask {
		if (next-t.slots[next].hash)&mask >= (next-at)&mask {
			t.slots[at] = t.slots[next]
			at = next
		}
	}
	t.slots[at] = idSlot{}
	return number
}

func (t *IDTable) resize(n int) {
	old := t.slots
	t.slots = make([]idSlot, n)
	for i := range old {
		if s := &old[i]; s.number != 0 {
			at, _ := t.find(&s.id)
			t.slots[at] = *s
		}
	}
}

// warm loads the slot at which a search for the id begins.
func (t *IDTable) warm(id *TransferID) uint32 {
	return t.slots[uint32(t.hash.Of(id))&uint32(len(t.slots)-1)].hash
}
