package cli

import (
	"github.com/spf13/pflag"

	"raftbank/internal/config"
	"raftbank/internal/node"
)

// addStorageFlags defines a flag for each value of a server's storage.
func addStorageFlags(f *pflag.FlagSet, s *config.Storage) {
	*s = config.DefaultStorage()
	for _, v := range s.Fields() {
		f.Int64Var(v.Value, v.Flag, *v.Value, v.Meaning)
	}
}

// effectiveStorage takes the values from the flags that were given, and the others from the configuration.
func (a *App) effectiveStorage(f *pflag.FlagSet, given config.Storage) (config.Storage, error) {
	s := a.Storage
	if s == (config.Storage{}) { // the topology did not come from a file
		s = config.DefaultStorage()
	}
	values := given.Fields()
	for i, v := range s.Fields() {
		if f.Changed(v.Flag) {
			*v.Value = *values[i].Value
		}
		if err := v.Check("--" + v.Flag); err != nil {
			return s, usageError("%v", err)
		}
	}
	return s, nil
}

// memoryOf gives a server's storage the form of its node.
func memoryOf(s config.Storage) node.Memory {
	return node.Memory{
		LogBytes: s.LogMemoryMiB << 20, IndexWindow: int(s.IndexWindow), IndexBytes: s.IndexMemoryMiB << 20,
		HistoryBytes: s.HistoryMemoryMiB << 20, SegmentSize: s.LogSegmentMiB << 20,
		CheckpointSize: s.CheckpointMiB << 20, MaxLogSize: s.MaxLogMiB << 20,
	}
}
