package transport

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"

	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// Contexts separate the two sides' proofs from each other and from any other use of the key, so
// that neither side's proof can be played back as the other's.
const (
	acceptContext = "raftbank/1 peer accepts"
	dialContext   = "raftbank/1 peer dials"
)

// proof returns the MAC with which one side of a link shows that it holds the key. It covers both
// nonces and both names: a proof fits one connection between two servers.
func proof(key *txn.Key, context string, h *wire.Hello, r *wire.HelloReply) (mac [32]byte) {
	b := []byte(context)
	b = append(b, h.Bank[:]...)
	b = append(b, h.Nonce[:]...)
	b = append(b, r.Nonce[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Server))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Server))
	d := hmac.New(sha256.New, key.Secret[:])
	d.Write(b)
	d.Sum(mac[:0])
	return mac
}

func findKey(ring *txn.KeyRing, id txn.KeyID) *txn.Key {
	for i := range ring.Keys {
		if ring.Keys[i].ID == id {
			return &ring.Keys[i]
		}
	}
	return nil
}

// nonce draws a challenge. crypto/rand.Read does not fail (it ends the process instead).
func nonce() (n [16]byte) {
	rand.Read(n[:])
	return n
}

// dialPeer does the dialling side of a link's handshake on a fresh connection: it has sent h and got r.
func dialPeer(nc net.Conn, ring *txn.KeyRing, to shard.ServerID, h *wire.Hello, r *wire.HelloReply) error {
	key := findKey(ring, h.KeyID)
	want := proof(key, acceptContext, h, r)
	switch {
	case r.Server != to:
		return fmt.Errorf("server %s answers at the address that the configuration gives to server %s", r.Server, to)
	case r.Bank != h.Bank:
		return fmt.Errorf("server %s belongs to bank %x, this server to bank %x: use the same key file on both", to, r.Bank, h.Bank)
	case !hmac.Equal(want[:], r.Proof[:]):
		return fmt.Errorf("server %s does not hold key %d of the key file", to, h.KeyID)
	}
	_, err := nc.Write(wire.Append(nil, &wire.Proof{MAC: proof(key, dialContext, h, r)}))
	return err
}

// refusal returns why the other side of an accepted connection is refused, or "".
func (s *Server) refusal(h *wire.Hello) string {
	if h.Role == wire.RoleClient {
		return ""
	}
	switch {
	case h.Role != wire.RolePeer:
		return fmt.Sprintf("unknown role %d", h.Role)
	case h.Bank != s.o.Keys.Bank:
		return fmt.Sprintf("server %s belongs to bank %x, server %s to bank %x: use the same key file on both",
			s.o.Server, s.o.Keys.Bank, h.Server, h.Bank)
	case findKey(s.o.Keys, h.KeyID) == nil:
		return fmt.Sprintf("server %s does not have key %d of server %s in its key file", s.o.Server, h.KeyID, h.Server)
	case s.links[h.Server] == nil:
		return fmt.Sprintf("the configuration of server %s has no other server %s", s.o.Server, h.Server)
	}
	return ""
}

// accept does the accepting side of the handshake. A client that it returns holds a place, which
// releaseClient gives back.
func (s *Server) accept(nc net.Conn, r *bufio.Reader) (*wire.Hello, error) {
	m, err := wire.ReadFrameMax(r, handshakeBytes)
	if err != nil {
		return nil, err
	}
	h, ok := m.(*wire.Hello)
	if !ok {
		return nil, fmt.Errorf("got a %s message in place of hello", m.Type())
	}
	reply := &wire.HelloReply{Bank: s.o.Keys.Bank, Server: s.o.Server, Shard: s.o.Shard, Epoch: s.o.Epoch, Nonce: nonce()}
	if reply.Refuse = s.refusal(h); reply.Refuse == "" && h.Role == wire.RoleClient {
		reply.Refuse = s.admitClient()
	}
	isPeer := h.Role == wire.RolePeer && reply.Refuse == ""
	if isPeer {
		reply.Proof = proof(findKey(s.o.Keys, h.KeyID), acceptContext, h, reply)
	}
	if _, err := nc.Write(wire.Append(nil, reply)); err != nil {
		if h.Role == wire.RoleClient && reply.Refuse == "" {
			s.releaseClient()
		}
		return nil, err
	}
	if reply.Refuse != "" {
		return nil, fmt.Errorf("%w: %s", ErrRefused, reply.Refuse)
	}
	if isPeer {
		return h, s.checkProof(r, h, reply)
	}
	return h, nil
}

// checkProof reads the dialling peer's proof.
func (s *Server) checkProof(r *bufio.Reader, h *wire.Hello, reply *wire.HelloReply) error {
	m, err := wire.ReadFrameMax(r, handshakeBytes)
	if err != nil {
		return fmt.Errorf("server %s sent no proof of its key: %w", h.Server, err)
	}
	p, ok := m.(*wire.Proof)
	if !ok {
		return fmt.Errorf("got a %s message in place of proof", m.Type())
	}
	want := proof(findKey(s.o.Keys, h.KeyID), dialContext, h, reply)
	if !hmac.Equal(want[:], p.MAC[:]) {
		return fmt.Errorf("server %s does not hold key %d of the key file", h.Server, h.KeyID)
	}
	return nil
}
