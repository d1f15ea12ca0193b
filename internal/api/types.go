package api

// Kinds of a transfer.
const (
	KindIntra = "intra" // both accounts on one shard
	KindCross = "cross" // accounts on two shards
)

// Outcomes of a transfer.
const (
	OutcomeCommitted   = "committed"
	OutcomeAborted     = "aborted"
	OutcomeUnavailable = "unavailable" // surely not applied
	OutcomeUnknown     = "unknown"     // ask again with the id: resolve
)

// Error is what went wrong, for people and for programs.
type Error struct {
	Code      string `json:"code"` // usage, refused, unavailable, unknown, unauthorised, violation, internal
	Message   string `json:"message"`
	Shard     int    `json:"shard,omitempty"`
	Phase     string `json:"phase,omitempty"` // route, prepare, finish, read, ...
	Retryable bool   `json:"retryable"`
	Hint      string `json:"hint,omitempty"` // the next command
	ID        string `json:"id,omitempty"`
}

// Error implements error with the message alone.
func (e *Error) Error() string { return e.Message }

// Step is one part of a transfer's latency, counted from the client's initiation.
type Step struct {
	AtUs  int64  `json:"at_us"`
	Actor string `json:"actor"` // "client", "C1"
	Text  string `json:"text"`
	// Times is how many steps like the ones before this one stands for, the last of them at AtUs; 0: it is one.
	Times int `json:"times,omitempty"`
}

// Transfer is the outcome of one transfer.
type Transfer struct {
	ID        string `json:"id"`
	From      string `json:"from"`
	To        string `json:"to"`
	Amount    string `json:"amount"`
	Kind      string `json:"kind"`
	Outcome   string `json:"outcome,omitempty"` // absent: there is none to tell, Error says why
	Reason    string `json:"reason,omitempty"`
	Detail    string `json:"detail,omitempty"` // the reason as a sentence with its numbers
	Available string `json:"available,omitempty"`
	LatencyUs int64  `json:"latency_us"`
	Steps     []Step `json:"steps,omitempty"`
	Error     *Error `json:"error,omitempty"`
}

// ReplicaBalance is an account as one replica has applied it.
type ReplicaBalance struct {
	Server     int    `json:"server"`
	Role       string `json:"role"` // leader, follower, candidate, learner, unknown
	Term       uint64 `json:"term"`
	Applied    uint64 `json:"applied"`
	Behind     uint64 `json:"behind"` // entries behind the furthest replica that answered
	Balance    string `json:"balance"`
	Available  string `json:"available"`
	PendingIn  string `json:"pending_in"`
	PendingOut string `json:"pending_out"`
	Up         bool   `json:"up"`
}

// Balance is an account, read strongly, with what every replica has.
type Balance struct {
	Account    string           `json:"account"`
	Shard      int              `json:"shard"`
	Cluster    string           `json:"cluster"`
	Balance    string           `json:"balance"`
	Available  string           `json:"available"`
	PendingIn  string           `json:"pending_in"`
	PendingOut string           `json:"pending_out"`
	Strong     bool             `json:"strong"` // false: no majority answered, Balance is the furthest replica's
	Replicas   []ReplicaBalance `json:"replicas"`
	Error      *Error           `json:"error,omitempty"`
}

// Entry is one row of a server's datastore.
type Entry struct {
	Row      uint64 `json:"row"` // number of the row in the server's history, from 0
	Index    uint64 `json:"index"`
	Position uint32 `json:"position"` // of the row in its entry
	Term     uint64 `json:"term"`
	Kind     string `json:"kind"` // genesis, intra, prepare, commit, abort, tombstone
	ID       string `json:"id"`
	From     string `json:"from"`
	To       string `json:"to"`
	Amount   string `json:"amount"`
	Outcome  string `json:"outcome"` // committed, yes, no, aborted
	Reason   string `json:"reason,omitempty"`
	TimeNs   int64  `json:"time_ns"`         // leader's wall clock, for display
	Epoch    uint32 `json:"epoch,omitempty"` // number of the newest audit's cut before the row; 0: none
}

// DatastoreQuery selects rows; the newest Limit of those that match are returned. A server returns at most
// 2048 rows for one request, and looks for an account in at most 16,384.
type DatastoreQuery struct {
	Limit   int    `json:"limit"`             // 0: no limit
	From    uint64 `json:"from,omitempty"`    // lowest index
	Before  uint64 `json:"before,omitempty"`  // rows below this row number only, for paging; 0: all
	ID      string `json:"id,omitempty"`      // one transfer
	Account string `json:"account,omitempty"` // transfers that touch it
}

// ServerDatastore is what one server has committed and applied.
type ServerDatastore struct {
	Server     int     `json:"server"`
	Shard      int     `json:"shard"`
	Cluster    string  `json:"cluster"`
	Up         bool    `json:"up"`
	Note       string  `json:"note,omitempty"` // why rows are missing
	FirstIndex uint64  `json:"first_index"`    // of the oldest matching row; with an account: of the oldest one found
	Total      uint64  `json:"total"`          // rows that match; with an account: those found
	Truncated  uint64  `json:"truncated"`      // rows known to match and left out
	Next       uint64  `json:"next,omitempty"` // rows below this one were not looked at: ask for Before of it; absent: all were
	Entries    []Entry `json:"entries"`        // oldest first
}

// Datastore is what every server has committed.
type Datastore struct {
	Servers []ServerDatastore `json:"servers"`
	Error   *Error            `json:"error,omitempty"`
}

// ServerStatus is one server's view of itself.
type ServerStatus struct {
	Server   int    `json:"server"`
	Addr     string `json:"addr"`
	Shard    int    `json:"shard"`
	Role     string `json:"role"`
	Leader   *int   `json:"leader"`
	Term     uint64 `json:"term"`
	Commit   uint64 `json:"commit"`
	Applied  uint64 `json:"applied"`
	Prepared int    `json:"prepared"`
	Hash     string `json:"hash"` // state hash at Applied
	Up       bool   `json:"up"`
	Note     string `json:"note,omitempty"` // why it is not serving
	Version  string `json:"version,omitempty"`
	// Counters since the process started.
	Counters map[string]uint64 `json:"counters,omitempty"`
}

// ShardStatus is one cluster.
type ShardStatus struct {
	Shard   int            `json:"shard"`
	Cluster string         `json:"cluster"`
	First   string         `json:"first_account"`
	Last    string         `json:"last_account"`
	Leader  *int           `json:"leader"`
	Servers []ServerStatus `json:"servers"`
}

// Status is the whole bank.
type Status struct {
	Shards []ShardStatus `json:"shards"`
	Error  *Error        `json:"error,omitempty"`
}

// ExplainQuery asks a server for what it knows of a transfer.
type ExplainQuery struct {
	ID string `json:"id"`
}

// ServerExplain is what one server knows of a transfer.
type ServerExplain struct {
	Server  int     `json:"server"`
	Shard   int     `json:"shard"`
	Cluster string  `json:"cluster"`
	Role    string  `json:"role"`
	Up      bool    `json:"up"`
	State   string  `json:"state"` // none, prepared, committed, aborted
	Reason  string  `json:"reason,omitempty"`
	Entries []Entry `json:"entries"`
}

// ExplainEvent is one line of a transfer's timeline.
type ExplainEvent struct {
	TimeNs  int64  `json:"time_ns"`
	Cluster string `json:"cluster"`
	Index   uint64 `json:"index"`
	Term    uint64 `json:"term"`
	Kind    string `json:"kind"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	Servers []int  `json:"servers"` // that have applied it
}

// Explain is one timeline over all servers.
type Explain struct {
	ID      string          `json:"id"`
	From    string          `json:"from,omitempty"`
	To      string          `json:"to,omitempty"`
	Amount  string          `json:"amount,omitempty"`
	Kind    string          `json:"kind,omitempty"`
	Outcome string          `json:"outcome,omitempty"` // committed, aborted, in-doubt, not-found; absent: Error says why
	Reason  string          `json:"reason,omitempty"`
	Events  []ExplainEvent  `json:"events"`
	Servers []ServerExplain `json:"servers"`
	Error   *Error          `json:"error,omitempty"`
}

// InDoubtTransfer is a prepared transfer that is not finished at a shard.
type InDoubtTransfer struct {
	ID           string `json:"id"`
	Shard        int    `json:"shard"`
	Cluster      string `json:"cluster"`
	From         string `json:"from"`
	To           string `json:"to"`
	Amount       string `json:"amount"`
	Index        uint64 `json:"index"`
	AgeMs        int64  `json:"age_ms"` // since this leader knows it
	Participants []int  `json:"participants"`
}

// ServerInDoubt is what one leader has prepared and not finished.
type ServerInDoubt struct {
	Server    int               `json:"server"`
	Shard     int               `json:"shard"`
	Leader    bool              `json:"leader"`
	Transfers []InDoubtTransfer `json:"transfers"`
	Total     int               `json:"total"`
}

// InDoubtShard says how far one cluster's part of the list can be relied on.
type InDoubtShard struct {
	Shard   int    `json:"shard"`
	Cluster string `json:"cluster"`
	Leader  *int   `json:"leader"` // the leader whose list it is; null: no leader answered
	Server  *int   `json:"server"` // whose list it is; null: no server answered
	Total   int    `json:"total"`  // unfinished transfers there; the list may hold fewer
}

// InDoubt is every unfinished cross-shard transfer of the bank.
type InDoubt struct {
	Transfers []InDoubtTransfer `json:"transfers"`
	Shards    []InDoubtShard    `json:"shards"`
	Error     *Error            `json:"error,omitempty"`
}

// HashAt is a state hash at an index.
type HashAt struct {
	Index uint64 `json:"index"`
	State string `json:"state"`
	Chain string `json:"chain"`
}

// ServerCheck is what a server says for the conservation check.
type ServerCheck struct {
	Server   int      `json:"server"`
	Shard    int      `json:"shard"`
	Up       bool     `json:"up"`
	Leader   bool     `json:"leader"`
	Term     uint64   `json:"term"`
	Applied  uint64   `json:"applied"`
	Commit   uint64   `json:"commit"`
	Prepared int      `json:"prepared"`
	Total    string   `json:"total"`    // sum of users' posted balances
	Expected string   `json:"expected"` // what GENESIS opened
	Negative int      `json:"negative"` // accounts below their floor
	Hash     HashAt   `json:"hash"`     // at Applied
	Hashes   []HashAt `json:"hashes"`   // at the newest multiples of 64
}

// ShardCheck is one cluster's part of the check.
type ShardCheck struct {
	Shard    int           `json:"shard"`
	Cluster  string        `json:"cluster"`
	Total    string        `json:"total"`
	InFlight int           `json:"in_flight"`
	HashesOK *bool         `json:"hashes_ok"` // null: not comparable
	Note     string        `json:"note,omitempty"`
	Servers  []ServerCheck `json:"servers"`
}

// Check is the answer of check conservation. OK is null if transfers ran meanwhile.
type Check struct {
	OK       *bool        `json:"ok"`
	Total    string       `json:"total"`
	Expected string       `json:"expected"`
	InFlight int          `json:"in_flight"`
	Note     string       `json:"note,omitempty"`
	Shards   []ShardCheck `json:"shards"`
	Error    *Error       `json:"error,omitempty"`
}

// ShardAudit is one cluster's part of an audit.
type ShardAudit struct {
	Shard      int    `json:"shard"`
	Cluster    string `json:"cluster"`
	Server     int    `json:"server"` // that answered
	Accounts   uint64 `json:"accounts"`
	Posted     string `json:"posted"`     // sum of the balances at the cut
	In         string `json:"in"`         // credits under way at the cut: contained, finished here after it
	Out        string `json:"out"`        // debits, likewise
	Unfinished int    `json:"unfinished"` // transfers whose sides In and Out are
	Total      string `json:"total"`      // posted + in - out
	Opened     string `json:"opened"`     // what GENESIS opened
	CutIndex   uint64 `json:"cut_index"`  // raft index of the cut
}

// Audit is the total of the bank at one cut through all clusters' logs.
type Audit struct {
	OK         *bool        `json:"ok"` // null: no cut could be had
	Epoch      uint32       `json:"epoch"`
	Total      string       `json:"total,omitempty"`
	Expected   string       `json:"expected,omitempty"`
	Posted     string       `json:"posted,omitempty"`
	InFlight   string       `json:"in_flight,omitempty"` // total - posted: money between clusters at the cut
	Accounts   uint64       `json:"accounts"`
	Unfinished int          `json:"unfinished"`
	Retries    int          `json:"retries"` // numbers that proved nothing
	DurationUs int64        `json:"duration_us"`
	Shards     []ShardAudit `json:"shards"`
	Error      *Error       `json:"error,omitempty"`
}

// LatencyUs summarises latencies in microseconds.
type LatencyUs struct {
	Mean float64 `json:"mean"`
	P50  int64   `json:"p50"`
	P95  int64   `json:"p95"`
	P99  int64   `json:"p99"`
	P999 int64   `json:"p999"`
	Max  int64   `json:"max"`
}

// FileTransfer summarises a file of transfers.
type FileTransfer struct {
	Batch       string            `json:"batch"`
	Total       int               `json:"total"`
	Committed   int               `json:"committed"`
	Aborted     map[string]int    `json:"aborted"`
	Unavailable int               `json:"unavailable"`
	Unknown     int               `json:"unknown"`
	Skipped     int               `json:"skipped,omitempty"` // bad lines, with --on-error=skip
	ElapsedMs   int64             `json:"elapsed_ms"`
	TPS         float64           `json:"tps"`
	LatencyUs   LatencyUs         `json:"latency_us,omitzero"` // absent: nothing was measured
	Kinds       []KindPerformance `json:"kinds,omitempty"`
	Unknowns    []string          `json:"unknown_ids,omitempty"`
	BadLines    []string          `json:"bad_lines,omitempty"` // file:line: what; nothing was sent
	Error       *Error            `json:"error,omitempty"`
}

// KindPerformance is the figures of one kind of transfer.
type KindPerformance struct {
	Kind        string         `json:"kind"`
	Committed   int            `json:"committed"`
	Aborted     map[string]int `json:"aborted"`
	Unavailable int            `json:"unavailable"`
	Unknown     int            `json:"unknown"`
	TPS         float64        `json:"tps"`
	LatencyUs   LatencyUs      `json:"latency_us,omitzero"` // absent: nothing was measured
}

// Performance is what a client server has measured since its start or the last reset.
type Performance struct {
	Client    string            `json:"client"` // address of the client server, or "session"
	Loop      string            `json:"loop"`   // open or closed
	SinceMs   int64             `json:"since_ms"`
	Kinds     []KindPerformance `json:"kinds"`
	Total     KindPerformance   `json:"total"`
	BusyMs    int64             `json:"busy_ms"` // time with at least one transfer in flight; throughput is per this time
	Error     *Error            `json:"error,omitempty"`
	Reachable bool              `json:"reachable"`
}

// FaultRequest changes what a server's transport lets through.
type FaultRequest struct {
	// Block names the servers from and to which frames are dropped; it replaces the former list.
	Block []int `json:"block"`
	// BlockIn and BlockOut are the same for frames from, or to, those servers alone.
	BlockIn  []int `json:"block_in,omitempty"`
	BlockOut []int `json:"block_out,omitempty"`
	// DelayMs is how long every write to another server waits, JitterMs how much longer at most.
	DelayMs  int `json:"delay_ms,omitempty"`
	JitterMs int `json:"jitter_ms,omitempty"`
	// DropPercent of frames sent to other servers are lost.
	DropPercent int `json:"drop_percent,omitempty"`
	// DuplicatePercent are sent twice.
	DuplicatePercent int `json:"duplicate_percent,omitempty"`
	// ResetPercent break their connection in the middle.
	ResetPercent int `json:"reset_percent,omitempty"`
}

// FaultReply confirms.
type FaultReply struct {
	Block []int `json:"block"`
}
