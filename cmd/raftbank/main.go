// Command raftbank is a fault-tolerant distributed bank: servers, client servers, demo and tools.
package main

func main() {}
