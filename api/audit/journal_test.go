package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestJournal(t *testing.T) {
	for _, always := range []bool{false, true} {
		f := newFixture(t, Config{Always: always})
		f.record("a", "b")
		if err := f.Record(t.Context(), read("c"), read("d")); err != nil {
			t.Fatal(err)
		}
		if err := f.Record(t.Context()); err != nil {
			t.Fatal(err)
		}
		id := f.ID()
		f.reopen()
		if f.ID() != id {
			t.Error("another journal")
		}
		f.record("e")
		s := f.AuditState()
		if s.Pending != 5 || s.PendingBytes < 5*60 || s.OldestPending.IsZero() || s.Recorded != 1 || s.Refused != 0 {
			t.Errorf("%+v", s)
		}
		f.want("a", "b", "c", "d", "e")
		if s := f.AuditState(); s.Pending != 0 || s.PendingBytes != 0 || !s.OldestPending.IsZero() || s.Shipped != 5 {
			t.Errorf("%+v", s)
		}
	}
}

// TestJournalOfManyAtOnce: numbers have no gaps in any order of writers, over several segments and a restart.
func TestJournalOfManyAtOnce(t *testing.T) {
	f := newFixture(t, Config{segmentSize: 4096})
	const workers, each = 20, 50
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range each {
				if err := f.Record(context.Background(), read(fmt.Sprint(w, ".", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	f.reopen()
	got := f.drain()
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != workers*each {
		t.Errorf("%d different records, not %d", len(got), workers*each)
	}
	if n := len(f.segments); n < 10 {
		t.Errorf("%d segments", n)
	}
}

func TestJournalClosed(t *testing.T) {
	f := newFixture(t, Config{})
	f.record("a")
	f.Stop()
	if err := f.Record(t.Context(), read("b")); core.CodeOf(err) != core.Unavailable {
		t.Errorf("got %v", err)
	}
	f.want("a")
}

func TestDirectory(t *testing.T) {
	t.Run("ErrTwoProcesses", func(t *testing.T) {
		f := newFixture(t, Config{})
		_, err := Open(f.c)
		if core.CodeOf(err) != core.Invalid || !strings.Contains(err.Error(), "VAULT_AUDIT_DIR="+f.c.Dir) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("got %v", err)
		}
		f.record("a")
	})
	t.Run("ErrOpenToOthers", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "mode 0755") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrOfAnother", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "x")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, 12345, -1); err != nil {
			t.Skip("only root gives directories away")
		}
		if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ErrAFile", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: file}); core.CodeOf(err) != core.Invalid {
			t.Errorf("got %v", err)
		}
	})
	t.Run("OKModes", func(t *testing.T) {
		f := newFixture(t, Config{})
		err := filepath.WalkDir(f.c.Dir, func(path string, d os.DirEntry, err error) error {
			info, _ := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %o", path, info.Mode().Perm())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("OKWithoutSegments", func(t *testing.T) {
		f := newFixture(t, Config{})
		f.record("a")
		id := f.ID()
		if err := errors.Join(f.Close(), os.Remove(f.lastFile())); err != nil {
			t.Fatal(err)
		}
		f.open()
		if f.ID() == id {
			t.Error("numbers are given out again under the same UUID")
		}
	})
	t.Run("ErrWithoutUUID", func(t *testing.T) {
		f := newFixture(t, Config{})
		for _, text := range []string{"", "x\n", "00112233-4455-4677-8899-aabbccddeeff", "00112233-4455-4677-8899-aabbccddeefg\n"} {
			_ = f.Close()
			if err := os.WriteFile(filepath.Join(f.c.Dir, idFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(f.c); core.CodeOf(err) != core.Invalid {
				t.Errorf("%q: %v", text, err)
			}
		}
		if err := os.Remove(filepath.Join(f.c.Dir, idFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(f.c); core.CodeOf(err) != core.Invalid {
			t.Errorf("got %v", err)
		}
	})
}

func TestFull(t *testing.T) {
	f := newFixture(t, Config{MaxBytes: 2000})
	n := 0
	var err error
	for ; err == nil && n < 100; n++ {
		err = f.Record(t.Context(), read("x"))
	}
	if core.CodeOf(err) != core.Unavailable || !errors.Is(err, vault.ErrJournalFull) || !strings.Contains(err.Error(), "full") || n < 5 || n == 100 {
		t.Fatalf("after %d records: %v", n, err)
	}
	n--
	if err := f.Check(t.Context()); core.CodeOf(err) != core.Unavailable {
		t.Errorf("ready: %v", err)
	}
	if s := f.AuditState(); s.Refused != 1 || s.Pending != uint64(n) || s.PendingBytes > s.MaxBytes {
		t.Errorf("%+v", s)
	}
	if got := len(f.drain()); got != n {
		t.Errorf("%d records, not %d", got, n)
	}
	f.record("again")
	if err := f.Check(t.Context()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	for _, line := range []string{"the audit journal is full", "has space again"} {
		if strings.Count(f.log.String(), line) != 1 {
			t.Errorf("%q is not in the log once:\n%s", line, f.log)
		}
	}
}

// TestRefusalsLeaveRoom: who has no access cannot end the reads of those who have, by making refusals.
func TestRefusalsLeaveRoom(t *testing.T) {
	f := newFixture(t, Config{MaxBytes: 4000})
	refusal := read("x")
	refusal.Outcome, refusal.Code = vault.OutcomeDenied, core.Denied
	n := 0
	var err error
	for ; err == nil && n < 100; n++ {
		err = f.Record(t.Context(), refusal)
	}
	if s := f.AuditState(); core.CodeOf(err) != core.Unavailable || n < 5 || s.PendingBytes > s.MaxBytes/2 || s.Refused != 1 {
		t.Fatalf("after %d refusals: %v, %+v", n, err, s)
	}
	n--
	if err := f.Check(t.Context()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if c := f.Conditions(t.Context()); len(c) != 1 || c[0].Name != vault.ConditionJournalHalfFull || c[0].Severity != vault.SeverityDegraded {
		t.Errorf("%+v", c)
	}
	// One that succeeded takes its companions of a batch-read with it.
	if err := f.Record(t.Context(), refusal, read("mixed")); err != nil {
		t.Error(err)
	}
	for range n / 2 {
		f.record("x")
	}
	if got := len(f.drain()); got != n+2+n/2 {
		t.Errorf("%d records arrive, not %d", got, n+2+n/2)
	}
	if c := f.Conditions(t.Context()); len(c) != 0 {
		t.Errorf("with room again: %+v", c)
	}
	if err := f.Record(t.Context(), refusal); err != nil {
		t.Errorf("with room again: %v", err)
	}
	for _, line := range []string{"the audit journal is half full", "has space for failed requests again"} {
		if strings.Count(f.log.String(), line) != 1 {
			t.Errorf("%q is not in the log once:\n%s", line, f.log)
		}
	}
}

// TestRetention: what has arrived stays for a while, but never at the cost of the bound.
func TestRetention(t *testing.T) {
	now := time.Now()
	f := newFixture(t, Config{MaxBytes: 3000, segmentSize: 500, Retention: time.Minute, Clock: func() time.Time { return now }})
	f.record("1", "2", "3", "4", "5", "6", "7", "8", "9")
	segments := len(f.segments)
	f.drain()
	if len(f.segments) != segments {
		t.Error("dropped at once")
	}
	now = now.Add(time.Minute - 1)
	f.must(f.settle(9, time.Time{}))
	if len(f.segments) != segments {
		t.Error("dropped early")
	}
	now = now.Add(1)
	f.must(f.settle(9, time.Time{}))
	if len(f.segments) != 1 {
		t.Errorf("%d segments stay", len(f.segments))
	}
	for i := range 40 {
		f.record(fmt.Sprint(i))
		f.drain()
	}
	var total int64
	for _, s := range f.segments {
		total += s.size
	}
	if files, _ := filepath.Glob(filepath.Join(f.c.Dir, "*"+segmentSuffix)); total > 3000+500 || len(files) != len(f.segments) {
		t.Errorf("%d bytes in %d segments, %d files", total, len(f.segments), len(files))
	}
}

// TestSettle goes to every place that a primary could name.
func TestSettle(t *testing.T) {
	f := newFixture(t, Config{segmentSize: 400})
	names := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}
	f.record(names...)
	f.durableNow()
	all, total := f.AuditState(), 0
	for last := range len(names) + 1 {
		f.must(f.settle(uint64(last), time.Time{}))
		if s := f.AuditState(); int(s.Pending) != len(names)-last {
			t.Errorf("after %d: %+v", last, s)
		}
		f.want(names[last:]...)
		total++
	}
	f.must(f.settle(0, time.Time{}))
	if s := f.AuditState(); s.PendingBytes != all.PendingBytes {
		t.Errorf("%d bytes pending, not %d", s.PendingBytes, all.PendingBytes)
	}
	if err := f.settle(10, time.Time{}); !errors.Is(err, vault.ErrJournalForked) {
		t.Errorf("a primary that knows more: %v", err)
	}
	if err := f.settle(5, time.Unix(1, 0)); !errors.Is(err, vault.ErrJournalForked) {
		t.Errorf("a primary that has another record 5: %v", err)
	}
	f.must(f.settle(9, time.Time{}))
	f.mu.Lock()
	f.drop()
	f.mu.Unlock()
	var gap gapError
	if err := f.settle(0, time.Time{}); !errors.As(err, &gap) || gap.last != f.segments[0].first-1 || gap.last == 0 {
		t.Errorf("a primary that misses what is gone: %v", err)
	}
	f.must(f.settle(gap.last, time.Time{}))
	f.want(names[gap.last:]...)
}
