// Command raftbank is a fault-tolerant distributed bank: servers, client servers, demo and tools.
package main

import (
	"os"

	"raftbank/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
