package planted

// Bug names one planted bug.
type Bug uint8

// The bugs. What each breaks stands in the list that All returns.
const (
	None Bug = iota
	NoTombstone
	TombstoneDropped
	WildcardMissed
	PoisonObeyed
	CancelOverVote
	UnilateralAbort
	BystanderBelieved
	OtherContentFinished
	GapFinished
	ContentIgnored
	CommitForgotten
	RefusalForgotten
	PostedTwice
	CreditNotPosted
	ReservationKept
	ReservationIgnored
	FloorUnchecked
	OverflowUnchecked
	RefusedAtOnce
	ChainNotExtended
	NoRecovery
	RecoveryForgets
	PoisonTimerRestarts
	CertificateUnverified
	ForeignBankAccepted
	UnknownKeyAccepted
	EarlyAck
	TimeoutAsFailure
	VoteBeforeApply
	AckBeforeSync
	RefusedVoteCounts
	AnswersSwapped
	LostAsRefused
	AppliedTwice
	RefusalOfDebit
	PrecheckOnly
	DeferralLost
	DeferredOnce
	DeferredForNew
	StaleRead
	NoReadIndex
	ReadContextReused
	ReadUnsettled
	ReadAtEnd
	ReadPerTransfer
	ReadFromInquiry
	ReadAsksAlone
	EarlyNone
	StaleNone
	EmptiedAccepted
	RolledBackAccepted
	VoteUnsynced
	EntriesUnsynced
	DamageCut
	TailKept
	HistoryUnsynced
	HistoryKept
	CheckpointTorn
	CheckpointUnflushed
	PageSkipped
	FutureBelieved
	IDGroupOverwritten
	IdsMissing
	RepairNotWritten
	SyncRetried
	BlockUnchecked
	FrameUnchecked
	RetryNewID
	BreakAsRefusal
	SomeShards
	StatusOnly
	AnyTombstone
	LoneTombstone
	SomeAnswers
	TombstoneTwice
	AuditNotHeld
	AuditReadsNotHeld
	AuditInquiriesNotHeld
	AuditFollowerLeaks
	AuditFollowerPatience
	AuditVoidIgnored
	AuditVoidUnlogged
	AuditStaleConfirm
	AuditEarlyConfirm
	AuditNoPatience
	AuditLocalCut
	AuditOldEpoch
	AuditUnsettled
	SnapshotUnsynced
	SnapshotUnchecked
	LearnerPromotedEarly
	CheckpointTermUnchecked
	OldBlocksBelieved
	ReuseUnsynced
	RemovedReadmitted
	ReplacedEarly
)

// Info describes a planted bug.
type Info struct {
	Bug  Bug
	Name string
	What string // the mutation, in one sentence
	// Model names the faulty variants of models/*.pml that this is; empty: none.
	Model string
	// Checker is the simulator's checker that is there for it; others may fire too.
	Checker string
}

// All lists the planted bugs.
func All() []Info {
	return []Info{
		{NoTombstone, "no-tombstone", "an inquiry with poison is answered ABORTED, and no tombstone is written", "commit.pml BUG_NOTOMB", "model"},
		{TombstoneDropped, "tombstone-dropped", "a late PREPARE is accepted where a tombstone of its content stood", "commit.pml BUG_FORGETA", "once"},
		{WildcardMissed, "wildcard-missed", "the wildcard of CANCEL does not answer a late PREPARE", "cancel.pml BUG_WILDMISS", "once"},
		{PoisonObeyed, "poison-obeyed", "a shard in P obeys a poisoned inquiry, which proves nothing", "commit.pml BUG_CANCELP", "atomicity"},
		{CancelOverVote, "cancel-over-vote", "CANCEL turns a vote into the wildcard", "cancel.pml BUG_OVERVOTE", "atomicity"},
		{UnilateralAbort, "unilateral-abort", "a shard in P aborts by itself after t2", "commit.pml BUG_UNILATERAL", "atomicity"},
		{BystanderBelieved, "bystander-believed", "a certificate of a shard outside P undoes a vote", "commit.pml BUG_BYSTANDERP, cancel.pml BUG_BYSTANDER", "atomicity"},
		{OtherContentFinished, "other-content-finished", "facts about other content under the id finish a prepared transfer", "", "atomicity"},
		{GapFinished, "gap-finished", "the commit of a run of votes covers those between them that nobody has certified", "", "atomicity"},
		{ContentIgnored, "content-ignored", "an id answers with its outcome whatever the content is", "", "model"},
		{CommitForgotten, "commit-forgotten", "a committed transfer is forgotten 16 rows later", "commit.pml BUG_FORGETC", "atomicity"},
		{RefusalForgotten, "refusal-forgotten", "a refusal is told and not recorded: the same id can be applied later", "", "once"},
		{PostedTwice, "posted-twice", "a one-shard transfer that comes again is posted again", "", "once"},
		{CreditNotPosted, "credit-not-posted", "a commit moves the debit and not the credit", "", "conservation"},
		{ReservationKept, "reservation-kept", "an abort leaves the reservation where it is", "", "reservations"},
		{ReservationIgnored, "reservation-ignored", "a debit is checked against the posted balance, reservations left out", "commit.pml BUG_NOESCROW", "panic"},
		{FloorUnchecked, "floor-unchecked", "a debit is not checked against what can be spent, nor is the floor asserted", "", "floor"},
		{OverflowUnchecked, "overflow-unchecked", "a credit is not checked against 2^127-1", "", "model"},
		{RefusedAtOnce, "refused-at-once", "insufficient funds is said without settling what is pending", "refuse.pml BUG_NOSETTLE, justify.pml BUG_NOSETTLE", "refusal"},
		{ChainNotExtended, "chain-not-extended", "the chain leaves entries without payload out", "", "chain"},
		{NoRecovery, "no-recovery", "participants never ask about a prepared transfer", "commit.pml BUG_NORESOLVE", "pending-age"},
		{RecoveryForgets, "recovery-forgets", "a new leader does not know what was prepared before its time", "", "pending-age"},
		{PoisonTimerRestarts, "poison-timer-restarts", "each inquiry starts the transfer's age anew, so that none is ever poisoned", "", "pending-age"},
		{CertificateUnverified, "certificate-unverified", "the MAC of a certificate is not checked", "", "atomicity"},
		{ForeignBankAccepted, "foreign-bank-accepted", "a certificate of another bank counts", "", "atomicity"},
		{UnknownKeyAccepted, "unknown-key-accepted", "a certificate under an unknown key counts", "", "atomicity"},
		{EarlyAck, "early-ack", "the client reports success after one YES", "commit.pml BUG_EARLYACK", "durable"},
		{TimeoutAsFailure, "timeout-as-failure", "the client reports a transfer as aborted when it does not know", "", "agreement"},
		{VoteBeforeApply, "vote-before-apply", "a vote is disclosed when it is proposed", "", "certificates"},
		{AckBeforeSync, "ack-before-sync", "a replica acknowledges and votes before its write", "", "log"},
		{RefusedVoteCounts, "refused-vote-counts", "a refusal to vote for a leader counts as a vote", "", "leader"},
		{AnswersSwapped, "answers-swapped", "the results of an entry go to its callers in reverse order", "", "durable"},
		{LostAsRefused, "lost-as-refused", "a deposed leader says NOT_LEADER of what it has appended", "", "failure"},
		{AppliedTwice, "applied-twice", "a restarted replica applies the last entry of its log's committed part twice", "", "hash"},
		{RefusalOfDebit, "refusal-of-debit", "only pending credits are settled before a refusal: an aborted debit still holds its reservation", "refuse_debit.pml, justify.pml BUG_CREDITS", "refusal"},
		{PrecheckOnly, "precheck-only", "the leader looks at the balance before it proposes, and not again at apply", "refuse.pml BUG_PRECHECK", "refusal"},
		{DeferralLost, "deferral-lost", "a deferred transfer is not proposed again", "", "progress"},
		{DeferredOnce, "deferred-once", "a transfer is refused after one deferral, whatever took the money meanwhile", "justify.pml BUG_ONCE", "refusal"},
		{DeferredForNew, "deferred-for-new", "a deferred transfer is refused unless something new is pending", "justify.pml BUG_ONLYNEW", "refusal"},
		{StaleRead, "stale-read", "a strong read is answered by any replica at once", "", "reads"},
		{NoReadIndex, "no-read-index", "whoever believes to lead answers strong reads without asking the others", "", "reads"},
		{ReadContextReused, "read-context-reused", "every ReadIndex attempt of a leadership bears the same context", "", "reads"},
		{ReadUnsettled, "read-unsettled", "a strong read shows what is posted at its read point, and settles nothing", "read.pml BUG_POSTED", "reads"},
		{ReadAtEnd, "read-at-end", "a strong read shows the account as it is when the settlement is over, not as of its read point", "read.pml BUG_CURRENT", "linear"},
		{ReadPerTransfer, "read-per-transfer", "a strong read shows what it found undecided if that is posted by now", "read.pml BUG_LATER", "linear"},
		{ReadFromInquiry, "read-from-inquiry", "a strong read decides each pending transfer from the inquiry, and awaits no FINISH", "read.pml BUG_FIRSTRULE", "linear"},
		{ReadAsksAlone, "read-asks-alone", "an inquiry's NONE counts only for the newest of the reads that wait for it", "read.pml BUG_OWNASK", "linear"},
		{EarlyNone, "early-none", "a NONE counts for a read that began after it was asked for", "read.pml BUG_EARLYASK, audit_total.pml BUG_EARLYNONE", "reads"},
		{StaleNone, "stale-none", "NONE of a replica that does not lead is believed", "read.pml BUG_STALE", "reads"},
		{EmptiedAccepted, "emptied-accepted", "raft ids bear no incarnation, so that a server with an emptied directory is let in", "", "identity"},
		{RolledBackAccepted, "rolled-back-accepted", "a peer whose directory was rolled back is let in", "", "identity"},
		{VoteUnsynced, "vote-unsynced", "a raft vote is written and not synced", "", "recovery"},
		{EntriesUnsynced, "entries-unsynced", "log entries, the votes on transfers, are written and not synced", "", "recovery"},
		{DamageCut, "damage-cut", "damage in the middle of the log is cut off like a torn tail", "", "recovery"},
		{TailKept, "tail-kept", "a torn tail is not cut: the log goes on behind it", "", "stop"},
		{HistoryUnsynced, "history-unsynced", "a checkpoint is written before the history that it counts on is synced", "", "stop"},
		{HistoryKept, "history-kept", "at a start the history keeps what lies behind the checkpoint's end", "", "stop"},
		{CheckpointTorn, "checkpoint-torn", "a checkpoint's applied index is written before its accounts, in a batch of its own", "", "stop"},
		{CheckpointUnflushed, "checkpoint-unflushed", "the log is cut before the checkpoint is flushed", "", "recovery"},
		{PageSkipped, "page-skipped", "an account changes before the checkpoint under way has saved it", "", "stop"},
		{FutureBelieved, "future-believed", "ids in the table are believed whose rows are not there yet", "", "panic"},
		{IDGroupOverwritten, "id-group-overwritten", "ids go to the table without the others of their group that it holds", "", "once"},
		{IdsMissing, "ids-missing", "a checkpoint counts ids as written that are in memory only", "", "once"},
		{RepairNotWritten, "repair-not-written", "what recovery read is synced and not written again", "", "recovery"},
		{SyncRetried, "sync-retried", "a sync of the log that failed is tried again, and the process goes on when that says ok", "", "recovery"},
		{BlockUnchecked, "block-unchecked", "the checksum of a log block is not checked", "", "log"},
		{FrameUnchecked, "frame-unchecked", "the checksum of a frame is not checked", "", "frames"},
		{RetryNewID, "retry-new-id", "a client sends a transfer again under a new id", "", "model"},
		{BreakAsRefusal, "break-as-refusal", "a broken connection counts as a sure refusal", "", "failure"},
		{SomeShards, "some-shards", "cancel reports an abort when the first shard has its wildcard", "cancel.pml BUG_SOMESHARDS", "failure"},
		{StatusOnly, "status-only", "cancel reports an abort of what no shard knows, and writes no tombstone", "cancel.pml BUG_STATUSONLY", "failure"},
		{AnyTombstone, "any-tombstone", "cancel takes one shard's tombstone of one content for an abort of all", "cancel.pml BUG_ANYTOMB", "failure"},
		{LoneTombstone, "lone-tombstone", "resolve believes a lone tombstone, which may be a bystander's", "commit.pml BUG_BYSTANDERC, cancel.pml RESOLVE BUG_ANYTOMB", "failure"},
		{SomeAnswers, "some-answers", "resolve says what those shards show that have answered, and does not wait for the others", "cancel.pml RESOLVE BUG_SOMESHARDS", "agreement"},
		{TombstoneTwice, "tombstone-twice", "tombstones are counted by answers and not by shards: one that STATUS has shown, and a copy of an answer, count again", "", "failure"},
		{AuditNotHeld, "audit-not-held", "a shard withholds nothing during an audit", "audit.pml BUG_NOHOLD, audit_total.pml BUG_NOHOLD", "snapshot"},
		{AuditReadsNotHeld, "audit-reads-not-held", "reads are not withheld during an audit", "audit.pml BUG_READLEAK", "snapshot"},
		{AuditInquiriesNotHeld, "audit-inquiries-not-held", "answers to other shards' inquiries are not withheld", "audit.pml BUG_INQLEAK", "snapshot"},
		{AuditFollowerLeaks, "audit-follower-leaks", "the leader alone withholds", "audit.pml BUG_FOLLOWER", "snapshot"},
		{AuditFollowerPatience, "audit-follower-patience", "a follower gives up withholding by its own timer", "audit.pml BUG_FOLLOWERPATIENCE", "snapshot"},
		{AuditVoidIgnored, "audit-void-ignored", "CONFIRM says that the shard withholds, though the number is void", "audit.pml BUG_IGNOREVOID", "snapshot"},
		{AuditVoidUnlogged, "audit-void-unlogged", "a leader that loses patience replies without logging VOID", "audit_total.pml BUG_VOLATILE", "snapshot"},
		{AuditStaleConfirm, "audit-stale-confirm", "whoever believes to lead confirms without asking the others", "audit_total.pml BUG_STALECONFIRM", "snapshot"},
		{AuditEarlyConfirm, "audit-early-confirm", "the answer to BARRIER counts as the shard's confirmation", "audit_total.pml BUG_EARLYCONFIRM", "snapshot"},
		{AuditNoPatience, "audit-no-patience", "a shard withholds until it is told otherwise", "audit_total.pml BUG_NOPATIENCE", "progress"},
		{AuditLocalCut, "audit-local-cut", "the commit epoch is that of the shard's own vote", "audit.pml BUG_LOCALCUT, audit_total.pml BUG_OWNEPOCH", "snapshot"},
		{AuditOldEpoch, "audit-old-epoch", "a vote behind a BARRIER bears an epoch from before it", "audit_total.pml BUG_OLDEPOCH", "snapshot"},
		{AuditUnsettled, "audit-unsettled", "a shard gives its part without settling what was prepared at the cut", "audit_total.pml BUG_NOSETTLE", "snapshot"},
		{SnapshotUnsynced, "snapshot-unsynced", "a fetched checkpoint is acknowledged before the name of its generation is durable", "", "recovery"},
		{SnapshotUnchecked, "snapshot-unchecked", "the checksum of a checkpoint's part is not looked at", "", "replay"},
		{LearnerPromotedEarly, "learner-promoted-early", "a new server votes before it has what the others hold", "", "identity"},
		{CheckpointTermUnchecked, "checkpoint-term-unchecked", "a member's checkpoint acknowledges whatever entry a deposed leader holds at its index", "", "log"},
		{OldBlocksBelieved, "old-blocks-believed", "blocks that a used segment held before count in it", "", "stop"},
		{ReuseUnsynced, "reuse-unsynced", "a used segment gets its new header before its old name is surely gone", "", "stop"},
		{RemovedReadmitted, "removed-readmitted", "a member that was removed is taken for one that is not known yet", "", "identity"},
		{ReplacedEarly, "replaced-early", "replace says that it is done when the last change of the membership is proposed", "", "progress"},
	}
}

// Named returns the bug with a name.
func Named(name string) (Info, bool) {
	for _, b := range All() {
		if b.Name == name {
			return b, true
		}
	}
	return Info{}, false
}
