package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestAlarmOutlivesACrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d := mustDir(t, mem)
	if text, err := d.Alarm(); err != nil || text != "" {
		t.Fatalf("a new directory has the alarm %q, %v", text, err)
	}
	must(t, d.SetAlarm("lost data: "+strings.Repeat("x", maxBodySize)))
	d, err := OpenDir(mem.CrashClone(vfs.CrashCloneCfg{}), testDir, testIdentity())
	must(t, err)
	if text, err := d.Alarm(); err != nil || !strings.HasPrefix(text, "lost data: x") || len(text) != maxBodySize {
		t.Errorf("after a crash: %d bytes, %v", len(text), err)
	}
}

func TestDamagedAlarmIsNotMissed(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	must(t, d.SetAlarm("lost data"))
	name := d.file(alarmName)
	raw, err := readSmall(mem, name)
	must(t, err)
	raw[len(raw)-6] ^= 1
	must(t, writeAtomic(mem, name, raw))
	if _, err := d.Alarm(); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want %v", err, ErrDamaged)
	}
}
