package sim

import (
	"fmt"
	"slices"
	"strings"
)

// fault is a kind of fault, by the name that people enable it with.
type fault string

const (
	faultKill       fault = "kill"
	faultPower      fault = "power"
	faultStop       fault = "stop"
	faultPause      fault = "pause"
	faultLeaders    fault = "leaders-pause"
	faultStarve     fault = "starve"
	faultDiskCrash  fault = "crash-io"
	faultStep       fault = "crash-step"
	faultShardKill  fault = "shard-kill"
	faultShard      fault = "shard-power"
	faultBankKill   fault = "bank-kill"
	faultBank       fault = "bank-power"
	faultFetch      fault = "fetch-kill"
	faultHandOver   fault = "hand-over"
	faultLoss       fault = "loss"
	faultDelay      fault = "delay"
	faultDuplicate  fault = "duplicate"
	faultCorrupt    fault = "corrupt"
	faultReset      fault = "reset"
	faultPartition  fault = "partition"
	faultOneWay     fault = "one-way"
	faultIsolate    fault = "isolate"
	faultStrand     fault = "strand"
	faultRing       fault = "ring"
	faultBridge     fault = "bridge"
	faultFlap       fault = "flap"
	faultSwizzle    fault = "swizzle"
	faultClog       fault = "clog"
	faultFsync      fault = "fsync-error"
	faultSlowFsync  fault = "slow-fsync"
	faultRead       fault = "read-error"
	faultWrite      fault = "write-error"
	faultFull       fault = "disk-full"
	faultNoFiles    fault = "no-files"
	faultBitFlip    fault = "bit-flip"
	faultTruncate   fault = "truncate"
	faultZero       fault = "zero"
	faultMissing    fault = "missing"
	faultMisdirect  fault = "misdirect"
	faultStale      fault = "stale"
	faultMisread    fault = "misread"
	faultRollback   fault = "rollback"
	faultWipe       fault = "wipe"
	faultReplace    fault = "replace"
	faultReturn     fault = "return"
	faultSkew       fault = "skew"
	faultClock      fault = "clock-jump"
	faultClient     fault = "client-kill"
	faultCrashPoint fault = "crash-point"
	faultClientTime fault = "client-clock"
	faultSlowReader fault = "slow-reader"
	faultLies       fault = "lies"
	faultGarbage    fault = "garbage"
	faultLinger     fault = "linger"
	faultBeyond     fault = "beyond"
)

// FaultInfo describes a kind of fault.
type FaultInfo struct {
	Name string
	What string
	// strikes says that the nemesis causes it now and then; the others are there all the time, or never.
	strikes bool
}

// Faults lists the kinds of faults: processes, network, disks, clocks, clients.
func Faults() []FaultInfo {
	return []FaultInfo{
		{string(faultKill), "a server process is killed", true},
		{string(faultPower), "a server loses power: what was not synced may be gone, sector by sector", true},
		{string(faultStop), "a server is stopped in an orderly way, and hands over leadership", true},
		{string(faultPause), "a server stands still for up to 10 s", true},
		{string(faultLeaders), "the leaders of all shards stand still at once, for 0.2 to 1.2 s each", true},
		{string(faultStarve), "a server gets little of its processor for up to 10 s", true},
		{string(faultDiskCrash), "a server dies in the middle of a disk operation, power lost or not", true},
		{string(faultStep), "a server dies between two steps of a turn: taking input, writing, sending", true},
		{string(faultShardKill), "all servers of a shard are killed", true},
		{string(faultShard), "all servers of a shard lose power", true},
		{string(faultBankKill), "all servers are killed", true},
		{string(faultBank), "all servers lose power", true},
		{string(faultFetch), "a server that fetches a checkpoint, or the one it comes from, is killed or loses power", false},
		{string(faultHandOver), "a leader hands over", true},
		{string(faultLoss), "messages between servers are lost, up to 30 %", false},
		{string(faultDelay), "messages take up to 3 s more, and so overtake each other", false},
		{string(faultDuplicate), "messages between servers arrive two or three times", false},
		{string(faultCorrupt), "a byte of a frame is wrong", false},
		{string(faultReset), "a client's connection breaks, often in the middle of a frame", false},
		{string(faultPartition), "the bank, clients included, is cut in two", true},
		{string(faultOneWay), "one half does not hear the other", true},
		{string(faultIsolate), "one server is cut off", true},
		{string(faultStrand), "a leader is cut off from its peers and not from clients; some stand still or starve meanwhile", true},
		{string(faultRing), "every server reaches only its two neighbours", true},
		{string(faultBridge), "the bank is cut in two, and one server reaches both halves", true},
		{string(faultFlap), "a partition comes and goes many times", true},
		{string(faultSwizzle), "servers are cut off one after the other, and come back in another order", true},
		{string(faultClog), "a server's messages are slow in both directions", true},
		{string(faultFsync), "an fsync fails once and drops what it should have written; the next one says ok", true},
		{string(faultSlowFsync), "fsync takes 0.1 to 10 s", true},
		{string(faultRead), "reading fails (EIO)", true},
		{string(faultWrite), "writing fails (EIO), after a part of it or none", true},
		{string(faultFull), "the disk is full (ENOSPC) for a while", true},
		{string(faultNoFiles), "no file can be opened (EMFILE) for a while", true},
		{string(faultBitFlip), "a bit of the log flips", true},
		{string(faultTruncate), "a file is cut short", true},
		{string(faultZero), "a file is full of zeros", true},
		{string(faultMissing), "a file is gone", true},
		{string(faultMisdirect), "a sector of the log was written to the wrong place", true},
		{string(faultStale), "a sector of the log was never written, though its sync said ok", true},
		{string(faultMisread), "once, reading a sector of the log gives another one", true},
		{string(faultRollback), "a data directory is replaced by an older copy while the other servers live", true},
		{string(faultWipe), "a disk is emptied", true},
		{string(faultReplace), "a server whose disk is lost gets an empty one, and is replaced", false},
		{string(faultReturn), "the directory that a replaced server had before is put back for a while", false},
		{string(faultSkew), "servers' clocks differ by up to 10 h, and their ticks by 2 %", false},
		{string(faultClock), "a server's clock jumps by an hour to ten years, forward or back", true},
		{string(faultClient), "a client is killed", true},
		{string(faultCrashPoint), "a client dies at one of the crash points of a transfer", true},
		{string(faultClientTime), "clients with wrong clocks make ids of another year", false},
		{string(faultSlowReader), "a client does not read its answers for up to 10 s", true},
		{string(faultLies), "clients lie: forged, misdirected and outdated certificates, copied requests", false},
		{string(faultGarbage), "strangers send garbage: random bytes, oversized frames, sound frames with random content", false},
		{string(faultLinger), "when the faults are over, a minority of a shard's servers stays down, paused, cut off, flapping or slow", false},
		{string(faultBeyond), "one seed in sixteen goes beyond what is promised: any number of disks show damage", false},
	}
}

// visible says whether a fault leaves a disk with content that a checksum shows to be wrong.
func visible(f fault) bool {
	switch f {
	case faultBitFlip, faultTruncate, faultZero, faultMissing, faultMisdirect, faultStale:
		return true
	}
	return false
}

// noFaults names, alone, no fault at all.
const noFaults = "none"

// enabledFaults returns the kinds that the names ask for; no names: all.
func enabledFaults(names []string) (map[fault]bool, error) {
	on, known := map[fault]bool{}, []string{}
	if slices.Equal(names, []string{noFaults}) {
		return on, nil
	}
	for _, f := range Faults() {
		known = append(known, f.Name)
		on[fault(f.Name)] = len(names) == 0 || slices.Contains(names, f.Name)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("unknown fault %q: want %s alone, or some of %s", n, noFaults, strings.Join(known, ", "))
		}
	}
	return on, nil
}

// struck counts a fault, when it has an effect.
func (w *world) struck(f fault) { w.report.Faults[string(f)]++ }

// struckNow counts a fault when it first has an effect.
func (w *world) struckNow(f fault, due *bool) {
	if *due {
		*due = false
		w.struck(f)
	}
}

// recovery counts how a server ended or came back after a fault.
func (w *world) recovery(what string) { w.report.Recoveries[what]++ }
