package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/frame"
)

func leasedLine(t testing.TB, name string) []byte {
	t.Helper()
	b, err := frame.AppendLeasedRead(nil, &frame.LeasedRead{
		At: time.UnixMicro(1795942800000000).UTC(), Name: name, Version: 3,
		Origin: frame.Origin{Database: "d", Role: "app", ClientAddr: "10.0.0.1", RequestID: "pid-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// backend is the end of a file of leased reads that a backend has.
type backend struct {
	*os.File
	number uint64
}

func (f *fixture) backend(have uint64) backend {
	f.t.Helper()
	number, file, err := f.LeasedReads(have)
	if err != nil || number == 0 {
		f.t.Fatalf("file %d, %v", number, err)
	}
	if file != nil {
		f.t.Cleanup(func() { _ = file.Close() })
	}
	return backend{file, number}
}

func (b backend) append(t testing.TB, data ...[]byte) {
	t.Helper()
	for _, d := range data {
		if _, err := b.Write(d); err != nil {
			t.Fatal(err)
		}
	}
}

// quiet is a Config whose journal takes leased reads only when the test says so: the ticks are as good as none.
func (f *fixture) leasedFiles() (names []string) {
	f.t.Helper()
	entries, err := os.ReadDir(f.c.Dir)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		if leasedNumber(e.Name()) != 0 {
			names = append(names, e.Name())
		}
	}
	return names
}

// die ends the journal as kill -9 does: nothing more is written, and the lock and the descriptors go.
func (f *fixture) die() {
	f.t.Helper()
	f.leased.taking.Lock() // for good
	f.once.Do(func() {
		f.mu.Lock()
		f.closed = true
		f.mu.Unlock()
		close(f.closing)
	})
	// The taker may wait for the lock; it never gets it before the files are closed.
	_ = f.leased.close()
	f.leased.taking.Unlock()
	f.running.Wait()
	_ = f.out.close()
	_ = f.lock.Close()
}

func TestLeasedReads(t *testing.T) {
	f := newFixture(t, Config{Node: "n"})
	b := f.backend(0)
	if b.number != 1 {
		t.Fatalf("file %d", b.number)
	}
	if n, again, err := f.LeasedReads(1); n != 1 || again != nil || err != nil {
		t.Errorf("a backend that has the file gets %d %v %v", n, again, err)
	}
	b.append(t, leasedLine(t, "a"), leasedLine(t, "b"))
	f.takeLeased()
	f.record("c")
	b.append(t, leasedLine(t, "d"))
	f.takeLeased()
	f.takeLeased()
	if got := f.drain(); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Fatalf("%q", got)
	}
	if s := f.AuditState(); s.Leased != 3 || s.LeasedBytes != 0 || s.LeasedDamaged != 0 {
		t.Errorf("%+v", s)
	}
}

func TestLeasedReadIsRecordedLikeARead(t *testing.T) {
	f := newFixture(t, Config{Node: "n"})
	f.backend(0).append(t, leasedLine(t, "a"))
	f.takeLeased()
	f.durableNow()
	got, err := f.nextBatch()
	if err != nil || len(got.records) != 1 {
		t.Fatal(err, got)
	}
	want := vault.LeasedEntry("n", vault.SQLCaller{Role: "app", ClientAddr: "10.0.0.1", RequestID: "pid-1"}, "a", 3)
	if r := got.records[0]; r.Entry != want || !r.At.Equal(time.UnixMicro(1795942800000000)) || r.Taken.File != 1 || r.Outcome != vault.OutcomeOK {
		t.Errorf("%+v", r)
	}
}

// TestLeasedReadsOfLives: whatever dies in between, each record is in the journal once.
func TestLeasedReadsOfLives(t *testing.T) {
	f := newFixture(t, Config{Node: "n", segmentSize: 700})
	b := f.backend(0)
	var want []string
	for life := range 8 {
		for i := range 5 {
			name := fmt.Sprintf("n%d-%d", life, i)
			want = append(want, name)
			b.append(t, leasedLine(t, name))
			if (life+i)%3 == 0 {
				f.takeLeased()
			}
		}
		f.die() // between the write and the take
		b.append(t, leasedLine(t, fmt.Sprintf("late%d", life)))
		want = append(want, fmt.Sprintf("late%d", life))
		f.open()
	}
	f.takeLeased()
	if got := f.drain(); !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
}

// TestLeasedNotes: a journal whose segments are gone, because their records have arrived, takes nothing a second time.
func TestLeasedNotes(t *testing.T) {
	f := newFixture(t, Config{Node: "n", segmentSize: 700, Retention: time.Nanosecond})
	b := f.backend(0)
	for i := range 50 {
		b.append(t, leasedLine(t, fmt.Sprintf("n%d", i)))
		f.takeLeased()
	}
	f.record("x", "y", "z", "u", "v", "w") // the last segment has none of them
	if got := f.drain(); len(got) != 56 {
		t.Fatalf("%d records", len(got))
	}
	f.mu.Lock()
	f.confirmed()
	left := len(f.segments)
	f.mu.Unlock()
	if left != 1 {
		t.Fatalf("%d segments are left", left)
	}
	f.die()
	f.open()
	b.append(t, leasedLine(t, "new"))
	f.takeLeased()
	f.durableNow()
	got := []string{}
	for _, s := range f.segments {
		batch, err := readBatch(f.path(s.first), 0, s.size, s.first)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.records {
			got = append(got, r.Name)
		}
	}
	if n := f.AuditState().Leased; n != 1 || got[len(got)-1] != "new" {
		t.Errorf("%d taken after the restart, the journal has %q", n, got)
	}
}

func TestLeasedDamage(t *testing.T) {
	t.Run("TornAndForeign", func(t *testing.T) {
		f := newFixture(t, Config{Node: "n"})
		b := f.backend(0)
		whole := leasedLine(t, "a")
		b.append(t, whole[:len(whole)-1], leasedLine(t, "b"), []byte("rubbish\n\x00\x01\x01\n"), leasedLine(t, "c"))
		f.takeLeased()
		if got := f.drain(); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("%q", got)
		}
		if n := f.AuditState().LeasedDamaged; n != 3 || strings.Count(f.log.String(), "no record") != 1 {
			t.Errorf("%d pieces, log %s", n, f.log)
		}
	})
	t.Run("NoEndForLong", func(t *testing.T) {
		f := newFixture(t, Config{Node: "n"})
		b := f.backend(0)
		b.append(t, make([]byte, 3*maxTake), leasedLine(t, "a"))
		f.takeLeased()
		if got := f.drain(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("CutOff", func(t *testing.T) {
		f := newFixture(t, Config{Node: "n"})
		b := f.backend(0)
		b.append(t, leasedLine(t, "a"), leasedLine(t, "b"))
		f.takeLeased()
		if err := b.Truncate(10); err != nil {
			t.Fatal(err)
		}
		f.takeLeased()
		b.append(t, leasedLine(t, "c"))
		f.takeLeased()
		if got := f.drain(); !slices.Equal(got, []string{"a", "b", "c"}) || !strings.Contains(f.log.String(), "cut off by a process") {
			t.Errorf("%q, log %s", got, f.log)
		}
	})
	t.Run("TornEndOfAFileThatIsDoneWith", func(t *testing.T) {
		f := newFixture(t, Config{Node: "n"})
		b := f.backend(0)
		b.append(t, leasedLine(t, "a"), []byte("\x01torn"))
		_ = b.Close()
		f.die()
		f.open()
		f.takeLeased()
		f.durableNow()
		f.takeLeased()
		if got := f.drain(); !slices.Equal(got, []string{"a"}) || len(f.leasedFiles()) != 0 {
			t.Errorf("%q, files %q", got, f.leasedFiles())
		}
	})
}

// TestLeasedFilesEnd: a long file is followed by the next one, and goes when no process has it open.
func TestLeasedFilesEnd(t *testing.T) {
	f := newFixture(t, Config{Node: "n", leasedSize: leasedHead + 10})
	old := f.backend(0)
	old.append(t, leasedLine(t, "a"))
	b := f.backend(old.number)
	if b.number != 2 || b.File == nil {
		t.Fatalf("file %d", b.number)
	}
	b.append(t, leasedLine(t, "b"))
	f.takeLeased()
	f.durableNow()
	f.takeLeased()
	if got := f.leasedFiles(); !slices.Equal(got, []string{"leased.1", "leased.2"}) {
		t.Fatalf("%q", got)
	}
	old.append(t, leasedLine(t, "late"))
	_ = old.Close()
	f.takeLeased()
	f.durableNow()
	f.takeLeased()
	if got := f.leasedFiles(); !slices.Equal(got, []string{"leased.2"}) {
		t.Fatalf("%q", got)
	}
	if got := f.drain(); !slices.Equal(got, []string{"a", "b", "late"}) {
		t.Errorf("%q", got)
	}
	f.die()
	f.open()
	if n := f.backend(0).number; n != 3 {
		t.Errorf("the next file is %d", n)
	}
}

func TestNoLeases(t *testing.T) {
	none := func(t *testing.T, f *fixture) {
		t.Helper()
		if n, file, err := f.LeasedReads(0); n != 0 || file != nil || err != nil {
			t.Errorf("%d %v %v", n, file, err)
		}
	}
	t.Run("Always", func(t *testing.T) { none(t, newFixture(t, Config{Always: true})) })
	t.Run("Stopped", func(t *testing.T) {
		f := newFixture(t, Config{})
		f.Stop()
		none(t, f)
	})
	t.Run("Full", func(t *testing.T) {
		ended := 0
		f := newFixture(t, Config{MaxBytes: 2000, EndLeases: func() { ended++ }})
		b := f.backend(0)
		for i := 0; ; i++ {
			if err := f.Record(context.Background(), read(fmt.Sprint(i))); err != nil {
				break
			}
		}
		none(t, f)
		b.append(t, leasedLine(t, "a"))
		f.takeLeased()
		if s := f.AuditState(); ended == 0 || s.Leased != 0 || s.LeasedBytes != int64(len(leasedLine(t, "a"))) {
			t.Errorf("leases ended %d times, %+v", ended, s)
		}
		f.drain()
		f.takeLeased()
		if s := f.AuditState(); s.Leased != 1 || s.LeasedBytes != 0 {
			t.Errorf("%+v", s)
		}
		f.backend(0)
	})
	t.Run("WaitingRecordsCount", func(t *testing.T) {
		f := newFixture(t, Config{MaxBytes: 4000})
		f.leased.waiting.Store(4000)
		if err := f.Record(context.Background(), read("a")); core.CodeOf(err) != core.Unavailable || !errors.Is(err, vault.ErrJournalFull) {
			t.Errorf("recorded past the bound: %v", err)
		}
	})
}

// TestLeasedDiskFull: what the journal cannot take stays in the file, and is taken once there is space.
func TestLeasedDiskFull(t *testing.T) {
	d := &faulty{space: -1}
	ended := 0
	f := newFixture(t, Config{Node: "n", disk: d, EndLeases: func() { ended++ }})
	b := f.backend(0)
	d.set(func() { d.wrote = syscall.ENOSPC })
	b.append(t, leasedLine(t, "a"))
	f.takeLeased()
	if ended == 0 {
		t.Error("the leases go on")
	}
	d.set(func() { d.wrote = nil })
	f.takeLeased()
	if got := f.drain(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q", got)
	}
}

func TestLeasedNoteForms(t *testing.T) {
	dir := t.TempDir()
	l, err := createLeasedFile(realDisk{}, dir, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for taken := int64(leasedHead); taken < leasedHead+3000; taken += 500 {
		if err := l.note(taken); err != nil {
			t.Fatal(err)
		}
		again, err := openLeasedFile(filepath.Join(dir, "leased.7"), 7)
		if err != nil || again.noted != taken {
			t.Fatalf("noted %d reads as %d, %v", taken, again.noted, err)
		}
		_ = again.close()
		for _, slot := range []int64{0, 1} { // whichever is cut off, the other one is there
			if n := l.noteAt(slot); n != 0 && n < taken-500 {
				t.Errorf("a note of %d beside %d", n, taken)
			}
		}
	}
}

func FuzzParseTaken(f *testing.F) {
	f.Add([]byte(`x,"leased":"1:4200"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if got := takenOf(line); got.File != 0 {
			if rest := appendTaken([]byte("}"), got); takenOf(rest) != got {
				t.Errorf("%q: %+v", line, got)
			}
		}
	})
}
