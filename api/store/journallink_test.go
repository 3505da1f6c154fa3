package store

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgcluster"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var shipped = vault.JournalID{1}

// batchOf are records with numbers in a row, whose times follow from their numbers.
func batchOf(first, last uint64) (out []vault.Journaled) {
	for n := first; n <= last; n++ {
		out = append(out, vault.Journaled{Sequence: n, At: time.Unix(int64(n), 1000), Entry: vault.Entry{
			Origin: vault.Origin{Node: "n", Actor: "reader", ClientIP: netip.MustParseAddr("192.0.2.7"), RequestID: "shipped"},
			Action: vault.ActionRead, Name: "a", Version: n, Outcome: vault.OutcomeOK,
		}})
	}
	return out
}

// TestJournalLinkToAnOldPrimary: what a server says that was left behind is not believed, though it answers.
func TestJournalLinkToAnOldPrimary(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	ctx := t.Context()
	d := a.open(a.dir, b.dir)
	l, err := d.OpenJournal(ctx)
	must(t, err)
	defer l.Close()
	must(t, only(l.Ship(ctx, shipped, "n", batchOf(1, 3))))
	b.until("SELECT count(*) = 3 FROM vault.audit_log WHERE request_id = 'shipped'")
	b.promote()
	d.writer.Hooks().SurveyAll() // a query has seen the new primary
	for what, ask := range map[string]func() error{
		"ship":    func() error { return only(l.Ship(ctx, shipped, "n", batchOf(4, 5))) },
		"skip":    func() error { return only(l.Skip(ctx, shipped, "n", 9)) },
		"arrived": func() error { _, _, err := l.Arrived(ctx, shipped); return err },
	} {
		if err := ask(); core.CodeOf(err) != core.Unavailable || !errors.Is(err, pgcluster.ErrOutdated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	next, err := d.OpenJournal(ctx)
	must(t, err)
	defer next.Close()
	if last, _, err := next.Arrived(ctx, shipped); err != nil || last != 3 {
		t.Errorf("the new primary has %d records: %v", last, err)
	}
	must(t, only(next.Ship(ctx, shipped, "n", batchOf(4, 5))))
	if n := b.audited("shipped"); n != 5 {
		t.Errorf("%d records", n)
	}
}

func TestJournalLink(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	l, err := s.open().OpenJournal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	arrived := func(last uint64, at time.Time) {
		t.Helper()
		n, when, err := l.Arrived(ctx, shipped)
		if err != nil || n != last || !when.Equal(at) {
			t.Errorf("arrived: %d %s %v, not %d %s", n, when, err, last, at)
		}
	}
	ship := func(last uint64, records []vault.Journaled) {
		t.Helper()
		if n, err := l.Ship(ctx, shipped, "n", records); err != nil || n != last {
			t.Errorf("%d %v", n, err)
		}
	}
	arrived(0, time.Time{})
	ship(3, batchOf(1, 3))
	ship(5, batchOf(2, 5))
	ship(5, batchOf(1, 1))
	arrived(5, time.Unix(5, 1000))
	if _, err := l.Ship(ctx, shipped, "n", batchOf(7, 8)); !errors.Is(err, vault.ErrJournalGap) || core.CodeOf(err) != core.Unavailable {
		t.Errorf("a gap: %v", err)
	}
	other := batchOf(4, 6)
	other[1].At = other[1].At.Add(time.Microsecond)
	if _, err := l.Ship(ctx, shipped, "n", other); !errors.Is(err, vault.ErrJournalForked) {
		t.Errorf("another record: %v", err)
	}
	bad := batchOf(6, 7)
	bad[1].Action = "fly"
	if _, err := l.Ship(ctx, shipped, "n", bad); core.CodeOf(err) != core.Invalid {
		t.Errorf("a malformed record: %v", err)
	}
	bad[1].Action, bad[1].Name = vault.ActionRead, "a\x00b"
	if _, err := l.Ship(ctx, shipped, "n", bad); core.CodeOf(err) != core.Invalid {
		t.Errorf("text that PostgreSQL does not hold: %v", err)
	}
	arrived(5, time.Unix(5, 1000))
	if n, err := l.Skip(ctx, shipped, "n", 8); err != nil || n != 8 {
		t.Errorf("%d %v", n, err)
	}
	ship(9, batchOf(9, 9))
	if n := s.audited("shipped"); n != 6 {
		t.Errorf("%d records", n)
	}
}

// TestJournalLinkDenied: a role without grants is not mistaken for a primary that is away.
func TestJournalLinkDenied(t *testing.T) {
	s := newServer(t)
	s.sql("postgres", "CREATE ROLE ungranted LOGIN")
	d := s.openWith(func(c *Config) { c.User = "ungranted" }, s.dir)
	for call, do := range map[string]func(vault.JournalLink) error{
		"arrived": func(l vault.JournalLink) error { _, _, err := l.Arrived(t.Context(), shipped); return err },
		"ship": func(l vault.JournalLink) error {
			_, err := l.Ship(t.Context(), shipped, "n", batchOf(1, 1))
			return err
		},
		"skip": func(l vault.JournalLink) error { _, err := l.Skip(t.Context(), shipped, "n", 1); return err },
	} {
		l, err := d.OpenJournal(t.Context())
		must(t, err)
		if err := do(l); core.CodeOf(err) != core.Denied || !strings.Contains(err.Error(), "grant_service_role") {
			t.Errorf("%s: %v", call, err)
		}
		l.Close()
	}
}
