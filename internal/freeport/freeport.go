package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports lie below the range from which the kernel draws the ports of outgoing connections (32768 to 60999 by default on
// Linux): a server's port must still be free when the server listens, and when it restarts.
const first, end = 12000, 32000

// Take returns n different ports of the loopback address that nobody listens on now. Nothing holds them: another process
// that looks for ports at the same time may draw the same.
// Error: there are not enough, or n is more than half of all.
func Take(n int) ([]int, error) {
	var ports []int
	var err error
	for tries := 0; len(ports) < n; tries++ {
		if n > (end-first)/2 || tries > 1000+10*n {
			return nil, errors.Join(fmt.Errorf("no %d free ports between %d and %d", n, first, end-1), err)
		}
		port := first + rand.IntN(end-first)
		l, listenErr := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if listenErr != nil {
			err = listenErr
			continue
		}
		defer func() { _ = l.Close() }() // held until the last is known: a port drawn twice is taken
		ports = append(ports, port)
	}
	return ports, nil
}
