package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// Each function of the schema may mean something else to a program of another protocol, so none is called.
func TestSchemaOfAnotherProtocol(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	serve := func(oldest, newest int) {
		t.Helper()
		s.sql("app", fmt.Sprintf(`CREATE OR REPLACE FUNCTION vault.api_protocols() RETURNS TABLE (oldest integer, newest integer)
			LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT %d, %d'`, oldest, newest))
	}
	open := func() *DB {
		t.Helper()
		d, err := Open(ctx, Config{Hosts: []string{s.dir}, User: "vault_service", Database: "app", RequestTimeout: 5 * time.Second})
		must(t, err)
		t.Cleanup(func() { must(t, d.Close(context.Background())) })
		return d
	}
	refused := func(d *DB, want string) {
		t.Helper()
		reader, writer := d.CheckReader(ctx), d.CheckWriter(ctx)
		_, reading := sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})
		_, writing := d.CreateSecret(ctx, newSecret("a"), origin("x"))
		_, listening := d.writer.Dial(ctx)
		for _, err := range []error{reader, writer, reading, writing, d.classify(listening)} {
			code(t, err, core.Unavailable)
			if !strings.Contains(core.MessageOf(err), want) {
				t.Errorf("%q, want %q", core.MessageOf(err), want)
			}
		}
	}
	existing := open()
	must(t, existing.CheckReader(ctx))
	must(t, existing.CheckWriter(ctx))

	serve(newestProtocol, newestProtocol+1)
	must(t, open().CheckWriter(ctx))
	for _, d := range []*DB{existing, open()} {
		serve(newestProtocol+1, newestProtocol+2)
		refused(d, "install the hyperion-vault-api that belongs to it")
		serve(oldestProtocol-1, oldestProtocol-1)
		refused(d, "ALTER EXTENSION hyperion_vault UPDATE")
	}
	s.sql("app", "ALTER EXTENSION hyperion_vault DROP FUNCTION vault.api_protocols(); DROP FUNCTION vault.api_protocols()")
	refused(open(), "no released version")

	serve(oldestProtocol, newestProtocol)
	s.sql("app", "GRANT EXECUTE ON FUNCTION vault.api_protocols() TO vault_service")
	must(t, existing.CheckReader(ctx))
	must(t, existing.CheckWriter(ctx))
	_, err := existing.CreateSecret(ctx, newSecret("a"), origin("x"))
	must(t, err)
}

// A database in another encoding is refused before anything is asked of it; one that has the extension all the same, too.
func TestDatabaseInAnotherEncoding(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.sql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
	s.sql("postgres", "CREATE DATABASE turned TEMPLATE app")
	s.sql("postgres", "UPDATE pg_database SET encoding = pg_char_to_encoding('LATIN1') WHERE datname = 'turned'")
	for _, name := range []string{"latin", "turned"} {
		d, err := Open(ctx, Config{Hosts: []string{s.dir}, User: "vault_service", Database: name, RequestTimeout: 5 * time.Second})
		must(t, err)
		_, reading := sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{})
		_, writing := d.CreateSecret(ctx, newSecret("a"), origin("x"))
		for _, err := range []error{d.CheckReader(ctx), d.CheckWriter(ctx), reading, writing} {
			code(t, err, core.Unavailable)
			if text := core.MessageOf(err); !strings.Contains(text, `in encoding "LATIN1", and the vault needs UTF8`) {
				t.Errorf("%s: %q", name, text)
			}
		}
		must(t, d.Close(context.Background()))
	}
}
