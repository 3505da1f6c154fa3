package store

import (
	"context"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestMalformedRows: what was edited by hand fails alone, in a shared query too.
func TestMalformedRows(t *testing.T) {
	s := newServer(t)
	d := s.open()
	var all []string
	for _, n := range []string{"good", "infinite", "negative", "kindless"} {
		_, err := d.CreateSecret(t.Context(), newSecret(n), origin("create"))
		must(t, err)
		all = append(all, n)
	}
	s.sql("app", `ALTER TABLE vault.secret_versions ALTER created_at DROP NOT NULL;
		ALTER TABLE vault.secrets DROP CONSTRAINT secrets_current_version_range, ALTER kind DROP NOT NULL;
		UPDATE vault.secret_versions SET created_at = 'infinity' FROM vault.secrets s WHERE s.id = secret_id AND s.name = 'infinite';
		ALTER TABLE vault.secret_versions DROP CONSTRAINT secret_versions_fit;
		UPDATE vault.secret_versions SET version = -1 FROM vault.secrets s WHERE s.id = secret_id AND s.name = 'negative';
		UPDATE vault.secrets SET current_version = -1 WHERE name = 'negative';
		UPDATE vault.secrets SET kind = NULL WHERE name = 'kindless'`)

	results, err := d.queryCurrent(t.Context(), questionsOf(all))
	must(t, err)
	for _, r := range results {
		if (r.row.err == nil) != (r.question.name == "good") {
			t.Errorf("%s: %v", r.question.name, r.row.err)
		}
	}
	if len(results) != len(all) {
		t.Errorf("%d rows", len(results))
	}
	for _, n := range []core.Name{"infinite", "kindless", "negative"} {
		for _, f := range []vault.Freshness{{}, {Primary: true}} {
			_, err := sealedRows(d, t.Context(), []core.Name{n}, 0, f)
			code(t, err, core.Corrupt)
		}
	}
}

func TestReadEach(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	names := []core.Name{"z", "none", "a", "lost", "bad", "m"}
	for _, n := range []string{"a", "bad", "lost", "m", "z"} {
		_, err := d.CreateSecret(ctx, newSecret(n), origin("create"))
		must(t, err)
	}
	s.sql("app", `DELETE FROM vault.secret_versions USING vault.secrets s WHERE s.id = secret_id AND s.name = 'lost';
		UPDATE vault.secret_versions SET created_at = 'infinity' FROM vault.secrets s WHERE s.id = secret_id AND s.name = 'bad'`)
	want := []core.Code{"", core.NotFound, "", core.Corrupt, core.Corrupt, ""}
	for _, f := range []vault.Freshness{{}, {Primary: true}} {
		got, err := eachOf(d, ctx, names, 1<<20, f)
		must(t, err)
		for i, r := range got {
			code(t, r.Err, want[i])
			if r.Err == nil && (r.Name != names[i] || r.Version != 1 || len(r.Sealed.Ciphertext) != 40) {
				t.Errorf("%s: %+v", names[i], r)
			}
			if r.Err != nil && r.Name != "" {
				t.Errorf("%s: a row with an error", names[i])
			}
		}
	}
	t.Run("ErrNoRoom", func(t *testing.T) {
		got, err := eachOf(d, ctx, names, 95, vault.Freshness{})
		must(t, err)
		values, large := 0, 0
		for _, r := range got {
			switch core.CodeOf(r.Err) {
			case "":
				values++
			case core.TooLarge:
				large++
			}
		}
		if values != 2 || large != 1 {
			t.Errorf("%d values and %d too large in a room for two", values, large)
		}
	})
	t.Run("ErrUnavailable", func(t *testing.T) {
		s.stop()
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		_, err := eachOf(d, short, names, 1<<20, vault.Freshness{})
		code(t, err, core.Unavailable)
	})
}

// TestRoomIsNotTakenTwice: a query that failed half-way is asked again, and the rows it gave do not count twice.
func TestRoomIsNotTakenTwice(t *testing.T) {
	s := newServer(t)
	d := s.open()
	for _, n := range []string{"a", "b"} {
		_, err := d.CreateSecret(t.Context(), newSecret(n), origin("create"))
		must(t, err)
	}
	r := eachRead{d: d, found: map[string]*vault.StoredResult{}, room: 80, taken: map[string]int{}, read: storedResults()}
	for range 3 {
		_, err := r.query(t.Context(), []string{"a", "b"})
		must(t, err)
		for n, x := range r.found {
			must(t, x.Err)
			delete(r.found, n)
		}
	}
}
