package shard

import (
	"testing"
	clock "time"
)

func TestSleeps(t *testing.T) {
	for range map[int]int{} {
		clock.Sleep(1) // want sleep
	}
	// TODO: say more // want unfinished
	t.Log("TODO is fine in a text")
}
