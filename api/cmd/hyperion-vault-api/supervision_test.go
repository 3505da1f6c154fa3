package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestCreateExtensionWarns: a person who installs without preloading reads the lines to add.
func TestCreateExtensionWarns(t *testing.T) {
	db := vaulttest.NewDB(t)
	db.MustExec(t, "DROP EXTENSION hyperion_vault")
	c, err := pgx.ParseConfig(db.SuperuserDSN)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.Severity+" "+n.Message+" "+n.Hint) }
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE EXTENSION hyperion_vault"); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("shared_preload_libraries = 'hyperion_vault'\nhyperion_vault.database = '%s'", db.Name)
	if all := strings.Join(said, "\n"); !strings.Contains(all, "WARNING hyperion_vault is not preloaded") || !strings.Contains(all, want) {
		t.Errorf("said %q, want %s", all, want)
	}
}

// TestSupervisorConditions: each answer of the server about its supervisor and its commits is the condition that docs/OPERATIONS.md says.
func TestSupervisorConditions(t *testing.T) {
	db := vaulttest.NewDB(t)
	for name, c := range map[string]struct{ says, reason string }{
		"other-database":     {`{"preloaded": true, "serves": false, "stalled": false, "database": "shop"}`, `serves database \"shop\"`},
		"supervisor-stalled": {`{"preloaded": true, "serves": true, "stalled": true, "reason": "cannot execute UPDATE in a read-only transaction"}`, "read-only transaction"},
		"not-preloaded":      {`{"preloaded": false, "serves": false, "stalled": false}`, "shared_preload_libraries"},
		"commits-wait": {`{"preloaded": true, "serves": true, "stalled": false, "commits": {"standbys_wanted": 2, "standbys_connected": 1}}`,
			"a commit waits for 2 synchronous standbys, and 1 are connected"},
		"": {`{"preloaded": true, "serves": true, "stalled": false}`, ""},
	} {
		db.MustExec(t, "CREATE OR REPLACE FUNCTION vault.supervision() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT jsonb '"+c.says+"' $$")
		s := vaulttest.NewServer(t, db)
		status, body := s.Do(t, http.MethodGet, "/v1/status", nil)
		if status != 200 || !strings.Contains(body, c.reason) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		_, ready := s.Do(t, http.MethodGet, "/readyz", nil)
		_, metrics := s.Do(t, http.MethodGet, "/metrics", nil)
		for _, other := range []string{"other-database", "supervisor-stalled", "not-preloaded", "commits-wait"} {
			line := `hyperion_vault_condition{condition="` + other + `",severity="degraded"} 1`
			for what, text := range map[string]bool{
				"status": strings.Contains(body, `"`+other+`"`), "readyz": strings.Contains(ready, `"`+other+`"`), "metric": strings.Contains(metrics, line),
			} {
				if text != (other == name) {
					t.Errorf("answer %q: %s in the %s: %v", name, other, what, text)
				}
			}
		}
		s.MustStop(t)
	}
}
