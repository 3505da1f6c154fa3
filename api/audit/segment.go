package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// segment is one file of records with numbers in a row. The next segment's first number ends it: what the file holds
// from there on was written again in the next one, because it was not known to be durable.
type segment struct {
	first, last uint64 // last is first-1 while it is empty
	size        int64  // bytes of the records first to last
	arrivedAt   time.Time
	// taken says up to where the files of leased reads were taken into the segment, by the number of the file.
	taken map[uint64]int64
}

// took notes that the segment has a record of a leased read.
func (s *segment) took(t vault.Taken) {
	if t.File == 0 {
		return
	}
	if s.taken == nil {
		s.taken = map[uint64]int64{}
	}
	s.taken[t.File] = max(s.taken[t.File], t.End)
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// listSegments returns the segments by name, their contents unread, and removes what a crash left half made.
func listSegments(d disk, dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir) // sorted by name, which is by number
	if err != nil {
		return nil, dirError(dir, err, "the directory cannot be read")
	}
	var found []*segment
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), newSuffix) {
			if err := d.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, dirError(dir, err, "%s cannot be removed", e.Name())
			}
		}
		digits, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		first, err := strconv.ParseUint(digits, 10, 63)
		if !ok || err != nil || first == 0 || e.Name() != segmentName(first) {
			continue
		}
		found = append(found, &segment{first: first, last: first - 1})
	}
	return found, nil
}

// loadSegments checks the numbers and checksums of every record of the directory. It cuts off what a crash left at
// the end of the last segment. Damage anywhere else is an error that says where.
func loadSegments(d disk, dir string, log *slog.Logger) ([]*segment, error) {
	all, err := listSegments(d, dir)
	if err != nil {
		return nil, err
	}
	for i, s := range all {
		var next uint64 // 0 = s is the last
		if i+1 < len(all) {
			next = all[i+1].first
		}
		torn, err := s.scan(dir, next)
		if err != nil {
			return nil, err
		}
		if next == 0 && torn.bytes > 0 {
			if err := cutTorn(d, dir, s); err != nil {
				return nil, err
			}
			s.logTorn(torn, dir, log)
		}
	}
	return all, nil
}

// tornEnd is what stands behind the last record of a segment that can be kept.
type tornEnd struct {
	bytes int64
	whole int    // records in it, behind a hole
	last  uint64 // number of the last of them
}

// logTorn logs that torn was cut off.
func (s *segment) logTorn(torn tornEnd, dir string, log *slog.Logger) {
	at := []any{"file", filepath.Join(dir, segmentName(s.first)), "offset", s.size, "bytes", torn.bytes}
	if torn.whole == 0 {
		log.Warn("the audit journal ended in an incomplete record, which was cut off; its operation was not answered, "+
			"unless the machine stopped", at...)
		return
	}
	log.Error("the audit journal has a hole, as a power loss leaves in data that is not durable yet; it was cut off there, and records of "+
		"operations that may have been answered are lost", append(at, "from", s.last+1, "to", torn.last, "readable", torn.whole)...)
}

func cutTorn(d disk, dir string, s *segment) error {
	f, err := d.Open(filepath.Join(dir, segmentName(s.first)))
	if err == nil {
		err = errors.Join(f.Truncate(s.size), f.Sync(), f.Close())
	}
	if err != nil {
		return dirError(dir, err, "the torn end of %s cannot be cut off", segmentName(s.first))
	}
	return nil
}

// scan reads the segment up to the record before next, or to its end if next is 0, and returns the torn end that
// follows.
func (s *segment) scan(dir string, next uint64) (torn tornEnd, err error) {
	path := filepath.Join(dir, segmentName(s.first))
	f, err := os.Open(path)
	if err != nil {
		return torn, dirError(dir, err, "%s cannot be opened", segmentName(s.first))
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, maxLine)
	for next == 0 || s.last+1 < next {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return torn, dirError(dir, err, "%s cannot be read", segmentName(s.first))
		}
		if n := numberOf(line, err); n != s.last+1 {
			if n != 0 || next != 0 {
				return torn, s.damaged(path)
			}
			return s.scanTorn(f, r, line, err)
		}
		s.last++
		s.size += int64(len(line))
		s.took(takenOf(line[:len(line)-1]))
	}
	if next != 0 && s.last+1 != next {
		return torn, damaged(path, s.size, fmt.Sprintf("records %d to %d are missing", s.last+1, next-1))
	}
	return torn, nil
}

// numberOf returns the number of the line that was read, 0 if it is no whole record.
func numberOf(line []byte, err error) uint64 {
	if err != nil {
		return 0
	}
	return lineNumber(line[:len(line)-1])
}

// scanTorn decides what stands where a record should: a torn end, if no whole record comes after it anywhere or a hole
// explains those that do, else damage. line and err are what r gave there.
func (s *segment) scanTorn(f *os.File, r *bufio.Reader, line []byte, err error) (torn tornEnd, _ error) {
	for ; ; line, err = r.ReadSlice('\n') {
		torn.bytes += int64(len(line))
		if n := numberOf(bytes.TrimLeft(line, "\x00"), err); n != 0 {
			torn.whole, torn.last = torn.whole+1, n
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return torn, core.Wrap(core.Invalid, err, "%s cannot be read", f.Name())
		}
	}
	if torn.whole == 0 {
		return torn, nil
	}
	lost, err := hole(f, s.size)
	if err != nil {
		return torn, core.Wrap(core.Invalid, err, "%s cannot be read", f.Name())
	}
	if !lost {
		return torn, s.damaged(f.Name())
	}
	return torn, nil
}

// sector is the least that a disk writes or does not write.
const sector = 512

// hole reports whether the line that begins at offset at is unreadable because the machine stopped. What was not
// synced reaches the disk in any order, so pages of zeros that were not written may stand before some that were. No
// line holds a zero, and a hole has boundaries that other damage does not have. It begins at the end of a line or with
// a sector, and ends with a sector.
func hole(f io.ReaderAt, at int64) (bool, error) {
	r := bufio.NewReader(io.NewSectionReader(f, at, math.MaxInt64-at))
	from := int64(-1)
	for to := at; ; to++ {
		b, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return from >= 0, nil
		case err != nil:
			return false, err
		case b == 0 && from < 0:
			from = to
		case b == 0:
		case from >= 0:
			return (from == at || from%sector == 0) && to%sector == 0, nil
		case b == '\n':
			return false, nil
		}
	}
}

func (s *segment) damaged(path string) error {
	return damaged(path, s.size, fmt.Sprintf("record %d is not readable, and later ones are", s.last+1))
}

// damaged tells an operator what to do: nothing of the journal is lost by it.
func damaged(path string, offset int64, what string) error {
	return core.Errorf(core.Corrupt, "VAULT_AUDIT_DIR: %s is damaged at byte %d: %s. Keep the directory %s as evidence under another "+
		"name and start again: an empty directory starts a new journal. What had not arrived in vault.audit_log by then is in "+
		"its lines only", path, offset, what, filepath.Dir(path))
}

// indexOf returns which segment holds the record n, or is where it will be.
func indexOf(all []*segment, n uint64) int {
	i, found := slices.BinarySearchFunc(all, n, func(s *segment, n uint64) int {
		switch {
		case s.first < n:
			return -1
		case s.first > n:
			return 1
		}
		return 0
	})
	if found {
		return i
	}
	return i - 1
}
