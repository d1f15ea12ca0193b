package sim

import (
	"fmt"
	"slices"
	"strings"
)

// Check names one checker. Each can be enabled alone.
type Check string

// The checkers.
const (
	CheckConservation Check = "conservation"
	CheckFloor        Check = "floor"
	CheckAtomicity    Check = "atomicity"
	CheckDurable      Check = "durable"
	CheckFailure      Check = "failure"
	CheckAgreement    Check = "agreement"
	CheckOnce         Check = "once"
	CheckPendingAge   Check = "pending-age"
	CheckReservations Check = "reservations"
	CheckLinear       Check = "linear"
	CheckReads        Check = "reads"
	CheckSnapshot     Check = "snapshot"
	CheckSession      Check = "session"
	CheckRefusal      Check = "refusal"
	CheckHash         Check = "hash"
	CheckChain        Check = "chain"
	CheckReplay       Check = "replay"
	CheckLeader       Check = "leader"
	CheckLog          Check = "log"
	CheckModel        Check = "model"
	CheckCertificates Check = "certificates"
	CheckRecovery     Check = "recovery"
	CheckIdentity     Check = "identity"
	CheckFrames       Check = "frames"
	CheckStop         Check = "stop"
	CheckProgress     Check = "progress"
	CheckPanic        Check = "panic"
)

// CheckInfo says what a checker holds.
type CheckInfo struct {
	Name Check
	// Invariant is the number in docs/TESTING.md, 0 for what those rest on.
	Invariant int
	What      string
}

// Checks lists the checkers in the order of the invariants.
func Checks() []CheckInfo {
	return []CheckInfo{
		{CheckConservation, 1, "no money appears or vanishes, transfers that are half finished counted in"},
		{CheckFloor, 2, "no account is below its floor, what is reserved taken off"},
		{CheckAtomicity, 3, "a transfer is committed on all of its shards or on none"},
		{CheckDurable, 4, "what was acknowledged is committed, and stays so"},
		{CheckFailure, 5, "what was reported as failed is never applied"},
		{CheckAgreement, 6, "every asker is told the same outcome"},
		{CheckOnce, 7, "a transfer is posted at most once, and its outcome never changes"},
		{CheckPendingAge, 8, "nothing stays prepared for longer than t2 + 5 s once the shards are healthy"},
		{CheckReservations, 9, "reservations are zero when the bank is at rest"},
		{CheckLinear, 10, "every account's history is linearizable (Porcupine); an unknown outcome stays open"},
		{CheckReads, 10, "a strong read shows the account as it was at an index not later than its answer's, with all that was known; of two reads of a shard one shows all that the other shows"},
		{CheckSnapshot, 11, "an audit's totals are those of one cut, which has its place in the order of all operations"},
		{CheckSession, 12, "a client's reads are monotonic and show its own writes"},
		{CheckRefusal, 13, "insufficient funds is said only if it was true at an instant during the request"},
		{CheckHash, 14, "replicas at one index have the same state"},
		{CheckReplay, 15, "a checkpoint holds what replaying the log makes, its own or another replica's"},
		{CheckChain, 16, "the hash chain is unbroken and equal on every replica"},
		{CheckLeader, 17, "a term has one leader"},
		{CheckLog, 17, "committed entries never change"},
		{CheckModel, 0, "the ledger answers and posts as a naive model of the transition table does"},
		{CheckCertificates, 0, "a server states only facts that are committed and applied"},
		{CheckRecovery, 0, "a restarted server's log holds all that it had synced, damaged or not, and none starts on damage that every start reads"},
		{CheckIdentity, 0, "a server takes no part with an emptied disk, or if a peer has said that it acknowledged more than its disk holds"},
		{CheckFrames, 0, "a damaged frame is never read, a sound one always"},
		{CheckStop, 0, "a server stops by itself only for a fault of its disk"},
		{CheckProgress, 0, "a healed bank settles, and every transfer gets an outcome"},
		{CheckPanic, 0, "no assertion of the program fails"},
	}
}

// enabledChecks returns the checkers that the names ask for; none: all.
func enabledChecks(names []string) (map[Check]bool, error) {
	on := map[Check]bool{}
	for _, c := range Checks() {
		on[c.Name] = len(names) == 0 || slices.Contains(names, string(c.Name))
	}
	for _, n := range names {
		if _, ok := on[Check(n)]; !ok {
			var names []string
			for _, c := range Checks() {
				names = append(names, string(c.Name))
			}
			return nil, fmt.Errorf("unknown checker %q: want some of %s", n, strings.Join(names, ", "))
		}
	}
	return on, nil
}

// looked counts that a checker had something to look at.
func (k *checker) looked(c Check) { k.w.report.Checked[string(c)]++ }

// notPromised says whether a checker looks at what damage beyond the promise may well prevent: an unavailable bank is
// right then, a wrong answer never.
func notPromised(c Check) bool {
	return c == CheckProgress || c == CheckPendingAge || c == CheckReservations
}

// fail reports a violation. The first one ends the run, unless the run is to gather all checkers that fire.
func (w *world) fail(check Check, format string, args ...any) {
	if w.enabled[check] && (!w.plan.beyond || !notPromised(check)) {
		w.violated(check, format, args...)
	}
}

// violated is fail for what must not be, whatever is promised and whichever checkers look.
func (w *world) violated(check Check, format string, args ...any) {
	if w.stopped || w.fired[check] {
		return
	}
	w.fired[check] = true
	v := &Violation{Check: check, AtMs: w.now / millisecond, Text: fmt.Sprintf(format, args...)}
	w.say("VIOLATION", "%s: %s", check, v.Text)
	w.report.Fired = append(w.report.Fired, v)
	if w.report.Violation == nil {
		w.report.Violation = v
	}
	w.stopped = !w.o.KeepGoing
}
