package sim

import (
	"fmt"

	"raftbank/internal/planted"
)

// validatePlanted says whether a bug can be planted in this program.
func validatePlanted(name string) error {
	if name == "" {
		return nil
	}
	if !planted.Built {
		return fmt.Errorf("this binary was built without planted bugs: build one with `go build -tags planted ./cmd/raftbank`")
	}
	if _, ok := planted.Named(name); !ok {
		return fmt.Errorf("unknown planted bug %q", name)
	}
	return nil
}

// plant plants the bug that the options name and returns what takes it out again.
func plant(name string) (pull func()) {
	if !planted.Built || name == "" {
		return func() {}
	}
	b, _ := planted.Named(name)
	planted.Plant(b.Bug)
	return func() { planted.Plant(planted.None) }
}
