package storage

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/txn"
)

func testRing() *txn.KeyRing {
	return &txn.KeyRing{Bank: testBank, Keys: []txn.Key{{ID: 2, Secret: [32]byte{1, 2, 3}}, {ID: 1, Secret: [32]byte{4, 5, 6}}}}
}

func source(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func TestKeyFileRace(t *testing.T) {
	path := vfs.Default.PathJoin(t.TempDir(), "data", "bank.key")
	rings := make([]*txn.KeyRing, 9)
	errs := make([]error, len(rings))
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() { rings[i], errs[i] = KeyFile(vfs.Default, path, true, source(byte(i))) })
	}
	wg.Wait()
	for i := range rings {
		must(t, errs[i])
		if !reflect.DeepEqual(rings[i], rings[0]) {
			t.Fatal("two servers hold different keys")
		}
	}
	names, err := vfs.Default.List(vfs.Default.PathDir(path))
	if err != nil || len(names) != 1 {
		t.Fatalf("left behind: %v, %v", names, err)
	}
	if info, err := os.Stat(path); err != nil || (runtime.GOOS == "linux" && info.Mode().Perm() != 0o600) {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}

func TestKeyFileSurvivesCrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	ring, err := KeyFile(mem, "/bank/bank.key", true, source(1))
	must(t, err)
	again, err := KeyFile(mem.CrashClone(vfs.CrashCloneCfg{}), "/bank/bank.key", false, nil)
	must(t, err)
	if !reflect.DeepEqual(ring, again) {
		t.Fatal("another key after a crash")
	}
}

func TestKeyFileErrors(t *testing.T) {
	good := string(encodeKeyFile(testRing()))
	for _, c := range []struct {
		name, content string
		kind          error
		text          string
	}{
		{"newer", "format = 2\nnew = 1\n", ErrNewerFormat, "key file /bank.key has format 2, but this raftbank reads format 1: start the newer raftbank that wrote it"},
		{"empty", "", ErrKeyFile, "key file /bank.key is garbled (it names no format): restore it from another server of this bank"},
		{"no keys", good[:strings.Index(good, "[[key]]")], ErrKeyFile, "key file /bank.key holds 0 keys; it must hold 1 to 16: restore it from another server of this bank"},
		{"other secret", strings.Replace(good, "010203", "010204", 2), ErrKeyFile, "key file /bank.key is garbled (check does not match bank and keys): restore it from another server of this bank"},
		{"short secret", strings.Replace(good, `secret = "0102`, `secret = "01`, 1), ErrKeyFile, "key file /bank.key is garbled (key 2: secret is not 64 hexadecimal digits): restore it from another server of this bank"},
		{"twice", good + good[strings.LastIndex(good, "[[key]]"):], ErrKeyFile, "key file /bank.key is garbled (key 1: stands there twice): restore it from another server of this bank"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewMem()
			overwrite(t, mem, "/bank.key", []byte(c.content))
			_, err := KeyFile(mem, "/bank.key", true, source(1))
			if !errors.Is(err, c.kind) || err.Error() != c.text {
				t.Fatalf("got  %v\nwant %s", err, c.text)
			}
		})
	}
	_, err := KeyFile(vfs.NewMem(), "/bank.key", false, nil)
	if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), "key file /bank.key does not exist: copy") {
		t.Fatalf("missing: %v", err)
	}
}

func TestKeyFileOpenToOthers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("file modes are a matter of unix")
	}
	path := vfs.Default.PathJoin(t.TempDir(), "bank.key")
	must(t, os.WriteFile(path, encodeKeyFile(testRing()), 0o600))
	must(t, os.Chmod(path, 0o644))
	_, err := KeyFile(vfs.Default, path, false, nil)
	if want := "key file " + path + " is open to other users (mode 0644): run: chmod 600 " + path; err == nil || err.Error() != want {
		t.Fatalf("got %v", err)
	}
	must(t, os.Chmod(path, 0o600))
	ring, err := KeyFile(vfs.Default, path, false, nil)
	must(t, err)
	if !reflect.DeepEqual(ring, testRing()) {
		t.Fatalf("%+v", ring)
	}
}

// TestKeyFileBitFlips flips every bit behind the comment: the same keys or a refusal.
func TestKeyFileBitFlips(t *testing.T) {
	good := encodeKeyFile(testRing())
	for i := bytes.Index(good, []byte("format")); i < len(good); i++ {
		for bit := range 8 {
			good[i] ^= 1 << bit
			if ring, err := decodeKeyFile("bank.key", good); err == nil && !reflect.DeepEqual(ring, testRing()) {
				t.Fatalf("byte %d bit %d: other keys", i, bit)
			}
			good[i] ^= 1 << bit
		}
	}
}
