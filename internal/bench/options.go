package bench

import (
	"errors"
	"fmt"
	"time"

	"raftbank/internal/shard"
)

// AsPairsFall is the value of Options.Cross for uniform pairs over the whole bank.
const AsPairsFall = -1

// maxAmount is the largest amount of a transfer; the smallest is 1.
const maxAmount = 10

// Options describe a load.
type Options struct {
	Clients  int           // independent clients with connections of their own, at least 1
	Batch    int           // transfers per request, 1 to 8190
	InFlight int           // requests that each client has open at a time, at least 1
	Warmup   time.Duration // load before the window, not measured
	Duration time.Duration // of the measured window
	Cross    int           // percent of transfers between two shards, or AsPairsFall
	Skew     float64       // exponent of Zipf's law by which accounts are chosen; 0: uniform
	Hot      int           // this many hot accounts; every transfer touches one; 0: none
	Reads    int           // percent of requests that read one balance strongly
	Rate     float64       // transfers and reads due per second, open loop; 0: closed loop
	// Queue is how many requests of an open loop wait while each of its Clients*InFlight callers has one open; what is due
	// beyond them is shed: it ends as unavailable at once, as with a caller that gives up. 0: all wait, however many.
	Queue int
	// Drain is how long after the window requests that were due in it may still be sent and answered; then what waits
	// ends as unavailable, and what is open as the target says, unknown as a rule. 0: 10 s.
	Drain time.Duration
	Seed  uint64
}

// defaultDrain is that of Options that name none.
const defaultDrain = 10 * time.Second

// Rates of an open loop, in transfers per second: a lower one is due less than once in a quarter of an hour, a higher one is
// more than this program can count.
const (
	minRate = 0.001
	maxRate = 1e7
)

// maxBatch is how many transfers one request of the wire format carries.
const maxBatch = 8190

// Validate reports what is wrong with the options for a bank of the topology.
func (o *Options) Validate(t *shard.Topology) error {
	atLeast := func(name string, n int) error {
		if n < 1 {
			return fmt.Errorf("%s %d: want at least 1", name, n)
		}
		return nil
	}
	percent := func(name string, n int) error {
		if n < 0 || n > 100 {
			return fmt.Errorf("%s %d: want a percentage from 0 to 100", name, n)
		}
		return nil
	}
	errs := []error{
		atLeast("clients", o.Clients), atLeast("batch", o.Batch), atLeast("in-flight", o.InFlight), percent("reads", o.Reads),
	}
	if o.Cross != AsPairsFall {
		errs = append(errs, percent("cross", o.Cross))
	}
	var accounts uint64
	for i := range t.Clusters {
		n := t.Clusters[i].Range.Len()
		accounts += n
		if n < 2 {
			errs = append(errs, fmt.Errorf("%s has %d account: a load needs two in every cluster", t.Clusters[i].Shard, n))
		}
	}
	switch {
	case o.Batch > maxBatch:
		errs = append(errs, fmt.Errorf("batch %d: a request holds at most %d transfers", o.Batch, maxBatch))
	case o.Clients > 4096 || o.InFlight > 65536:
		errs = append(errs, errors.New("at most 4096 clients and 65536 requests in flight each"))
	case o.Cross > 0 && len(t.Clusters) < 2:
		errs = append(errs, errors.New("cross: a bank with one shard has no transfers between shards"))
	case !(o.Skew >= 0 && o.Skew <= 5): // nor a NaN
		errs = append(errs, fmt.Errorf("skew %g: want an exponent from 0 (uniform) to 5", o.Skew))
	case o.Skew > 0 && o.Hot > 0:
		errs = append(errs, errors.New("skew and hot exclude each other"))
	case o.Hot < 0 || uint64(o.Hot) >= accounts:
		errs = append(errs, fmt.Errorf("hot %d: the bank has %d accounts", o.Hot, accounts))
	case o.Rate != 0 && !(o.Rate >= minRate && o.Rate <= maxRate):
		errs = append(errs, fmt.Errorf("rate %g: want transfers per second from %g to %.0f, or 0 for a closed loop", o.Rate, minRate, maxRate))
	case o.Queue < 0 || o.Queue > 1<<20:
		errs = append(errs, fmt.Errorf("queue %d: want 0 (all wait) to %d requests", o.Queue, 1<<20))
	case o.Queue > 0 && o.Rate == 0:
		errs = append(errs, fmt.Errorf("queue %d: requests wait only in an open loop, which has a rate", o.Queue))
	case o.Duration < time.Millisecond || o.Warmup < 0 || o.Drain < 0:
		errs = append(errs, errors.New("duration: want at least a millisecond; warm-up and drain: not below 0"))
	}
	return errors.Join(errs...)
}
