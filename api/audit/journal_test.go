package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(name string) vault.Entry {
	return vault.Entry{Origin: vault.Origin{Node: "n", Actor: "reader"}, Action: vault.ActionRead, Name: name, Outcome: vault.OutcomeOK}
}

// logged collects a log from several goroutines.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fixture is a journal in a folder of the test's.
type fixture struct {
	*Journal
	t   *testing.T
	c   Config
	log *logged
}

func newFixture(t *testing.T, c Config) *fixture {
	t.Helper()
	f := &fixture{t: t, c: c, log: &logged{}}
	f.c.Dir = filepath.Join(t.TempDir(), "audit")
	f.c.Log = slog.New(slog.NewTextHandler(f.log, nil))
	f.open()
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	j, err := Open(f.c)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Journal = j
}

// reopen is a restart of the process.
func (f *fixture) reopen() {
	f.t.Helper()
	if err := f.Close(); err != nil {
		f.t.Fatal(err)
	}
	f.open()
}

func (f *fixture) record(names ...string) {
	f.t.Helper()
	for _, n := range names {
		if err := f.Record(context.Background(), read(n)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// durableNow makes everything recorded durable, as the next tick would.
func (f *fixture) durableNow() {
	f.t.Helper()
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	if err := f.fsync(); err != nil {
		f.t.Fatal(err)
	}
}

// drain takes everything that has not arrived.
func (f *fixture) drain() (names []string) {
	f.t.Helper()
	f.durableNow()
	for {
		b, err := f.nextBatch()
		if err != nil {
			f.t.Fatal(err)
		}
		if len(b.records) == 0 {
			return names
		}
		for _, r := range b.records {
			names = append(names, r.Name)
		}
		f.arrive(b)
	}
}

func (f *fixture) want(names ...string) {
	f.t.Helper()
	if got := f.drain(); !slices.Equal(got, names) {
		f.t.Errorf("the journal holds %q, not %q", got, names)
	}
}

func (f *fixture) lastFile() string {
	f.t.Helper()
	all, err := filepath.Glob(filepath.Join(f.c.Dir, "*"+segmentSuffix))
	if err != nil || len(all) == 0 {
		f.t.Fatal(all, err)
	}
	return all[len(all)-1]
}

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

// TestJournalOfManyAtOnce: numbers without gaps, whoever comes when, over several segments and a restart.
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

func TestFolder(t *testing.T) {
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
			t.Skip("only root gives folders away")
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

// TestTornEnd cuts the last segment at every byte of its last record: the records before it stay, and the journal goes
// on where they end.
func TestTornEnd(t *testing.T) {
	f := newFixture(t, Config{})
	f.record("a", "b", "torn")
	_ = f.Close()
	whole, err := os.ReadFile(f.lastFile())
	if err != nil {
		t.Fatal(err)
	}
	start := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	ends := [][]byte{append(bytes.Clone(whole[:start]), make([]byte, 5000)...), append(bytes.Clone(whole[:start]), "garbage\nand more\n"...)}
	for end := start; end < len(whole); end++ {
		ends = append(ends, whole[:end])
	}
	for _, torn := range ends {
		if err := os.WriteFile(f.lastFile(), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		f.open()
		f.record("c")
		f.reopen()
		f.want("a", "b", "c")
		_ = f.Close()
	}
	if n := strings.Count(f.log.String(), "which was cut off"); n != len(ends)-1 { // one of them ends with a whole record
		t.Errorf("the log tells of %d cuts, not %d", n, len(ends)-1)
	}
}

// written returns a closed journal's only file with 300 lines of size bytes each.
func written(t *testing.T, size int) (*fixture, []byte) {
	t.Helper()
	f := newFixture(t, Config{})
	for n := range uint64(300) {
		e := read("")
		e.Name = strings.Repeat("x", size-len(appendLine(nil, n+1, appendRest(nil, noon, &e)))-len(`,"name":""`))
		f.must(f.Record(t.Context(), e))
	}
	_ = f.Close()
	whole, err := os.ReadFile(f.lastFile())
	if err != nil || len(whole) != 300*size {
		t.Fatal(len(whole), err)
	}
	return f, whole
}

// TestHole: the machine stopped, and of what was not synced some pages are there and earlier ones are not. The journal
// goes on before the first of them, and its log says what is lost.
func TestHole(t *testing.T) {
	for _, size := range []int{128, 131} { // records that begin with sectors, and that do not
		f, whole := written(t, size)
		for _, h := range [][2]int{{8192, 12288}, {0, 4096}, {4096, 16384}, {9 * 512, 10 * 512}, {50 * size, 8192}} {
			b := bytes.Clone(whole)
			clear(b[h[0]:h[1]])
			f.must(os.WriteFile(f.lastFile(), b, 0o600))
			f.open()
			f.record("after")
			f.reopen()
			kept := h[0] / size
			if got := f.drain(); len(got) != kept+1 || got[kept] != "after" {
				t.Errorf("zeros from %d to %d: %d records, not %d", h[0], h[1], len(got), kept+1)
			}
			_ = f.Close()
			readable := 300 - (h[1]+size-1)/size
			if want := fmt.Sprintf("offset=%d bytes=%d from=%d to=300 readable=%d", kept*size, len(whole)-kept*size, kept+1, readable); !strings.Contains(f.log.String(), want) {
				t.Errorf("the log does not say %q: %s", want, f.log)
			}
		}
	}
}

// TestHoleOfAnotherKind: what no power loss leaves is damage, in the last segment too.
func TestHoleOfAnotherKind(t *testing.T) {
	f, whole := written(t, 131)
	for what, change := range map[string]func(b []byte){
		"a byte":                             func(b []byte) { b[8191] = 0 },
		"zeros that begin within a record":   func(b []byte) { clear(b[8000:8192]) },
		"zeros that end within a sector":     func(b []byte) { clear(b[8192:9000]) },
		"zeros for a record":                 func(b []byte) { clear(b[131*50 : 131*51]) },
		"a sector of something":              func(b []byte) { copy(b[8192:], bytes.Repeat([]byte{'x'}, 512)) },
		"a sector of something before zeros": func(b []byte) { copy(b[4096:], bytes.Repeat([]byte{'\n'}, 512)); clear(b[8192:12288]) },
	} {
		t.Run(what, func(t *testing.T) {
			b := bytes.Clone(whole)
			change(b)
			f.refuses(f.lastFile(), b)
		})
	}
	t.Run("zeros before the last segment", func(t *testing.T) {
		b := bytes.Clone(whole)
		clear(b[4096:8192])
		file := f.lastFile()
		f.must(os.WriteFile(filepath.Join(f.c.Dir, segmentName(301)), nil, 0o600))
		f.refuses(file, b)
	})
}

// TestDamage changes every byte of the journal but the last record's: none of it goes unseen, and the error says where.
func TestDamage(t *testing.T) {
	f := newFixture(t, Config{segmentSize: 300})
	f.record("a", "b", "c", "d", "e")
	_ = f.Close()
	files, _ := filepath.Glob(filepath.Join(f.c.Dir, "*"+segmentSuffix))
	if len(files) < 2 {
		t.Fatalf("%d segments", len(files))
	}
	for n, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		end := len(whole)
		if n == len(files)-1 {
			end = bytes.LastIndexByte(whole[:end-1], '\n')
		}
		for i := range end {
			bad := bytes.Clone(whole)
			bad[i] ^= 0x11
			f.refuses(file, bad)
		}
		f.refuses(file, whole[:max(0, end-1)])
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f.c); len(files) > 2 && core.CodeOf(err) != core.Corrupt {
		t.Errorf("a segment is missing: %v", err)
	}
}

func (f *fixture) refuses(file string, contents []byte) {
	f.t.Helper()
	if bytes.Count(contents, []byte{'\n'}) == 0 && file == f.lastFile() {
		return // nothing whole follows: a torn end
	}
	if err := os.WriteFile(file, contents, 0o600); err != nil {
		f.t.Fatal(err)
	}
	j, err := Open(f.c)
	if err == nil {
		_ = j.Close()
		f.t.Fatalf("%s was taken", contents)
	}
	if core.CodeOf(err) != core.Corrupt || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "at byte ") {
		f.t.Fatalf("got %v", err)
	}
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

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
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
