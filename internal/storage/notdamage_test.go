package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// backwards is a run whose keys descend: a bug of ours.
type backwards struct{}

func (backwards) Len() int { return 2 }

func (backwards) At(i int, b []byte) (key, value []byte) { return append(b, byte('b'-i)), nil }

// mustBePlain wants an error that says no word of damage: nobody must replace a server for it.
func mustBePlain(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "/t") || !strings.Contains(err.Error(), "this server must stop") {
		t.Errorf("%s: %v", what, err)
	}
}

// TestBugsAreNotDamage lets this program do wrong, and pebble find a bug of its own: neither is a reason to replace a
// server. What a file holds, or that it is missing, is.
func TestBugsAreNotDamage(t *testing.T) {
	dir := t.TempDir() + "/t"
	table, err := OpenPebble(vfs.Default, dir, PebbleOptions{})
	must(t, err)
	_, err = OpenPebble(vfs.Default, dir, PebbleOptions{})
	mustBePlain(t, "opened twice", err)
	mustBePlain(t, "keys out of order", table.Ingest(backwards{}))
	must(t, table.Ingest(oneRun{}))
	p := table.(*pebbleTable)
	mustBePlain(t, "a bug", p.call("test", func() error { return errors.New("an assertion has failed") }))
	if err := p.call("test", func() error { return pebble.ErrCorruption }); !errors.Is(err, ErrDamaged) {
		t.Errorf("corruption: %v", err)
	}
	must(t, table.Close())
	if table, err = OpenPebble(vfs.Default, dir, PebbleOptions{}); err != nil {
		t.Fatal(err)
	}
	must(t, vfs.Default.RemoveAll(dir))
	mustBePlain(t, "no directory for a run", table.Ingest(oneRun{}))
	must(t, table.Close())
}
