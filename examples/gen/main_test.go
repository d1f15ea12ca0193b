package main

import (
	"bufio"
	"bytes"
	"os"
	"testing"
)

func TestTransactionsAreFresh(t *testing.T) {
	var b bytes.Buffer
	out := bufio.NewWriter(&b)
	write(out)
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../transactions.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), committed) {
		t.Error("examples/transactions.txt is stale: go run ./examples/gen > examples/transactions.txt")
	}
}
