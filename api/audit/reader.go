package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const (
	maxBatch      = 1000
	maxBatchBytes = 3 * maxLine // as much as 1000 usual lines have
)

// cursor is the last record that the primary has.
type cursor struct {
	last uint64
	end  int64 // of that record in its segment; of no meaning when the next record begins another one
}

// batch is durable records with numbers in a row that follow a cursor.
type batch struct {
	records []vault.Journaled
	size    int64 // bytes
	end     int64 // of the last record in its segment
}

func (b batch) last() uint64 { return b.records[len(b.records)-1].Sequence }

// gapError says that the primary misses records up to last that this node no longer has.
type gapError struct{ last uint64 }

func (e gapError) Error() string {
	return fmt.Sprintf("the primary misses records up to %d, which no longer exist", e.last)
}

// nextBatch returns durable records that have not arrived; none if there are none. Corrupt when the file is not what
// was written.
func (j *Journal) nextBatch() (batch, error) {
	j.mu.Lock()
	i, offset := j.find(j.arrived)
	path, want, limit := j.path(j.segments[i].first), j.arrived.last+1, j.segments[i].size
	if i == len(j.segments)-1 {
		limit = j.out.synced
	}
	j.mu.Unlock()
	if offset >= limit {
		return batch{}, nil
	}
	return readBatch(path, offset, min(limit-offset, maxBatchBytes), want)
}

// find returns the segment that holds, or will hold, the record after p, and where in it. The caller holds mu.
func (j *Journal) find(p cursor) (i int, offset int64) {
	i = indexOf(j.segments, p.last+1)
	if j.segments[i].first == p.last+1 {
		return i, 0
	}
	return i, p.end
}

func readBatch(path string, offset, size int64, want uint64) (batch, error) {
	f, err := os.Open(path)
	if err != nil {
		return batch{}, core.Wrap(core.Corrupt, err, "a segment of the audit journal is gone")
	}
	defer f.Close()
	buf := make([]byte, size)
	if n, err := f.ReadAt(buf, offset); err != nil && !errors.Is(err, io.EOF) {
		return batch{}, core.Wrap(core.Unavailable, err, "%s cannot be read", path)
	} else {
		buf = buf[:n]
	}
	var b batch
	for line := range bytes.Lines(buf) {
		if len(b.records) == maxBatch || line[len(line)-1] != '\n' {
			break
		}
		r, err := parseLine(line[:len(line)-1])
		if err != nil || r.Sequence != want {
			return batch{}, core.Errorf(core.Corrupt, "%s is damaged at byte %d: record %d is not readable", path, offset+b.size, want)
		}
		b.records = append(b.records, r)
		b.size += int64(len(line))
		want++
	}
	b.end = offset + b.size
	if len(b.records) == 0 {
		return batch{}, core.Errorf(core.Corrupt, "%s is damaged at byte %d: record %d is cut off", path, offset, want)
	}
	return b, nil
}

// arrive notes that a batch has arrived.
func (j *Journal) arrive(b batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.arrived = cursor{last: b.last(), end: b.end}
	j.pending -= b.size
	j.shipped += uint64(len(b.records))
	j.confirmed()
}

// settle accepts the primary's answer for which record was the last to arrive, and moves there, forward or back. at
// is the time of that record on the primary, and zero if the primary has none. settle returns a gapError when the
// next record no longer exists, and vault.ErrJournalForked when the primary's records are not this journal's.
func (j *Journal) settle(last uint64, at time.Time) error {
	j.mu.Lock()
	known, durable, first := j.arrived.last, j.durable, j.segments[0].first
	j.mu.Unlock()
	p := cursor{last: last}
	switch {
	case last > durable:
		return vault.ErrJournalForked
	case last+1 < first:
		return gapError{first - 1}
	case last == known:
		j.mu.Lock()
		defer j.mu.Unlock()
		j.confirmed()
		return nil
	case last >= first:
		var err error
		if p.end, err = j.endOf(last, at); err != nil {
			return err
		}
	}
	if last < known {
		j.c.Log.Warn("the primary lost records that it had accepted; they are shipped again",
			"from", last+1, "to", known)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.arrived = p
	i, offset := j.find(p)
	j.pending = -offset
	for _, s := range j.segments[i:] {
		j.pending += s.size
	}
	j.confirmed()
	return nil
}

// endOf returns where the record n ends in its segment, after comparing its time, if it is given.
func (j *Journal) endOf(n uint64, at time.Time) (int64, error) {
	j.mu.Lock()
	s := *j.segments[indexOf(j.segments, n)]
	j.mu.Unlock()
	var end int64
	for want := s.first; ; {
		b, err := readBatch(j.path(s.first), end, min(s.size-end, maxBatchBytes), want)
		if err != nil {
			return 0, err
		}
		if want, end = b.last()+1, b.end; want <= n {
			continue
		}
		if r := b.records[n-b.records[0].Sequence]; !at.IsZero() && !r.At.Equal(at) {
			return 0, vault.ErrJournalForked
		}
		for _, r := range b.records[n-b.records[0].Sequence+1:] {
			end -= int64(len(appendJournaled(nil, &r)))
		}
		return end, nil
	}
}

// confirmed follows a word of the primary: what has arrived is dropped once it has been there for the retention. The
// caller holds mu.
func (j *Journal) confirmed() {
	now := j.c.Clock()
	j.lastShipped = now.Truncate(time.Microsecond)
	for _, s := range j.segments {
		switch {
		case s.last > j.arrived.last || s.last < s.first:
			s.arrivedAt = time.Time{}
		case s.arrivedAt.IsZero():
			s.arrivedAt = now
		}
	}
	for len(j.segments) > 1 && !j.segments[0].arrivedAt.IsZero() && now.Sub(j.segments[0].arrivedAt) >= j.c.Retention {
		if !j.drop() {
			return
		}
	}
}

// dropForSpace drops what has arrived, however recently, while all segments together are past the bound. The caller
// holds mu.
func (j *Journal) dropForSpace() {
	var total int64
	for _, s := range j.segments {
		total += s.size
	}
	for len(j.segments) > 1 && total > j.c.MaxBytes && j.segments[0].last <= j.arrived.last {
		total -= j.segments[0].size
		if !j.drop() {
			return
		}
	}
}

// dropArrived drops all that has arrived, because the disk is full, and reports whether there was any.
func (j *Journal) dropArrived() (dropped bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.segments) > 1 && j.segments[0].last <= j.arrived.last {
		if !j.drop() {
			return dropped
		}
		dropped = true
	}
	return dropped
}

// drop removes the first segment; false if it has to stay, because the files of leased reads cannot note what it says.
func (j *Journal) drop() bool {
	if err := j.noteTaken(j.segments[0]); err != nil {
		j.c.Log.Error("a file of leased reads cannot be written, so that a segment of the audit journal has to stay",
			"directory", j.c.Dir, "error", err.Error())
		return false
	}
	if err := j.c.disk.Remove(j.path(j.segments[0].first)); err != nil {
		j.c.Log.Warn("a segment of the audit journal that has arrived cannot be removed", "directory", j.c.Dir, "error", err.Error())
	}
	j.segments = j.segments[1:]
	return true
}

// oldest returns the time of the oldest record that has not arrived; zero if there is none, or if it cannot be read.
func (j *Journal) oldest() time.Time {
	j.mu.Lock()
	i, offset := j.find(j.arrived)
	path, want, size := j.path(j.segments[i].first), j.arrived.last+1, j.segments[i].size-offset
	known := j.oldestPending
	j.mu.Unlock()
	switch {
	case size <= 0:
		return time.Time{}
	case known.Sequence == want:
		return known.At
	}
	b, err := readBatch(path, offset, min(size, maxLine), want)
	if err != nil {
		return time.Time{}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.oldestPending = b.records[0]
	return b.records[0].At
}
