package cli

// transferArgs are the arguments of transfer, as typed: what is wrong with them is an outcome.
type transferArgs struct {
	From, To, Amount string
	ID               string // "" draws one
	CrashPoint       int    // hidden: kill this process at a crash point of docs/PROTOCOL.md, section 11
}

// fileTransferArgs are the arguments of file-transfer.
type fileTransferArgs struct {
	File         string // "-" is standard input
	Batch        string // "" draws one
	Concurrency  int    // transfers in flight; 0 means 256
	Unordered    bool   // do not keep the order of lines that share an account
	SkipBad      bool   // --on-error=skip
	FailOnAbort  bool   // exit 3 if any transfer aborted
	OnLineResult func() // hook of the demo: called after every transfer; may be nil
}

// datastoreArgs are the arguments of datastore.
type datastoreArgs struct {
	Server  int  // 0: every server
	All     bool // no limit
	Limit   int  // newest rows per server; positive unless All
	From    uint64
	ID      string
	Account string
}

// statusArgs are the arguments of status.
type statusArgs struct {
	Watch bool // refresh until interrupted
}

// performanceArgs are the arguments of performance.
type performanceArgs struct {
	Client string // address of one client server; "" asks 9000 and 8999
	Reset  bool   // shell: start counting anew
}
