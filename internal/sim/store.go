package sim

import (
	"fmt"

	"raftbank/internal/storage"
)

// table is the id index and the checkpoints of a server: as pebble with its log off, it keeps, when the process
// ends, some of what was written since the last flush. Its own files are not simulated; that it dies between
// them is.
type table struct {
	*storage.MemoryTable
	disk *disk
	path string
}

// Apply implements storage.Table.
func (t table) Apply(b *storage.Batch) error {
	t.disk.step()
	t.disk.note(opApply, t.path, 0, t.Pending())
	return t.MemoryTable.Apply(b)
}

// Ingest implements storage.Table.
func (t table) Ingest(r storage.Run) error {
	t.disk.step()
	t.disk.note(opIngest, t.path, 0, t.Pending())
	if t.disk.syncFails() {
		return fmt.Errorf("sync a run of the table: %w", errIO)
	}
	return t.MemoryTable.Ingest(r)
}

// Flush implements storage.Table.
func (t table) Flush() error {
	t.disk.step()
	t.disk.note(opFlush, t.path, 0, t.Pending())
	if t.disk.syncFails() {
		return fmt.Errorf("flush the table: %w", errIO)
	}
	return t.MemoryTable.Flush()
}

// openTable opens the table of a path.
func (d *disk) openTable(path string) (storage.Table, error) {
	if d.tables[path] == nil {
		d.tables[path] = storage.NewMemoryTable()
	}
	return table{d.tables[path], d, path}, nil
}

// openLog opens the applied state and the log, as package node does it.
func (s *server) openLog(members []uint64) (err error) {
	p := &s.w.plan
	if s.store, err = s.dir.OpenStore(storage.StoreOptions{
		Table: s.disk.openTable, Window: p.window, CacheBytes: 4096, HistoryBytes: p.historyBytes,
	}); err != nil {
		return err
	}
	s.log, err = s.dir.OpenLog(storage.LogOptions{
		SegmentBytes: p.segmentBytes, Voters: members, Start: s.store.Last(), MemoryBytes: p.logMemory,
	})
	if err == nil {
		s.disk.opened()
	}
	return err
}

// keep makes checkpoints, and the log's next segment, after a turn.
func (s *server) keep() {
	job, err := s.keeper.Step(s.machine.Needless())
	if err != nil {
		s.exit(err)
		return
	}
	next, err := s.log.Prepare()
	if err != nil {
		s.exit(err)
		return
	}
	if next != nil {
		s.after(s.rng.between(0, 4*s.w.plan.fsyncUs), func() {
			if s.w.net.chance(s.w.plan.prepareCrash) && !s.w.net.shielded(s.id) {
				// Counted when it dies: the preparation may be over before that.
				s.disk.dieAfter, s.disk.diePower = 1+s.rng.IntN(5), s.rng.chance(0.7)
			}
			next.Run()
		})
	}
	if job == nil {
		return
	}
	keeper := s.keeper
	s.synced.generation = max(s.synced.generation, job.Checkpoint().Generation)
	s.after(s.rng.between(0, 4*s.w.plan.fsyncUs), func() {
		if s.keeper != keeper {
			return // its state was given up for a checkpoint that was fetched
		}
		if s.dieInJob {
			s.disk.dieAfter, s.disk.diePower = 1+s.rng.IntN(5), s.rng.chance(0.7)
		}
		if err := job.Run(); err != nil {
			s.exit(err)
			return
		}
		s.synced.checkpoint = job.Checkpoint().Index
		s.jobDone = job
		s.wake()
	})
}

// kept takes the result of a checkpoint's job, in the loop.
func (s *server) kept() {
	if s.jobDone != nil {
		s.w.report.Checkpoints++
		c := s.keeper.Done(s.jobDone)
		s.machine.Checkpointed(c.Index, c.Term)
		s.jobDone = nil
	}
}
