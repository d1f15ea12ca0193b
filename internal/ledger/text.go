package ledger

import (
	"fmt"
	"strconv"
)

// reasonNames holds the stable text forms, by Reason.
var reasonNames = [...]string{
	ReasonNone:              "none",
	ReasonInsufficientFunds: "insufficient_funds",
	ReasonNoAccount:         "no_account",
	ReasonSameAccount:       "same_account",
	ReasonBadAmount:         "bad_amount",
	ReasonOverflow:          "overflow",
	ReasonAccountClosed:     "account_closed",
	ReasonIDConflict:        "id_conflict",
	ReasonCancelled:         "cancelled",
	ReasonTimedOut:          "timed_out",
	ReasonBadCurrency:       "bad_currency",
	ReasonBadFlags:          "bad_flags",
	ReasonBadID:             "bad_id",
}

// String returns the stable text form, for example "insufficient_funds"; "none" for ReasonNone.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "reason_" + strconv.Itoa(int(r))
}

// ParseReason reads what String returns for a reason that this version knows.
func ParseReason(s string) (Reason, error) {
	for i, name := range reasonNames {
		if name == s {
			return Reason(i), nil
		}
	}
	return ReasonNone, fmt.Errorf("%q is not a reason", s)
}

var stateNames = [...]string{None: "none", Prepared: "prepared", Committed: "committed", Aborted: "aborted"}

// String returns "none", "prepared", "committed" or "aborted".
func (s TransferState) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "state_" + strconv.Itoa(int(s))
}

var rowKindNames = [...]string{
	RowGenesis: "genesis", RowIntra: "intra", RowPrepare: "prepare",
	RowCommit: "commit", RowAbort: "abort", RowTombstone: "tombstone",
}

// String returns the kind as PrintDatastore shows it, for example "prepare".
func (k RowKind) String() string {
	if k != 0 && int(k) < len(rowKindNames) {
		return rowKindNames[k]
	}
	return "kind_" + strconv.Itoa(int(k))
}

var factNames = [...]string{FactNone: "none", FactYes: "yes", FactAborted: "aborted", FactCommitted: "committed", FactNumber: "number"}

// String returns "none", "yes", "aborted", "committed" or "number".
func (f Fact) String() string {
	if int(f) < len(factNames) {
		return factNames[f]
	}
	return "fact_" + strconv.Itoa(int(f))
}

var codeNames = [...]string{
	ResultState: "state", ResultDefer: "defer", ResultConflict: "conflict",
	ResultUnknownHere: "unknown_here", ResultNoEffect: "no_effect",
	ResultAllocated: "allocated", ResultWithholding: "withholding", ResultReleased: "released", ResultVoid: "void",
}

// String returns a short word for logs and test scripts, for example "defer".
func (c ResultCode) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "code_" + strconv.Itoa(int(c))
}

var commandNames = [...]string{
	CmdGenesis: "genesis", CmdTransfer: "transfer", CmdPrepare: "prepare",
	CmdFinish: "finish", CmdFinishVotes: "finish-votes", CmdPoison: "poison", CmdCancel: "cancel",
	CmdBarrier: "barrier", CmdVoid: "void", CmdRelease: "release", CmdAllocate: "allocate",
}

// String returns the kind's word, for example "prepare".
func (k CommandKind) String() string {
	if k != 0 && int(k) < len(commandNames) {
		return commandNames[k]
	}
	return "command_" + strconv.Itoa(int(k))
}
