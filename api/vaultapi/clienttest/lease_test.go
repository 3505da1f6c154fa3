package clienttest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// leaseSite is a site with the template app/reader, whose leases last for three seconds and ten at most.
func leaseSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.db.MustExec(t, "SELECT vault.create_role_template('app/reader', '{}', '3 seconds', '10 seconds', role_prefix => 'hv_client_lease')")
	return s
}

// role reports what is there of a role: none, or until when its password is valid.
func (s *site) role(t *testing.T, name string) (until time.Time, there bool) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.db.Cluster.DSN(s.db.Name, vaulttest.Superuser))
	ok(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	err = conn.QueryRow(t.Context(), "SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1 AND rolcanlogin", name).Scan(&until)
	if err == pgx.ErrNoRows {
		return until, false
	}
	ok(t, err)
	return until, true
}

func TestVaultDatabaseCredentials(t *testing.T) {
	s := leaseSite(t)
	client := newVaultClient(t, s)
	login(t, s, client)
	secret, err := client.Logical().ReadWithContext(t.Context(), "database/creds/app/reader")
	ok(t, err)
	name, _ := secret.Data["username"].(string)
	password, _ := secret.Data["password"].(string)
	if !strings.HasPrefix(secret.LeaseID, "database/creds/app/reader/") || !secret.Renewable || secret.LeaseDuration != 3 || len(password) != 32 {
		t.Fatalf("%+v", secret)
	}
	if _, there := s.role(t, name); !there {
		t.Fatalf("there is no role %q", name)
	}
	state, err := client.Sys().Lookup(secret.LeaseID)
	ok(t, err)
	if state.Data["id"] != secret.LeaseID || fmt.Sprint(state.Data["renewable"]) != "true" {
		t.Fatalf("%+v", state.Data)
	}
	renewed, err := client.Sys().RenewWithContext(t.Context(), secret.LeaseID, 5)
	ok(t, err)
	if renewed.LeaseID != secret.LeaseID || renewed.LeaseDuration < 4 || renewed.LeaseDuration > 5 {
		t.Fatalf("%+v", renewed)
	}
	ok(t, client.Sys().RevokeWithContext(t.Context(), secret.LeaseID))
	if _, there := s.role(t, name); there {
		t.Fatal("a revoked role logs in")
	}
	if err := client.Sys().RevokeWithContext(t.Context(), secret.LeaseID); !mentions(err, 400, "lease not found") {
		t.Fatalf("revoked what was revoked: %v", err)
	}
	if _, err := client.Sys().RenewWithContext(t.Context(), secret.LeaseID, 5); !mentions(err, 400, "lease not found") {
		t.Fatalf("renewed a revoked lease: %v", err)
	}
	if _, err := client.Sys().RenewWithContext(t.Context(), "aws/creds/x/1", 5); !mentions(err, 400, "lease not found") {
		t.Fatalf("renewed what is no lease: %v", err)
	}
	if _, err := client.Logical().ReadWithContext(t.Context(), "database/creds/app/missing"); !mentions(err, 400, "unknown role: app/missing") {
		t.Fatalf("of a template that is not there: %v", err)
	}
	if _, err := client.Logical().ReadWithContext(t.Context(), "database/creds/other/reader"); !mentions(err, 403, "permission denied") {
		t.Fatalf("of a template without a grant: %v", err)
	}
}

// TestVaultLifetimeWatcher has the watcher of Vault's clients keep a lease to the end of its longest lifetime.
func TestVaultLifetimeWatcher(t *testing.T) {
	s := leaseSite(t)
	client := newVaultClient(t, s)
	login(t, s, client)
	secret, err := client.Logical().ReadWithContext(t.Context(), "database/creds/app/reader")
	ok(t, err)
	name := secret.Data["username"].(string)
	first, _ := s.role(t, name)
	watcher, err := client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret, Increment: 3})
	ok(t, err)
	go watcher.Start()
	defer watcher.Stop()
	renewals := 0
	for end := time.After(30 * time.Second); ; {
		select {
		case r := <-watcher.RenewCh():
			if renewals++; r.Secret.LeaseID != secret.LeaseID {
				t.Fatalf("renewed %+v", r.Secret)
			}
			continue
		case err := <-watcher.DoneCh():
			ok(t, err)
		case <-end:
			t.Fatal("the watcher does not end")
		}
		break
	}
	last, there := s.role(t, name)
	if renewals < 2 || !there || last.Sub(first) < 3*time.Second || last.Sub(first) > 8*time.Second {
		t.Errorf("%d renewals, from %v to %v (%v)", renewals, first, last, there)
	}
}

// TestConsulTemplateRendersCredentials: an agent's templates are rendered by the same code.
func TestConsulTemplateRendersCredentials(t *testing.T) {
	s := leaseSite(t)
	s.db.MustExec(t, "SELECT vault.create_role_template('app/reader', '{}', '1 hour', role_prefix => 'hv_client_lease')")
	client := newVaultClient(t, s)
	login(t, s, client)
	rendered, program := consulTemplate(t, s, client.Token(), `{{ with secret "database/creds/app/reader" }}{{ .Data.username }} {{ .Data.password }}{{ end }}`)
	name, password, _ := strings.Cut(rendered, " ")
	if _, there := s.role(t, name); !there || len(password) != 32 || program != rendered {
		t.Errorf("rendered %q, the program saw %q", rendered, program)
	}
}
