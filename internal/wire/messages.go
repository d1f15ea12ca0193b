package wire

import (
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
)

// Version is the wire format version of this build.
const Version = 2

// MaxFrameBytes bounds one frame; a longer one closes the connection.
const MaxFrameBytes = 8 << 20

// MaxBatch bounds the records, ids or inquiries of one request.
const MaxBatch = 8190

// Type tells messages apart on the wire. The numbers are wire format.
type Type uint8

// Message types.
const (
	TypeHello      Type = 1
	TypeHelloReply Type = 2
	TypeRaft       Type = 3
	TypeProbe      Type = 4
	TypeProbeReply Type = 5
	TypeProof      Type = 6
	TypeCheckpoint Type = 7
	// TypeSnapshotAsk and TypeSnapshotPart move a checkpoint to a replica that is too far behind.
	TypeSnapshotAsk  Type = 8
	TypeSnapshotPart Type = 9
	TypeTransfer     Type = 16
	TypePrepare      Type = 17
	TypeFinish       Type = 18
	TypeInquire      Type = 19
	TypeStatus       Type = 20
	TypeCancel       Type = 21
	TypeBalance      Type = 22
	TypeAdmin        Type = 23
	TypeReply        Type = 24
	TypeAudit        Type = 25
	TypeQuery        Type = 26
)

// Message is anything that travels in a frame: pointers to the types below (*Hello, *Reply, ...).
type Message interface {
	// Type returns the message's type byte.
	Type() Type
	// AppendTo appends the payload (without frame) to b.
	AppendTo(b []byte) []byte
}

// Role says what the dialling side of a connection is.
type Role uint8

// Roles.
const (
	RoleClient Role = 1
	RolePeer   Role = 2
)

// Hello is the first message of a connection, from the side that dials.
type Hello struct {
	Role   Role
	Bank   txn.BankID // zero from a client
	KeyID  txn.KeyID  // peers only
	Server shard.ServerID
	Nonce  [16]byte // the dialler's challenge
}

// HelloReply answers Hello. For peers both sides then prove that they hold the key: Proof is the
// HMAC over the dialler's nonce, and the dialler answers with a Proof message over Nonce.
type HelloReply struct {
	Bank   txn.BankID
	Server shard.ServerID
	Shard  shard.ID
	Epoch  uint32
	Nonce  [16]byte
	Proof  [32]byte
	Refuse string // why the connection is refused; empty if it is not
}

// Proof is the dialling peer's answer to HelloReply.Nonce.
type Proof struct {
	MAC [32]byte
}

// Raft carries raft messages between two replicas of a shard. From and To are raft ids
// (server << 32 | incarnation): a message for another incarnation is refused.
type Raft struct {
	Shard    shard.ID
	From, To uint64
	// Messages are encoded by package replica.
	Messages [][]byte
	// Data, if not nil, has for each message the parts that follow it in the encoding: entries that messages to several
	// peers share. A decoded frame has everything in Messages.
	Data [][][]byte `wire:"-"`
}

// Size returns the bytes of the i-th message with its data.
func (m *Raft) Size(i int) int {
	n := len(m.Messages[i])
	if m.Data != nil {
		for _, part := range m.Data[i] {
			n += len(part)
		}
	}
	return n
}

// Part returns the messages from the i-th up to but without the j-th, as a frame of their own.
func (m *Raft) Part(i, j int) *Raft {
	p := &Raft{Shard: m.Shard, From: m.From, To: m.To, Messages: m.Messages[i:j]}
	if m.Data != nil {
		p.Data = m.Data[i:j]
	}
	return p
}

// ReplicaState says how far a replica's directory has come.
type ReplicaState uint8

// Replica states.
const (
	ReplicaEmpty       ReplicaState = 1 // has never been part of a group
	ReplicaInitialised ReplicaState = 2 // has a membership and perhaps a log
	ReplicaJoining     ReplicaState = 3 // empty, and started to take the place of its server's earlier incarnation
)

// Probe asks the other replicas of a shard what they are, before the first vote of a process.
type Probe struct {
	Shard       shard.ID
	Server      shard.ServerID
	Incarnation uint32
	State       ReplicaState
	Term        uint64 // of the asker's HardState
	LastIndex   uint64 // of the asker's log
	// Founding are the raft ids that founded the asker's group, if it is initialised: what a group is known by.
	Founding []uint64
}

// Checkpoint tells the other replicas of a shard up to which entry the sender's checkpoint reaches: it will
// never need that entry or one before it. There is no answer.
type Checkpoint struct {
	Shard shard.ID
	From  uint64 // raft id
	Index uint64
	Term  uint64 // of entry Index
}

// Verdict is what the asked replica makes of the asker.
type Verdict uint8

// Verdicts.
const (
	VerdictOK         Verdict = 1
	VerdictStranger   Verdict = 2 // the group exists and the asker's incarnation is not in it
	VerdictRolledBack Verdict = 3 // the asker's term or last index is below what it once acknowledged
	VerdictForeign    Verdict = 4 // the asker belongs to another shard or configuration
	VerdictReplaced   Verdict = 5 // the asker's incarnation was removed from the group for good
)

// ProbeReply answers Probe.
type ProbeReply struct {
	Shard       shard.ID
	Server      shard.ServerID
	Incarnation uint32
	State       ReplicaState
	Term        uint64
	LastIndex   uint64
	Members     []uint64 // raft ids of the group as the sender has applied it, if initialised
	Founding    []uint64 // those that founded it
	About       uint64   // raft id of the asker: a late answer may reach another incarnation
	Verdict     Verdict
	// What the verdict rests on, for the message to the user.
	RememberedTerm, RememberedIndex uint64
}

// Header is common to all requests.
type Header struct {
	Request uint64 // the caller's number; comes back in the reply
	Shard   shard.ID
	Epoch   uint32 // of the caller's shard map
}

// TransferRequest asks for transfers whose accounts are all on one shard. Again says that a copy may have been
// taken before, so that the leader looks for the outcomes before it proposes; without it a known id is answered
// all the same, by way of the log.
type TransferRequest struct {
	Header
	Again   bool
	Records []ledger.Record
}

// PrepareRequest asks one participant for its votes. Digests are parallel to Records. Again is as in TransferRequest.
type PrepareRequest struct {
	Header
	Again   bool
	Records []ledger.Record
	Digests []ledger.Digest
}

// FinishRequest carries certified facts to a participant, which finishes every transfer that they
// decide. It is answered with StatusOK once taken; the facts need no further reply.
type FinishRequest struct {
	Header
	Blocks []txn.Block
}

// Inquiry names one transfer of an InquireRequest.
type Inquiry = txn.Inquiry

// InquireRequest asks a participant what it knows. P, C and A are answered by any replica, with a
// certificate; NONE only linearizably, by the leader. With Poison, NONE becomes A through the log.
type InquireRequest struct {
	Header
	Poison bool
	Reason ledger.Reason // of the tombstone: ReasonCancelled or ReasonTimedOut
	Items  []Inquiry
}

// StatusRequest asks a shard, linearizably, for what it holds under ids; the reply's results carry
// the records.
type StatusRequest struct {
	Header
	IDs []ledger.TransferID
}

// CancelRequest writes wildcard tombstones for ids that no shard knows.
type CancelRequest struct {
	Header
	IDs []ledger.TransferID
}

// BalanceRequest reads accounts: strongly (section 7, leader only), or from what the asked replica
// has applied.
type BalanceRequest struct {
	Header
	Strong   bool
	Accounts []shard.Account
}

// AuditStep is what an AuditRequest asks for (docs/PROTOCOL.md, section 9).
type AuditStep uint8

// Steps of an audit, in their order. Void is sent instead of the last two if one shard did not confirm.
const (
	AuditAllocate AuditStep = 1 // the first shard: a number, certified
	AuditBarrier  AuditStep = 2 // cut the log at the number and withhold
	AuditConfirm  AuditStep = 3 // linearizably: does the shard still withhold for the number?
	AuditRelease  AuditStep = 4 // all have confirmed: stop withholding
	AuditCollect  AuditStep = 5 // the shard's part of the snapshot: Reply.Body is an api.ShardAudit
	AuditVoid     AuditStep = 6 // stop withholding: the audit proves nothing
)

// AuditRequest asks a shard's leader for one step of an audit. The reply has one result.
type AuditRequest struct {
	Header
	Step   AuditStep
	Number uint32
	Blocks []txn.Block // AuditBarrier: the first shard's certificate of the number
}

// QueryKind says what a QueryRequest asks for.
type QueryKind uint8

// Kinds of a QueryRequest: reply body.
const (
	QueryStatement QueryKind = 1 // api.History: a page of the statement of Account
	QueryTransfer  QueryKind = 2 // api.ShardTransfer: what the shard holds under ID
)

// QueryRequest asks a shard for rows of its history: linearizably, then the leader answers, or of what the asked
// replica has applied. The reply's Body is JSON of the type that Kind names.
type QueryRequest struct {
	Header
	Kind    QueryKind
	Strong  bool
	Account shard.Account     // QueryStatement
	Limit   uint32            // QueryStatement: lines; 0, or more than a page may have: a full page
	Cursor  string            // QueryStatement: where to go on; empty: at the newest row
	ID      ledger.TransferID // QueryTransfer
}

// AdminRequest asks one server something rare; Body and the reply's Body are JSON of the types in
// package api, named by Kind (see the Admin constants).
type AdminRequest struct {
	Header
	Kind string
	Body []byte
}

// Kinds of AdminRequest: request body -> reply body.
const (
	AdminStatus    = "status"    // none -> api.ServerStatus
	AdminDatastore = "datastore" // api.DatastoreQuery -> api.ServerDatastore
	AdminExplain   = "explain"   // api.ExplainQuery -> api.ServerExplain
	AdminInDoubt   = "in-doubt"  // none -> api.ServerInDoubt
	AdminCheck     = "check"     // none -> api.ServerCheck
	AdminFault     = "fault"     // api.FaultRequest -> api.FaultReply; only with --allow-faults
	AdminReplace   = "replace"   // api.ReplaceRequest -> api.ReplaceReply
)

// Status is how a server took a request as a whole.
type Status uint8

// Statuses. Only StatusLost and no answer at all leave open whether something was applied:
// after NotLeader, Busy, WrongShard, NotReady and BadRequest nothing of the unanswered items was appended.
const (
	StatusOK         Status = 1
	StatusNotLeader  Status = 2 // Leader may name who is
	StatusBusy       Status = 3 // over a bound; try again later
	StatusWrongShard Status = 4 // the server's map disagrees: no vote, no state
	StatusNotReady   Status = 5 // forming its group, replaying, or refusing to serve: Text says why
	StatusBadRequest Status = 6 // Text says what is wrong
	StatusLost       Status = 7 // leadership lost after appending: ask again with the same ids
)

// Result is the answer to one item of a request.
type Result struct {
	Item      uint32 // position in the request
	Code      ledger.ResultCode
	State     ledger.TransferState
	Reason    ledger.Reason
	Account   shard.Account
	Available ledger.Amount
	Epoch     uint32
	Index     uint64
	Term      uint64
	Content   *Content // StatusRequest: the content that the shard holds under the id; nil: it knows of none
}

// Content is the content that a shard holds under an id: apart from Result, for replies have thousands of results
// without.
type Content struct {
	HasRecord bool // else it is a tombstone's: only the digest is known
	Record    ledger.Record
	Digest    ledger.Digest
}

// ContentOf returns the content of a transfer's state, nil if it has none: an id that is not known, or a wildcard.
func ContentOf(o *ledger.Outcome) *Content {
	if !o.HasRecord && o.Digest == (ledger.Digest{}) {
		return nil
	}
	return &Content{HasRecord: o.HasRecord, Record: o.Record, Digest: o.Digest}
}

// Balance is the answer for one account of a BalanceRequest.
type Balance struct {
	Account        shard.Account
	Exists         bool
	Closed         bool
	DebitsPosted   ledger.Amount
	CreditsPosted  ledger.Amount
	DebitsPending  ledger.Amount
	CreditsPending ledger.Amount
	CreditLine     ledger.Amount
}

// Run names items of a request that follow each other.
type Run struct {
	First, Count uint32
}

// Reply answers any request. Items may be answered in several replies (a deferred transfer comes
// later); a request is over when every item has been answered, or on a Status other than OK, which
// holds for all items that are still open.
//
// A reply to request 0 answers nothing: a leader that is slow says with it that it works at what was asked over this
// connection.
//
// Of a TransferRequest the transfers that committed are named in runs, and only the others have a result
// each.
type Reply struct {
	Request   uint64
	Status    Status
	Leader    shard.ServerID // with StatusNotLeader: who leads, 0 if unknown
	Text      string
	Committed []Run // answers TransferRequest; in ascending order, disjoint, none empty
	Voted     []Run // answers PrepareRequest, likewise: what this shard voted YES on and is still in P
	Results   []Result
	Blocks    []txn.Block // certificates for what PREPARE and INQUIRE were answered, in the order of the items
	Balances  []Balance
	// Of the answering replica, with Balances. Applied is the index as of which they stand; a strong read
	// also shows what was pending there and has been finished since.
	Term, Applied uint64
	Role          uint8  // raft.StateType
	Body          []byte // AdminRequest: JSON
}
