//go:build chaos && linux

package chaos

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"raftbank/client"
	"raftbank/test/process"
)

// crashEvery is the pause between two client processes that are killed.
const crashEvery = 1200 * time.Millisecond

// crashes runs client processes that die at the crash points of docs/PROTOCOL.md, section 11, while two other
// clients settle each transfer at once: second incarnations.
func (r *run) crashes(random *rand.Rand) {
	tick := time.NewTicker(crashEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
		point := 1 + n%8
		if point == 7 {
			point = 2 // 7 is a late copy of 2; the network faults make such copies
		}
		g, accounts := r.load.group()
		t := pick(random, accounts, true)
		if point == 6 {
			t.Amount.Lo = 1000 // it has to be refused
		}
		r.crash(g, point, t)
	}
}

// crashed names what is counted when a client has died at a point.
func crashed(point int) string { return fmt.Sprintf("client killed at crash point %d", point) }

// crash lets one process die at a point.
func (r *run) crash(g, point int, t client.Transfer) {
	call := r.load.now()
	at := point
	if point == 8 {
		at = 3
	}
	// Known before it is sent: the second incarnations may be first.
	r.load.keep(&told{transfer: t, group: g, outcome: client.Unknown, crashed: true}, workers+1, call)
	var wait sync.WaitGroup
	wait.Go(func() {
		o, err := process.Command(program, "", endBound, "transfer", t.From.String(), t.To.String(), t.Amount.String(),
			"--id", t.ID.String(), "--config", r.bank.Config, "--crash-point", fmt.Sprint(at))
		if err != nil {
			r.t.Errorf("client at crash point %d: %v", point, err)
		}
		if o.Code == -1 {
			r.count(crashed(point))
		} else {
			r.count("client did not reach its crash point") // the bank refused, or was not there
		}
	})
	if point != 8 {
		wait.Wait() // else the second incarnation runs beside the first
	}
	for i := range 2 {
		wait.Go(func() {
			began := r.load.now()
			if o, err := r.load.ask(i, t.ID); err == nil {
				r.load.settle(t.ID, &o, "a second incarnation", began)
			}
		})
	}
	wait.Wait()
}
