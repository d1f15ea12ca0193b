package config

import (
	"fmt"
	"strings"
)

// Storage bounds what a server holds in memory and in its log. It is the table [storage] of the file.
type Storage struct {
	LogMemoryMiB     int64 `toml:"log_memory_mib"`
	IndexWindow      int64 `toml:"index_window"`
	IndexMemoryMiB   int64 `toml:"index_memory_mib"`
	HistoryMemoryMiB int64 `toml:"history_memory_mib"`
	LogSegmentMiB    int64 `toml:"log_segment_mib"`
	CheckpointMiB    int64 `toml:"checkpoint_mib"`
	MaxLogMiB        int64 `toml:"max_log_mib"`
}

// StorageField is one value of a Storage.
type StorageField struct {
	Key      string // in the file
	Flag     string // of the command server
	Value    *int64
	Min, Max int64
	Meaning  string
}

// DefaultStorage returns what counts where neither file nor flags say anything.
func DefaultStorage() Storage {
	return Storage{LogMemoryMiB: 32, IndexWindow: 1 << 18, IndexMemoryMiB: 64, HistoryMemoryMiB: 4,
		LogSegmentMiB: 8, CheckpointMiB: 64, MaxLogMiB: 1024}
}

// Fields returns the values of s, which may be changed through them.
func (s *Storage) Fields() []StorageField {
	return []StorageField{
		{"log_memory_mib", "log-memory", &s.LogMemoryMiB, 1, 1 << 16, "keep the newest `MIB` of log entries in memory"},
		{"index_window", "index-window", &s.IndexWindow, 1 << 10, 1 << 26, "keep at least the newest `IDS` of transfers in memory"},
		{"index_memory_mib", "index-memory", &s.IndexMemoryMiB, 1, 1 << 16, "`MIB` of memory for what was read of the id index"},
		{"history_memory_mib", "history-memory", &s.HistoryMemoryMiB, 1, 1 << 16, "`MIB` of memory for what was read of the history"},
		{"log_segment_mib", "log-segment", &s.LogSegmentMiB, 1, 1 << 10, "`MIB` of a file of the log"},
		{"checkpoint_mib", "checkpoint-size", &s.CheckpointMiB, 1, 1 << 20, "`MIB` of log from one checkpoint to the next"},
		{"max_log_mib", "max-log", &s.MaxLogMiB, 1, 1 << 30, "keep up to `MIB` of log for a server that is away"},
	}
}

// problems lists the values out of range, by their keys.
func (s *Storage) problems() (all []error) {
	for _, f := range s.Fields() {
		if err := f.Check(f.Key); err != nil {
			all = append(all, fmt.Errorf("storage: %w", err))
		}
	}
	return all
}

// Check says whether the value is in range; name stands for it in the error.
func (f *StorageField) Check(name string) error {
	if *f.Value < f.Min || *f.Value > f.Max {
		return fmt.Errorf("%s is %d: want %d to %d", name, *f.Value, f.Min, f.Max)
	}
	return nil
}

// FormatStorage returns the table [storage] as TOML, with the values that are not the default; "" if there is none.
func FormatStorage(s Storage) string {
	var b strings.Builder
	usual := DefaultStorage()
	defaults := usual.Fields()
	for i, f := range s.Fields() {
		if *f.Value == *defaults[i].Value {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\n[storage]\n")
		}
		fmt.Fprintf(&b, "%s = %d\n", f.Key, *f.Value)
	}
	return b.String()
}
