package client

import (
	"context"
	"crypto/rand"

	"raftbank/internal/transport"
	"raftbank/internal/wire"
)

// dialTCP connects over the network.
func dialTCP(ctx context.Context, addr string) (conn, wire.HelloReply, error) {
	h := wire.Hello{Role: wire.RoleClient}
	rand.Read(h.Nonce[:]) // never fails
	c, reply, err := transport.Dial(ctx, addr, h)
	if err != nil {
		return nil, wire.HelloReply{}, err
	}
	return c, reply, nil
}
