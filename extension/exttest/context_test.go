package exttest

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestErrorsSayWhereTheCallerWas: an error has the lines of the functions that called the vault, as any other error has,
// and none of what the vault ran itself.
func TestErrorsSayWhereTheCallerWas(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.script(`CREATE FUNCTION inner_of_mine() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN vault.read_secret('no/such'); END $$;
		CREATE FUNCTION outer_of_mine() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN inner_of_mine(); END $$;`)
	var pg *pgconn.PgError
	if err := b.try("SELECT outer_of_mine()"); !errors.As(err, &pg) {
		t.Fatal(err)
	}
	for _, want := range []string{"function inner_of_mine() line 1", "function outer_of_mine() line 1"} {
		if !strings.Contains(pg.Where, want) {
			t.Errorf("no %q in %q", want, pg.Where)
		}
	}
	if strings.Contains(pg.Where, "vault.") || strings.Contains(pg.Where, "SQL statement") {
		t.Errorf("what the vault ran is there: %q", pg.Where)
	}
	if pg.Code != "42704" || pg.Message != `secret "no/such" does not exist` {
		t.Errorf("%s %q", pg.Code, pg.Message)
	}
}
