package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/config"
	"raftbank/internal/shard"
)

// pollEvery is how often Await looks.
const pollEvery = 20 * time.Millisecond

// Bank is the layout of a bank's files in one directory: bank.toml, bank.key, one data directory and one log per server,
// of the default layout on free ports.
type Bank struct {
	Topology *shard.Topology
	Dir      string
	Config   string // path of the configuration
	Ports    []int  // two more free ports
}

// NewBank writes the configuration of a bank into dir. Errors: those of FreeTopology and of the system.
func NewBank(dir string) (*Bank, error) {
	topology, ports, err := FreeTopology()
	if err != nil {
		return nil, err
	}
	b := &Bank{Topology: topology, Dir: dir, Config: filepath.Join(dir, "bank.toml"), Ports: ports}
	return b, os.WriteFile(b.Config, []byte(config.Format(topology)), 0o600)
}

// LogPath is where server n logs.
func (b *Bank) LogPath(n int) string { return filepath.Join(b.Dir, fmt.Sprintf("server-%d.log", n)) }

// DataDir is where server n keeps its data.
func (b *Bank) DataDir(n int) string { return filepath.Join(b.Dir, fmt.Sprint(n)) }

// Log returns everything that server n has printed, or why it cannot be read.
func (b *Bank) Log(n int) string {
	text, err := os.ReadFile(b.LogPath(n))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Complaints lists the servers whose logs have one of these words, which no sound server prints, or one of more.
func (b *Bank) Complaints(more ...string) []string {
	var out []string
	for _, s := range b.Topology.Servers() {
		log := b.Log(int(s.ID))
		for _, bad := range append([]string{"panic:", "DATA RACE", "fatal error:"}, more...) {
			if strings.Contains(log, bad) {
				out = append(out, fmt.Sprintf("the log of server %s has %q", s.ID, bad))
			}
		}
	}
	return out
}

// Look asks every server for its status; one that does not answer soon counts as down.
func Look(c *client.Client) api.Status {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		return api.Status{}
	}
	return s
}

// Await polls until done says so and returns how long that took. done also says what it sees, for the error: it was
// not done within the bound.
func Await(bound time.Duration, what string, done func() (ok bool, sees string)) (time.Duration, error) {
	start := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, sees := done()
		took := time.Since(start)
		if ok {
			return took, nil
		}
		if took > bound {
			return took, fmt.Errorf("gave up after %s: %s; the last look saw: %s", bound, what, sees)
		}
		<-tick.C
	}
}

// LastLines returns the last n lines of a text.
func LastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// ShardOf returns the shard of a server of the default layout.
func ShardOf(n int) shard.ID { return shard.ID((n-1)/3 + 1) }

// ServersOf lists the servers of a shard of the default layout.
func ServersOf(id shard.ID) []int {
	first := int(id-1)*3 + 1
	return []int{first, first + 1, first + 2}
}
