package api

// Results of a HistoryLine.
const (
	LineOpening   = "opening"   // the account's first line
	LinePosted    = "posted"    // the money moved
	LineReserved  = "reserved"  // a cross-shard transfer holds the amount back until its outcome is known
	LineAnnounced = "announced" // a cross-shard transfer may bring the amount
	LineReleased  = "released"  // a cross-shard transfer was aborted: what it reserved or announced is undone
)

// HistoryLine is one change of an account.
type HistoryLine struct {
	TimeNs       int64  `json:"time_ns"`                // leader's wall clock, for display
	ID           string `json:"id,omitempty"`           // absent: the opening
	Counterparty string `json:"counterparty,omitempty"` // who was paid, or who paid
	Amount       string `json:"amount"`                 // below zero: the account pays. Balance follows it on posted lines alone
	Result       string `json:"result"`                 // posted, reserved, announced, released, opening
	Reason       string `json:"reason,omitempty"`       // of released
	Balance      string `json:"balance"`                // after this line
	Available    string `json:"available"`              // after this line, less what was reserved then
	Index        uint64 `json:"index"`
	Term         uint64 `json:"term"`
	Row          uint64 `json:"row"` // number of the row in the cluster's history, from 0
}

// Freshness says how new an answer is.
type Freshness struct {
	Server int    `json:"server"` // that answered
	Role   string `json:"role"`
	Strong bool   `json:"strong"` // it contains all that had been answered when it was asked for
	Term   uint64 `json:"term"`
	// Applied is the index up to which the answer goes; Behind, how many entries that is behind the furthest of the
	// Heard replicas of its cluster that answered, itself included. Of a strong answer 0 and 0.
	Applied uint64 `json:"applied"`
	Behind  uint64 `json:"behind"`
	Heard   int    `json:"heard"`
}

// History is a page of an account's statement, newest first, and the account as it is.
type History struct {
	Account string `json:"account"`
	Shard   int    `json:"shard"`
	Cluster string `json:"cluster"`
	Freshness
	Balance    string        `json:"balance"`
	Available  string        `json:"available"`
	PendingIn  string        `json:"pending_in"`
	PendingOut string        `json:"pending_out"`
	Lines      []HistoryLine `json:"lines"`
	Next       string        `json:"next,omitempty"` // cursor of the next page; absent: the opening was reached
	Error      *Error        `json:"error,omitempty"`
}

// ShardTransfer is what one shard holds under a transfer's id.
type ShardTransfer struct {
	Shard   int    `json:"shard"`
	Cluster string `json:"cluster"`
	Up      bool   `json:"up"` // false: no answer, and nothing below counts
	Freshness
	State    string  `json:"state"` // none, prepared, committed, aborted
	Reason   string  `json:"reason,omitempty"`
	UserData uint64  `json:"user_data,omitempty,string"`
	Code     uint16  `json:"code,omitempty"`
	Digest   string  `json:"digest,omitempty"` // SHA-256 of the record, in hex: of a transfer between shards, or of a tombstone for one
	Entries  []Entry `json:"entries"`          // oldest first
}

// Outcomes of a TransferRecord beside committed and aborted.
const (
	OutcomeInDoubt  = "in-doubt"  // some participant has not voted, as far as was asked
	OutcomeNotFound = "not-found" // nobody that was asked knows the id
)

// TransferRecord is all that the bank holds about one id.
type TransferRecord struct {
	ID      string          `json:"id"`
	From    string          `json:"from,omitempty"`
	To      string          `json:"to,omitempty"`
	Amount  string          `json:"amount,omitempty"`
	Kind    string          `json:"kind,omitempty"`
	Outcome string          `json:"outcome,omitempty"` // committed, aborted, in-doubt, not-found; absent: Error says why
	Reason  string          `json:"reason,omitempty"`
	Shards  []ShardTransfer `json:"shards"` // those that were asked
	Error   *Error          `json:"error,omitempty"`
}
