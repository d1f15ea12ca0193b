package ledger

import (
	"raftbank/internal/shard"
)

// Flags modify a transfer record.
type Flags uint16

// FlagLinked says that the next record belongs to the same transfer. The format has it from the
// start; this version refuses it.
const FlagLinked Flags = 1

// RecordSize is the size in bytes of an encoded Record.
const RecordSize = 64

// DefaultCurrency is the currency of every account of this version.
const DefaultCurrency uint32 = 1

// Record is one transfer: amount minor units from Debit to Credit. Its fixed 64-byte encoding is
// canonical: it is what clients send, what the log holds and what digests cover.
//
// Layout, little endian: id 16, debit 8, credit 8, amount 16 (low word first), user data 8,
// currency 4, code 2, flags 2.
type Record struct {
	ID       TransferID
	Debit    shard.Account
	Credit   shard.Account
	Amount   Amount
	UserData uint64
	Currency uint32
	Code     uint16
	Flags    Flags
}

// TransferState is what a shard knows of a transfer id (docs/PROTOCOL.md, section 2).
type TransferState uint8

// The states of an id at a shard. Prepared leaves only by a certified FINISH; Committed and
// Aborted are for ever.
const (
	None TransferState = iota
	Prepared
	Committed
	Aborted
)

// Reason says why a transfer was refused, aborted or not decided. It is part of the replicated
// result; the numbers are wire format and never change.
type Reason uint8

// Reasons. The text forms are stable and documented in docs/CLI.md.
const (
	ReasonNone              Reason = 0
	ReasonInsufficientFunds Reason = 1
	ReasonNoAccount         Reason = 2
	ReasonSameAccount       Reason = 3
	ReasonBadAmount         Reason = 4
	ReasonOverflow          Reason = 5
	ReasonAccountClosed     Reason = 6
	ReasonIDConflict        Reason = 7 // same id, other content
	ReasonCancelled         Reason = 8 // tombstone written by CANCEL
	ReasonTimedOut          Reason = 9 // tombstone written by recovery or by a client at its deadline
	ReasonBadCurrency       Reason = 10
	ReasonBadFlags          Reason = 11
	ReasonBadID             Reason = 12 // the zero id
)

// Digest is the SHA-256 of a cross-shard transfer's records.
type Digest [32]byte

// CommandKind says what a Command does. The numbers are log format.
type CommandKind uint8

// Command kinds.
const (
	CmdGenesis  CommandKind = 1
	CmdTransfer CommandKind = 2 // records whose accounts are all on this shard
	CmdPrepare  CommandKind = 3 // records with accounts on more than one shard
	CmdFinish   CommandKind = 4
	CmdPoison   CommandKind = 5 // tombstone for one digest
	CmdCancel   CommandKind = 6 // wildcard tombstone: any content
	// The audit (docs/PROTOCOL.md, section 9).
	CmdBarrier  CommandKind = 7  // cut the log and withhold
	CmdVoid     CommandKind = 8  // stop withholding: the audit proves nothing
	CmdRelease  CommandKind = 9  // stop withholding: the audit is proven
	CmdAllocate CommandKind = 10 // give out the next audit's number; first shard only
	// CmdFinishVotes is CmdFinish for transfers whose votes follow each other.
	CmdFinishVotes CommandKind = 11
)

// Fact is a certified statement of a shard about a transfer. Facts never change once true.
type Fact uint8

// Facts.
const (
	FactNone      Fact = 0
	FactYes       Fact = 1
	FactAborted   Fact = 2
	FactCommitted Fact = 3
	// FactNumber is about no transfer: the first shard's log has given out the audit number Epoch.
	FactNumber Fact = 4
)

// ShardFact is a fact whose certificate the proposing leader has verified.
type ShardFact struct {
	Shard shard.ID
	Fact  Fact
	Epoch uint32
}

// Finish moves a prepared transfer to its outcome. Apply checks Facts against the stored
// participants: commit needs YES or COMMITTED from every other shard of the stored P (this shard's
// own state P is its own YES) or COMMITTED from one; abort needs ABORTED from one.
type Finish struct {
	ID     TransferID
	Digest Digest
	Commit bool
	Reason Reason // why it aborted, for display; taken from the certificate
	Facts  []ShardFact
}

// FinishVotes commits transfers in P whose votes stand in history rows that follow each other, and for which
// the facts are the same: what a batch of PREPAREs mostly comes to. A row is of one transfer with one content, for ever and on
// every replica, so its position says what id and digest say in Finish. A transfer that has left P by then stays as it is.
type FinishVotes struct {
	First uint64 // position of the first vote's row
	Count uint32 // at most MaxVotes
	Facts []ShardFact
}

// Poison writes a tombstone for one content of an id that this shard has not voted on.
type Poison struct {
	ID     TransferID
	Digest Digest
	Reason Reason // ReasonCancelled or ReasonTimedOut
}

// Genesis opens the shard. The first one applied counts; a second changes nothing.
type Genesis struct {
	Bank           [16]byte
	Shard          shard.ID
	Map            shard.Map
	Members        []uint64 // raft ids (server << 32 | incarnation), sorted
	OpeningBalance uint64   // minor units per account
}

// Command is one section of an entry. Only the fields of its Kind are set.
type Command struct {
	Kind     CommandKind
	Settled  bool          // CmdTransfer, CmdPrepare: the leader has settled what was pending; refuse, do not defer
	Records  []Record      // CmdTransfer, CmdPrepare
	Digests  []Digest      // CmdPrepare, parallel to Records
	Finishes []Finish      // CmdFinish
	Votes    []FinishVotes // CmdFinishVotes
	Poisons  []Poison      // CmdPoison
	Cancels  []TransferID  // CmdCancel
	Numbers  []uint32      // CmdBarrier, CmdVoid, CmdRelease; of CmdAllocate one zero for each number wanted
	Genesis  *Genesis      // CmdGenesis
}

// Items returns how many results the command yields.
func (c *Command) Items() int {
	switch c.Kind {
	case CmdGenesis:
		return 1
	case CmdTransfer, CmdPrepare:
		return len(c.Records)
	case CmdFinish:
		return len(c.Finishes)
	case CmdFinishVotes:
		n := 0
		for i := range c.Votes {
			n += int(c.Votes[i].Count)
		}
		return n
	case CmdPoison:
		return len(c.Poisons)
	case CmdCancel:
		return len(c.Cancels)
	case CmdBarrier, CmdVoid, CmdRelease, CmdAllocate:
		return len(c.Numbers)
	}
	panic("unreachable: command kind")
}

// Entry is the payload of one raft log entry.
type Entry struct {
	Proposer uint64 // raft id of the proposing leader
	Seq      uint64 // the proposer's number for the entry; (Proposer, Seq) finds the waiting callers
	TimeNs   int64  // leader's wall clock, Unix nanoseconds, for display alone
	Commands []Command

	memory memory // of Decode
}

// ResultCode is how one item of a command ended.
type ResultCode uint8

// Result codes.
const (
	// ResultState: State (and Reason) is the id's outcome at this shard, new or recorded.
	ResultState ResultCode = iota
	// ResultDefer: funds short while transfers are pending on the account; not a vote (section 8).
	ResultDefer
	// ResultConflict: the id is taken by other content. For the asked content this is an abort.
	ResultConflict
	// ResultUnknownHere: FINISH(commit) for an id that this shard never voted on. Nothing changed.
	ResultUnknownHere
	// ResultNoEffect: a second GENESIS, or a FINISH whose facts do not suffice. Nothing changed.
	ResultNoEffect
	// ResultAllocated: Epoch is an audit number that nobody else was given.
	ResultAllocated
	// ResultWithholding: the shard withholds for the audit number Epoch.
	ResultWithholding
	// ResultReleased: it withheld for that number until it was released.
	ResultReleased
	// ResultVoid: the number proves nothing here: it came too late, or the shard lost patience.
	ResultVoid
)

// Result is the replicated answer to one item.
type Result struct {
	Code   ResultCode
	State  TransferState
	Reason Reason
	// Account and Available explain a refusal: which account, and what it could spend.
	Account   shard.Account
	Available Amount
	Epoch     uint32 // vote epoch, or commit epoch once committed
	Index     uint64 // raft index at which the state was entered
	Term      uint64
	Row       uint64 // position of the history row that says so
}

// Account is the state of one account. Sums are bounded by 2^127-1.
type Account struct {
	DebitsPosted   Amount
	CreditsPosted  Amount
	DebitsPending  Amount // reserved: sum of prepared debits
	CreditsPending Amount // incoming: sum of prepared credits
	CreditLine     Amount // how far the balance may go below zero
	Currency       uint32
	Closed         bool
	Equity         bool // the bank's own account: no floor, not in users' totals
}

// RowKind says what a history row records.
type RowKind uint8

// Row kinds; text forms genesis, intra, prepare, commit, abort, tombstone.
const (
	RowGenesis RowKind = 1 + iota
	RowIntra
	RowPrepare
	RowCommit
	RowAbort
	RowTombstone
)

// Row is one line of history: a transfer or a state change of one.
type Row struct {
	Position uint64 // number of the row, from 0
	Index    uint64 // raft index of the entry
	Term     uint64
	Item     uint32 // position in the entry
	TimeNs   int64
	Kind     RowKind
	State    TransferState // state entered
	Reason   Reason
	Epoch    uint32
	Record   Record // of a tombstone only ID is set
	Digest   Digest // prepare, commit, abort, tombstone of one content
	Wildcard bool   // tombstone of CANCEL: any content
	Prev     uint64 // position of the id's previous row plus 1; 0: this is its first
	// PrevDebit and PrevCredit are the positions plus 1 of the previous rows that changed the debit and
	// the credit account; 0: the row changes no such account of this shard. So a statement is a walk.
	PrevDebit, PrevCredit uint64
	// Account and Available explain a refusal.
	Account   shard.Account
	Available Amount
}

// Outcome is what the shard holds for an id, for ever.
type Outcome struct {
	State       TransferState
	Reason      Reason
	Wildcard    bool // tombstone of CANCEL: any content
	HasRecord   bool // Record is known (false for a tombstone)
	Record      Record
	Digest      Digest // set for cross-shard transfers and tombstones of one content
	VoteEpoch   uint32
	CommitEpoch uint32
	Account     shard.Account
	Available   Amount
	Index       uint64 // raft index at which State was entered
	Term        uint64
	VotePos     uint64 // history position of the first row
	FinalPos    uint64 // history position of the row that entered C or A
}
