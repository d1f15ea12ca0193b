package session

// Table holds values under numbers that grow. Finding one takes no hashing, and what is left is kept together:
// it takes the memory of the span from the oldest number to the newest. The zero value of T is nothing. The zero
// Table is empty and its first number is 1.
type Table[T comparable] struct {
	base    uint64 // number of entries[0]; 0: nothing was ever added
	head    int    // entries before it are gone
	entries []T
	live    int
}

// compactAt is the number of dead entries from which a table moves the others to the front.
const compactAt = 256

// Next returns the number that Add gives to the next value.
func (t *Table[T]) Next() uint64 { return max(t.base, 1) + uint64(len(t.entries)) }

// Add adds a value under the next number.
func (t *Table[T]) Add(v T) uint64 {
	n := t.Next()
	t.Put(n, v)
	return n
}

// Put sets the value of a number that is in the table or above all that ever were.
func (t *Table[T]) Put(n uint64, v T) {
	var none T
	if len(t.entries) == 0 {
		t.base = n
	}
	if n < t.base {
		panic("session: a number below the table")
	}
	for t.base+uint64(len(t.entries)) <= n {
		t.entries = append(t.entries, none)
	}
	at := &t.entries[n-t.base]
	if *at == none {
		t.live++
	}
	*at = v
}

// Get returns the value of a number, nothing if there is none.
func (t *Table[T]) Get(n uint64) T {
	var none T
	if n < t.base || n-t.base >= uint64(len(t.entries)) {
		return none
	}
	return t.entries[n-t.base]
}

// Remove takes a number out and reports whether it was there.
func (t *Table[T]) Remove(n uint64) bool {
	var none T
	if t.Get(n) == none {
		return false
	}
	t.entries[n-t.base] = none
	t.live--
	for t.head < len(t.entries) && t.entries[t.head] == none {
		t.head++
	}
	switch {
	case t.head == len(t.entries):
		t.base, t.head, t.entries = t.base+uint64(len(t.entries)), 0, t.entries[:0]
	case t.head >= compactAt && t.head > len(t.entries)/2:
		rest := copy(t.entries, t.entries[t.head:])
		clear(t.entries[rest:])
		t.base, t.head, t.entries = t.base+uint64(t.head), 0, t.entries[:rest]
	}
	return true
}

// Len returns how many values there are.
func (t *Table[T]) Len() int { return t.live }

// All calls f with each number and its value, in ascending order. f may remove numbers, and add some that
// All does not reach.
func (t *Table[T]) All(f func(n uint64, v T)) {
	var none T
	for n, end := t.base+uint64(t.head), t.base+uint64(len(t.entries)); n < end; n++ {
		if v := t.Get(n); v != none {
			f(n, v)
		}
	}
}
