package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A file of leased reads, leased.N, begins with a head of 4096 bytes. In the head are two notes of 64 bytes, each
//
//	CRC32C SPACE offset SPACE ... LF
//
// that say up to where the journal has taken records. The greater one counts, so that a note that was cut off by a crash
// does no harm. Behind the head are the records that backends have appended (frame.AppendLeasedRead).
const (
	leasedPrefix = "leased."
	leasedHead   = 4096
	noteLen      = 64
)

// leasedFile is a file of leased reads. Backends append to it by a descriptor that they share with this process and
// that is locked (flock) as long as one of them has it. So a file that can be locked has no writer left.
type leasedFile struct {
	number uint64
	path   string
	f      *os.File // for reading, and for the notes
	shared *os.File // for appending, which backends get copies of; nil = none will get one

	taken   atomic.Int64 // up to where its records are in the journal; the taker's to change
	last    uint64       // the number that the journal's last record had then
	punched int64        // up to where the file gave its space back

	noted int64 // up to where a note says so; under leasedFiles.mu, as are the notes
}

func leasedName(number uint64) string { return leasedPrefix + strconv.FormatUint(number, 10) }

// leasedNumber returns the number of a file of leased reads by its name; 0 for another file.
func leasedNumber(name string) uint64 {
	digits, ok := strings.CutPrefix(name, leasedPrefix)
	n, err := strconv.ParseUint(digits, 10, 63)
	if !ok || err != nil || name != leasedName(n) {
		return 0
	}
	return n
}

// createLeasedFile makes a file to which backends can append.
func createLeasedFile(d disk, dir string, number uint64) (*leasedFile, error) {
	path := filepath.Join(dir, leasedName(number))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	l := &leasedFile{number: number, path: path, f: f, punched: leasedHead}
	l.taken.Store(leasedHead)
	if _, err = f.WriteAt(make([]byte, leasedHead), 0); err == nil {
		err = l.note(leasedHead)
	}
	if err == nil {
		err = d.SyncDir(dir)
	}
	if err == nil {
		l.shared, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err == nil {
		err = unix.Flock(int(l.shared.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	}
	if err != nil {
		return nil, errors.Join(err, l.close(), os.Remove(path))
	}
	return l, nil
}

// openLeasedFile takes over a file of an earlier process. The result has no notes if it was cut off while it was made.
func openLeasedFile(path string, number uint64) (*leasedFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	l := &leasedFile{number: number, path: path, f: f, noted: leasedHead}
	head := make([]byte, 2*noteLen)
	if _, err := f.ReadAt(head, 0); err == nil {
		l.noted = max(l.noted, parseNote(head[:noteLen]), parseNote(head[noteLen:]))
	}
	l.taken.Store(l.noted)
	l.punched = l.noted
	return l, nil
}

func (l *leasedFile) close() error {
	err := l.f.Close()
	if l.shared != nil {
		err = errors.Join(err, l.shared.Close())
	}
	return err
}

// size returns where the file ends.
func (l *leasedFile) size() (int64, error) {
	info, err := l.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// note writes down that records up to an offset have been taken, and returns when that is durable.
func (l *leasedFile) note(taken int64) error {
	if taken <= l.noted {
		return nil
	}
	slot := (taken / leasedHead) % 2
	if at := l.noteAt(slot); at == l.noted && at > 0 {
		slot = 1 - slot // the greatest note stays until the next one is durable
	}
	if _, err := l.f.WriteAt(formatNote(taken), slot*noteLen); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return err
	}
	l.noted = taken
	return nil
}

func (l *leasedFile) noteAt(slot int64) int64 {
	b := make([]byte, noteLen)
	if _, err := l.f.ReadAt(b, slot*noteLen); err != nil {
		return 0
	}
	return parseNote(b)
}

func formatNote(taken int64) []byte {
	body := fmt.Sprintf(" %0*d\n", noteLen-sumLen-2, taken)
	sum := crc32.Checksum([]byte(body), castagnoli)
	return append(hex.AppendEncode(nil, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), body...)
}

// parseNote returns the offset of a note; 0 for what formatNote does not write.
func parseNote(b []byte) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(string(b[sumLen:])), 10, 64)
	if err != nil || n < leasedHead || !bytes.Equal(formatNote(n), b) {
		return 0
	}
	return n
}

// unwritten reports whether no process is left that can append to the file.
func (l *leasedFile) unwritten() bool {
	return l.shared == nil && unix.Flock(int(l.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// punchSize is how much must have been taken before its space is given back.
const punchSize = 1 << 20

// punch gives back the space of what was taken and is durable in the journal. Where the file system cannot do that, the
// space stays taken until the file is removed.
func (l *leasedFile) punch() {
	if end := l.taken.Load() / leasedHead * leasedHead; end-l.punched >= punchSize {
		_ = unix.Fallocate(int(l.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, l.punched, end-l.punched)
		l.punched = end
	}
}
