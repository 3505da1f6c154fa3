package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// someVerifier is one of a password, which no test logs in with.
const someVerifier = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoGWiPlZqQxSi9BvODdzKE="

// bind makes n secrets, each the password of a role of its own, and returns the next version of each.
func (g *groupDesk) bind(prefix string, n int) (versions []vault.NewVersion) {
	g.t.Helper()
	for i, s := range g.create(prefix, n) {
		role := fmt.Sprintf("%s_%02d", prefix, i)
		g.sql("app", "CREATE ROLE "+role+" LOGIN")
		g.sql("app", fmt.Sprintf(`SELECT vault.bind_with_verifier(current_user::regrole, s.id, 1, '%s', '%s', NULL, ROW('node1', 'role:x', NULL, NULL, 'bind')::vault.audit_origin)
			FROM vault.secrets s WHERE s.name = '%s'`, role, someVerifier, s.Name))
		v := nextOf(s)
		v.Password = vault.RolePassword{Role: role, Verifier: fmt.Sprintf("SCRAM-SHA-256$%d%s", 4097+i, someVerifier[len("SCRAM-SHA-256$4096"):])}
		versions = append(versions, v)
	}
	return versions
}

// wantPassword checks that a role has the verifier of a change.
func (g *groupDesk) wantPassword(v vault.NewVersion) {
	g.t.Helper()
	if has := value[string](g.server, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", v.Password.Role); has != v.Password.Verifier {
		g.t.Errorf("%s has another password", v.Password.Role)
	}
}

// passwordsTogether has changes of bound secrets be in one group, and begins it.
func (g *groupDesk) passwordsTogether(versions ...vault.NewVersion) <-chan groupReply {
	g.t.Helper()
	release := holdGroups(g.d.passwordAppends)
	replies := g.append(g.t.Context(), g.by, versions...)
	awaitMembers(g.t, g.d.passwordAppends, len(versions))
	release()
	return replies
}

// TestPasswordsShareTransactions: changes of bound secrets that wait at the same moment are one transaction, which gives each
// role its own password. A role that another transaction has changed delays its own change alone.
func TestPasswordsShareTransactions(t *testing.T) {
	g := newGroupDesk(t)
	versions := g.bind("bound", 9)
	replies := g.passwordsTogether(versions...)
	for range versions {
		r := <-replies
		r.isMade(t)
		g.wantOnce(r.v)
		g.wantPassword(r.v)
	}
	if n := g.transactions("bound"); n != 1 {
		t.Errorf("%d transactions", n)
	}

	versions = g.bind("held", 5)
	c := g.connect("app")
	defer func() { _ = c.Close(context.Background()) }()
	tx, err := c.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "ALTER ROLE held_00 CONNECTION LIMIT 5")
	must(t, err)
	replies = g.passwordsTogether(versions...)
	for range versions[1:] {
		r := <-replies
		r.isMade(t)
		g.wantOnce(r.v)
		g.wantPassword(r.v)
		if r.v.Name == versions[0].Name {
			t.Error("a role was changed under the lock")
		}
	}
	g.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%withheld%'")
	if n := g.transactions("held"); n != 1 {
		t.Errorf("%d transactions", n)
	}
	must(t, tx.Rollback(t.Context()))
	r := <-replies
	r.isMade(t)
	g.wantOnce(r.v)
	g.wantPassword(r.v)
}

// TestAFailingPasswordUndoesNoOther: the server's module refuses one password of a group.
func TestAFailingPasswordUndoesNoOther(t *testing.T) {
	g := newGroupDesk(t)
	versions := g.bind("checked", 6)
	g.sql("app", `CREATE FUNCTION vault.refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'check_violation'; END $$;
		CREATE TRIGGER refuses AFTER UPDATE ON vault.role_bindings FOR EACH ROW WHEN (NEW.role_name = 'checked_03') EXECUTE FUNCTION vault.refuses()`)
	replies := g.passwordsTogether(versions...)
	for range versions {
		r := <-replies
		if r.v.Name == versions[3].Name {
			code(t, r.err, core.Invalid)
			continue
		}
		r.isMade(t)
		g.wantOnce(r.v)
		g.wantPassword(r.v)
	}
	if n := g.transactions("checked"); n < 2 || n > 4 {
		t.Errorf("%d transactions", n)
	}
	if value[string](g.server, "SELECT rolpassword FROM pg_authid WHERE rolname = 'checked_03'") != someVerifier {
		t.Error("the role got the password that was refused")
	}
}

// TestAPasswordOfAnotherRole: a change that was made for another role than the one that is bound by now does nothing, and may be
// tried again.
func TestAPasswordOfAnotherRole(t *testing.T) {
	g := newGroupDesk(t)
	v := g.bind("rebound", 1)[0]
	v.Password.Role = "who_was_bound_before"
	_, err := g.d.AppendVersion(t.Context(), v, g.author("other"))
	code(t, err, core.Stale)
	if !errors.Is(err, vault.ErrBound) {
		t.Errorf("it is not said that it may be tried again: %v", err)
	}
	if n := value[int64](g.server, "SELECT current_version FROM vault.secrets WHERE name = $1", string(v.Name)); n != 1 {
		t.Errorf("version %d", n)
	}
	if value[string](g.server, "SELECT rolpassword FROM pg_authid WHERE rolname = 'rebound_00'") != someVerifier {
		t.Error("the role got a password")
	}

	// A rotation that was due is tried again as well.
	g.sql("app", `INSERT INTO vault.rotation_jobs (secret_id, due_at, next_attempt_at, created_at, state, claimed_by, claimed_until)
		SELECT s.id, now(), now(), now(), 'claimed', 'worker', now() + interval '1 hour' FROM vault.secrets s WHERE s.name = '`+string(v.Name)+`'`)
	job := value[[16]byte](g.server, "SELECT id FROM vault.rotation_jobs")
	r := vault.RotatedVersion{
		Claim:    vault.Claim{Job: job, Worker: "worker", Secret: vault.Secret{ID: v.ID, Name: v.Name}},
		Expected: 1, Sealed: sealedValue(), Password: v.Password,
	}
	_, err = g.d.CompleteRotation(t.Context(), r, origin("job").Origin)
	code(t, err, core.Stale)
	if !errors.Is(err, vault.ErrBound) || vault.IsClaimLost(err) {
		t.Errorf("of a rotation that was due it is not said that it may be tried again: %v", err)
	}
	v.Password.Role, r.Password.Role = "rebound_00", "rebound_00"
	must(t, only(g.d.CompleteRotation(t.Context(), r, origin("job").Origin)))
	g.wantPassword(v)
}
