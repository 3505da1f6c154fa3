package audit

import (
	"errors"
	"time"
)

// syncOften begins an fsync within syncInterval after every write.
func (j *Journal) syncOften() {
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	for {
		select {
		case <-j.closing:
			return
		case <-tick.C:
		}
		j.out.mu.Lock()
		err := j.fsync()
		j.out.mu.Unlock()
		if err != nil {
			_, _ = j.join(nil, 0, false) // the writer fixes it; the writer of a closed journal does so anyway
		}
	}
}

// sync makes everything written durable, if need be by writing it again. Only the writer may call it.
func (j *Journal) sync() error {
	j.out.mu.Lock()
	defer j.out.mu.Unlock()
	if err := j.fsync(); err != nil {
		return j.rewrite(err)
	}
	return nil
}

// fsync returns nil once what was written before the call is durable. The caller holds the outlet's mutex.
func (j *Journal) fsync() error {
	j.mu.Lock()
	covered, last, lost := len(j.out.unsynced), j.next-1, j.out.lost
	j.mu.Unlock()
	if lost != nil || covered == 0 {
		return lost
	}
	err := j.out.file.Sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.out.lost = err
		return err
	}
	j.out.synced += int64(covered)
	j.out.unsynced = append(j.out.unsynced[:0], j.out.unsynced[covered:]...)
	j.durable = last
	signal(j.shippable)
	return nil
}

// rewrite writes what is not known to be durable to a new segment, which takes its place: a segment ends where the
// next one begins. The name appears once the contents are durable. The caller is the writer and holds the outlet's
// mutex; cause is the failed fsync.
func (j *Journal) rewrite(cause error) error {
	first := j.durable + 1
	f, err := j.createWith(j.path(first), j.out.unsynced)
	if err != nil {
		return errors.Join(cause, err)
	}
	_ = j.out.file.Close()
	j.out.file, j.out.untidy = f, false
	j.c.Log.Error("an fsync of the audit journal failed; what it was for was written again, to another file", "directory", j.c.Dir,
		"file", segmentName(first), "error", cause.Error())
	j.mu.Lock()
	defer j.mu.Unlock()
	size := int64(len(j.out.unsynced))
	if j.open.first < first {
		j.open.last, j.open.size = first-1, j.out.synced
		j.begin(first)
	}
	j.open.last, j.open.size = j.next-1, size
	j.durable, j.out.synced, j.out.unsynced, j.out.lost = j.next-1, size, nil, nil
	signal(j.shippable)
	return nil
}

func (j *Journal) createWith(path string, contents []byte) (file, error) {
	f, err := j.c.disk.Create(path + newSuffix)
	if err != nil {
		return nil, err
	}
	if _, err = f.WriteAt(contents, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = j.c.disk.Rename(path+newSuffix, path)
	}
	if err == nil {
		err = j.c.disk.SyncDir(j.c.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
