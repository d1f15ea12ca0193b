package node

import (
	"errors"
	"fmt"
	"time"

	"raftbank/internal/replica"
	"raftbank/internal/storage"
)

// jobTimeout bounds how long the end of a server waits for a checkpoint under way. It is lost then, and the one
// before it counts.
const jobTimeout = 5 * time.Second

// background makes checkpoints, and the log's next segment, between the turns of the loop. What waits for the disk
// runs on a goroutine of its own, one of either at a time.
type background struct {
	keeper  *storage.Keeper
	log     *storage.Log
	replica *replica.Replica
	job     *storage.Job // under way
	ended   chan error   // its result
}

func newBackground(k *storage.Keeper, l *storage.Log, r *replica.Replica) *background {
	return &background{keeper: k, log: l, replica: r, ended: make(chan error, 1)}
}

// results returns the channel of the job's result.
func (b *background) results() <-chan error {
	if b == nil {
		return nil
	}
	return b.ended
}

// step follows a turn, or a tick.
func (b *background) step() error {
	if b == nil {
		return nil
	}
	job, err := b.keeper.Step(b.replica.Needless())
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if job != nil {
		b.job = job
		go func() { b.ended <- job.Run() }()
	}
	next, err := b.log.Prepare()
	if err != nil {
		return err
	}
	if next != nil {
		go next.Run() // closing the log waits for it
	}
	return nil
}

// finish takes the result of the job.
func (b *background) finish(err error) error {
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	job := b.job
	b.job = nil
	c := b.keeper.Done(job)
	b.replica.Checkpointed(c.Index, c.Term)
	return nil
}

// wait returns once no job runs any more: the files may be closed then. A job that does not end, since the disk
// has failed, is left to the end of the process.
func (b *background) wait() {
	if b == nil || b.job == nil {
		return
	}
	timer := time.NewTimer(jobTimeout)
	defer timer.Stop()
	select {
	case err := <-b.ended:
		b.ended <- err // if the loop goes on, it takes the result
	case <-timer.C:
	}
}

// readFailure turns the panic of a failed read into the error with which the process ends.
func readFailure(v any, err *error) {
	failure, ok := v.(*storage.ReadError)
	if !ok {
		panic(v)
	}
	*err = errors.Join(*err, failure.Err)
}
