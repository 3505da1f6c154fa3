package audit

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(name string) vault.Entry {
	return vault.Entry{Origin: vault.Origin{Node: "n", Actor: "reader"}, Action: vault.ActionRead, Name: name, Outcome: vault.OutcomeOK}
}

// fixture is a journal in a directory of the test.
type fixture struct {
	*Journal
	t   *testing.T
	c   Config
	log *pgtest.Log
}

func newFixture(t *testing.T, c Config) *fixture {
	t.Helper()
	f := &fixture{t: t, c: c, log: &pgtest.Log{}}
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

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}
