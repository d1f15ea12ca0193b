package client

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// Types of the ledger, under the client's name.
type (
	// ID is the 128-bit id of a transfer.
	ID = ledger.TransferID
	// Account names an account.
	Account = shard.Account
	// Amount is a number of minor units below 2^127.
	Amount = ledger.Amount
	// Reason says why a transfer was aborted.
	Reason = ledger.Reason
	// Topology says which servers hold which accounts.
	Topology = shard.Topology
)

// Transfer asks to move Amount minor units from From to To.
type Transfer struct {
	ID       ID // zero: NewID draws one
	From, To Account
	Amount   Amount
	UserData uint64
	Code     uint16
}

// Outcome is how a transfer ended.
type Outcome uint8

// Outcomes.
const (
	Committed Outcome = 1 + iota
	Aborted
	Unavailable // surely not applied by this call; of an id that was sent before, Resolve knows
	Unknown     // ask again with the id
)

// String returns "committed", "aborted", "unavailable" or "unknown".
func (o Outcome) String() string {
	switch o {
	case Committed:
		return api.OutcomeCommitted
	case Aborted:
		return api.OutcomeAborted
	case Unavailable:
		return api.OutcomeUnavailable
	case Unknown:
		return api.OutcomeUnknown
	}
	return "none"
}

// Kind is how a transfer is carried out.
type Kind uint8

// Kinds.
const (
	Intra Kind = 1 + iota // both accounts on one shard
	Cross                 // two shards, two-phase commit
)

// String returns "intra" or "cross"; "" if an account is held by no shard.
func (k Kind) String() string {
	switch k {
	case Intra:
		return api.KindIntra
	case Cross:
		return api.KindCross
	}
	return ""
}

// Step is one part of a transfer's latency, since the client's initiation.
type Step struct {
	At    time.Duration
	Actor string // "client" or a cluster, "C1"
	Text  string
}

// Result is the outcome of a transfer.
type Result struct {
	Transfer  Transfer
	Kind      Kind // zero if an account is held by no shard, or the transfer was never seen
	Outcome   Outcome
	Reason    Reason   // with Aborted
	Account   Account  // with insufficient funds, no account: which one
	Available Amount   // with insufficient funds
	Shard     shard.ID // with Unavailable and Unknown: the cluster that did not answer
	Detail    string   // with Unavailable and Unknown: what was tried
	Latency   time.Duration
	Steps     []Step // with Options.Trace
}

// Options configure a Client. The zero value of a field takes its default.
type Options struct {
	Topology *Topology     // required
	Deadline time.Duration // of a transfer, default 3 s; then it is poisoned, within 1 s more
	Trace    bool          // fill Result.Steps
	Logger   *slog.Logger  // default: discard
	// MaxInFlight bounds the operations in flight, default 65536; more wait in a queue.
	MaxInFlight int
	// CrashPoint makes Crash be called at one crash point of docs/PROTOCOL.md, section 11 (1 to 8;
	// point 9 is Client.Lie); 0: never. For tests and the demo.
	CrashPoint int
	// Crash ends the process; it must not return. Required with CrashPoint. If the caller has just
	// been given an outcome, Crash is called 100 ms later, so that it can be said.
	Crash func()

	// dial replaces the network in tests.
	dial dialFunc
}

// Validate reports what is wrong with the options.
func (o *Options) Validate() error {
	switch {
	case o.Topology == nil:
		return errors.New("client: options without a topology")
	case o.Deadline < 0:
		return errors.New("client: the deadline is negative")
	case o.CrashPoint < 0 || o.CrashPoint > 8:
		return fmt.Errorf("client: crash point %d: points are 1 to 8 (point 9 is Lie)", o.CrashPoint)
	case o.CrashPoint > 0 && o.Crash == nil:
		return errors.New("client: a crash point without Crash")
	}
	if err := o.Topology.Validate(); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return nil
}

// Errors.
var (
	// ErrClosed is returned by calls on a closed client.
	ErrClosed = errors.New("client is closed")
	// ErrNotFound: no shard knows the id.
	ErrNotFound = errors.New("no shard knows this transfer")
)

// AccountBalance is one account as a server answered it.
type AccountBalance struct {
	Account    Account
	Exists     bool
	Balance    string // credits posted - debits posted; may be negative within a credit line
	In, Out    Amount // credits and debits posted so far, the opening included; they never become less
	Available  Amount
	PendingIn  Amount
	PendingOut Amount
	Server     shard.ServerID // who answered
	Role       string
	Term       uint64
	Applied    uint64
}

// API types that the client returns as they are.
type (
	// Status is the whole bank's state.
	Status = api.Status
	// Datastore is what servers have committed.
	Datastore = api.Datastore
	// Explain is one transfer's timeline.
	Explain = api.Explain
	// InDoubt lists unfinished transfers.
	InDoubt = api.InDoubt
	// Check is the conservation check's answer.
	Check = api.Check
)
