package api

// Bench is what one benchmark run measured. A pointer that is null was not measured.
type Bench struct {
	System   string            `json:"system"`  // raftbank, or a peer
	Started  string            `json:"started"` // RFC 3339
	Config   BenchConfig       `json:"config"`
	Versions map[string]string `json:"versions"`
	Machine  BenchMachine      `json:"machine"`

	Seconds     float64           `json:"seconds"`               // length of the measured window
	Interrupted bool              `json:"interrupted,omitempty"` // the window ended before its time, and nothing was checked
	Committed   int               `json:"committed"`
	Aborted     map[string]int    `json:"aborted"` // by reason
	Unavailable int               `json:"unavailable"`
	Shed        int               `json:"shed"` // of unavailable: that no caller took, for the bound on those that wait
	Unknown     int               `json:"unknown"`
	Undrained   int               `json:"undrained"` // of unavailable and unknown: without an answer when the drain ended
	TPS         float64           `json:"tps"`       // committed transfers per second that were answered in the window
	LatencyUs   LatencyUs         `json:"latency_us"`
	Kinds       []KindPerformance `json:"kinds"` // intra, cross, read

	CPUUsPerTransfer     BenchCPU `json:"cpu_us_per_transfer"`
	RSSBytes             *uint64  `json:"rss_bytes"` // of all servers together, at the end of the window
	ClientRSSBytes       *uint64  `json:"client_rss_bytes"`
	DiskBytesPerTransfer *float64 `json:"disk_bytes_per_transfer"` // written by all servers, by the kernel's account
	LogBytesPerTransfer  *float64 `json:"log_bytes_per_transfer"`  // given to the raft logs
	SyncsPerTransfer     *float64 `json:"syncs_per_transfer"`      // fsync and fdatasync of all servers

	ConservationOK *bool  `json:"conservation_ok"`
	HashesOK       *bool  `json:"hashes_ok"`
	CheckNote      string `json:"check_note,omitempty"`

	Timeline     []BenchSlice    `json:"timeline"`
	Distribution []BenchQuantile `json:"distribution"` // of transfers
	// ReadDistribution is that of reads.
	ReadDistribution []BenchQuantile `json:"read_distribution,omitempty"`

	Error *Error `json:"error,omitempty"`
}

// BenchConfig is the load and the bank that it was put on.
type BenchConfig struct {
	Clients      int     `json:"clients"`
	Batch        int     `json:"batch"`
	InFlight     int     `json:"in_flight"` // requests that each client has open
	DurationMs   int64   `json:"duration_ms"`
	WarmupMs     int64   `json:"warmup_ms"`
	CrossPercent *int    `json:"cross_percent"` // null: as uniform pairs fall
	Skew         float64 `json:"skew"`          // exponent of Zipf's law; 0: uniform
	Hot          int     `json:"hot"`           // hot accounts, one of which every transfer touches
	ReadsPercent int     `json:"reads_percent"`
	Rate         float64 `json:"rate"`     // transfers due per second; 0: closed loop
	Queue        int     `json:"queue"`    // requests that wait for a caller, at most; 0: no bound
	DrainMs      int64   `json:"drain_ms"` // after the window, in which what was due in it may still be answered
	Seed         uint64  `json:"seed"`
	DeadlineMs   int64   `json:"deadline_ms"`

	Shards         int    `json:"shards"`
	Replicas       int    `json:"replicas"`
	Accounts       uint64 `json:"accounts"`
	OpeningBalance uint64 `json:"opening_balance"`
	Spawned        bool   `json:"spawned"`
	ServerProcs    int    `json:"server_procs"`    // GOMAXPROCS of spawned servers; 0: not set
	LogSegmentMiB  int    `json:"log_segment_mib"` // size of a spawned server's log files; 0: not known
}

// BenchMachine is where it ran.
type BenchMachine struct {
	CPU         string   `json:"cpu"`
	Cores       int      `json:"cores"`
	MemoryBytes uint64   `json:"memory_bytes"`
	System      string   `json:"system"`  // operating system, its release, architecture
	Load1m      *float64 `json:"load_1m"` // load average when the run began: what others did to the machine
}

// BenchCPU is CPU time in microseconds per committed transfer.
type BenchCPU struct {
	Servers *float64 `json:"servers"` // all replicas of all shards
	Client  *float64 `json:"client"`
}

// BenchSlice is one slice of the measured window.
type BenchSlice struct {
	AtMs      int64   `json:"at_ms"` // its end, since the window began
	TPS       float64 `json:"tps"`   // committed
	Failed    int     `json:"failed"`
	P50Us     int64   `json:"p50_us"`
	P99Us     int64   `json:"p99_us"`
	Committed int     `json:"committed"`

	Reads       int   `json:"reads"` // answered
	ReadsFailed int   `json:"reads_failed"`
	ReadP50Us   int64 `json:"read_p50_us"`
	ReadP99Us   int64 `json:"read_p99_us"`
}

// BenchQuantile is one point of the latency distribution.
type BenchQuantile struct {
	Percent float64 `json:"percent"`
	Us      int64   `json:"us"`
}

// BenchSuite is the standard table.
type BenchSuite struct {
	Quick    bool              `json:"quick"`
	Growth   bool              `json:"growth,omitempty"` // the table of how cost grows instead
	Versions map[string]string `json:"versions"`
	Machine  BenchMachine      `json:"machine"`
	Rows     []BenchRow        `json:"rows"`
	Error    *Error            `json:"error,omitempty"`
}

// BenchRow is one load of the standard table.
type BenchRow struct {
	Name    string    `json:"name"`
	Group   string    `json:"group,omitempty"` // of the growth table; its first row is the base of the others
	Load    string    `json:"load"`            // in words
	Figure  string    `json:"figure"`          // which figure counts here
	Unit    string    `json:"unit"`
	Values  []float64 `json:"values"` // one per run
	Median  float64   `json:"median"`
	Command string    `json:"command"` // that makes one run
	Runs    []Bench   `json:"runs"`
}

// BenchCompare holds two results against each other.
type BenchCompare struct {
	A     string       `json:"a"` // files
	B     string       `json:"b"`
	Rows  []BenchRatio `json:"rows"`
	Notes []string     `json:"notes"` // what makes the two hard to compare
	Error *Error       `json:"error,omitempty"`
}

// BenchRatio is one figure of two results. A value that one of them lacks is null, and so is the ratio.
type BenchRatio struct {
	Row    string      `json:"row,omitempty"` // of a suite
	Figure string      `json:"figure"`
	Unit   string      `json:"unit"`
	A      *float64    `json:"a"`
	B      *float64    `json:"b"`
	RangeA *BenchRange `json:"range_a,omitempty"` // of the runs, if there are several
	RangeB *BenchRange `json:"range_b,omitempty"`
	Ratio  *float64    `json:"ratio"`            // B over A
	Better string      `json:"better,omitempty"` // a or b; "": undecided says why
	// Undecided says why neither side is better: within noise, too few runs, not comparable.
	Undecided string `json:"undecided,omitempty"`
}

// BenchRange is the span of several runs.
type BenchRange struct {
	Least float64 `json:"least"`
	Most  float64 `json:"most"`
}

// BenchPeers is raftbank beside its peers, in one run.
type BenchPeers struct {
	Versions map[string]string `json:"versions"`
	Machine  BenchMachine      `json:"machine"`
	Seed     uint64            `json:"seed"`
	Loads    []BenchPeerLoad   `json:"loads"`
	Skipped  map[string]string `json:"skipped"` // systems that could not run, and why
	Error    *Error            `json:"error,omitempty"`
}

// BenchPeerLoad is one load on every system that takes it.
type BenchPeerLoad struct {
	Name    string            `json:"name"`
	Load    string            `json:"load"`
	Systems []BenchPeerResult `json:"systems"` // raftbank first
}

// BenchPeerResult is one system under one load. Figures are medians of the runs; ratios are raftbank over this system.
type BenchPeerResult struct {
	System   string   `json:"system"`
	Version  string   `json:"version"`  // of the system, in words
	Shape    string   `json:"shape"`    // connections x transfers per request x requests in flight on each
	Settings string   `json:"settings"` // how it ran
	Result   Bench    `json:"result"`   // the run whose throughput is the median, or the one that failed
	Runs     []Bench  `json:"runs"`
	TPS      float64  `json:"tps"`
	P50Us    float64  `json:"p50_us"`
	P99Us    float64  `json:"p99_us"`
	CPUUs    *float64 `json:"cpu_us"` // of the servers, per transfer
	TPSRatio *float64 `json:"tps_ratio"`
	P50Ratio *float64 `json:"p50_ratio"`
	P99Ratio *float64 `json:"p99_ratio"`
	CPURatio *float64 `json:"cpu_ratio"` // of servers' CPU per transfer
}
