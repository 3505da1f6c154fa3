package exttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	vaultclient "github.com/hyperiondb/hyperion-vault/client"
)

// leaseAPI is a real API before a server that others log in to by TCP, with a supervisor.
type leaseAPI struct {
	*session
	c   loginCluster
	db  *vaulttest.DB
	url string
}

func newLeaseAPI(t *testing.T, env ...string) *leaseAPI {
	t.Helper()
	t.Parallel()
	c := startLoginCluster(t, "hyperion_vault.database = 'hv_1'", "hyperion_vault.scan_interval_secs = 1", "max_connections = 60")
	db := c.NewDB(t)
	s := c.connect(t, db.Name, "postgres")
	s.exec("CREATE ROLE readers")
	s.exec("CREATE ROLE dba CREATEROLE")
	if serverVersion(s) >= 160000 {
		s.exec("GRANT readers TO dba WITH ADMIN OPTION")
	}
	s.exec("CREATE ROLE app")
	s.exec("SELECT vault.grant_access('dba', 'app/*', '{manage}')")
	s.exec("SELECT vault.grant_access('app', 'app/*', '{create}')")
	return &leaseAPI{session: s, c: c, db: db, url: vaulttest.NewServer(t, db, env...).URL}
}

// as is a client with a token of a role.
func (b *leaseAPI) as(role string) *vaultclient.Client {
	b.t.Helper()
	token := get[string](b.session, "SELECT vault.create_token($1::text::regrole, $1 || '-' || gen_random_uuid())", role)
	c, err := vaultclient.New(vaultclient.Config{Address: b.url, Token: token})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *leaseAPI) template(t *testing.T, name string, n vaultclient.NewRoleTemplate) {
	t.Helper()
	if _, err := b.as("dba").PutRoleTemplate(t.Context(), name, n); err != nil {
		t.Fatal(err)
	}
}

func TestLeasesByREST(t *testing.T) {
	b := newLeaseAPI(t)
	ctx := context.Background()
	dba, app := b.as("dba"), b.as("app")
	made, err := dba.PutRoleTemplate(ctx, "app/reader", vaultclient.NewRoleTemplate{MemberOf: []string{"readers"}, TTLSecs: 600, MaxTTLSecs: 900,
		Settings: map[string]string{"search_path": "app"}})
	if err != nil {
		t.Fatal(err)
	}
	if made.Definer != "dba" || made.RolePrefix != "lease_app_reader" || made.ConnectionLimit != -1 || made.MaxLeases != 10000 {
		t.Errorf("the template is %+v", made)
	}
	l, err := app.IssueRole(ctx, "app/reader", 60)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.c.login(l.Username, l.Password); err != nil {
		t.Fatal(err)
	}
	before := app.Position()
	renewed, err := app.RenewLease(ctx, l.ID, 0)
	if err != nil || app.Position() == before || !renewed.ExpiresAt.After(l.ExpiresAt.Add(-1)) || renewed.Password != "" {
		t.Errorf("renewed: %+v, %v", renewed, err)
	}
	for who, c := range map[string]*vaultclient.Client{"dba": dba, "app": app} {
		n := 0
		for found, err := range c.Leases(ctx, "") {
			if err != nil || found.ID != l.ID || found.Password != "" || found.Issuer != "app" {
				t.Errorf("%s sees %+v, %v", who, found, err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%s sees %d leases", who, n)
		}
	}
	if err := app.RevokeLease(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	if b.c.login(l.Username, l.Password) == nil {
		t.Error("a revoked lease logs in")
	}
	pgtest.Eventually(t, "the role is dropped", func() bool {
		return get[int](b.session, "SELECT count(*)::int FROM pg_roles WHERE rolname = $1", l.Username) == 0
	})
	wantStatus(t, app.RevokeLease(ctx, l.ID), http.StatusNotFound, "")
	if err := dba.DeleteRoleTemplate(ctx, "app/reader"); err != nil {
		t.Fatal(err)
	}
	_, err = app.IssueRole(ctx, "app/reader", 0)
	wantStatus(t, err, http.StatusNotFound, "")
}

func TestLeasesByRESTAreRefused(t *testing.T) {
	b := newLeaseAPI(t)
	ctx := context.Background()
	b.template(t, "app/reader", vaultclient.NewRoleTemplate{MemberOf: []string{"readers"}, MaxLeases: 1})
	dba, app, admin := b.as("dba"), b.as("app"), b.as("vault_admin")
	_, err := dba.IssueRole(ctx, "app/reader", 0)
	wantStatus(t, err, http.StatusForbidden, "")
	_, err = admin.PutRoleTemplate(ctx, "app/x", vaultclient.NewRoleTemplate{MemberOf: []string{"readers"}})
	wantStatus(t, err, http.StatusBadRequest, `role "vault_admin" may not make the roles of this template`)
	_, err = app.PutRoleTemplate(ctx, "app/x", vaultclient.NewRoleTemplate{})
	wantStatus(t, err, http.StatusForbidden, "")
	_, err = dba.PutRoleTemplate(ctx, "app/x", vaultclient.NewRoleTemplate{MemberOf: []string{"missing"}})
	wantStatus(t, err, http.StatusBadRequest, `role "missing" does not exist`)
	for setting, why := range map[string]string{
		"no_such": "unrecognized configuration parameter", "hyperion_vault.no_such": "invalid configuration parameter name", "port": "cannot be changed",
		"transaction_isolation": "SET TRANSACTION ISOLATION LEVEL", "work_mem": "invalid value",
	} {
		_, err = dba.PutRoleTemplate(ctx, "app/x", vaultclient.NewRoleTemplate{MemberOf: []string{"readers"}, Settings: map[string]string{setting: "serializable"}})
		wantStatus(t, err, http.StatusBadRequest, why)
	}
	b.exec("CREATE ROLE " + strings.Repeat("r", 63))
	b.exec("GRANT " + strings.Repeat("r", 63) + " TO dba WITH ADMIN OPTION")
	for _, wrong := range []struct {
		n   vaultclient.NewRoleTemplate
		why string
	}{
		// PostgreSQL would cut the name, and find another role.
		{vaultclient.NewRoleTemplate{MemberOf: []string{strings.Repeat("r", 63)}, ReassignTo: strings.Repeat("r", 64)}, "a role name is 1 to 63 bytes"},
		{vaultclient.NewRoleTemplate{MemberOf: []string{"readers"}, ReassignTo: "a\x00b"}, "a role name must be valid UTF-8 without NUL"},
		{vaultclient.NewRoleTemplate{MemberOf: []string{"a\x00b"}}, "a role name must be valid UTF-8 without NUL"},
		{vaultclient.NewRoleTemplate{RolePrefix: "a\x00b"}, "role_prefix must be valid UTF-8 without NUL"},
		{vaultclient.NewRoleTemplate{Settings: map[string]string{"a\x00.b": "x"}}, "a setting must be valid UTF-8 without NUL"},
		{vaultclient.NewRoleTemplate{Settings: map[string]string{"search_path": "a\x00b"}}, "a setting must be valid UTF-8 without NUL"},
	} {
		_, err = dba.PutRoleTemplate(ctx, "app/x", wrong.n)
		wantStatus(t, err, http.StatusBadRequest, wrong.why)
	}
	l, err := app.IssueRole(ctx, "app/reader", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = app.IssueRole(ctx, "app/reader", 0)
	wantStatus(t, err, http.StatusServiceUnavailable, "has 1 leases already")
	// Another role does not learn that there is such a lease.
	b.exec("CREATE ROLE stranger")
	b.exec("SELECT vault.grant_access('stranger', 'else/*', '{create}')")
	stranger := b.as("stranger")
	wantStatus(t, stranger.RevokeLease(ctx, l.ID), http.StatusNotFound, "")
	_, err = stranger.RenewLease(ctx, l.ID, 0)
	wantStatus(t, err, http.StatusNotFound, "")
	_, err = stranger.ShowLease(ctx, l.ID)
	wantStatus(t, err, http.StatusNotFound, "")
	b.exec("ALTER ROLE dba NOCREATEROLE")
	if err := app.RevokeLease(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the lease ends", func() bool { return get[int](b.session, "SELECT count(*)::int FROM vault.role_leases") == 0 })
	_, err = app.IssueRole(ctx, "app/reader", 0)
	wantStatus(t, err, http.StatusServiceUnavailable, "may no longer make such a role")
}

// TestLeaseThatCannotBeEndedIsShown with its reason, in the status and in the metrics, and ends by itself once nothing is in its way.
func TestLeaseThatCannotBeEndedIsShown(t *testing.T) {
	b := newLeaseAPI(t)
	b.exec("CREATE SCHEMA app")
	b.exec("GRANT ALL ON SCHEMA app TO readers")
	b.exec("GRANT CONNECT ON DATABASE hv_1 TO readers")
	b.template(t, "app/reader", vaultclient.NewRoleTemplate{MemberOf: []string{"readers"}})
	app, admin := b.as("app"), b.as("vault_admin")
	l, err := app.IssueRole(t.Context(), "app/reader", 0)
	pgtest.Must(t, err)
	b.exec("CREATE TABLE app.stuck (x int)")
	b.exec("ALTER TABLE app.stuck OWNER TO " + l.Username)
	shown := func() string {
		t.Helper()
		s, err := admin.Status(t.Context())
		pgtest.Must(t, err)
		reasons := ""
		for _, f := range s.LeaseFailures {
			reasons += fmt.Sprintf(" %s %s %t %t", f.Template, f.Role, f.Attempts > 0, strings.Contains(f.Reason, "owner of table app.stuck"))
		}
		return fmt.Sprintf("%d %d %d%s; %s", s.Leases, s.LeasesDue, s.LeasesFailing, reasons, b.metrics("leases", "leases_due", "leases_failing"))
	}
	pgtest.Eventually(t, "the lease is counted", func() bool { return shown() == "1 0 0; 1 0 0" })
	pgtest.Must(t, app.RevokeLease(t.Context(), l.ID))
	want := "1 1 1 app/reader " + l.Username + " true true; 1 1 1"
	pgtest.Eventually(t, "the lease is shown as failing, and why", func() bool { return shown() == want })
	b.exec("DROP TABLE app.stuck")
	pgtest.Eventually(t, "the lease ends by itself, and is counted no longer", func() bool { return shown() == "0 0 0; 0 0 0" })
}

// metrics are the values of some metrics.
func (b *leaseAPI) metrics(names ...string) string {
	b.t.Helper()
	resp, err := http.Get(b.url + "/metrics")
	pgtest.Must(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	pgtest.Must(b.t, err)
	var values []string
	for _, name := range names {
		m := regexp.MustCompile("(?m)^hyperion_vault_" + name + " (.*)$").FindSubmatch(text)
		if m == nil {
			b.t.Fatalf("there is no metric %s", name)
		}
		values = append(values, string(m[1]))
	}
	return strings.Join(values, " ")
}

func wantStatus(t *testing.T, err error, status int, part string) {
	t.Helper()
	var e *vaultclient.Error
	if !errors.As(err, &e) || e.Status != status || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want status %d with %q", err, status, part)
	}
}
