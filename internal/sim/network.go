package sim

import (
	"bufio"
	"bytes"
	"maps"
	"slices"

	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// network carries messages. Between servers every message may be lost, doubled, delayed, overtaken
// or corrupted by itself. A client's connection is a stream, as TCP has it: in order, or broken.
type network struct {
	w   *world
	rng random
	// cut holds directed pairs of ends that do not hear each other. Servers have their id, clients
	// minus their number.
	cut map[[2]int]bool
	// mute holds, likewise, servers that hear nothing of raft from each other, and the rest.
	mute map[[2]int]bool
	// clogged ends are slow.
	clogged map[int]bool
	conns   map[uint64]*conn
	next    uint64
	healed  bool
	// reader reads bytes, one frame after the other.
	reader   *bufio.Reader
	bytes    bytes.Reader
	sent     int // bytes that servers have sent each other since sentFrom
	sentFrom int64
}

// stormBytes ends a run: servers that send so much in stormUs answer each other without end, and not only the run would never be over.
const (
	stormBytes = 1 << 30
	stormUs    = defaultMs * millisecond
)

// conn is one connection of a client to a server. Its two ends learn of its end by themselves.
type conn struct {
	id               uint64
	client           *clientProc
	clientGeneration uint64
	server           *server
	serverGeneration uint64
	clientOpen       bool
	serverOpen       bool
	toServer         int64 // when the last message that was sent arrives
	toClient         int64
}

func newNetwork(w *world) *network {
	return &network{
		w: w, rng: newRandom(w.o.Seed, "network"), cut: map[[2]int]bool{}, mute: map[[2]int]bool{}, clogged: map[int]bool{}, conns: map[uint64]*conn{},
		reader: bufio.NewReaderSize(nil, 4096),
	}
}

// delay draws how long a message is on its way.
func (n *network) delay(from, to int) int64 {
	p := &n.w.plan
	d := n.rng.between(p.delayMinUs, p.delayMaxUs)
	if n.chance(p.slow) {
		n.w.struck(faultDelay)
		d = n.w.healedBy(n.w.now+d+n.rng.between(0, pick(n.rng, []int64{500, 500, 3000})*millisecond)) - n.w.now
	}
	if n.clogged[from] || n.clogged[to] {
		d += n.rng.between(20*millisecond, 400*millisecond)
	}
	return d
}

func (n *network) chance(p float64) bool { return !n.healed && n.rng.chance(p) }

// splitBytes is the size up to which raft messages share a frame, as in package transport.
const splitBytes = wire.MaxFrameBytes / 2

// encoded returns a message's frame, in memory that most frames fit in.
func encoded(m wire.Message) []byte { return wire.Append(make([]byte, 0, 192), m) }

// peer sends a message from one server to another.
func (n *network) peer(from, to shard.ServerID, m wire.Message) {
	if p, ok := m.(*wire.SnapshotPart); ok && len(p.Data) > 0 {
		n.partSent(n.w.server(from), n.w.server(to))
		m = n.partDamaged(p)
	}
	r, ok := m.(*wire.Raft)
	if !ok {
		n.frame(from, to, encoded(m))
		return
	}
	if n.mute[[2]int{int(from), int(to)}] {
		return
	}
	for i := 0; i < len(r.Messages); {
		j, size := i+1, r.Size(i)
		for j < len(r.Messages) && size+r.Size(j) <= splitBytes {
			size += r.Size(j)
			j++
		}
		n.frame(from, to, encoded(r.Part(i, j)))
		i = j
	}
}

// frame sends one frame from one server to another.
func (n *network) frame(from, to shard.ServerID, frame []byte) {
	if n.cut[[2]int{int(from), int(to)}] {
		return
	}
	n.storms(len(frame))
	if n.chance(n.w.plan.loss) && !n.shielded(to) {
		n.w.struck(faultLoss)
		return
	}
	copies := 1
	if n.chance(n.w.plan.duplicate) {
		n.w.struck(faultDuplicate)
		copies = 2 + n.rng.IntN(2)
	}
	for range copies {
		sent := frame
		if n.chance(n.w.plan.corrupt) {
			sent = n.corrupted(frame)
		}
		n.w.after(n.delay(int(from), int(to)), func() {
			if n.cut[[2]int{int(from), int(to)}] {
				return
			}
			if m := n.received(sent, &frame[0] != &sent[0]); m != nil {
				n.w.note('p', uint64(from), uint64(to), sent)
				n.w.server(to).receive(input{peer: from, message: m})
			}
		})
	}
}

// storms ends the run if servers have sent too much, these bytes counted in. That is a failure whatever is promised, for the run ends
// without its last checks. A long run is counted in parts; what comes after the faults belongs to the last.
func (n *network) storms(bytes int) {
	if n.w.now >= n.sentFrom+stormUs && !n.w.calm {
		n.sent, n.sentFrom = 0, n.w.now
	}
	if n.sent += bytes; n.sent > stormBytes {
		n.w.violated(CheckProgress, "the servers have sent each other more than %d bytes since %d ms", stormBytes, n.sentFrom/millisecond)
		n.w.stopped = true
	}
}

// shielded says whether a server belongs to a shard that is left alone at present.
func (n *network) shielded(id shard.ServerID) bool {
	m := n.w.nemesis
	return n.w.now < m.shieldUntil && n.w.server(id).shard == m.shielded
}

// corrupted returns a copy with one wrong byte.
func (n *network) corrupted(frame []byte) []byte {
	n.w.struck(faultCorrupt)
	bad := bytes.Clone(frame)
	bad[n.rng.IntN(len(bad))] ^= byte(1 + n.rng.IntN(255))
	return bad
}

// received decodes a frame; nil if it is dropped.
func (n *network) received(frame []byte, damaged bool) wire.Message {
	n.bytes.Reset(frame)
	n.reader.Reset(&n.bytes)
	m, err := wire.ReadFrame(n.reader)
	switch {
	case err == nil && damaged:
		n.w.fail(CheckFrames, "a frame with a wrong byte was read as %s", m.Type())
	case err != nil && !damaged:
		n.w.fail(CheckFrames, "a whole frame cannot be read: %v", err)
	case err == nil:
		return m
	}
	return nil
}

// dial opens a connection for a client.
func (n *network) dial(c *clientProc, to shard.ServerID) {
	generation, s := c.generation, n.w.server(to)
	tell := func(us int64, f func()) {
		n.w.after(us, func() {
			if c.alive(generation) {
				f()
			}
		})
	}
	rtt := n.delay(-c.id, int(to)) + n.delay(int(to), -c.id)
	switch {
	case n.cut[[2]int{-c.id, int(to)}] || n.cut[[2]int{int(to), -c.id}] || s.paused:
		tell(second, func() { c.down(to, nil, "timed out") })
	case !s.up:
		tell(rtt, func() { c.down(to, nil, "connection refused") })
	default:
		n.next++
		k := &conn{
			id: n.next, client: c, clientGeneration: generation, server: s, serverGeneration: s.generation,
			clientOpen: true, serverOpen: true,
		}
		n.conns[k.id] = k
		tell(rtt, func() {
			if !k.serverOpen || s.generation != k.serverGeneration || !s.up {
				c.down(to, nil, "connection reset")
				return
			}
			c.connected(to, k)
		})
	}
}

// request sends a client's message to its server.
func (n *network) request(k *conn, m wire.Message) {
	if !k.clientOpen {
		return
	}
	from, to := -k.client.id, int(k.server.id)
	frame := encoded(m)
	damaged := n.chance(n.w.plan.corrupt)
	if damaged || n.breaks(from, to) {
		n.breakConn(k, frame, damaged)
		return
	}
	k.toServer = max(k.toServer+1, n.w.now+n.delay(from, to))
	n.w.after(k.toServer-n.w.now, func() {
		if !k.serverOpen || k.server.generation != k.serverGeneration || n.cut[[2]int{from, to}] {
			return
		}
		n.w.note('q', k.id, uint64(to), frame)
		k.server.receive(input{conn: k.id, message: n.received(frame, false)})
	})
}

// answer sends a server's reply over a client's connection.
func (n *network) answer(s *server, id uint64, m wire.Message) {
	k := n.conns[id]
	if k == nil || !k.serverOpen || k.server != s {
		return
	}
	from, to := int(s.id), -k.client.id
	frame := encoded(m)
	damaged := n.chance(n.w.plan.corrupt)
	if damaged || n.breaks(from, to) {
		n.breakConn(k, frame, damaged)
		return
	}
	if k.client.readsAt > n.w.now {
		n.w.struckNow(faultSlowReader, &k.client.readsDue)
	}
	k.toClient = max(k.toClient+1, n.w.now+n.delay(from, to), k.client.readsAt)
	n.w.after(k.toClient-n.w.now, func() {
		if !k.clientOpen || !k.client.alive(k.clientGeneration) || n.cut[[2]int{from, to}] {
			return
		}
		n.w.note('a', k.id, uint64(from), frame)
		k.client.receive(s.id, k, n.received(frame, false))
	})
}

// breaks says whether a client's connection breaks: where there is a cut, which is counted as what has brought it about, or by chance.
func (n *network) breaks(from, to int) bool {
	if n.cut[[2]int{from, to}] {
		return true
	}
	reset := n.chance(n.w.plan.reset)
	if reset {
		n.w.struck(faultReset)
	}
	return reset
}

// breakConn ends a connection, with a frame that arrives damaged or in part. Each end notices by itself, and what
// is on its way may still arrive.
func (n *network) breakConn(k *conn, frame []byte, damaged bool) {
	if damaged {
		n.received(n.corrupted(frame), true)
	} else {
		n.received(frame[:n.rng.IntN(len(frame))], true)
	}
	n.w.after(n.rng.between(0, 300*millisecond), func() { n.closeClientEnd(k, "connection reset") })
	n.w.after(n.rng.between(0, 2*second), func() { n.closeServerEnd(k) })
}

func (n *network) closeClientEnd(k *conn, why string) {
	if k.clientOpen {
		k.clientOpen = false
		if k.client.alive(k.clientGeneration) {
			k.client.down(k.server.id, k, why)
		}
	}
	n.forget(k)
}

func (n *network) closeServerEnd(k *conn) {
	if k.serverOpen {
		k.serverOpen = false
		if k.server.up && k.server.generation == k.serverGeneration {
			k.server.receive(input{conn: k.id})
		}
	}
	n.forget(k)
}

func (n *network) forget(k *conn) {
	if !k.clientOpen && !k.serverOpen {
		delete(n.conns, k.id)
	}
}

// serverDied breaks a server's connections; after a power failure nobody tells the clients.
func (n *network) serverDied(s *server, power bool) {
	for _, id := range slices.Sorted(maps.Keys(n.conns)) {
		k := n.conns[id]
		if k.server != s {
			continue
		}
		k.serverOpen = false
		wait := n.delay(int(s.id), -k.client.id)
		if power {
			wait += n.rng.between(0, 3*second)
		}
		n.w.after(wait, func() { n.closeClientEnd(k, "connection reset") })
	}
}

// clientDied breaks a client's connections.
func (n *network) clientDied(c *clientProc) {
	for _, id := range slices.Sorted(maps.Keys(n.conns)) {
		k := n.conns[id]
		if k.client != c {
			continue
		}
		k.clientOpen = false
		n.w.after(n.delay(-c.id, int(k.server.id))+1, func() { n.closeServerEnd(k) })
	}
}

// heal ends every cut and clog.
func (n *network) heal() {
	clear(n.cut)
	clear(n.mute)
	clear(n.clogged)
}
