package client

import (
	"errors"
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
	Unavailable // surely not applied
	Unknown     // ask again with the id
)

// Kind is how a transfer is carried out.
type Kind uint8

// Kinds.
const (
	Intra Kind = 1 + iota // both accounts on one shard
	Cross                 // two shards, two-phase commit
)

// Step is one part of a transfer's latency, since the client's initiation.
type Step struct {
	At    time.Duration
	Actor string // "client" or a cluster, "C1"
	Text  string
}

// Result is the outcome of a transfer.
type Result struct {
	Transfer  Transfer
	Kind      Kind
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
	Deadline time.Duration // of a transfer, default 3 s (COMMIT_PROTOCOL: client deadline)
	Trace    bool          // fill Result.Steps
	Logger   *slog.Logger  // default: discard
	// CrashPoint makes Crash be called at one crash point of docs/PROTOCOL.md, section 11 (1 to 9);
	// 0: never. For tests and the demo.
	CrashPoint int
	// Crash ends the process; it must not return. Required with CrashPoint.
	Crash func()
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
