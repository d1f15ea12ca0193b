package sim

import "slices"

// marks are the rare lines (invariant.Sometimes) that a simulation can reach. A test keeps the list equal to
// the source.
var marks = []string{
	"ledger: a FINISH advanced the audit epoch",
	"ledger: a higher number voided an audit",
	"ledger: deferred a refusal",
	"ledger: finish of a vote that has left P",
	"ledger: finish with insufficient facts",
	"ledger: genesis without effect",
	"ledger: id conflict",
	"ledger: ignored a bystander's fact",
	"ledger: tombstone by finish(abort)",
	"replica: a strong read left out what was undecided and is posted by now",
	"replica: caught up from a log while it fetched a checkpoint",
	"replica: lost leadership with a caller's proposal in the log",
	"replica: lost patience with an audit",
	"replica: made a learner a voter",
	"replica: proposed a deferred transfer again, funded",
	"replica: proposed a deferred transfer again, to be refused if short",
	"replica: refused an emptied directory",
	"replica: refused a member that was removed",
	"replica: settled what an audit's cut found prepared",
	"replica: settled what was pending before a strong read",
	"session: a shard answered a CANCEL twice",
	"session: a transfer came between status and cancel",
	"session: an audit's number proved nothing",
	"session: poisoned a transfer at its deadline",
	"session: settled two contents of one id",
	"storage: an id in the index was of a row that is not there yet",
	"storage: cut the log",
	"storage: cut the log without regard to a silent member",
	"storage: installed another replica's checkpoint",
	"storage: refused a damaged part of a checkpoint",
	"storage: refused a damaged log",
	"storage: removed history behind the checkpoint",
	"storage: repaired the tail of a log",
	"storage: went on with a checkpoint that was half fetched",
	"storage: used a segment again",
	"txn: a participant asks with poison",
}

// Marks returns the names of the rare lines that simulations should reach.
func Marks() []string { return slices.Clone(marks) }
