package audit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// faulty is a disk that fails as it is told. A failed fsync loses what it was for: those bytes become zeros, as they may
// when the machine stops, and every later fsync of that file says yes.
type faulty struct {
	realDisk
	mu    sync.Mutex
	space int64 // of further writes; < 0 = unlimited
	sync  error // of the next fsync of a file
	stuck error // of every Truncate
	dir   error // of every fsync of a directory
	made  error // of every Create
	wrote error // of every WriteAt
	freed int64 // how much space the next Remove makes
}

func (d *faulty) Remove(path string) error {
	d.set(func() { d.space, d.freed = d.space+d.freed, 0 })
	return d.realDisk.Remove(path)
}

func (d *faulty) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

type faultyFile struct {
	*os.File
	d       *faulty
	durable int64
}

func (d *faulty) Create(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made != nil {
		return nil, d.made
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	return &faultyFile{File: f, d: d}, err
}

func (d *faulty) Open(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	return &faultyFile{File: f, d: d}, err
}

func (d *faulty) SyncDir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dir
}

func (f *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.wrote != nil {
		return 0, f.d.wrote
	}
	if f.d.space < 0 {
		return f.File.WriteAt(b, at)
	}
	n, err := f.File.WriteAt(b[:min(int64(len(b)), f.d.space)], at)
	f.d.space -= int64(n)
	if err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

func (f *faultyFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.stuck != nil {
		return f.d.stuck
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if f.d.sync != nil {
		err, f.d.sync = f.d.sync, nil
		_, werr := f.File.WriteAt(make([]byte, info.Size()-f.durable), f.durable)
		return errors.Join(err, werr)
	}
	f.durable = info.Size()
	return nil
}

func newFaulty(t *testing.T, c Config) (*fixture, *faulty) {
	d := &faulty{space: -1}
	c.disk = d
	return newFixture(t, c), d
}

func TestDiskFull(t *testing.T) {
	for _, always := range []bool{false, true} {
		f, d := newFaulty(t, Config{Always: always})
		f.record("a")
		for space := range int64(100) { // from nothing to nearly a record
			d.set(func() { d.space = space })
			if err := f.Record(t.Context(), read("refused")); core.CodeOf(err) != core.Unavailable || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("with %d bytes: %v", space, err)
			}
		}
		if err := f.Check(t.Context()); core.CodeOf(err) != core.Unavailable {
			t.Errorf("ready: %v", err)
		}
		if s := f.AuditState(); s.Refused != 100 || s.Pending != 1 {
			t.Errorf("%+v", s)
		}
		d.set(func() { d.space = -1 })
		if err := f.Check(t.Context()); err != nil {
			t.Errorf("there is space, and it is not noticed: %v", err)
		}
		f.record("b")
		f.reopen()
		f.want("a", "b")
		for _, line := range []string{"the audit journal cannot be written", "can be written again"} {
			if strings.Count(f.log.String(), line) != 1 || !strings.Contains(f.log.String(), f.c.Dir) {
				t.Errorf("%q is not in the log once, with the directory:\n%s", line, f.log)
			}
		}
	}
}

// TestDiskFullOfArrived: what has arrived is kept for a while, but not at the price of refusing.
func TestDiskFullOfArrived(t *testing.T) {
	f, d := newFaulty(t, Config{segmentSize: 300})
	f.record("a", "b", "c", "d", "e")
	f.drain()
	d.set(func() { d.space = 0; d.freed = 1 << 20 })
	f.record("f")
	if len(f.segments) > 2 {
		t.Errorf("%d segments stay", len(f.segments))
	}
	f.want("f")
}

// TestDiskSmallerThanASegment: the open segment fills the disk by itself. When all of it has arrived it gives way to a new
// one, also after a restart, and readiness notices without a request. While a record waits, none is given up.
func TestDiskSmallerThanASegment(t *testing.T) {
	f, d := newFaulty(t, Config{})
	full := func() { d.set(func() { d.space, d.freed = 0, 1<<20 }) }
	f.record("a", "b")
	full()
	if err := f.Record(t.Context(), read("refused")); core.CodeOf(err) != core.Unavailable {
		t.Fatalf("two records wait: %v", err)
	}
	f.want("a", "b")
	f.record("c")
	if len(f.segments) != 1 {
		t.Errorf("%d segments stay", len(f.segments))
	}
	f.want("c")

	f.reopen()
	full()
	if err := f.Record(t.Context(), read("refused")); core.CodeOf(err) != core.Unavailable {
		t.Fatalf("it is not known what has arrived: %v", err)
	}
	f.drain()
	if err := f.Check(t.Context()); err != nil {
		t.Errorf("nothing waits, and it is not ready: %v", err)
	}
	f.record("d")
	f.want("d")
}

// TestReadOnly: a file system that has become read-only, as after an error of the disk, takes nothing, and everything is
// there when it is writable again.
func TestReadOnly(t *testing.T) {
	for _, arrived := range []bool{false, true} {
		f, d := newFaulty(t, Config{segmentSize: 300})
		f.record("a")
		var want []string
		if arrived {
			f.want("a")
		} else {
			want = []string{"a"}
		}
		d.set(func() { d.wrote, d.made, d.stuck = syscall.EROFS, syscall.EROFS, syscall.EROFS })
		for range 3 {
			if err := f.Record(t.Context(), read("refused")); core.CodeOf(err) != core.Unavailable || !errors.Is(err, syscall.EROFS) {
				t.Fatalf("got %v", err)
			}
			if err := f.Check(t.Context()); core.CodeOf(err) != core.Unavailable {
				t.Fatalf("ready: %v", err)
			}
		}
		d.set(func() { d.wrote, d.made, d.stuck = nil, nil, nil })
		if err := f.Check(t.Context()); err != nil {
			t.Errorf("it is writable, and not ready: %v", err)
		}
		f.record("b")
		f.reopen()
		if got := f.drain(); len(want) > 0 && (len(got) != 2 || got[0] != "a") || got[len(got)-1] != "b" {
			t.Errorf("arrived %v: %q", arrived, got)
		}
	}
}

// TestNoFurtherFile: without an inode for a new segment the open one takes its place, once all of it has arrived.
func TestNoFurtherFile(t *testing.T) {
	for _, always := range []bool{false, true} {
		f, d := newFaulty(t, Config{Always: always, segmentSize: 300})
		f.record("a", "b")
		d.set(func() { d.made = syscall.ENOSPC })
		if err := f.Record(t.Context(), read("refused")); core.CodeOf(err) != core.Unavailable {
			t.Fatalf("two records wait: %v", err)
		}
		f.want("a", "b")
		f.record("c", "d")
		f.want("c", "d")
		f.record("e")
		if id := f.ID(); len(f.segments) != 1 || f.segments[0].first != 5 {
			t.Errorf("journal %v has %d segments, from %d on", id, len(f.segments), f.segments[0].first)
		}
		id := f.ID()
		f.reopen()
		if f.ID() != id {
			t.Error("another journal begins")
		}
		f.want("e")
		f.record("f")
		f.want("f")
	}
}

// TestRecyclingFails half-way: nothing is written to a file that a restart would remove.
func TestRecyclingFails(t *testing.T) {
	f, d := newFaulty(t, Config{segmentSize: 300})
	f.record("a", "b")
	f.want("a", "b")
	d.set(func() { d.made, d.stuck = syscall.ENOSPC, syscall.EIO })
	for range 3 {
		if err := f.Record(t.Context(), read("refused")); core.CodeOf(err) != core.Unavailable {
			t.Fatalf("got %v", err)
		}
		d.set(func() { d.made = nil })
	}
	d.set(func() { d.stuck = nil })
	f.record("c")
	f.reopen()
	f.want("c")
}

// TestCrashWhileRecycling: no journal owns what is left half made, and a new one begins.
func TestCrashWhileRecycling(t *testing.T) {
	f := newFixture(t, Config{})
	f.record("a")
	f.want("a")
	id := f.ID()
	_ = f.Close()
	if err := os.Rename(f.path(1), f.path(2)+newSuffix); err != nil {
		t.Fatal(err)
	}
	f.open()
	if f.ID() == id {
		t.Error("numbers of the old journal come again")
	}
	f.record("b")
	f.want("b")
}

// TestDiskFullAndStuck: what a failed write left cannot be cut off either. Nothing is written behind it.
func TestDiskFullAndStuck(t *testing.T) {
	f, d := newFaulty(t, Config{})
	f.record("a")
	d.set(func() { d.space, d.stuck = 20, syscall.EIO })
	for range 3 {
		if err := f.Record(t.Context(), read("refused")); core.CodeOf(err) != core.Unavailable {
			t.Fatalf("got %v", err)
		}
		d.set(func() { d.space = -1 })
	}
	d.set(func() { d.stuck = nil })
	f.record("b")
	f.reopen()
	f.want("a", "b")
}

// TestFsyncFails at each fsync that a life of a journal has, one after the other. Whatever was answered is there after
// the machine has stopped.
func TestFsyncFails(t *testing.T) {
	for _, always := range []bool{false, true} {
		for _, segment := range []int64{0, 400} {
			for nth := range 8 {
				f, d := newFaulty(t, Config{Always: always, segmentSize: segment})
				var want []string
				for i := range 8 {
					if i == nth {
						d.set(func() { d.sync = syscall.EIO })
					}
					name := string(rune('a' + i))
					f.record(name)
					want = append(want, name)
				}
				f.reopen()
				if got := f.drain(); !slices.Equal(got, want) {
					t.Fatalf("always %v, segments of %d, fsync %d: %q", always, segment, nth, got)
				}
				if !strings.Contains(f.log.String(), "written again, to another file") {
					t.Fatalf("always %v, segments of %d, fsync %d: the log is silent: %s", always, segment, nth, f.log)
				}
			}
		}
	}
}

// TestFsyncFailsForGood: while nothing can be made durable nothing is answered, and afterwards nothing answered is
// missing.
func TestFsyncFailsForGood(t *testing.T) {
	f, d := newFaulty(t, Config{Always: true})
	f.record("a", "b")
	d.set(func() { d.sync, d.made = syscall.EIO, syscall.EROFS })
	for range 3 {
		if err := f.Record(t.Context(), read("unknown")); core.CodeOf(err) != core.Unavailable {
			t.Fatalf("got %v", err)
		}
	}
	if err := f.Check(t.Context()); core.CodeOf(err) != core.Unavailable {
		t.Errorf("ready: %v", err)
	}
	d.set(func() { d.made = nil })
	if err := f.Check(t.Context()); err != nil {
		t.Error(err)
	}
	f.record("c")
	f.reopen()
	// The first refused record was written before its fsync failed: that it was answered with an error is no reason to
	// leave a hole.
	f.want("a", "b", "unknown", "c")
}

// TestFsyncFailsWhileShipping: what has been shipped is durable, so its numbers never come again.
func TestFsyncFailsWhileShipping(t *testing.T) {
	f, d := newFaulty(t, Config{segmentSize: 400})
	f.record("a", "b", "c")
	f.want("a", "b", "c")
	f.record("d", "e")
	d.set(func() { d.sync = syscall.EIO })
	f.out.mu.Lock()
	if err := f.fsync(); err == nil {
		t.Fatal("the fsync went well")
	}
	f.out.mu.Unlock()
	if b, err := f.nextBatch(); err != nil || len(b.records) != 0 {
		t.Errorf("ships what is not durable: %v %v", b.records, err)
	}
	f.record("f")
	f.want("d", "e", "f")
	f.reopen()
	if err := f.settle(6, noon); !errors.Is(err, vault.ErrJournalForked) {
		t.Errorf("another record 6 was accepted as this one: %v", err)
	}
	f.must(f.settle(3, time.Time{}))
	f.want("d", "e", "f")
}

// TestHalfMade: what a crash left half made is cleared away.
func TestHalfMade(t *testing.T) {
	f := newFixture(t, Config{})
	f.record("a")
	_ = f.Close()
	half := filepath.Join(f.c.Dir, segmentName(1)+newSuffix)
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.open()
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stays: %v", err)
	}
	f.want("a")
}

func TestNewSegmentFails(t *testing.T) {
	f, d := newFaulty(t, Config{segmentSize: 300})
	f.record("a", "b")
	d.set(func() { d.dir = syscall.EIO })
	if err := f.Record(t.Context(), read("refused")); core.CodeOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
	d.set(func() { d.dir = nil })
	f.record("c")
	f.reopen()
	f.want("a", "b", "c")
}
