package tidy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Names of the rules.
const (
	ruleTable      = "table"      // the package is not in the table below
	ruleDependency = "dependency" // an arrow that points outward
	rulePurity     = "purity"     // a pure package reaches for the world
	ruleMapOrder   = "map-order"  // a pure package walks a map, and does not say why order cannot show
	ruleDoc        = "doc"        // no doc.go, no package comment, no docstring
	ruleUnfinished = "unfinished" // a note of work to do
	ruleSleep      = "sleep"      // a test that sleeps
	ruleName       = "name"       // a package name that says nothing
	ruleSize       = "size"       // a file that nobody reads in one sitting
	ruleLink       = "link"       // a document that points to nothing
	ruleCommand    = "command"    // a command, flag or field that docs/CLI.md does not name
)

// layer says what a package may import.
type layer struct {
	// Pure packages do no I/O, read no clock, draw no randomness, start no goroutine and take no lock.
	Pure bool
	// Ordered packages may do I/O, but walk no map where the order could show, as pure ones.
	Ordered bool
	// Own lists the packages of this module that it may import, as directories.
	Own []string
	// Outside lists prefixes of third-party imports. Only pure packages are held to it.
	Outside []string
	// Allow lists imports that a pure package may have all the same.
	Allow []string
}

// layers is the picture of docs/ARCHITECTURE.md: arrows point inward only. Tests are free.
var layers = map[string]layer{
	"internal/invariant": {Pure: true, Allow: []string{"sync/atomic"}}, // the register of reached lines
	"internal/planted":   {Pure: true},                                 // the bug of a process is state, in builds with the tag alone
	"internal/api":       {Pure: true},
	"internal/shard":     {Pure: true, Own: own("invariant")},
	"internal/ledger": {Pure: true, Own: own("invariant", "planted", "shard"), Outside: []string{"github.com/oklog/ulid/"},
		// The seed keeps clients from choosing ids that collide; no result depends on it.
		Allow: []string{"hash/maphash"}},
	"internal/txn":  {Pure: true, Own: own("invariant", "planted", "shard", "ledger")},
	"internal/wire": {Pure: true, Own: own("invariant", "planted", "shard", "ledger", "txn")},
	"internal/replica": {Pure: true, Own: own("invariant", "planted", "shard", "ledger", "txn", "wire", "api"),
		Outside: []string{"go.etcd.io/raft/v3", "google.golang.org/protobuf/proto"}},
	"internal/session": {Pure: true, Own: own("invariant", "planted", "shard", "ledger", "txn", "wire")},

	// The search is Porcupine's: it starts goroutines and looks at the time, its verdict does not depend on either.
	"internal/linear": {Pure: true, Own: own("shard", "ledger"), Outside: []string{"github.com/anishathalye/porcupine"}},

	// A bank in memory, for the tests of clients.
	"internal/session/sessiontest": {Pure: true, Own: own("shard", "ledger", "txn", "wire", "api")},

	"internal/config":    {Own: own("shard")},
	"internal/storage":   {Own: own("invariant", "planted", "shard", "ledger", "txn", "wire")},
	"internal/transport": {Own: own("invariant", "shard", "txn", "wire")},
	"internal/node":      {Own: own("invariant", "shard", "txn", "wire", "api", "replica", "storage", "transport")},
	"client":             {Own: own("invariant", "shard", "ledger", "txn", "wire", "api", "session", "transport")},
	// The simulator runs what the server runs, on a disk and a network of its own.
	"internal/sim": {Ordered: true, Own: own("invariant", "planted", "shard", "ledger", "txn", "wire", "api", "replica", "session", "storage")},
	// Load and its measurement, through the public client.
	"internal/bench": {Own: append(own("shard", "ledger", "api"), "client")},
	"internal/cli": {Own: append(own("invariant", "planted", "shard", "ledger", "txn", "api", "config", "linear", "node", "sim", "bench", "transport", "wire", "freeport"),
		"client", "examples")},
	"cmd/raftbank":      {Own: own("cli")},
	"examples":          {},
	"examples/gen":      {Own: own("shard", "ledger", "config", "cli")},
	"internal/tidy":     {},
	"internal/freeport": {},
	// The end-to-end test drives real processes from outside.
	"test/e2e": {Own: append(own("shard", "ledger", "api", "config"), "client", "test/process")},
	// So does the chaos test.
	"test/chaos":   {Own: append(own("shard", "ledger", "api", "config", "linear", "planted"), "client", "test/process")},
	"test/process": {Own: append(own("shard", "api", "config", "freeport"), "client")},
}

func own(names ...string) []string {
	dirs := make([]string, len(names))
	for i, n := range names {
		dirs[i] = "internal/" + n
	}
	return dirs
}

// impure lists what a pure package must not import. An entry stands for everything below it too.
var impure = []string{
	"time", "os", "net", "sync", "context", "log", "math/rand", "crypto/rand", "hash/maphash",
	"syscall", "unsafe", "runtime", "embed",
}

// emptyNames are package names that say nothing about what is inside.
var emptyNames = []string{"util", "utils", "common", "manager", "helper", "helpers", "misc", "base"}

// Check returns what every rule finds in a tree, but for MapOrder and the documents.
func Check(t *Tree) []Problem {
	var ps []Problem
	for _, p := range t.Packages {
		ps = append(ps, dependencies(t, p)...)
		ps = append(ps, purity(t, p)...)
		ps = append(ps, docs(t, p)...)
		ps = append(ps, words(t, p)...)
	}
	return append(ps, longFiles(t)...)
}

// dependencies checks the arrows between packages.
func dependencies(t *Tree, p *Package) []Problem {
	l, ok := layers[p.Dir]
	if !ok {
		return []Problem{{File: p.Dir, Rule: ruleTable, Text: "is not in the table of packages in internal/tidy/rules.go: say there what it may import"}}
	}
	var ps []Problem
	for _, f := range p.source() {
		for _, spec := range f.AST.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			dir, inside := strings.CutPrefix(name, t.Module+"/")
			switch {
			case inside && !slices.Contains(l.Own, dir):
				ps = append(ps, t.at(spec.Pos(), ruleDependency, "%s must not import %s (arrows point inward: docs/ARCHITECTURE.md)", p.Dir, dir))
			case !inside && l.Pure && isThirdParty(name) && !hasPrefix(name, l.Outside):
				ps = append(ps, t.at(spec.Pos(), ruleDependency, "%s is pure and must not import %s", p.Dir, name))
			}
		}
	}
	return ps
}

func isThirdParty(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return strings.Contains(first, ".")
}

func hasPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// under reports whether an import is one of the list or below one of it.
func under(name string, list []string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return name == s || strings.HasPrefix(name, s+"/") })
}

// OrderedDirs lists the packages of a tree whose walks over maps must not show: the pure ones, and those
// that are only ordered.
func OrderedDirs(t *Tree) []string {
	var dirs []string
	for _, dir := range slices.Sorted(maps.Keys(layers)) {
		if l := layers[dir]; (l.Pure || l.Ordered) && t.Package(dir) != nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
