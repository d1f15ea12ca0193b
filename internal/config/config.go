package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"raftbank/internal/shard"
)

// maxFileBytes bounds a configuration file: 1,024 clusters of 5 servers need less than a third.
const maxFileBytes = 1 << 20

// file is the TOML form of a topology.
type file struct {
	OpeningBalance *uint64       `toml:"opening_balance"`
	Clusters       []fileCluster `toml:"cluster"`
	Storage        Storage       `toml:"storage"`
}

type fileCluster struct {
	Shard    uint32       `toml:"shard"`
	Accounts string       `toml:"accounts"`
	Servers  []fileServer `toml:"server"`
}

type fileServer struct {
	ID   uint32 `toml:"id"`
	Addr string `toml:"addr"`
}

// Load reads and validates the file at path; "" stands for the compiled-in bank.
func Load(path string) (*shard.Topology, Storage, error) {
	if path == "" {
		return shard.DefaultTopology(), DefaultStorage(), nil
	}
	data, err := read(path)
	if err != nil {
		return nil, Storage{}, err
	}
	return Parse(data, path)
}

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("cannot read the configuration: %s is a directory; want a TOML file", path)
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("cannot read the configuration: %s has %d bytes, at most %d are read", path, info.Size(), maxFileBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return data, nil
}

// Parse reads and validates a configuration; name stands for it in errors. Every problem is
// reported, one line each, beginning with the name.
func Parse(data []byte, name string) (*shard.Topology, Storage, error) {
	if len(data) > maxFileBytes {
		return nil, Storage{}, fmt.Errorf("%s: %d bytes, at most %d are read", name, len(data), maxFileBytes)
	}
	f := file{Storage: DefaultStorage()}
	dec := toml.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, Storage{}, syntaxError(err, name)
	}
	t, problems := f.topology()
	if len(problems) == 0 {
		problems = lines(t.Validate())
	}
	problems = append(problems, f.Storage.problems()...)
	if len(problems) > 0 {
		for i := range problems {
			problems[i] = fmt.Errorf("%s: %w", name, problems[i])
		}
		return nil, Storage{}, errors.Join(problems...)
	}
	return t, f.Storage, nil
}

// topology converts, takes what is left out from the default, and sorts.
func (f *file) topology() (*shard.Topology, []error) {
	t := shard.DefaultTopology()
	if f.OpeningBalance != nil {
		t.OpeningBalance = *f.OpeningBalance
	}
	if f.Clusters == nil {
		return t, nil
	}
	t.Clusters = nil
	var problems []error
	for i, c := range f.Clusters {
		r, err := parseRange(c.Accounts)
		if err != nil {
			problems = append(problems, fmt.Errorf("cluster %d (shard %d): %w", i+1, c.Shard, err))
		}
		cluster := shard.Cluster{Shard: shard.ID(c.Shard), Range: r}
		for _, s := range c.Servers {
			cluster.Servers = append(cluster.Servers, shard.Server{ID: shard.ServerID(s.ID), Addr: s.Addr})
		}
		slices.SortStableFunc(cluster.Servers, func(a, b shard.Server) int { return int(a.ID) - int(b.ID) })
		t.Clusters = append(t.Clusters, cluster)
	}
	slices.SortStableFunc(t.Clusters, func(a, b shard.Cluster) int { return int(a.Shard) - int(b.Shard) })
	return t, problems
}

// parseRange reads "FIRST-LAST".
func parseRange(s string) (shard.Range, error) {
	first, last, ok := strings.Cut(s, "-")
	a, errA := strconv.ParseUint(strings.TrimSpace(first), 10, 64)
	b, errB := strconv.ParseUint(strings.TrimSpace(last), 10, 64)
	if !ok || errA != nil || errB != nil {
		return shard.Range{}, fmt.Errorf("accounts = %q: want \"FIRST-LAST\", for example \"1-1000\"", s)
	}
	return shard.Range{First: shard.Account(a), Last: shard.Account(b)}, nil
}

// syntaxError gives the reader's errors the form name:line: what.
func syntaxError(err error, name string) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) {
		var all []error
		for i := range missing.Errors {
			line, _ := missing.Errors[i].Position()
			all = append(all, fmt.Errorf("%s:%d: unknown key %q", name, line, strings.Join(missing.Errors[i].Key(), ".")))
		}
		return errors.Join(all...)
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, _ := decode.Position()
		key, text := strings.Join(decode.Key(), "."), strings.TrimPrefix(decode.Error(), "toml: ")
		// The reader speaks of Go types here.
		mistyped := strings.Contains(text, "cannot decode") || strings.Contains(text, "cannot be stored")
		switch want := wanted[key]; {
		case want != "" && mistyped:
			return fmt.Errorf("%s:%d: %s: want %s", name, line, key, want)
		case mistyped && strings.HasPrefix(key, "storage."):
			return fmt.Errorf("%s:%d: %s: want a whole number", name, line, key)
		case key != "":
			return fmt.Errorf("%s:%d: %s: %s", name, line, key, text)
		}
		return fmt.Errorf("%s:%d: %s", name, line, text)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// wanted says what a key's value must look like.
var wanted = map[string]string{
	"opening_balance":     "a whole number of minor units, 0 or more",
	"storage":             "a table [storage]",
	"cluster":             "[[cluster]] tables",
	"cluster.shard":       "a number from 1 to 4294967295",
	"cluster.accounts":    `text of the form "FIRST-LAST", for example "1-1000"`,
	"cluster.server":      "[[cluster.server]] tables",
	"cluster.server.id":   "a number from 1 to 4294967295",
	"cluster.server.addr": `text of the form "host:port", for example "127.0.0.1:9001"`,
}

// lines takes a joined error apart.
func lines(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return slices.Clone(joined.Unwrap())
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// Format returns the topology as TOML that Parse reads back.
func Format(t *shard.Topology) string {
	var b strings.Builder
	fmt.Fprintf(&b, "opening_balance = %d\n", t.OpeningBalance)
	for _, c := range t.Clusters {
		fmt.Fprintf(&b, "\n[[cluster]]\nshard = %d\naccounts = \"%s\"\n", c.Shard, c.Range)
		for _, s := range c.Servers {
			fmt.Fprintf(&b, "  [[cluster.server]]\n  id = %d\n  addr = %q\n", s.ID, s.Addr)
		}
	}
	return b.String()
}
