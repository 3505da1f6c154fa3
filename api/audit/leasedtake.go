package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

// maxTake is how many bytes of records are taken at once.
const maxTake = 256 << 10

// takeOften takes the records of leased reads until the journal is stopped.
func (j *Journal) takeOften() {
	tick := time.NewTicker(takeInterval)
	defer tick.Stop()
	for {
		select {
		case <-j.closing:
			return
		case <-tick.C:
			j.takeLeased()
		}
	}
}

// stopLeases takes what there is. No backend gets a file from then on. What backends append later waits for the next
// start.
func (j *Journal) stopLeases() {
	j.leased.mu.Lock()
	j.leased.stopped = true
	j.leased.mu.Unlock()
	j.takeLeased()
}

// takeLeased takes over what backends have recorded since the last time. When that fails, the leases end.
func (j *Journal) takeLeased() {
	s := &j.leased
	s.taking.Lock()
	defer s.taking.Unlock()
	s.mu.Lock()
	files := slices.Clone(s.files)
	s.mu.Unlock()
	var err error
	waiting := int64(0)
	for _, l := range files {
		left, terr := j.takeFrom(l)
		if terr == nil && left > 0 && l.unwritten() {
			left, terr = j.takeLast(l)
		}
		err = errors.Join(err, terr)
		waiting += left
		if terr == nil && left == 0 {
			j.tidyLeased(l)
		}
	}
	s.waiting.Store(waiting)
	j.endLeases(err, waiting)
}

// endLeases has all leases end if the records cannot be taken, and lets there be leases again once they can.
func (j *Journal) endLeases(err error, waiting int64) {
	ending := err != nil || waiting > maxLeasedWaiting
	j.leased.mu.Lock()
	before, stopped := j.leased.revoked, j.leased.stopped
	j.leased.revoked = ending
	j.leased.mu.Unlock()
	switch {
	case stopped: // the journal refuses everything, and the next process continues
	case ending && !before:
		j.c.Log.Warn("the records of leased reads cannot be taken over into the audit journal: there are no leases until they can",
			"directory", j.c.Dir, "bytes", waiting, "error", err)
	case !ending && before:
		j.c.Log.Info("the records of leased reads are taken over into the audit journal again", "directory", j.c.Dir)
	}
	if ending && j.c.EndLeases != nil {
		j.c.EndLeases()
	}
}

// takeFrom takes over all whole records of a file and returns how many bytes are left.
func (j *Journal) takeFrom(l *leasedFile) (left int64, err error) {
	for {
		size, err := l.size()
		if err != nil {
			return 0, err
		}
		if size < l.taken.Load() {
			return 0, j.cutShort(l, size)
		}
		if size == l.taken.Load() {
			return 0, nil
		}
		buf := make([]byte, min(size-l.taken.Load(), maxTake))
		n, err := l.f.ReadAt(buf, l.taken.Load())
		if err != nil && !errors.Is(err, io.EOF) {
			return size - l.taken.Load(), err
		}
		took, err := j.takeRecords(l, buf[:n])
		if err != nil || took == 0 {
			return size - l.taken.Load(), err
		}
	}
}

// takeLast takes over the rest of a file that has no writer left. What is left then was cut off.
func (j *Journal) takeLast(l *leasedFile) (left int64, err error) {
	if left, err = j.takeFrom(l); err != nil || left == 0 {
		return left, err
	}
	j.logSkipped(l, 1, l.taken.Add(left))
	return 0, nil
}

// cutShort makes a file long again that a process with its descriptor has cut off, so that no offset comes twice. The
// byte is written, and the length not set, because a backend may append meanwhile.
func (j *Journal) cutShort(l *leasedFile, size int64) error {
	j.c.Log.Error("a file of leased reads has been cut off by a process that has its descriptor; records in it may be lost",
		"file", l.path, "from", size, "to", l.taken.Load())
	j.leased.damaged.Add(1)
	_, err := l.f.WriteAt([]byte("\n"), l.taken.Load()-1)
	return err
}

// takeRecords takes over the whole records of buf, which stands in a file behind what was taken, and returns how many
// bytes that is.
func (j *Journal) takeRecords(l *leasedFile, buf []byte) (took int64, err error) {
	var rests []byte
	var pieces int
	t := vault.Taken{File: l.number}
	records, skippedTo := 0, int64(0)
	for {
		r, ok, skipped, n := frame.NextLeasedRead(buf[took:])
		if n == 0 {
			break
		}
		took += int64(n)
		if ok {
			t.End = l.taken.Load() + took
			rests = append(appendTaken(j.appendLeased(rests, &r), t), '\n')
			records++
		}
		if skipped {
			pieces, skippedTo = pieces+1, took
		}
	}
	if took == 0 && len(buf) > frame.MaxLeasedRead { // no record is so long: it is no record
		took, pieces, skippedTo = notRecord(buf), 1, int64(len(buf))
	}
	if records > 0 {
		if err := j.keepTaken(rests, records, t, l); err != nil {
			return 0, err
		}
	}
	if pieces > 0 {
		j.logSkipped(l, pieces, l.taken.Load()+skippedTo)
	}
	l.taken.Add(took)
	return took, nil
}

// notRecord returns how much of buf, which has no LF, can be no part of a record.
func notRecord(buf []byte) int64 {
	if start := bytes.LastIndexByte(buf, 1); start > 0 && len(buf)-start <= frame.MaxLeasedRead {
		return int64(start)
	}
	return int64(len(buf))
}

// appendLeased appends the journal's form of a record. A time that has not come yet is not the node's.
func (j *Journal) appendLeased(b []byte, r *frame.LeasedRead) []byte {
	o := &r.Origin
	e := vault.LeasedEntry(j.c.Node, vault.SQLCaller{
		Database: o.Database, Role: o.Role, SessionRole: o.SessionRole, ClientAddr: o.ClientAddr, RequestID: o.RequestID,
	}, r.Name, r.Version)
	at := r.At
	if now := j.c.Clock(); at.After(now) {
		at = now
	}
	return appendRest(b, at, &e)
}

// keepTaken writes records to the journal.
func (j *Journal) keepTaken(rests []byte, records int, t vault.Taken, l *leasedFile) error {
	g, err := j.joinAs(rests, records, false, t)
	if err != nil {
		return err
	}
	if err := g.wait(context.Background()); err != nil {
		return err
	}
	j.mu.Lock()
	l.last = j.next - 1
	j.mu.Unlock()
	j.leased.taken.Add(uint64(records))
	return nil
}

func (j *Journal) logSkipped(l *leasedFile, pieces int, to int64) {
	j.leased.damaged.Add(uint64(pieces))
	j.c.Log.Warn("a file of leased reads has bytes that are no record; a write that was cut off leaves some, and its read was not answered",
		"file", l.path, "pieces", pieces, "before", to)
}

// tidyLeased gives back the space of what is durable in the journal, and removes a file that is done with.
func (j *Journal) tidyLeased(l *leasedFile) {
	j.mu.Lock()
	durable := j.durable >= l.last
	j.mu.Unlock()
	if !durable {
		return
	}
	l.punch()
	if !l.unwritten() {
		return
	}
	if size, err := l.size(); err != nil || size > l.taken.Load() {
		return // appended meanwhile, by what was the last writer
	}
	j.leased.mu.Lock()
	defer j.leased.mu.Unlock()
	j.leased.files = slices.DeleteFunc(j.leased.files, func(o *leasedFile) bool { return o == l })
	if err := errors.Join(os.Remove(l.path), l.close()); err != nil {
		j.c.Log.Warn("a file of leased reads that is done with cannot be removed", "file", l.path, "error", err)
	}
}
