package rotator_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestEventsOfARotation follows a secret through a real server: made by REST, rotated by the server itself.
func TestEventsOfARotation(t *testing.T) {
	b := newBench(t)
	s := vaulttest.NewServer(t, b.db)
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	next := follow(ctx, t, s, "")
	s.MustCreate(t, "other", "x")
	b.due("ev/1")
	created := next()
	if created.Action != "create" || created.Name != "ev/1" || created.Version != 1 || created.At.IsZero() {
		t.Fatalf("got %+v", created)
	}
	if e := next(); e.Action != "rotate" || e.Version != 2 {
		t.Fatalf("got %+v", e)
	}
	if e := follow(ctx, t, s, created.id)(); e.Action != "rotate" || e.Version != 2 {
		t.Fatalf("resumed with %+v", e)
	}
	status, answer := s.Do(t, "GET", "/v1/status", nil)
	if status != 200 || !strings.Contains(answer, `"automatic":1`) {
		t.Errorf("status: %d %s", status, answer)
	}
	cancel() // or the server would wait for its streams
}

// event is what a stream tells of one change.
type event struct {
	id      string
	Action  string
	Name    string
	Version int
	At      time.Time
}

// follow opens a stream below ev/ and returns what gives its next event; a stream that ends is taken up again.
func follow(ctx context.Context, t *testing.T, s *vaulttest.Server, lastID string) (next func() event) {
	t.Helper()
	var e event
	in := openStream(ctx, t, s, lastID)
	return func() event {
		t.Helper()
		for {
			for in.Scan() {
				if v, ok := strings.CutPrefix(in.Text(), "id: "); ok {
					e.id = v
				} else if v, ok := strings.CutPrefix(in.Text(), "data: "); ok {
					d := json.NewDecoder(strings.NewReader(v))
					d.DisallowUnknownFields()
					if err := d.Decode(&e); err != nil {
						t.Fatal(err)
					}
					return e
				}
			}
			if ctx.Err() != nil {
				t.Fatal(fmt.Errorf("no event came: %w", ctx.Err()))
			}
			in = openStream(ctx, t, s, e.id)
		}
	}
}

// openStream asks a server for what came after lastID, below ev/.
func openStream(ctx context.Context, t *testing.T, s *vaulttest.Server, lastID string) *bufio.Scanner {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v1/events?prefix=ev/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := client0.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return bufio.NewScanner(resp.Body)
}

// client0 has no limit of its own: a stream does not end.
var client0 = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// TestPlacesThatAreUnknown: a place that is not followed by all changes here is told, on a real server.
func TestPlacesThatAreUnknown(t *testing.T) {
	b := newBench(t)
	b.mustCreate(vault.CreateRequest{Name: "a", Value: []byte("x")})
	b.mustCreate(vault.CreateRequest{Name: "b", Value: []byte("x")})
	reset := func(after vault.Place) bool {
		t.Helper()
		w, err := b.door.Watch(t.Context(), vault.Caller{Addr: netip.MustParseAddr("127.0.0.1")}, "", &after)
		if err != nil {
			t.Fatal(err)
		}
		n, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n.Reset
	}
	page, _, err := b.wired.db.ChangesSince(t.Context(), vault.Itself(), vault.Place{}, 10)
	changes := page.Changes
	if err != nil || !page.Known || len(changes) != 2 {
		t.Fatalf("got %+v, %v", page, err)
	}
	first, last := changes[0].Place, changes[1].Place
	future, other := last, last
	future.Transaction += 1000
	other.At--
	for what, p := range map[string]vault.Place{"the future": future, "another history": other, "no number": {Transaction: last.Transaction, ID: 99, At: last.At}} {
		if !reset(p) {
			t.Errorf("%s is accepted as a position", what)
		}
	}
	if reset(first) || reset(last) || reset(vault.Place{}) {
		t.Error("a place is not known")
	}
	// After a week the first is gone; at the last one nothing is missed.
	b.exec("UPDATE vault.changes SET at = at - interval '8 days'")
	first.At, last.At = first.At-8*86400e6, last.At-8*86400e6
	b.exec("SELECT vault.supervise(1000, true)")
	b.mustCreate(vault.CreateRequest{Name: "c", Value: []byte("x")})
	if !reset(first) || !reset(vault.Place{}) {
		t.Error("what is left is considered all")
	}
	if reset(last) {
		t.Error("nothing is missing after the last one, and it is reset")
	}
	// One whose transaction is on its way is not told to be unknown.
	tx := b.db.MustConnect(t, vaulttest.Superuser)
	var xid uint64
	if err := tx.QueryRow(t.Context(), "BEGIN").Scan(); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	if err := tx.QueryRow(t.Context(), "SELECT pg_current_xact_id()::text::bigint").Scan(&xid); err != nil {
		t.Fatal(err)
	}
	if reset(vault.Place{Transaction: xid, ID: 100, At: 1}) {
		t.Error("a transaction that is not over is considered unknown")
	}
}

// TestNoChangeIsSkipped lets a transaction that began first commit last.
func TestNoChangeIsSkipped(t *testing.T) {
	b := newBench(t)
	const insert = `INSERT INTO vault.changes (at, action, name, version) VALUES (clock_timestamp(), 'update', $1, 2)`
	early := b.db.MustConnect(t, vaulttest.Superuser)
	for _, sql := range []string{"BEGIN", strings.Replace(insert, "$1", "'early'", 1)} {
		if _, err := early.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	b.exec(insert, "late")
	names := func(after vault.Place) (names []string, last vault.Place) {
		t.Helper()
		page, _, err := b.wired.db.ChangesSince(t.Context(), vault.Itself(), after, 10)
		if err != nil || !page.Known {
			t.Fatal(page.Known, err)
		}
		for _, c := range page.Changes {
			names, last = append(names, string(c.Name)), c.Place
		}
		return names, last
	}
	if got, _ := names(vault.Place{}); len(got) != 0 {
		t.Fatalf("shown before the first transaction ended: %v", got)
	}
	b.exec("UPDATE vault.changes SET at = at - interval '100 s'")
	held := func() int64 {
		t.Helper()
		s, _, err := b.wired.db.Status(t.Context(), vault.Itself())
		if err != nil {
			t.Fatal(err)
		}
		return s.EventsHeldSecs
	}
	if n := held(); n < 100 || n > 130 {
		t.Errorf("events are held up for %d s, it says", n)
	}
	if place, err := b.wired.db.LastChange(t.Context()); err != nil || place != (vault.Place{}) {
		t.Fatalf("the last change is %v, %v", place, err)
	}
	if _, err := early.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	got, last := names(vault.Place{})
	if strings.Join(got, " ") != "early late" {
		t.Fatalf("got %v", got)
	}
	if got, _ := names(last); len(got) != 0 {
		t.Errorf("shown twice: %v", got)
	}
	if n := held(); n != 0 {
		t.Errorf("events are still held up, for %d s", n)
	}
}
