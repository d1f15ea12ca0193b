package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/storage"
	"raftbank/internal/transport"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// tickInterval is the length of the replica's tick.
const tickInterval = 50 * time.Millisecond

// keyFileName is the default key file's name, beside the data directory.
const keyFileName = "bank.key"

// Options of a server.
type Options struct {
	Server   shard.ServerID
	Topology *shard.Topology
	// DataDir is made if it is missing.
	DataDir string
	// KeyFile must exist if it is given. Empty: bank.key beside DataDir, made if it is missing.
	KeyFile string
	// Listen is the interface to listen on, perhaps with a port. Empty: as the topology says.
	Listen string
	// AllowFaults lets clients cut this server's network (AdminFault).
	AllowFaults bool
	// ForceBootstrap forms the group without the servers that do not answer.
	ForceBootstrap bool
	// Replace lets a server with an empty directory wait until its group takes it as a new incarnation (raftbank replace).
	// With any other directory it changes nothing.
	Replace bool
	Logger  *slog.Logger
	// Memory bounds what storage holds in memory.
	Memory Memory
	// Version of the program, for status.
	Version string
	// Ready is called once the port is open, with its address. May be nil.
	Ready func(addr string)
}

// Memory bounds what a server's storage holds in memory, whatever the history's length. Zero fields take the defaults.
type Memory struct {
	LogBytes       int64 // of the newest log entries, for followers that are a little behind. Default 32 MiB
	IndexWindow    int   // newest ids, of which up to twice as many are held, 140 bytes each in all. Default 262,144
	IndexBytes     int64 // of blocks and filters of the id index that were read. Default 64 MiB
	HistoryBytes   int64 // of blocks of history that were read. Default 4 MiB
	SegmentSize    int64 // of a file of the log. Default 8 MiB
	CheckpointSize int64 // bytes of log from one checkpoint to the next. Default 64 MiB
	// MaxLogSize is how many bytes of log are kept on disk for a server that is silent. One that was away for longer
	// fetches a checkpoint. Default 1 GiB.
	MaxLogSize int64
	// SilentAfter is after how long a server counts as silent. Default 30 s.
	SilentAfter time.Duration
}

// poolSegments is what a checkpoint cuts from the log: with as many kept, segments are used again for ever.
func (m *Memory) poolSegments() int {
	every := m.CheckpointSize
	if every == 0 {
		every = storage.DefaultCheckpointBytes
	}
	size := m.SegmentSize
	if size == 0 {
		size = storage.DefaultSegmentBytes
	}
	return int(every/size) + storage.DefaultPoolSegments
}

// node is one running server.
type node struct {
	o       Options
	me      shard.Server
	cluster *shard.Cluster
	keys    *txn.KeyRing
	dir     *storage.Dir
	log     *storage.Log   // nil until opened
	store   *storage.Store // likewise
	intake  *storage.Intake
	net     *transport.Server
	front   *front
}

// Run runs a server until ctx ends or something fails. At the end of ctx it hands over leadership
// (bounded by 2 s) and returns nil. Any other return is an error that tells what to do; the
// process must end then, and nothing that was acknowledged is lost.
func Run(ctx context.Context, o Options) error { return run(ctx, o, vfs.Default) }

func run(ctx context.Context, o Options, fs vfs.FS) error {
	n := &node{o: o}
	defer n.close()
	if err := n.open(fs); err != nil {
		return err
	}
	members, err := n.join(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	alarm, err := n.dir.Alarm()
	if err != nil {
		return err
	}
	if alarm != "" {
		n.o.Logger.Error("the directory keeps an alarm: this server serves nothing", "alarm", alarm)
	}
	r, err := n.newReplica(ctx, members, alarm)
	if err != nil {
		return err
	}
	n.front.open()
	l := &loop{
		machine: r, log: n.log, out: n.net, in: n.front.inbox, logger: n.o.Logger, alone: len(n.cluster.Servers) == 1,
		keepAlarm: n.dir.SetAlarm, background: newBackground(n.newKeeper(), n.log, r),
	}
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		err := l.run(ctx, ticker.C, n.net.StopAccepting)
		if err != errInstall {
			return err
		}
		if r, err = n.install(ctx, l, r); err != nil {
			return err
		}
	}
}

// newReplica restores the applied state of the last checkpoint and puts the replica on it.
func (n *node) newReplica(ctx context.Context, members []uint64, alarm string) (r *replica.Replica, err error) {
	defer func() {
		if v := recover(); v != nil {
			readFailure(v, &err)
		}
	}()
	id := n.dir.Identity()
	state, err := n.store.State(id.Shard)
	if err != nil {
		return nil, err
	}
	n.intake = n.store.NewIntake(storage.IntakeOptions{})
	r, err = replica.New(replica.Options{
		Server: n.o.Server, Shard: n.cluster.Shard, Incarnation: id.Incarnation, Members: members,
		Topology: n.o.Topology, Keys: n.keys, Log: n.log, State: state, Version: n.o.Version,
		Debug:        n.o.Logger.Enabled(ctx, slog.LevelDebug),
		MoreCounters: n.counters,
		Alarm:        alarm,
		Source:       n.store, Intake: n.intake,
		Limits: replica.Limits{SilentTicks: int(n.o.Memory.SilentAfter / tickInterval)},
	})
	if err != nil {
		return nil, err
	}
	if c := n.store.Last(); c.Index > 0 {
		n.o.Logger.Info("checkpoint restored", "index", c.Index, "term", c.Term, "rows", c.Rows)
		r.Checkpointed(c.Index, c.Term)
	}
	return r, nil
}

// newKeeper returns what makes the checkpoints, at other positions of the log than the other replicas.
func (n *node) newKeeper() *storage.Keeper {
	place, places := n.place()
	return storage.NewKeeper(n.store, n.log, storage.KeeperOptions{
		EveryBytes: n.o.Memory.CheckpointSize, MaxLogBytes: n.o.Memory.MaxLogSize,
		Place: place, Places: places,
	})
}

// place returns which of the shard's replicas this is, and how many there are.
func (n *node) place() (place, places int) {
	return slices.IndexFunc(n.cluster.Servers, func(s shard.Server) bool { return s.ID == n.o.Server }), len(n.cluster.Servers)
}

// open takes what a server needs before it can talk: key, directory, port.
func (n *node) open(fs vfs.FS) error {
	var ok bool
	if n.me, n.cluster, ok = n.o.Topology.Server(n.o.Server); !ok {
		return fmt.Errorf("the configuration has no server %s", n.o.Server)
	}
	n.o.Logger = n.o.Logger.With("node", n.o.Server, "shard", n.cluster.Shard)
	listen, err := n.listenAddr()
	if err != nil {
		return err
	}
	keyFile := n.o.KeyFile
	if keyFile == "" {
		keyFile = filepath.Join(filepath.Dir(filepath.Clean(n.o.DataDir)), keyFileName)
	}
	if n.keys, err = storage.KeyFile(fs, keyFile, n.o.KeyFile == "", rand.Reader); err != nil {
		return err
	}
	if n.dir, err = storage.OpenDir(fs, n.o.DataDir, storage.Identity{
		Bank: n.keys.Bank, Shard: n.cluster.Shard, Server: n.o.Server, Incarnation: drawIncarnation(),
	}); err != nil {
		return err
	}
	return n.listen(listen)
}

// listen opens the port and serves it.
func (n *node) listen(addr string) (err error) {
	var servers []shard.Server
	for _, c := range n.o.Topology.Clusters {
		servers = append(servers, c.Servers...)
	}
	n.net, err = transport.Listen(transport.Options{
		Server: n.o.Server, Shard: n.cluster.Shard, Epoch: n.o.Topology.Map().Epoch(), Keys: n.keys,
		Peers: servers, Listen: addr, Logger: n.o.Logger, AllowFaults: n.o.AllowFaults,
	})
	if err != nil {
		return err
	}
	n.front = newFront(n.net, "server "+n.o.Server.String()+" is starting")
	n.net.Serve(n.front)
	if n.o.Ready != nil {
		n.o.Ready(n.net.Addr())
	}
	return nil
}

// listenAddr returns the address to listen on. Whoever reaches the port of a server whose key was
// made without being asked for could not be told from a server of the bank by its operator, so a
// server that others can reach needs a key file given by name.
func (n *node) listenAddr() (string, error) {
	host, port, err := net.SplitHostPort(n.me.Addr)
	if err != nil {
		return "", fmt.Errorf("address of server %s: %w", n.o.Server, err)
	}
	if n.o.Listen != "" {
		host = n.o.Listen
		if h, p, err := net.SplitHostPort(n.o.Listen); err == nil {
			host, port = h, p
		}
	}
	if !isLoopback(host) && n.o.KeyFile == "" {
		return "", noKeyFile(n.o.Server, net.JoinHostPort(host, port))
	}
	return net.JoinHostPort(host, port), nil
}

// isLoopback reports whether only this machine reaches the interface. A name that is not
// "localhost" may mean anything.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// drawIncarnation draws a number for a new directory; 0 means none.
func drawIncarnation() uint32 {
	for {
		var b [4]byte
		rand.Read(b[:])
		if n := binary.LittleEndian.Uint32(b[:]); n != 0 {
			return n
		}
	}
}

// join opens the log and returns the members of the group, once this server may take part in it.
func (n *node) join(ctx context.Context) ([]uint64, error) {
	id := n.dir.Identity()
	self := wire.Probe{Shard: id.Shard, Server: id.Server, Incarnation: id.Incarnation, State: wire.ReplicaEmpty}
	members, initialised := n.dir.Members()
	if n.o.Replace {
		self.State = wire.ReplicaJoining
	}
	if initialised {
		if err := n.openLog(members); err != nil {
			return nil, err
		}
		hs, _, err := n.log.InitialState()
		if err != nil {
			return nil, fmt.Errorf("read the log's initial state: %w", err)
		}
		if self.LastIndex, err = n.log.LastIndex(); err != nil {
			return nil, fmt.Errorf("read the log's last index: %w", err)
		}
		self.State, self.Term = wire.ReplicaInitialised, hs.GetTerm()
	}
	formed, err := n.form(ctx, self, members)
	if err != nil || initialised {
		return members, err
	}
	// Before anything is appended: from now on the directory is known to have been part of a group.
	if err := n.dir.SetMembers(formed); err != nil {
		return nil, err
	}
	if n.o.Replace {
		n.o.Logger.Info("taken into the group as a new incarnation", "incarnation", id.Incarnation)
		return formed, n.openLog(formed)
	}
	n.o.Logger.Info("group formed", "members", memberText(formed))
	if missing := len(n.cluster.Servers) - len(formed); missing > 0 {
		n.o.Logger.Warn("group formed by force: if a server that is not a member holds a log of this shard, "+
			"there are two now, and one of them must be given up", "missing", missing)
	}
	return formed, n.openLog(formed)
}

// openLog opens the applied state of the last checkpoint, and the log from there on.
func (n *node) openLog(members []uint64) (err error) {
	n.front.notReady(fmt.Sprintf("server %s is reading its log", n.o.Server))
	m := n.o.Memory
	place, places := n.place()
	if n.store, err = n.dir.OpenStore(storage.StoreOptions{
		Pebble: storage.PebbleOptions{CacheBytes: m.IndexBytes},
		Window: m.IndexWindow, CacheBytes: m.HistoryBytes, Place: place, Places: places,
	}); err != nil {
		return err
	}
	n.log, err = n.dir.OpenLog(storage.LogOptions{
		SegmentBytes: m.SegmentSize, Voters: members, Start: n.store.Last(), MemoryBytes: m.LogBytes, PoolSegments: m.poolSegments(),
	})
	return err
}

// close ends everything that open started. Errors of closing tell nothing: what counts was synced.
func (n *node) close() {
	if n.front != nil {
		n.front.inbox.close()
	}
	if n.net != nil {
		n.net.Close()
	}
	err := n.closeState()
	if n.dir != nil {
		err = errors.Join(err, n.dir.Close())
	}
	if err != nil {
		n.o.Logger.Warn("close", "err", err)
	}
}

// closeState closes log and applied state.
func (n *node) closeState() error {
	var err error
	if n.intake != nil {
		err = n.intake.Close()
	}
	if n.log != nil {
		err = errors.Join(err, n.log.Close())
	}
	if n.store != nil {
		err = errors.Join(err, n.store.Close())
	}
	n.intake, n.log, n.store = nil, nil, nil
	return err
}
