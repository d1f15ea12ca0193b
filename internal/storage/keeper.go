package storage

import (
	"fmt"

	"raftbank/internal/invariant"
)

// DefaultMaxLogBytes is how much log is kept for members that are silent, if KeeperOptions does not say.
const DefaultMaxLogBytes = 1 << 30

// DefaultCheckpointBytes is after how many bytes of log the next checkpoint begins, if KeeperOptions names none.
const DefaultCheckpointBytes = 64 << 20

const (
	// stepPages is how many pages of accounts a step saves at least.
	stepPages = 32
	// stepRows applied since the last step let it save one page more: background work keeps pace with load.
	stepRows = 32
)

// KeeperOptions say when checkpoints are made.
type KeeperOptions struct {
	// EveryBytes of log a checkpoint begins. Default 64 MiB.
	EveryBytes int64
	// MaxLogBytes of segments on disk, the log is cut without regard to members that are silent. Default 1 GiB.
	MaxLogBytes int64
	// Place of Places spreads the replicas of a shard: they see the same log, and must not all make their
	// checkpoints at one position of it.
	Place, Places int
}

// Keeper makes checkpoints of a Store and cuts the Log, in small steps between the turns of the loop. It
// belongs to the goroutine that owns both.
type Keeper struct {
	store *Store
	log   *Log
	every int64
	most  int64  // MaxLogBytes
	next  uint64 // Log.appended at which the next checkpoint begins
	rows  uint64 // at the last step
	cutTo uint64
}

// NewKeeper returns the keeper of a store and the log that was opened at the store's checkpoint.
func NewKeeper(s *Store, l *Log, o KeeperOptions) *Keeper {
	if o.EveryBytes == 0 {
		o.EveryBytes = DefaultCheckpointBytes
	}
	if o.MaxLogBytes == 0 {
		o.MaxLogBytes = DefaultMaxLogBytes
	}
	k := &Keeper{store: s, log: l, every: o.EveryBytes, most: o.MaxLogBytes, rows: s.history.Len()}
	// What was read at the start is replayed again at the next one.
	k.next = uint64(max(0, o.EveryBytes-l.bytes)) + uint64(o.EveryBytes)*uint64(o.Place)/uint64(max(1, o.Places))
	return k
}

// Step follows a turn, or a tick of an idle loop. If it returns a Job, the caller runs it, on whatever
// goroutine, and then calls Done. needless is the highest index that every member's checkpoint holds; live is the same
// without the members that are silent.
func (k *Keeper) Step(needless, live uint64) (*Job, error) {
	applied, _ := k.store.state.Applied()
	k.log.Trim(applied)
	if err := k.store.Health(); err != nil {
		return nil, err
	}
	if live > needless && k.log.BytesFrom(needless) > k.most {
		invariant.Sometimes("storage: cut the log without regard to a silent member")
		needless = live
	}
	if err := k.cut(min(needless, k.store.last.Index)); err != nil {
		return nil, err
	}
	if !k.store.Busy() && k.log.appended >= k.next && applied > k.store.last.Index {
		k.next = k.log.appended + uint64(k.every)
		generation, err := k.log.Generation(applied)
		if err != nil {
			return nil, fmt.Errorf("begin a checkpoint: %w", err)
		}
		// Saving begins at the next step: this one has copied what is not paged.
		return nil, k.store.Begin(generation)
	}
	rows := k.store.history.Len()
	n := stepPages + int(rows-k.rows)/stepRows
	k.rows = rows
	return k.store.Step(n), nil
}

// cut gives up what nobody needs. Segments go as a whole, so it is tried when an index has moved on.
func (k *Keeper) cut(index uint64) error {
	if index <= k.cutTo {
		return nil
	}
	invariant.Check(index <= k.store.last.Index, "the log is cut behind a durable checkpoint alone")
	k.cutTo = index
	return k.log.Cut(index)
}

// Done takes note of a Job whose Run has returned nil, and returns the checkpoint, which is durable.
func (k *Keeper) Done(j *Job) Checkpoint {
	k.store.Done(j)
	return j.to
}
