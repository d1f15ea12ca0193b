package node

import (
	"context"
	"errors"
	"fmt"

	"raftbank/internal/replica"
)

// errInstall is how the loop ends when its machine has fetched another replica's checkpoint.
var errInstall = errors.New("a checkpoint is to be installed")

// install puts the checkpoint that old has fetched on disk and returns the replica behind it, which l then drives. From the
// moment at which the checkpoint counts, nothing of old counts any more; a crash before it leaves old's state, and one
// after it comes back with the checkpoint.
func (n *node) install(ctx context.Context, l *loop, old *replica.Replica) (r *replica.Replica, err error) {
	defer func() {
		if v := recover(); v != nil {
			readFailure(v, &err)
		}
	}()
	if !old.StillBehind() {
		return old, nil
	}
	ok, err := n.intake.Install(n.log.SegmentFor(n.intake.Target().Index))
	if err != nil {
		return nil, fmt.Errorf("install a checkpoint: %w", err)
	}
	if !ok {
		n.o.Logger.Warn("a checkpoint that was fetched does not fit together: it is fetched again")
		old.FetchAgain()
		return old, nil
	}
	out := old.Retire()
	if err := l.emit(&out); err != nil {
		return nil, err
	}
	if err := n.closeState(); err != nil {
		return nil, fmt.Errorf("close the state before the checkpoint: %w", err)
	}
	members, _ := n.dir.Members()
	if err := n.openLog(members); err != nil {
		return nil, err
	}
	alarm, err := n.dir.Alarm()
	if err != nil {
		return nil, err
	}
	if r, err = n.newReplica(ctx, members, alarm); err != nil {
		return nil, err
	}
	r.Succeed(old)
	l.machine, l.log, l.background = r, n.log, newBackground(n.newKeeper(), n.log, r)
	n.front.open()
	return r, nil
}
