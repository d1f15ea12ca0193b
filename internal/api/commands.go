package api

// Performances is what the running client servers have measured.
type Performances struct {
	Clients []Performance `json:"clients"`
	Error   *Error        `json:"error,omitempty"`
}

// Version says what program this is.
type Version struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"` // operating system and processor
	Revision string `json:"revision,omitempty"`
}

// ConfigServer is one server of the effective configuration.
type ConfigServer struct {
	Server int    `json:"server"`
	Addr   string `json:"addr"`
}

// ConfigCluster is one cluster of the effective configuration.
type ConfigCluster struct {
	Shard   int            `json:"shard"`
	Cluster string         `json:"cluster"`
	First   string         `json:"first_account"`
	Last    string         `json:"last_account"`
	Servers []ConfigServer `json:"servers"`
}

// Config is the effective configuration.
type Config struct {
	OpeningBalance string          `json:"opening_balance"`
	Total          string          `json:"total"` // what GENESIS opens
	Clusters       []ConfigCluster `json:"clusters"`
}

// Linearizability is the answer of check linearizability. OK is null if nothing could be said.
type Linearizability struct {
	OK         *bool           `json:"ok"`
	Rounds     int             `json:"rounds"`
	Histories  int             `json:"histories"` // one per account and round
	Reads      int             `json:"reads"`
	Transfers  int             `json:"transfers"`
	Outcomes   map[string]int  `json:"outcomes"` // of transfers, unknown ones as they were settled
	Failed     int             `json:"failed"`   // reads without an answer
	ElapsedMs  int64           `json:"elapsed_ms"`
	Accounts   []LinearAccount `json:"accounts"`
	Note       string          `json:"note,omitempty"`
	Violation  *LinearFinding  `json:"violation,omitempty"`
	NotMoved   []Moved         `json:"not_returned"` // what could not be given back
	Record     string          `json:"record,omitempty"`
	Visualized string          `json:"visualize,omitempty"`
	Error      *Error          `json:"error,omitempty"`
}

// LinearAccount is one account's part of the check.
type LinearAccount struct {
	Account   string `json:"account"`
	Cluster   string `json:"cluster,omitempty"`
	Histories int    `json:"histories"`
	Reads     int    `json:"reads"`
	Transfers int    `json:"transfers"` // that may have been applied
	Open      int    `json:"open"`      // of them: outcome unknown to the end
	Left      int    `json:"left_out"`  // operations beyond the bounds of the search
	OK        *bool  `json:"ok"`
}

// LinearFinding is a history that no order explains.
type LinearFinding struct {
	Account  string     `json:"account"`
	Round    int        `json:"round"`
	In       string     `json:"in"` // at the opening of the round
	Out      string     `json:"out"`
	Evidence []string   `json:"evidence"`
	Excerpt  []LinearOp `json:"excerpt"`
}

// LinearOp is one operation of an excerpt.
type LinearOp struct {
	Client   int    `json:"client"`
	Kind     string `json:"kind"` // read, transfer
	ID       string `json:"id,omitempty"`
	In       string `json:"in"` // seen, or added
	Out      string `json:"out"`
	CallUs   int64  `json:"call_us"`
	ReturnUs *int64 `json:"return_us"` // null: nobody was told
}

// Moved is money that is still where the check has put it.
type Moved struct {
	Account string `json:"account"`
	Amount  string `json:"amount"` // more than before; negative: less
}

// ReplaceRequest asks a cluster's leader for the next step of replacing a server whose directory is lost.
type ReplaceRequest struct {
	Server int `json:"server"`
	// Attempt is a number that whoever asks draws once, and repeats with every step: done is then said only of a member
	// that has been alive since the first of them.
	Attempt uint64 `json:"attempt"`
	// Force replaces a server that is alive.
	Force bool `json:"force"`
}

// Phases of a replacement, in their order.
const (
	ReplaceWaiting   = "waiting"   // for the server's new process
	ReplaceRemoved   = "removed"   // the old incarnation is no member any more
	ReplaceLearner   = "learner"   // the new incarnation gets the log, and does not vote
	ReplaceStreaming = "streaming" // it fetches a checkpoint
	ReplacePromoted  = "promoted"  // it votes: done
)

// ReplaceReply says how far a replacement is. Every step is asked for anew, of whoever leads.
type ReplaceReply struct {
	Server int `json:"server"`
	// Leader is the server that leads, 0 if it is not known. The others take no step, and name no phase.
	Leader int    `json:"leader"`
	Phase  string `json:"phase,omitempty"`
	// Percent of the checkpoint, or of the log, that the new incarnation has.
	Percent int `json:"percent"`
}
