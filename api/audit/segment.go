package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hyperiondb/hyperion-vault/core"
)

// segment is one file of records with numbers in a row. The next segment's first number ends it: what the file holds
// from there on was written again in the next one, because it was not known to be durable.
type segment struct {
	first, last uint64 // last is first-1 while it is empty
	size        int64  // bytes of the records first to last
	arrivedAt   time.Time
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// listSegments returns the segments by name, their contents unread, and removes what a crash left half made.
func listSegments(d disk, dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir) // sorted by name, which is by number
	if err != nil {
		return nil, folderError(dir, err, "the folder cannot be read")
	}
	var found []*segment
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), newSuffix) {
			if err := d.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, folderError(dir, err, "%s cannot be removed", e.Name())
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

// loadSegments checks every record of the folder: numbers without gaps, checksums. A torn end of the last segment is
// cut off; damage anywhere else is an error that says where.
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
		if next == 0 && torn > 0 {
			if err := cutTorn(d, dir, s); err != nil {
				return nil, err
			}
			log.Warn("the audit journal ended in a record that was not completely written; it was cut off, and its operation was not answered",
				"file", filepath.Join(dir, segmentName(s.first)), "offset", s.size, "bytes", torn)
		}
	}
	return all, nil
}

func cutTorn(d disk, dir string, s *segment) error {
	f, err := d.Open(filepath.Join(dir, segmentName(s.first)))
	if err == nil {
		err = errors.Join(f.Truncate(s.size), f.Sync(), f.Close())
	}
	if err != nil {
		return folderError(dir, err, "the torn end of %s cannot be cut off", segmentName(s.first))
	}
	return nil
}

// scan reads the segment up to the record before next, or to its end if next is 0, and returns how many bytes of a
// torn end follow.
func (s *segment) scan(dir string, next uint64) (torn int64, err error) {
	path := filepath.Join(dir, segmentName(s.first))
	f, err := os.Open(path)
	if err != nil {
		return 0, folderError(dir, err, "%s cannot be opened", segmentName(s.first))
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, maxLine)
	for next == 0 || s.last+1 < next {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, folderError(dir, err, "%s cannot be read", segmentName(s.first))
		}
		if n := numberOf(line, err); n != s.last+1 {
			return s.scanTorn(path, r, n != 0 || next != 0, int64(len(line)))
		}
		s.last++
		s.size += int64(len(line))
	}
	if next != 0 && s.last+1 != next {
		return 0, damaged(path, s.size, fmt.Sprintf("records %d to %d are missing", s.last+1, next-1))
	}
	return 0, nil
}

// numberOf returns the number of the line that was read, 0 if it is no whole record.
func numberOf(line []byte, err error) uint64 {
	if err != nil {
		return 0
	}
	return lineNumber(line[:len(line)-1])
}

// scanTorn decides what stands where a record should: a torn end, if no whole record comes after it anywhere, else
// damage.
func (s *segment) scanTorn(path string, r *bufio.Reader, damage bool, torn int64) (int64, error) {
	for {
		if damage {
			return 0, damaged(path, s.size, fmt.Sprintf("record %d is not readable, and later ones are", s.last+1))
		}
		line, err := r.ReadSlice('\n')
		torn += int64(len(line))
		damage = numberOf(bytes.TrimLeft(line, "\x00"), err) != 0
		if errors.Is(err, io.EOF) {
			return torn, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, core.Wrap(core.Invalid, err, "%s cannot be read", path)
		}
	}
}

// damaged tells an operator what to do: nothing of the journal is lost by it.
func damaged(path string, offset int64, what string) error {
	return core.Errorf(core.Corrupt, "VAULT_AUDIT_DIR: %s is damaged at byte %d: %s. Keep the folder %s as evidence under another "+
		"name and start again: an empty folder begins a new journal. What had not arrived in vault.audit_log by then is in "+
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
