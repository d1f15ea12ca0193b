package storage

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func TestOpenDirKeepsIncarnation(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d := mustDir(t, mem)
	if d.Identity() != testIdentity() {
		t.Fatalf("identity %+v", d.Identity())
	}
	if _, ok := d.Members(); ok {
		t.Fatal("a new directory has members")
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	want := testIdentity()
	want.Incarnation = 99
	d, err := OpenDir(crashed, testDir, want)
	must(t, err)
	if d.Identity().Incarnation != 77 {
		t.Fatalf("incarnation %d after a crash", d.Identity().Incarnation)
	}
}

func TestIdentityErrors(t *testing.T) {
	other := testIdentity()
	other.Server = 3
	cluster := testIdentity()
	cluster.Shard = 2
	bank := testIdentity()
	bank.Bank[0] = 0xcc
	for _, c := range []struct {
		name string
		want Identity
		kind error
		text string
	}{
		{"server", other, ErrForeignDir, "data directory /data/2 belongs to server 2 of C1, not to server 3 of C1: start that server on it, or name another directory with --data-dir"},
		{"shard", cluster, ErrForeignDir, "data directory /data/2 belongs to server 2 of C1, not to server 2 of C2: start that server on it, or name another directory with --data-dir"},
		{"bank", bank, ErrForeignDir, "data directory /data/2 belongs to bank aa0102030405060708090a0b0c0d0ebb, but the key file is of bank cc0102030405060708090a0b0c0d0ebb: name that bank's key file with --key-file, or another directory with --data-dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewMem()
			must(t, mustDir(t, mem).Close())
			_, err := OpenDir(mem, testDir, c.want)
			if !errors.Is(err, c.kind) || err.Error() != c.text {
				t.Fatalf("got  %v\nwant %s", err, c.text)
			}
			must(t, mustDir(t, mem).Close()) // the lock was released
		})
	}
}

func TestNewerFormat(t *testing.T) {
	mem := vfs.NewMem()
	must(t, mustDir(t, mem).Close())
	name := testDir + "/" + identityName
	raw := readAll(t, mem, name)
	raw[8] = 2
	overwrite(t, mem, name, raw)
	_, err := OpenDir(mem, testDir, testIdentity())
	want := "/data/2/IDENTITY has format 2, but this raftbank reads format 1: start the newer raftbank that wrote it"
	if !errors.Is(err, ErrNewerFormat) || err.Error() != want {
		t.Fatalf("got %v", err)
	}
}

func TestLock(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			path := fsys.PathJoin(t.TempDir(), "a", "b")
			d, err := OpenDir(fsys, path, testIdentity())
			must(t, err)
			_, err = OpenDir(fsys, path, testIdentity())
			if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "is in use by another process") {
				t.Fatalf("second open: %v", err)
			}
			must(t, d.Close())
			d, err = OpenDir(fsys, path, testIdentity())
			must(t, err)
			must(t, d.Close())
			must(t, d.Close())
		})
	}
}

func TestMembers(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d := mustDir(t, mem)
	ids := []uint64{1<<32 | 5, 2<<32 | 77, 3<<32 | 9}
	if err := d.SetMembers(nil); err == nil {
		t.Fatal("no members are members")
	}
	must(t, d.SetMembers(ids))
	must(t, d.SetMembers(ids))
	if err := d.SetMembers(ids[:2]); !errors.Is(err, ErrMembersSet) {
		t.Fatalf("other members: %v", err)
	}
	d = mustDir(t, mem.CrashClone(vfs.CrashCloneCfg{}))
	got, ok := d.Members()
	if !ok || !slices.Equal(got, ids) {
		t.Fatalf("members %v %v after a crash", got, ok)
	}
}

// TestMembersFileLostThoughLogIsThere: without its members a directory would pass for a new one, and a new group could form.
func TestMembersFileLostThoughLogIsThere(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	must(t, mustLog(t, d, 4096).Close())
	must(t, d.Close())
	must(t, mem.Remove(testDir+"/"+membersName))
	if _, err := OpenDir(mem, testDir, testIdentity()); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), membersName) {
		t.Fatalf("got %v", err)
	}
}

// TestLogNeedsMembers: no log is made before the founding members are on disk.
func TestLogNeedsMembers(t *testing.T) {
	if _, err := mustDir(t, vfs.NewMem()).OpenLog(LogOptions{}); err == nil || !strings.Contains(err.Error(), "SetMembers") {
		t.Fatalf("got %v", err)
	}
}

// TestFoundingCrash crashes before every operation of the first start, with nothing, some or all of the
// unsynced data kept. The directory must open, with the identity once OpenDir has returned.
func TestFoundingCrash(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		mem := vfs.NewCrashableMem()
		founded, withMembers := false, false
		crashes := 0
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(errorfs.Op) error {
			crashes++
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: testRNG(crashes)})
			want := testIdentity()
			want.Incarnation = 99
			d, err := OpenDir(clone, testDir, want)
			must(t, err)
			if founded && d.Identity().Incarnation != 77 {
				t.Fatalf("incarnation %d after it was founded", d.Identity().Incarnation)
			}
			if _, ok := d.Members(); withMembers && !ok {
				t.Fatal("members lost")
			}
			must(t, mustLog(t, d, 4096).Close())
			return nil
		}))
		d := mustDir(t, fsys)
		founded = true
		must(t, d.SetMembers([]uint64{7}))
		withMembers = true
		must(t, mustLog(t, d, 4096).Close())
		if crashes < 20 {
			t.Fatalf("%d crash points only", crashes)
		}
	}
}

// TestIdentityDamage flips every bit of the identity and members files and cuts them at every byte.
func TestIdentityDamage(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	must(t, d.SetMembers([]uint64{1, 2, 3}))
	must(t, d.Close())
	for _, file := range []string{identityName, membersName} {
		name := testDir + "/" + file
		good := readAll(t, mem, name)
		check := func(what string, at int, bad []byte) {
			overwrite(t, mem, name, bad)
			d, err := OpenDir(mem, testDir, testIdentity())
			if err == nil {
				t.Fatalf("%s: %s at %d: opened as %+v", file, what, at, d.Identity())
			}
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat) {
				t.Fatalf("%s: %s at %d: %v", file, what, at, err)
			}
		}
		for i := range good {
			check("cut", i, good[:i])
			for bit := range 8 {
				bad := slices.Clone(good)
				bad[i] ^= 1 << bit
				check("flip", i, bad)
			}
		}
		overwrite(t, mem, name, good)
	}
}

func TestIdentityMissingThoughLogIsThere(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	must(t, mustLog(t, d, 4096).Close())
	must(t, d.Close())
	must(t, mem.Remove(testDir+"/"+identityName))
	_, err := OpenDir(mem, testDir, testIdentity())
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "IDENTITY is damaged: it is missing, though MEMBERS is there") {
		t.Fatalf("got %v", err)
	}
}
