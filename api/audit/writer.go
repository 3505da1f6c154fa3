package audit

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/hyperiondb/hyperion-vault/core"
)

// outlet is the open segment. The file changes only in the writer, and only while it holds the mutex. The mutex is held
// over every fsync too. The kernel reports a failed fsync only once, so the mutex is held until that error is recorded.
// Writing does not wait for an fsync.
type outlet struct {
	mu      sync.Mutex
	file    file
	untidy  bool   // bytes of a failed write stand behind the last record; the writer's
	adrift  bool   // recycle has not come to its end, and a restart would remove the file; the writer's
	scratch []byte // the writer's

	// The rest is under the Journal's mutex.

	synced   int64  // bytes of the segment that are known to be durable
	unsynced []byte // what follows them
	// lost: an fsync failed. The kernel may have dropped the pages and call them clean, so that a second fsync would
	// lie; unsynced is written again, to another file.
	lost error
}

func (o *outlet) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.file.Close()
}

// write is the writer.
func (j *Journal) write() {
	for {
		select {
		case <-j.wake:
			j.commitWaiting()
		case <-j.closing:
			j.commitWaiting()
			if err := j.sync(); err != nil {
				j.c.Log.Error("the last records of the audit journal may not survive a power loss", "directory", j.c.Dir, "error", err.Error())
			}
			return
		}
	}
}

func (j *Journal) commitWaiting() {
	for {
		runtime.Gosched() // requests that are about to join share the write
		j.mu.Lock()
		g := j.waiting
		j.waiting = nil
		j.mu.Unlock()
		if g == nil {
			return
		}
		err := j.commit(g)
		j.logState(err)
		if err != nil {
			g.err = core.Wrap(core.Unavailable, err, "the audit journal cannot be written")
		}
		close(g.done)
	}
}

// logState logs when writing begins to fail and when it works again.
func (j *Journal) logState(err error) {
	j.mu.Lock()
	before := j.failure
	j.failure = err
	j.mu.Unlock()
	switch {
	case err != nil && before == nil:
		j.c.Log.Error("the audit journal cannot be written: every operation is refused until it can",
			"directory", j.c.Dir, "error", err.Error())
	case err == nil && before != nil:
		j.c.Log.Info("the audit journal can be written again", "directory", j.c.Dir)
	}
}

// commit writes a group, all of it or nothing.
func (j *Journal) commit(g *group) error {
	if err := j.repair(); err != nil {
		return err
	}
	if g.n == 0 {
		return j.inSpace(j.probe)
	}
	buf := j.lines(g)
	if err := j.makeRoom(int64(len(buf))); err != nil {
		return err
	}
	if err := j.inSpace(func() error { return j.put(buf) }); err != nil {
		return err
	}
	j.mu.Lock()
	s := j.open
	s.took(g.taken)
	s.size, s.last = s.size+int64(len(buf)), s.last+uint64(g.n)
	j.next += uint64(g.n)
	j.pending += int64(len(buf))
	j.out.unsynced = append(j.out.unsynced, buf...)
	j.mu.Unlock()
	if j.c.Always {
		return j.sync()
	}
	return nil
}

// sparing tries once more after a failure if there was something that has arrived to make space of.
func (j *Journal) sparing(write func() error) error {
	err := write()
	if err == nil || !j.dropArrived() {
		return err
	}
	return write()
}

// inSpace is sparing for what is written to the open segment. On a disk that is smaller than a segment, that one alone
// may fill it: when all of it has arrived, a new one takes its place.
func (j *Journal) inSpace(write func() error) error {
	err := j.sparing(write)
	if err == nil || !j.openArrived() {
		return err
	}
	if again := errors.Join(j.tidy(), j.sync()); again != nil {
		return errors.Join(err, again)
	}
	if again := j.rotate(); again != nil {
		return errors.Join(err, again)
	}
	j.dropArrived()
	return write()
}

// openArrived reports whether the open segment has records, and all of them have arrived at the primary.
func (j *Journal) openArrived() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.open.size > 0 && j.arrived.last+1 == j.next
}

// lines returns the group's, in memory that the next group's take.
func (j *Journal) lines(g *group) []byte {
	buf := slices.Grow(j.out.scratch[:0], len(g.rests)+g.n*lineOverhead)
	number := j.next
	for rest := range bytes.Lines(g.rests) {
		buf = appendLine(buf, number, rest[:len(rest)-1])
		number++
	}
	j.out.scratch = buf
	return buf
}

// put writes behind the last record. What a failed write leaves there is cut off, now or before the next write.
func (j *Journal) put(buf []byte) error {
	if n, err := j.out.file.WriteAt(buf, j.open.size); err != nil || n < len(buf) {
		j.out.untidy = true
		return errors.Join(err, j.tidy())
	}
	return nil
}

func (j *Journal) tidy() error {
	if !j.out.untidy {
		return nil
	}
	if err := j.out.file.Truncate(j.open.size); err != nil {
		return fmt.Errorf("cut off what a failed write left: %w", err)
	}
	j.out.untidy = false
	return nil
}

// probeSize is a block of most file systems: less may fit where nothing new does.
const probeSize = 4096

// probe tries to write. What it writes is no record, and would be cut off as a torn end.
func (j *Journal) probe() error {
	_, err := j.out.file.WriteAt(make([]byte, probeSize), j.open.size)
	j.out.untidy = true
	return errors.Join(err, j.tidy())
}

// repair fixes what an earlier failure left. On error it is still there.
func (j *Journal) repair() error {
	if j.out.adrift {
		j.out.mu.Lock()
		defer j.out.mu.Unlock()
		return j.recycle()
	}
	j.mu.Lock()
	lost := j.out.lost
	j.mu.Unlock()
	if lost != nil {
		if err := j.sync(); err != nil {
			return err
		}
	}
	return j.tidy()
}

// makeRoom begins a new segment when the open one is full. The old one is durable before the new one exists, so that
// only the last segment can have a torn end.
func (j *Journal) makeRoom(size int64) error {
	full := j.open.size > 0 && j.open.size+size > j.c.segmentSize
	if !full && j.unsynced() <= maxUnsynced {
		return nil
	}
	if err := j.sync(); err != nil {
		return err
	}
	if !full || j.open.size == 0 {
		return nil
	}
	return j.rotate()
}

func (j *Journal) unsynced() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.out.unsynced)
}

func (j *Journal) rotate() error {
	j.out.mu.Lock()
	defer j.out.mu.Unlock()
	var f file
	err := j.sparing(func() (err error) { f, err = j.createSegment(j.next); return err })
	if err != nil && j.openArrived() {
		if again := j.recycle(); again != nil {
			return errors.Join(err, again)
		}
		return nil
	}
	if err != nil {
		return err
	}
	_ = j.out.file.Close() // durable already: Close has nothing to tell
	j.out.file = f
	j.mu.Lock()
	defer j.mu.Unlock()
	j.out.synced = 0
	j.begin(j.next)
	j.dropForSpace()
	return nil
}

// recycle makes the open segment, all of which has arrived, the next one: where no further file can be made, as without
// inodes, the old one cannot wait for the new. A crash on the way leaves a file that the next start removes, and a new
// journal begins. The caller holds the outlet's mutex.
func (j *Journal) recycle() error {
	next := j.path(j.next)
	if !j.out.adrift {
		if err := j.noteTaken(j.open); err != nil {
			return err
		}
		if err := j.c.disk.Rename(j.path(j.open.first), next+newSuffix); err != nil {
			return err
		}
		j.out.adrift = true
	}
	if err := errors.Join(j.out.file.Truncate(0), j.out.file.Sync()); err != nil {
		return err
	}
	if err := j.c.disk.Rename(next+newSuffix, next); err != nil {
		return err
	}
	j.mu.Lock()
	j.segments = j.segments[:len(j.segments)-1]
	j.out.synced, j.out.untidy, j.out.adrift = 0, false, false
	j.begin(j.next)
	j.mu.Unlock()
	return j.c.disk.SyncDir(j.c.Dir)
}

// begin makes a segment the open one. The caller holds mu.
func (j *Journal) begin(first uint64) {
	j.open = &segment{first: first, last: first - 1}
	j.segments = append(j.segments, j.open)
}

func (j *Journal) createSegment(first uint64) (file, error) {
	f, err := j.c.disk.Create(j.path(first))
	if err != nil {
		return nil, err
	}
	if err := j.c.disk.SyncDir(j.c.Dir); err != nil {
		return nil, errors.Join(err, f.Close(), j.c.disk.Remove(j.path(first)))
	}
	return f, nil
}
