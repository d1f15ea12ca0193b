package cli

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"raftbank/internal/config"
)

// TestStorageFlagsOverrideTheConfiguration wants a flag before the file, and the file before the default.
func TestStorageFlagsOverrideTheConfiguration(t *testing.T) {
	_, file, err := config.Parse([]byte("[storage]\nlog_memory_mib = 7\nhistory_memory_mib = 9\n"), "bank.toml")
	if err != nil {
		t.Fatal(err)
	}
	a := &App{Storage: file}
	parse := func(args ...string) (config.Storage, error) {
		var given config.Storage
		f := pflag.NewFlagSet("server", pflag.ContinueOnError)
		addStorageFlags(f, &given)
		if err := f.Parse(args); err != nil {
			t.Fatal(err)
		}
		return a.effectiveStorage(f, given)
	}
	want := config.DefaultStorage()
	want.LogMemoryMiB, want.HistoryMemoryMiB, want.LogSegmentMiB = 7, 11, 64
	got, err := parse("--history-memory", "11", "--log-segment=64")
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	m := memoryOf(got)
	if m.LogBytes != 7<<20 || m.HistoryBytes != 11<<20 || m.SegmentSize != 64<<20 || m.IndexWindow != 1<<18 ||
		m.IndexBytes != 64<<20 || m.CheckpointSize != 64<<20 || m.MaxLogSize != 1<<30 {
		t.Errorf("memory %+v", m)
	}
	if _, err = parse("--index-window", "5"); err == nil || !strings.Contains(err.Error(), "--index-window is 5: want 1024 to 67108864") {
		t.Errorf("an index window of 5: %v", err)
	}
	a.Storage = config.Storage{}
	if got, err := parse(); err != nil || got != config.DefaultStorage() {
		t.Errorf("without a file: %+v, %v", got, err)
	}
}
