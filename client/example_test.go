package client_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"sync"

	"raftbank/client"
	"raftbank/internal/ledger"
	"raftbank/internal/session/sessiontest"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// serveBank serves a small bank on free ports of this machine, until stop is called. A real program
// reads the topology of a running bank from its configuration file.
func serveBank() (topology *client.Topology, stop func()) {
	t := &shard.Topology{OpeningBalance: 10}
	var listeners []net.Listener
	for c := 1; c <= 2; c++ {
		cluster := shard.Cluster{Shard: shard.ID(c), Range: shard.Range{
			First: shard.Account(1000*c - 999), Last: shard.Account(1000 * c),
		}}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		listeners = append(listeners, l)
		cluster.Servers = []shard.Server{{ID: shard.ServerID(c), Addr: l.Addr().String()}}
		t.Clusters = append(t.Clusters, cluster)
	}
	bank := sessiontest.New(t)
	var mu sync.Mutex
	for i, l := range listeners {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serveConn(c, bank, &mu, &t.Clusters[i])
			}
		}()
	}
	return t, func() {
		for _, l := range listeners {
			l.Close()
		}
	}
}

func serveConn(c net.Conn, bank *sessiontest.Bank, mu *sync.Mutex, cluster *shard.Cluster) {
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := wire.ReadFrame(r); err != nil { // Hello
		return
	}
	server := cluster.Servers[0].ID
	if _, err := c.Write(wire.Append(nil, &wire.HelloReply{Server: server, Shard: cluster.Shard})); err != nil {
		return
	}
	for {
		m, err := wire.ReadFrame(r)
		if err != nil {
			return
		}
		mu.Lock()
		reply := bank.Handle(server, m)
		mu.Unlock()
		if _, err := c.Write(wire.Append(nil, reply)); err != nil {
			return
		}
	}
}

func Example() {
	topology, stop := serveBank()
	defer stop()
	c, err := client.Open(client.Options{Topology: topology})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	r, err := c.Transfer(context.Background(), client.Transfer{From: 7, To: 1007, Amount: ledger.Units(3)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Outcome, r.Kind)

	b, err := c.Balance(context.Background(), 1007)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Balance)
	// Output:
	// committed cross
	// 13
}

// The same id is never applied twice, so a transfer may be sent again whenever its outcome is not
// known. A caller that stores the id before the first call survives its own restart.
func ExampleClient_Transfer() {
	topology, stop := serveBank()
	defer stop()
	c, err := client.Open(client.Options{Topology: topology})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	t := client.Transfer{ID: client.NewID(), From: 1, To: 2, Amount: ledger.Units(10)}
	for range 2 {
		r, err := c.Transfer(context.Background(), t)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Outcome)
	}
	again, err := c.Transfer(context.Background(), client.Transfer{From: 1, To: 2, Amount: ledger.Units(10)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.Outcome, again.Reason, again.Account, again.Available)
	// Output:
	// committed
	// committed
	// aborted insufficient_funds 1 0
}

// Resolve settles a transfer whose outcome is unknown; Cancel makes sure that one never applies.
func ExampleClient_Cancel() {
	topology, stop := serveBank()
	defer stop()
	c, err := client.Open(client.Options{Topology: topology})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	id := client.NewID()
	_, err = c.Resolve(context.Background(), id)
	fmt.Println(err != nil)
	cancelled, err := c.Cancel(context.Background(), id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cancelled.Outcome, cancelled.Reason)
	r, err := c.Transfer(context.Background(), client.Transfer{ID: id, From: 1, To: 2, Amount: ledger.Units(1)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Outcome, r.Reason)
	// Output:
	// true
	// aborted cancelled
	// aborted cancelled
}

// Audit adds up the whole bank at one cut while transfers run.
func ExampleClient_Audit() {
	topology, stop := serveBank()
	defer stop()
	c, err := client.Open(client.Options{Topology: topology})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if _, err := c.Transfer(context.Background(), client.Transfer{From: 7, To: 1007, Amount: ledger.Units(3)}); err != nil {
		log.Fatal(err)
	}
	a, err := c.Audit(context.Background())
	switch {
	case err != nil:
		log.Fatal(err)
	case a.OK == nil:
		fmt.Println("no cut could be had:", a.Error)
	default:
		fmt.Println(*a.OK, a.Total, "of", a.Expected)
	}
	// Output:
	// true 20000 of 20000
}

// History reads a statement page by page; GetTransfer tells what became of one transfer.
func ExampleClient_History() {
	topology, stop := serveBank()
	defer stop()
	c, err := client.Open(client.Options{Topology: topology})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	var last client.Result
	for range 3 {
		if last, err = c.Transfer(context.Background(), client.Transfer{From: 1, To: 2, Amount: ledger.Units(2)}); err != nil {
			log.Fatal(err)
		}
	}
	o := client.HistoryOptions{Limit: 2}
	for {
		page, err := c.History(context.Background(), 1, o)
		if err != nil {
			log.Fatal(err)
		}
		for _, line := range page.Lines {
			fmt.Println("balance", line.Balance)
		}
		if o.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	t, err := c.GetTransfer(context.Background(), last.Transfer.ID, client.ReadOptions{Stale: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(t.Outcome, t.From, t.To, t.Amount)
	// Output:
	// balance 4
	// balance 6
	// balance 8
	// balance 10
	// committed 1 2 2
}
