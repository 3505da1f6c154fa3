package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// TestCauses: what an operator can do to a database, or a session to a table, is what reads, changes and readiness name,
// and never that the database cannot be reached.
func TestCauses(t *testing.T) {
	s := newServer(t)
	n := newSecret("a")
	must(t, only(s.open().CreateSecret(t.Context(), n, origin("x"))))
	const all = "read, change, reader, writer"
	for name, c := range map[string]struct {
		do, undo string
		hold     string // a statement that another session holds a lock by
		what     string // which of all meet it
		want     string
	}{
		"a role that is read-only": {
			do: "ALTER ROLE vault_service SET default_transaction_read_only = on", undo: "ALTER ROLE vault_service RESET ALL",
			what: "change, writer", want: "default_transaction_read_only is on for the server, the database or the API's role"},
		"a database that is read-only": {
			do: "ALTER DATABASE app SET default_transaction_read_only = on", undo: "ALTER DATABASE app RESET ALL",
			what: "change, writer", want: "default_transaction_read_only is on"},
		"a table that is locked": {hold: "LOCK TABLE vault.secrets", what: "read, change", want: "another session holds the row or the table"},
		"a row that is locked":   {hold: "SELECT FROM vault.secrets FOR UPDATE", what: "change", want: "another session holds the row or the table"},
		"a table that is locked against changes": {
			hold: "LOCK TABLE vault.secret_versions IN SHARE MODE", what: "change", want: "another session holds the row or the table"},
		"a privilege that is missing": {
			do:   "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA vault FROM vault_service; REVOKE USAGE ON SCHEMA vault FROM vault_service",
			undo: "SELECT vault.grant_service_role('vault_service')", what: all, want: "lacks a privilege"},
		"no right to connect": {
			do: "REVOKE CONNECT ON DATABASE app FROM PUBLIC", undo: "GRANT CONNECT ON DATABASE app TO PUBLIC", what: all, want: "lacks a privilege on the database"},
		"no right to log in": {do: "ALTER ROLE vault_service NOLOGIN", undo: "ALTER ROLE vault_service LOGIN", what: all, want: "may not log in"},
		"too many connections": {
			do: "ALTER ROLE vault_service CONNECTION LIMIT 0", undo: "ALTER ROLE vault_service CONNECTION LIMIT -1", what: all, want: "takes no more connections"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.do != "" {
				database := "app"
				if strings.HasPrefix(c.undo, "ALTER DATABASE") {
					database = "postgres" // whose sessions may still change something
				}
				s.sql(database, c.do)
				defer s.sql(database, c.undo)
			}
			if c.hold != "" {
				blocker := s.connect("app")
				defer func() { _ = blocker.Close(context.Background()) }()
				_, err := blocker.Exec(t.Context(), "BEGIN; "+c.hold)
				must(t, err)
			}
			// A short time for all of it: the cause must fit in.
			d, err := Open(t.Context(), Config{Hosts: []string{s.dir}, User: "vault_service", Database: "app", RequestTimeout: 2 * time.Second})
			must(t, err)
			defer func() { must(t, d.Close(context.Background())) }()
			for op, try := range map[string]func(context.Context) error{
				"read": func(ctx context.Context) error {
					return only(sealedRows(d, ctx, []core.Name{"a"}, 0, vault.Freshness{}))
				},
				"change": func(ctx context.Context) error {
					return only(d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, origin("y")))
				},
				"reader": d.CheckReader, "writer": d.CheckWriter,
			} {
				if !strings.Contains(c.what, op) {
					continue
				}
				limit := 2 * time.Second
				if op == "change" {
					limit *= 3 // as the door gives it
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				err := try(ctx)
				cancel()
				if core.CodeOf(err) != core.Unavailable || !strings.Contains(core.MessageOf(err), c.want) {
					t.Errorf("%s: %s %q, want %q: %v", op, core.CodeOf(err), core.MessageOf(err), c.want, err)
				}
			}
		})
	}
}
