// Command gen prints examples/transactions.txt: a thousand transfers of the default bank, about a
// third of them between clusters, a few refused by the ledger. It prints the same on every machine:
//
//	go run ./examples/gen > examples/transactions.txt
package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
)

const (
	lines      = 1000
	shards     = 3
	perShard   = 1000
	crossShare = 30 // per cent
	kept       = 10 // the first accounts of every shard are left to those who play
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	write(out)
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// write prints the file.
func write(out *bufio.Writer) {
	r := rand.New(rand.NewPCG(2, 2026))
	fmt.Fprintf(out, "# %d transfers for the default bank (3 clusters, accounts 1-3000, 10 each).\n", lines)
	fmt.Fprintln(out, "# About 30 % move money between clusters; some are refused, as in real life.")
	fmt.Fprintln(out, "# The first ten accounts of every cluster are not touched. Made by: go run ./examples/gen")
	for i := range lines {
		from, to, amount := transfer(r, i)
		switch r.IntN(20) {
		case 0:
			fmt.Fprintf(out, "%d,%d,%d\n", from, to, amount)
		case 1:
			fmt.Fprintf(out, "%d %d %d\n", from, to, amount)
		default:
			fmt.Fprintf(out, "(%d,%d,%d)\n", from, to, amount)
		}
	}
}

// transfer draws line i: now and then one that the ledger refuses.
func transfer(r *rand.Rand, i int) (from, to, amount int) {
	shard := r.IntN(shards)
	other := shard
	if r.IntN(100) < crossShare {
		other = (shard + 1 + r.IntN(shards-1)) % shards
	}
	from, to, amount = account(r, shard), account(r, other), 1+r.IntN(4)
	for to == from {
		to = account(r, other)
	}
	switch i % 250 {
	case 60:
		return from, from, amount // pays itself
	case 120:
		return from, 3050, amount // no such account
	case 180:
		return from, to, 0
	}
	if i%25 == 10 {
		amount = 11 + r.IntN(30) // more than an account opens with
	}
	return from, to, amount
}

func account(r *rand.Rand, shard int) int {
	return shard*perShard + kept + 1 + r.IntN(perShard-kept)
}
