package store

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

const searchedSecrets = `INSERT INTO vault.secrets (id, name, kind, content_type, description, current_version, created_at, updated_at)
	SELECT md5(i::text)::uuid, 'team' || i % 7 || '/App' || i % 11 || '/key-' || i, 'manual', 'text/plain; charset=utf-8',
		CASE WHEN i % 5 = 0 THEN 'The Password of ' || i ELSE '' END, 1, now(), now() FROM generate_series(1, `

// searched returns the statement that makes n secrets.
func searched(n int) string { return searchedSecrets + strconv.Itoa(n) + ") i" }

// TestSearch compares the search with a filter of the list, for callers with different rights.
func TestSearch(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	s.sql("app", searched(2000))
	s.sql("app", "UPDATE vault.secrets SET deleted_at = now(), restorable_until = now() + interval '1 day' WHERE name LIKE '%-77'")
	s.sql("app", "CREATE ROLE r; SELECT vault.grant_access('r', 'team1/*', '{read}'), vault.grant_access('r', 'team3/App5/*', '{update}')")
	scoped := func(n *vault.NewToken) { n.Scope = vault.Scope{{Pattern: "team3/*", Actions: []string{"update"}}} }
	for name, by := range map[string]vault.Credential{
		"administrator": s.token(d, "admin", vault.AdminRole, nil).Credential, "r": s.token(d, "r", "r", nil).Credential,
		"scoped": s.token(d, "scoped", "r", scoped).Credential,
	} {
		for _, q := range []struct{ part, prefix string }{
			{"key", ""}, {"KEY-1", ""}, {"app5", "team3"}, {"app5", "team3/"}, {"password OF 1", ""}, {"PassWord", "team1/App3/"}, {"none", ""},
			{"%", ""}, {"_", ""}, {`\`, ""}, {"/app1", ""}, {"key", "team1/App1"}, {"é", ""},
		} {
			all, _, err := d.DescribeSecrets(ctx, by, q.prefix, "", 10_000, vault.Freshness{})
			must(t, err)
			var want, got []string
			for _, x := range all {
				if strings.Contains(strings.ToLower(string(x.Name)), strings.ToLower(q.part)) || strings.Contains(strings.ToLower(x.Description), strings.ToLower(q.part)) {
					want = append(want, string(x.Name))
				}
			}
			for after := ""; ; {
				page, _, err := d.SearchSecrets(ctx, by, q.part, q.prefix, after, 37, vault.Freshness{})
				must(t, err)
				for _, x := range page {
					got = append(got, string(x.Name))
				}
				if len(page) < 37 {
					break
				}
				after = got[len(got)-1]
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, %q below %q: %d secrets, want %d", name, q.part, q.prefix, len(got), len(want))
			}
		}
	}
	_, _, err := d.SearchSecrets(ctx, vault.Credential{Fingerprint: [32]byte{9}}, "key", "", "", 10, vault.Freshness{})
	code(t, err, core.Unauthenticated)
}

// BenchmarkSearch searches 100,000 names, whether the text is found first, last or never. A search takes some 65 ms of CPU, less
// than what a sort or a function for each name would take.
func BenchmarkSearch(b *testing.B) {
	s := newServer(b)
	d := s.open()
	s.sql("app", searched(100_000))
	s.sql("app", "VACUUM ANALYZE vault.secrets")
	by := s.token(d, "admin", vault.AdminRole, nil).Credential
	for part, want := range map[string]int{"key": 51, "password of 99999": 0, "key-99999": 1, "no such text": 0} {
		b.Run(part, func(b *testing.B) {
			for b.Loop() {
				page, _, err := d.SearchSecrets(b.Context(), by, part, "", "", 51, vault.Freshness{})
				must(b, err)
				if len(page) != want {
					b.Fatalf("%q: %d secrets, want %d", part, len(page), want)
				}
			}
		})
	}
}

// TestNewestAudit compares the query of the audit with a filter of all records.
func TestNewestAudit(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	s.sql("app", `INSERT INTO vault.audit_log (at, node, actor, session_role, action, secret_name, version, outcome, code)
		SELECT date_trunc('second', now()) - i / 3 * interval '1 second', 'n', 'role:Alice' || i % 4, CASE WHEN i % 3 = 0 THEN 'Team' END,
			CASE WHEN i % 2 = 0 THEN 'read' ELSE 'update' END, CASE WHEN i % 10 > 0 THEN 'app/db' || CASE WHEN i % 4 = 1 THEN '/' || i % 6 ELSE '' END END,
			1, CASE WHEN i % 5 = 0 THEN 'denied' ELSE 'ok' END, CASE WHEN i % 5 = 0 THEN 'denied' ELSE '' END FROM generate_series(1, 600) i`)
	s.sql("app", "CREATE ROLE a; SELECT vault.grant_access('a', 'app/db/*', '{audit}')")
	admin, auditor := s.token(d, "admin", vault.AdminRole, nil).Credential, s.token(d, "a", "a", nil).Credential
	since := time.Now().Add(-time.Hour)
	all, _, err := d.NewestAudit(ctx, admin, vault.AuditFilter{Since: since}, 1000, vault.Freshness{})
	must(t, err)
	if len(all) < 600 {
		t.Fatalf("%d records", len(all))
	}
	for i, q := range []vault.AuditFilter{
		{}, {Prefix: "app"}, {Prefix: "app/db", Exact: true}, {Prefix: "app/db/"}, {Action: "read"}, {Outcome: "denied"}, {Actor: "ALICE2"}, {Actor: "team"},
		{Prefix: "app/db", Action: "update", Outcome: "ok", Actor: "alice"}, {Since: time.Now().Add(-time.Minute)}, {Actor: "stranger"},
	} {
		if q.Since.IsZero() {
			q.Since = since
		}
		for who, by := range map[string]vault.Credential{"administrator": admin, "auditor": auditor} {
			var want, got []int64
			for _, r := range all {
				if selects(q, r) && (who == "administrator" || strings.HasPrefix(r.Name, "app/db/")) {
					want = append(want, r.ID)
				}
			}
			for {
				page, _, err := d.NewestAudit(ctx, by, q, 41, vault.Freshness{})
				must(t, err)
				for _, r := range page {
					got = append(got, r.ID)
				}
				if len(page) < 41 {
					break
				}
				q.Before = vault.AuditPlace{At: page[40].At, ID: page[40].ID}
			}
			q.Before = vault.AuditPlace{}
			if !slices.Equal(got, want) {
				t.Errorf("filter %d of the %s: %d records, want %d", i, who, len(got), len(want))
			}
		}
	}
	none := s.token(d, "none", "a", func(n *vault.NewToken) { n.Scope = vault.Scope{{Pattern: "*", Actions: []string{"read"}}} })
	_, _, err = d.NewestAudit(ctx, none.Credential, vault.AuditFilter{Since: since}, 10, vault.Freshness{})
	code(t, err, core.Denied)
}

// selects is what a filter means.
func selects(q vault.AuditFilter, r vault.AuditRecord) bool {
	named := q.Prefix == "" || q.Exact && r.Name == q.Prefix || !q.Exact && core.HasPrefix(core.Name(r.Name), q.Prefix)
	who := strings.Contains(strings.ToLower(r.Actor), strings.ToLower(q.Actor)) || strings.Contains(strings.ToLower(r.SessionRole), strings.ToLower(q.Actor))
	return named && who && (q.Action == "" || r.Action == string(q.Action)) && (q.Outcome == "" || r.Outcome == string(q.Outcome)) && !r.At.Before(q.Since)
}
