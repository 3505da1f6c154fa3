package store

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// holder is a caller with a token.
type holder struct {
	vault.Credential
	id vault.TokenID
}

// token makes a token; change, if not nil, changes what is asked for.
func (s *server) token(d *DB, name, role string, change func(*vault.NewToken)) holder {
	s.t.Helper()
	t := vault.NewToken{Name: name, TTL: time.Hour, Renewable: true}
	_, _ = rand.Read(t.ID[:])
	_, _ = rand.Read(t.Fingerprint[:])
	if change != nil {
		change(&t)
	}
	must(s.t, only(d.CreateToken(s.t.Context(), t, role, origin("token"))))
	return holder{vault.Credential{Fingerprint: t.Fingerprint, Addr: netip.MustParseAddr("10.0.0.7")}, t.ID}
}

// reads asks by every way in which a value leaves, and returns the code of each, which must be the same.
func reads(t *testing.T, d *DB, by vault.Credential, name core.Name) (core.Code, vault.Cause) {
	t.Helper()
	ctx := t.Context()
	_, who, err := d.ReadSealed(ctx, by, name, 0, vault.Freshness{})
	_, who2, err2 := d.ReadSealed(ctx, by, name, 1, vault.Freshness{})
	_, who3, err3 := d.ReadSealed(ctx, by, name, 0, vault.Freshness{Primary: true})
	each, who4, err4 := d.ReadEach(ctx, by, []core.Name{name}, 1<<20, vault.Freshness{})
	if err4 == nil {
		err4 = each[0].Err
	}
	want := core.CodeOf(err)
	for i, got := range []error{err2, err3, err4} {
		if core.CodeOf(got) != want && core.CodeOf(got) != core.NotFound {
			t.Fatalf("way %d: %v, not %v", i+2, got, err)
		}
	}
	for i, got := range []vault.Identity{who2, who3, who4} {
		if got != who {
			t.Fatalf("way %d: %+v, not %+v", i+2, got, who)
		}
	}
	return want, who.Cause
}

// TestDecisions: each case of a caller who may or may not read, on a primary and on its standby, whose answers change as
// soon as what decides has changed there.
func TestDecisions(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	primary, standby := a.open(), a.openWith(func(*Config) {}, b.dir, a.dir)
	ctx := t.Context()
	for _, n := range []string{"app/one", "app/two", "other"} {
		must(t, only(primary.CreateSecret(ctx, newSecret(n), origin("x"))))
	}
	a.sql("app", `CREATE ROLE app; CREATE ROLE team; CREATE ROLE member IN ROLE team;
		SELECT vault.grant_access('app', 'app/*', '{read,update}'); SELECT vault.grant_access('team', 'app/*', '{read}')`)
	check := func(who vault.Credential, name core.Name, want core.Code, cause vault.Cause) {
		t.Helper()
		b.await(a)
		for where, d := range map[string]*DB{"primary": primary, "standby": standby} {
			if got, why := reads(t, d, who, name); got != want || why != cause {
				t.Errorf("%s, %s: %q for %q, want %q for %q", where, name, got, why, want, cause)
			}
		}
	}
	app := a.token(primary, "app", "app", nil)
	t.Run("OK", func(t *testing.T) {
		check(app.Credential, "app/one", "", "")
		check(app.Credential, "other", core.Denied, vault.CauseGrant)
		check(app.Credential, "missing", core.Denied, vault.CauseGrant) // as one that is there
		check(app.Credential, "app/missing", "", "")
		check(anonymous, "other", "", "")
	})
	t.Run("ErrUnknown", func(t *testing.T) {
		check(vault.Credential{Fingerprint: [32]byte{1}}, "app/one", core.Unauthenticated, vault.CauseTokenUnknown)
		near := app.Credential
		near.Fingerprint[31] ^= 1 // the same public id
		check(near, "app/one", core.Unauthenticated, vault.CauseTokenUnknown)
	})
	t.Run("ErrWrongCIDR", func(t *testing.T) {
		bound := a.token(primary, "bound", "app", func(n *vault.NewToken) { n.BoundCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")} })
		check(bound.Credential, "app/one", "", "")
		bound.Addr = netip.MustParseAddr("10.0.1.7")
		check(bound.Credential, "app/one", core.Unauthenticated, vault.CauseTokenAddress)
		bound.Addr = netip.Addr{}
		check(bound.Credential, "app/one", core.Unauthenticated, vault.CauseTokenAddress)
	})
	t.Run("ErrScope", func(t *testing.T) {
		narrow := a.token(primary, "narrow", "app", func(n *vault.NewToken) {
			n.Scope = vault.Scope{{Pattern: "app/one", Actions: []string{"read"}}}
		})
		check(narrow.Credential, "app/one", "", "")
		check(narrow.Credential, "app/two", core.Denied, vault.CauseScope)
		wide := a.token(primary, "wide", "app", func(n *vault.NewToken) { n.Scope = vault.Scope{{Pattern: "*", Actions: vault.Grantable}} })
		check(wide.Credential, "app/two", "", "")
		check(wide.Credential, "other", core.Denied, vault.CauseGrant)
	})
	t.Run("ErrExpired", func(t *testing.T) {
		short := a.token(primary, "short", "app", func(n *vault.NewToken) { n.TTL = time.Second })
		a.sql("app", "UPDATE vault.tokens SET created_at = created_at - interval '1 hour', expires_at = expires_at - interval '1 hour' WHERE name = 'short'")
		check(short.Credential, "app/one", core.Unauthenticated, vault.CauseTokenExpired)
	})
	t.Run("ErrRevoked", func(t *testing.T) {
		parent := a.token(primary, "parent", "app", nil)
		child := a.child(primary, parent, "child")
		grandchild := a.child(primary, child, "grandchild")
		check(grandchild.Credential, "app/one", "", "")
		_, _, err := primary.RevokeToken(ctx, parent.id, origin("x"))
		must(t, err)
		for _, h := range []holder{parent, child, grandchild} {
			check(h.Credential, "app/one", core.Unauthenticated, vault.CauseTokenRevoked)
		}
	})
	t.Run("ErrParentDeleted", func(t *testing.T) {
		parent := a.token(primary, "gone", "app", nil)
		child := a.child(primary, parent, "orphan")
		a.sql("app", "DELETE FROM vault.tokens WHERE name = 'gone'")
		code, _ := reads(t, primary, child.Credential, "app/one")
		if code != core.Unauthenticated {
			t.Errorf("%q", code)
		}
	})
	t.Run("OKRoleRenamed", func(t *testing.T) {
		a.sql("app", "ALTER ROLE app RENAME TO app2")
		check(app.Credential, "app/one", "", "")
		_, who, err := primary.ReadSealed(ctx, app.Credential, "app/one", 0, vault.Freshness{})
		if err != nil || who.Acting != "app2" || vault.ActorName(who.Actor) != "token:app" || !strings.Contains(who.Actor, app.id.String()) {
			t.Errorf("%+v, %v", who, err)
		}
		a.sql("app", "ALTER ROLE app2 RENAME TO app")
	})
	t.Run("ErrMembershipRevoked", func(t *testing.T) {
		member := a.token(primary, "member", "member", nil)
		check(member.Credential, "app/one", "", "")
		a.sql("app", "REVOKE team FROM member")
		check(member.Credential, "app/one", core.Denied, vault.CauseGrant)
	})
	t.Run("ErrGrantRevoked", func(t *testing.T) {
		a.sql("app", "SELECT vault.revoke_access('vault_anonymous', '*', '{read}'); SELECT vault.grant_access('vault_anonymous', 'app/*', '{read}')")
		check(anonymous, "app/one", "", "")
		check(anonymous, "other", core.Unauthenticated, vault.CauseGrant)
		check(anonymous, "missing", core.Unauthenticated, vault.CauseGrant)
	})
	t.Run("ErrRoleDropped", func(t *testing.T) {
		a.sql("app", "SELECT vault.revoke_access('app', 'app/*', '{read,update}'); DROP OWNED BY app; DROP ROLE app")
		check(app.Credential, "app/one", core.Unauthenticated, vault.CauseRoleMissing)
	})
}

// child makes a token of a token.
func (s *server) child(d *DB, parent holder, name string) holder {
	s.t.Helper()
	t := vault.NewToken{Name: name, Renewable: true}
	_, _ = rand.Read(t.ID[:])
	_, _ = rand.Read(t.Fingerprint[:])
	by := vault.Author{By: parent.Credential, Origin: origin("child").Origin}
	info, err := d.CreateToken(s.t.Context(), t, "", by)
	must(s.t, err)
	if info.Parent != parent.id {
		s.t.Errorf("%+v", info)
	}
	return holder{vault.Credential{Fingerprint: t.Fingerprint, Addr: parent.Addr}, t.ID}
}

// await waits until a standby has replayed all of its primary.
func (s *server) await(primary *server) {
	s.t.Helper()
	lsn := value[string](primary, "SELECT pg_current_wal_flush_lsn()::text")
	s.until(fmt.Sprintf("SELECT pg_last_wal_replay_lsn() >= '%s'", lsn))
}

// TestOnlyWhatTheCallerMaySee: lists, changes, status, versions and metadata leave out the rest.
func TestOnlyWhatTheCallerMaySee(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	for _, n := range []string{"a/1", "a/2", "b/1", "c"} {
		x := newSecret(n)
		x.Kind, x.RotationIntervalSecs = core.Automatic, 3600
		must(t, only(d.CreateSecret(ctx, x, origin("x"))))
	}
	s.sql("app", `CREATE ROLE r; SELECT vault.grant_access('r', 'a/*', '{rotate}'); SELECT vault.grant_access('r', 'c', '{audit}');
		UPDATE vault.secrets SET next_rotation_at = now() - interval '1 hour'; SELECT vault.supervise(1000, true);
		UPDATE vault.rotation_jobs SET last_error = 'x', attempts = 1`)
	h := s.token(d, "r", "r", nil)
	rows, _, err := d.DescribeSecrets(ctx, h.Credential, "", "", 2, vault.Freshness{})
	must(t, err)
	more, _, err := d.DescribeSecrets(ctx, h.Credential, "", "a/2", 2, vault.Freshness{})
	must(t, err)
	var names []string
	for _, r := range append(rows, more...) {
		names = append(names, string(r.Name))
	}
	if want := []string{"a/1", "a/2", "c"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	_, _, err = d.DescribeSecret(ctx, h.Credential, "b/1", vault.Freshness{})
	code(t, err, core.Denied)
	_, _, err = d.DescribeVersions(ctx, h.Credential, "b/1", vault.Freshness{})
	code(t, err, core.Denied)
	_, _, err = d.ReadVerifiable(ctx, h.Credential, "a/1", vault.Freshness{})
	code(t, err, core.Denied)
	versions, _, err := d.DescribeVersions(ctx, h.Credential, "a/1", vault.Freshness{})
	if err != nil || len(versions) != 1 {
		t.Errorf("%+v, %v", versions, err)
	}
	page, _, err := d.ChangesSince(ctx, h.Credential, vault.Place{}, 10)
	if err != nil || !page.Known || page.Looked != 4 || len(page.Changes) != 3 || page.Last == (vault.Place{}) {
		t.Errorf("%+v, %v", page, err)
	}
	status, _, err := d.Status(ctx, h.Credential)
	if err != nil || status.Secrets != 4 || len(status.Failures) != 3 {
		t.Errorf("%+v, %v", status, err)
	}
	records, _, err := d.AuditAfter(ctx, h.Credential, 0, 1000)
	if err != nil || len(records) != 1 || records[0].Name != "c" {
		t.Errorf("%+v, %v", records, err)
	}
	stranger := s.token(d, "stranger", "vault_anonymous", func(n *vault.NewToken) { n.Scope = vault.Scope{{Pattern: "x", Actions: []string{"delete"}}} })
	for what, ask := range map[string]func() error{
		"list": func() error {
			_, _, err := d.DescribeSecrets(ctx, stranger.Credential, "", "", 2, vault.Freshness{})
			return err
		},
		"watch":  func() error { _, _, err := d.ChangesSince(ctx, stranger.Credential, vault.Place{}, 2); return err },
		"status": func() error { _, _, err := d.Status(ctx, stranger.Credential); return err },
		"audit":  func() error { _, _, err := d.AuditAfter(ctx, stranger.Credential, 0, 2); return err },
		"grants": func() error { _, _, err := d.ListGrants(ctx, stranger.Credential, vault.Freshness{}); return err },
	} {
		if err := ask(); core.CodeOf(err) != core.Denied {
			t.Errorf("%s: %v", what, err)
		}
	}
	var one vault.Cause
	who, err := d.Decide(ctx, stranger.Credential, vault.RightSelf, "", vault.Freshness{})
	if err != nil || who.Cause != one {
		t.Errorf("%+v, %v", who, err)
	}
}

// TestChangesAreDecidedInTheirStatement: between a decision and its change the right may have gone, and then the change is
// not made.
func TestChangesAreDecidedInTheirStatement(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	n := newSecret("a/1")
	must(t, only(d.CreateSecret(ctx, n, origin("x"))))
	s.sql("app", "CREATE ROLE r; SELECT vault.grant_access('r', 'b/*', '{create,update,rotate,delete,manage}')")
	by := vault.Author{By: s.token(d, "r", "r", nil).Credential, Origin: vault.Origin{Node: "n", Actor: "token:forged", RequestID: "refused"}}
	name := core.Name("a/1")
	for what, change := range map[string]func(by vault.Author) error{
		"create": func(by vault.Author) error { return only(d.CreateSecret(ctx, newSecret("a/2"), by)) },
		"update": func(by vault.Author) error {
			return only(d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, by))
		},
		"rotate": func(by vault.Author) error {
			return only(d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionRotate}, by))
		},
		"configure": func(by vault.Author) error {
			text := "x"
			return only(d.ConfigureSecret(ctx, vault.Configuration{ID: n.ID, Name: name, Expected: 1, Settings: vault.Settings{Description: &text}}, by))
		},
		"expire": func(by vault.Author) error {
			return only(d.ExpireVersion(ctx, vault.Expiry{ID: n.ID, Name: name, Version: 1}, by))
		},
		"delete": func(by vault.Author) error {
			return only(d.DeleteSecret(ctx, vault.Deletion{ID: n.ID, Name: name, Expected: 1}, by))
		},
		"grant": func(by vault.Author) error {
			return only(d.Grant(ctx, vault.Grant{Role: "r", Pattern: "a/*", Actions: []string{"read"}}, by))
		},
		"revoke": func(by vault.Author) error {
			return only(d.Revoke(ctx, vault.Grant{Role: "r", Pattern: "*", Actions: []string{"read"}}, by))
		},
		"token": func(by vault.Author) error {
			return only(d.CreateToken(ctx, vault.NewToken{ID: vault.TokenID{9}, Name: "t", Fingerprint: [32]byte{9}}, "r", by))
		},
	} {
		code(t, change(by), core.Denied)
		code(t, change(vault.Author{By: vault.Credential{Fingerprint: [32]byte{7}}, Origin: by.Origin}), core.Unauthenticated)
		code(t, change(vault.Author{Origin: by.Origin}), core.Unauthenticated) // the zero credential has no rights
		if s.audited("refused") != 0 {
			t.Errorf("%s was made", what)
		}
	}
	// What it may do is recorded with whom the database found, whatever this process said.
	by.RequestID = "made"
	must(t, only(d.CreateSecret(ctx, newSecret("b/1"), by)))
	must(t, only(d.Grant(ctx, vault.Grant{Role: "r", Pattern: "b/x/*", Actions: []string{"read"}}, by)))
	if got := value[string](s, "SELECT string_agg(DISTINCT actor || ' ' || session_role || ' ' || method, ',') FROM vault.audit_log WHERE request_id = 'made' AND accessor IS NOT NULL"); got != "token:r r token" {
		t.Errorf("recorded as %q", got)
	}
}
