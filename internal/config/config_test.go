package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"raftbank/internal/shard"
)

// TestParse runs testdata/parse.txt: a configuration in, its effective form or its errors out.
func TestParse(t *testing.T) {
	datadriven.RunTest(t, "testdata/parse.txt", func(t *testing.T, d *datadriven.TestData) string {
		topology, storage, err := Parse([]byte(d.Input), "bank.toml")
		if err != nil {
			return "error:\n" + err.Error() + "\n"
		}
		if d.HasArg("summary") {
			return topology.Map().String() + "\n"
		}
		return Format(topology) + FormatStorage(storage)
	})
}

func TestFormatReadsBack(t *testing.T) {
	want := shard.DefaultTopology()
	want.Clusters[1].Servers[2].Addr = "[fe80::1]:700"
	values := DefaultStorage()
	for i, f := range values.Fields() {
		*f.Value = f.Min + int64(i)
	}
	got, storage, err := Parse([]byte(Format(want)+FormatStorage(values)), "formatted")
	if err != nil || !reflect.DeepEqual(got, want) || storage != values {
		t.Errorf("%+v, %+v, %v", got, storage, err)
	}
	if text := FormatStorage(DefaultStorage()); text != "" {
		t.Errorf("the defaults become %q", text)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bank.toml")
	if err := os.WriteFile(path, []byte("opening_balance = 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _, err := Load(path); err != nil || got.OpeningBalance != 7 || len(got.Clusters) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, storage, err := Load(""); err != nil || !reflect.DeepEqual(got, shard.DefaultTopology()) || storage != DefaultStorage() {
		t.Errorf("%+v, %v", got, err)
	}
	missing := filepath.Join(dir, "missing.toml")
	large := filepath.Join(dir, "large.toml")
	if err := os.WriteFile(large, make([]byte, maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		missing: "cannot read the configuration: stat " + missing,
		dir:     "cannot read the configuration: " + dir + " is a directory; want a TOML file",
		large:   "cannot read the configuration: " + large + " has 1048577 bytes, at most 1048576 are read",
	} {
		if _, _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Format(shard.DefaultTopology())))
	f.Add([]byte("opening_balance = 1\n[[cluster]]\nshard = 1\naccounts = \"1-5\"\n[[cluster.server]]\nid = 1\naddr = \"h:1\"\n"))
	f.Add([]byte("cluster = 3"))
	f.Add([]byte("[storage]\nlog_memory_mib = 64\nindex_window = 5000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		topology, storage, err := Parse(data, "fuzz")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "fuzz:") {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		back, kept, err := Parse([]byte(Format(topology)+FormatStorage(storage)), "back")
		if err != nil || !reflect.DeepEqual(back, topology) || kept != storage {
			t.Fatalf("%+v reads back as %+v, %v", topology, back, err)
		}
	})
}
