package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

const (
	// takeInterval is how often the records of leased reads are taken.
	takeInterval = 50 * time.Millisecond
	// maxLeasedFile is how long a file becomes before backends get the next one. Its space is given back meanwhile.
	maxLeasedFile = 256 << 20
	// maxLeasedWaiting is how many bytes may wait to be taken before leases end.
	maxLeasedWaiting = 16 << 20
)

// leasedFiles are the files in which backends record the reads that they make with leased keys. A record is on its way
// to durable storage when the backend's write returns: the file outlives every process. One goroutine takes each record
// over into the journal, once. The journal's line says which file and which offset it came from, so that a later
// process continues there. Before the journal drops such a line, a note in the file says so.
type leasedFiles struct {
	taking sync.Mutex // held while records are taken; locked before Journal.mu

	mu      sync.Mutex // locked after Journal.mu
	files   []*leasedFile
	next    uint64 // number of the next file
	stopped bool   // no backend gets a file from now on
	revoked bool   // the last attempt to take failed, so that leases have ended

	waiting atomic.Int64 // bytes that could not be taken the last time
	taken   atomic.Uint64
	damaged atomic.Uint64
}

// loadLeased takes over the files of an earlier process; lines of the journal say up to where it came.
func (j *Journal) loadLeased() error {
	j.leased.next = 1
	entries, err := os.ReadDir(j.c.Dir)
	if err != nil {
		return dirError(j.c.Dir, err, "the directory cannot be read")
	}
	for _, e := range entries {
		number := leasedNumber(e.Name())
		if number == 0 {
			continue
		}
		l, err := openLeasedFile(filepath.Join(j.c.Dir, e.Name()), number)
		if err != nil {
			return dirError(j.c.Dir, errors.Join(err, j.leased.close()), "%s cannot be opened", e.Name())
		}
		l.last = j.next - 1
		j.leased.files = append(j.leased.files, l)
		j.leased.next = max(j.leased.next, number+1)
	}
	for _, s := range j.segments {
		for number, end := range s.taken {
			j.leased.next = max(j.leased.next, number+1)
			if l := j.leased.find(number); l != nil {
				l.taken.Store(max(l.taken.Load(), end))
			}
		}
	}
	return nil
}

func (s *leasedFiles) find(number uint64) *leasedFile {
	i := slices.IndexFunc(s.files, func(l *leasedFile) bool { return l.number == number })
	if i < 0 {
		return nil
	}
	return s.files[i]
}

func (s *leasedFiles) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, l := range s.files {
		err = errors.Join(err, l.close())
	}
	s.files = nil
	return err
}

// LeasedReads returns the number of the file to which a backend may append the records of leased reads, and a
// descriptor of it that the caller closes. have is the number of the file that the backend already has; if that is still
// the one, the descriptor is nil. The number is 0 when there must be no leases: every record has to wait for an fsync,
// or none can be taken at the moment.
func (j *Journal) LeasedReads(have uint64) (number uint64, f *os.File, err error) {
	if j.c.Always || j.Full() {
		return 0, nil, nil
	}
	s := &j.leased
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.revoked {
		return 0, nil, nil
	}
	l, err := j.currentLeased()
	if err != nil || l.number == have {
		return numberOfLeased(l, err), nil, err
	}
	fd, err := unix.FcntlInt(l.shared.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	return l.number, os.NewFile(uintptr(fd), l.path), nil
}

func numberOfLeased(l *leasedFile, err error) uint64 {
	if err != nil {
		return 0
	}
	return l.number
}

// currentLeased returns the file that backends get, and makes it if there is none or the last one is long. The caller
// holds leased.mu.
func (j *Journal) currentLeased() (*leasedFile, error) {
	s := &j.leased
	if n := len(s.files); n > 0 && s.files[n-1].shared != nil {
		l := s.files[n-1]
		size, err := l.size()
		if err != nil || size < j.c.leasedSize {
			return l, err
		}
		_ = l.shared.Close()
		l.shared = nil
	}
	l, err := createLeasedFile(j.c.disk, j.c.Dir, s.next)
	if err != nil {
		return nil, err
	}
	s.next++
	s.files = append(s.files, l)
	return l, nil
}

// Full reports whether the journal refuses records at the moment.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closed || j.failure != nil || j.hasRoom(maxText, false) != nil
}

// noteTaken has the files note what a segment says about them, because the segment is about to go. The error is that of
// a file that cannot be written.
func (j *Journal) noteTaken(s *segment) error {
	j.leased.mu.Lock()
	defer j.leased.mu.Unlock()
	for number, end := range s.taken {
		l := j.leased.find(number)
		if l == nil {
			continue
		}
		if err := l.note(end); err != nil && !errors.Is(err, fs.ErrClosed) {
			return err
		}
	}
	return nil
}

// leasedState fills in what an AuditState says of leased reads.
func (j *Journal) leasedState(s *vault.AuditState) {
	s.Leased, s.LeasedDamaged = j.leased.taken.Load(), j.leased.damaged.Load()
	j.leased.mu.Lock()
	defer j.leased.mu.Unlock()
	for _, l := range j.leased.files {
		if size, err := l.size(); err == nil {
			s.LeasedBytes += max(0, size-l.taken.Load())
		}
	}
}
