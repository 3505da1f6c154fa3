package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestTokensOnARealServer(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	s.sql("app", "CREATE ROLE r; SELECT vault.grant_access('r', 'a/*', '{read}')")
	admin, other := s.token(d, "admin", vault.AdminRole, nil), s.token(d, "other", "r", nil)
	h := s.token(d, "h", "r", func(n *vault.NewToken) {
		n.TTL, n.MaxTTL = time.Hour, 2*time.Hour
		n.Scope = vault.Scope{{Pattern: "a/*", Actions: []string{"read", "verify"}}}
		n.BoundCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	child := s.child(d, h, "child")
	author := func(h holder) vault.Author { return vault.Author{By: h.Credential, Origin: origin("t").Origin} }
	t.Run("OKShow", func(t *testing.T) {
		got, _, err := d.ShowToken(ctx, h.Credential, vault.TokenID{}, vault.Freshness{})
		must(t, err)
		if got.ID != h.id || got.Role != "r" || got.Method != "token" || got.TTL != time.Hour || !got.Renewable || len(got.Scopes) != 1 ||
			got.Scopes[0][0].Pattern != "a/*" || !slices.Equal(got.BoundCIDRs, []string{"10.0.0.0/8", "::1/128"}) || got.ExpiresAt.Sub(got.CreatedAt) != time.Hour ||
			got.MaxExpiresAt.Sub(got.CreatedAt) != 2*time.Hour || !got.RevokedAt.IsZero() || got.Parent != (vault.TokenID{}) {
			t.Errorf("%+v", got)
		}
		of, _, err := d.ShowToken(ctx, h.Credential, child.id, vault.Freshness{})
		if err != nil || of.Parent != h.id || of.ExpiresAt.After(got.ExpiresAt) {
			t.Errorf("%+v, %v", of, err)
		}
		_, _, err = d.ShowToken(ctx, h.Credential, other.id, vault.Freshness{})
		code(t, err, core.NotFound)
		_, _, err = d.ShowToken(ctx, child.Credential, h.id, vault.Freshness{})
		code(t, err, core.NotFound)
		_, _, err = d.ShowToken(ctx, admin.Credential, other.id, vault.Freshness{})
		must(t, err)
	})
	t.Run("OKList", func(t *testing.T) {
		for who, want := range map[*holder]int{&admin: 4, &h: 2, &child: 1, &other: 1} {
			got, _, err := d.ListTokens(ctx, who.Credential, vault.TokenID{}, 10, vault.Freshness{})
			if err != nil || len(got) != want {
				t.Errorf("%d of %d: %v", len(got), want, err)
			}
		}
		first, _, err := d.ListTokens(ctx, admin.Credential, vault.TokenID{}, 3, vault.Freshness{})
		must(t, err)
		rest, _, err := d.ListTokens(ctx, admin.Credential, first[2].ID, 3, vault.Freshness{})
		if err != nil || len(first) != 3 || len(rest) != 1 {
			t.Errorf("%d, then %d: %v", len(first), len(rest), err)
		}
	})
	t.Run("OKRenew", func(t *testing.T) {
		s.sql("app", "UPDATE vault.tokens SET expires_at = now() + interval '1 minute' WHERE name = 'h'")
		got, err := d.RenewToken(ctx, vault.TokenID{}, 0, author(h))
		if err != nil || time.Until(got.ExpiresAt) < 59*time.Minute || got.Position.LSN == 0 {
			t.Errorf("%+v, %v", got, err)
		}
		got, err = d.RenewToken(ctx, h.id, 10*time.Hour, origin("x"))
		if err != nil || !got.ExpiresAt.Equal(got.MaxExpiresAt) {
			t.Errorf("%+v, %v", got, err)
		}
		_, err = d.RenewToken(ctx, other.id, 0, author(h))
		code(t, err, core.NotFound)
		fixed := s.token(d, "fixed", "r", func(n *vault.NewToken) { n.Renewable = false })
		_, err = d.RenewToken(ctx, vault.TokenID{}, 0, author(fixed))
		code(t, err, core.Invalid)
	})
	t.Run("ErrCreate", func(t *testing.T) {
		n := vault.NewToken{ID: vault.TokenID{1}, Name: "h", Fingerprint: [32]byte{1}}
		code(t, only(d.CreateToken(ctx, n, "r", origin("x"))), core.Exists)
		n.Name = "new"
		code(t, only(d.CreateToken(ctx, n, "no-such-role", origin("x"))), core.NotFound)
		code(t, only(d.CreateToken(ctx, n, "r", author(h))), core.Denied)
		n.BoundCIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		code(t, only(d.CreateToken(ctx, n, "", author(h))), core.Invalid)
	})
	t.Run("OKRevoke", func(t *testing.T) {
		_, _, err := d.RevokeToken(ctx, other.id, author(h))
		code(t, err, core.NotFound)
		ended, at, err := d.RevokeToken(ctx, vault.TokenID{}, author(h))
		if err != nil || ended != 2 || at.LSN == 0 {
			t.Errorf("%d, %v, %v", ended, at, err)
		}
		_, _, err = d.RevokeToken(ctx, vault.TokenID{}, author(h))
		code(t, err, core.Unauthenticated)
		_, _, err = d.RevokeToken(ctx, h.id, origin("x"))
		code(t, err, core.NotFound)
	})
	t.Run("OKPassing", func(t *testing.T) {
		unknown := vault.Credential{Fingerprint: [32]byte{42}}
		got, err := d.Passing(ctx, []vault.Credential{unknown, other.Credential, h.Credential, anonymous})
		if err != nil || !slices.Equal(got, []vault.Credential{other.Credential, anonymous}) {
			t.Errorf("%+v, %v", got, err)
		}
		s.sql("app", "SELECT vault.revoke_access('vault_anonymous', '*', '{read,verify}')")
		if got, err := d.Passing(ctx, []vault.Credential{anonymous}); err != nil || len(got) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestNewTokenOnAStandby: who has just got a token need not wait until a standby has replayed that.
func TestNewTokenOnAStandby(t *testing.T) {
	a := newServer(t)
	b := a.standby()
	d := a.open(b.dir, a.dir)
	ctx := t.Context()
	must(t, only(d.CreateSecret(ctx, newSecret("a"), origin("x"))))
	b.await(a)
	b.stale()
	defer b.resume()
	h := a.token(d, "new", vault.AdminRole, nil)
	if got, cause := reads(t, d, h.Credential, "a"); got != "" {
		t.Errorf("%q for %q", got, cause)
	}
	who, err := d.Decide(ctx, h.Credential, vault.RightSelf, "", vault.Freshness{})
	if err != nil || who.Cause != "" {
		t.Errorf("%+v, %v", who, err)
	}
	_, _, err = d.DescribeSecret(ctx, h.Credential, "a", vault.Freshness{})
	must(t, err)
}

func TestAccessOnARealServer(t *testing.T) {
	s := newServer(t)
	d := s.open()
	ctx := t.Context()
	s.sql("app", "CREATE ROLE team; CREATE ROLE member IN ROLE team; SELECT vault.grant_access('team', 'a/*', '{read,manage}')")
	member := s.token(d, "m", "member", func(n *vault.NewToken) { n.Scope = vault.Scope{{Pattern: "a/1", Actions: []string{"read"}}} })
	manager := s.token(d, "t", "team", nil)
	lines := func(by vault.Credential, role, name string) map[string]vault.ExplanationLine {
		t.Helper()
		x, _, err := d.ExplainAccess(ctx, by, role, name, vault.Freshness{})
		must(t, err)
		out := map[string]vault.ExplanationLine{"": {Grantee: x.Role}}
		for _, l := range x.Lines {
			out[l.Action] = l
		}
		return out
	}
	got := lines(member.Credential, "", "a/1")
	if got[""].Grantee != "member" || got["read"] != (vault.ExplanationLine{Action: "read", Allowed: true, Grantee: "team", Pattern: "a/*", How: "inherited"}) ||
		got["delete"] != (vault.ExplanationLine{Action: "delete", Cause: vault.CauseGrant}) || len(got) != 9 {
		t.Errorf("%+v", got)
	}
	if got := lines(member.Credential, "", "a/2")["read"]; got.Allowed || got.Cause != vault.CauseScope {
		t.Errorf("%+v", got)
	}
	if got := lines(anonymous, "", "b")["read"]; !got.Allowed || got.Grantee != "vault_anonymous" || got.How != "granted" {
		t.Errorf("%+v", got)
	}
	if got := lines(manager.Credential, "member", "a/2")["read"]; !got.Allowed {
		t.Errorf("%+v", got)
	}
	_, _, err := d.ExplainAccess(ctx, manager.Credential, "member", "b", vault.Freshness{})
	code(t, err, core.Denied)
	_, _, err = d.ExplainAccess(ctx, manager.Credential, "stranger", "a/1", vault.Freshness{})
	code(t, err, core.NotFound)
	by := vault.Author{By: manager.Credential, Origin: origin("g").Origin}
	must(t, only(d.Grant(ctx, vault.Grant{Role: "member", Pattern: "a/x/*", Actions: []string{"update"}}, by)))
	grants, _, err := d.ListGrants(ctx, manager.Credential, vault.Freshness{})
	if err != nil || len(grants) != 3 {
		t.Errorf("%+v, %v", grants, err)
	}
	must(t, only(d.Revoke(ctx, vault.Grant{Role: "member", Pattern: "a/x/*", Actions: []string{"update"}}, by)))
	code(t, only(d.Revoke(ctx, vault.Grant{Role: "member", Pattern: "a/x/*", Actions: []string{"update"}}, by)), core.NotFound)
}

// TestBatchTokens: claims that the API has opened are decided about by their login role.
func TestBatchTokens(t *testing.T) {
	s := newServer(t)
	d := s.open()
	must(t, only(d.CreateSecret(t.Context(), newSecret("a"), origin("x"))))
	by := vault.Credential{Addr: netip.MustParseAddr("10.0.0.7"), Claims: fmt.Sprintf(`{"login_role": "%s", "issued_at": "%s", "expires_at": "%s", "name": "n", "scopes": null, "bound_cidrs": null}`,
		"00000000-0000-4000-8000-000000000001", time.Now().Format(time.RFC3339), time.Now().Add(time.Hour).Format(time.RFC3339))}
	if got, cause := reads(t, d, by, "a"); got != core.Unauthenticated || cause != vault.CauseTokenRevoked {
		t.Errorf("%q for %q", got, cause)
	}
}

// TestLegacySchema: a schema of release 0.1.0 is served as that release did, and a connection follows its update.
func TestLegacySchema(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.sql("postgres", "CREATE DATABASE old")
	s.sql("old", "CREATE EXTENSION hyperion_vault VERSION '0.1.0'; SELECT vault.grant_service_role('vault_service')")
	d, err := Open(ctx, Config{Hosts: []string{s.dir}, User: "vault_service", Database: "old", RequestTimeout: 5 * time.Second})
	must(t, err)
	defer func() { must(t, d.Close(context.Background())) }()
	must(t, d.CheckReader(ctx))
	tok := vault.NewToken{ID: vault.TokenID{1}, Name: "ops", Fingerprint: [32]byte{1, 2, 3}, TTL: time.Hour}
	must(t, only(d.CreateToken(ctx, tok, vault.AdminRole, origin("x"))))
	admin := vault.Credential{Fingerprint: tok.Fingerprint, Addr: netip.MustParseAddr("10.0.0.7")}
	use := func() {
		t.Helper()
		by := vault.Author{By: admin, Origin: vault.Origin{Node: "n", Actor: "token:ops", RequestID: "x"}}
		n := newSecret("a/" + hex.EncodeToString(sealedValue().Nonce[:8]))
		who, err := d.Decide(ctx, admin, "create", string(n.Name), vault.Freshness{Primary: true})
		if err != nil || vault.ActorName(who.Actor) != "token:ops" || who.Cause != "" {
			t.Fatalf("%+v, %v", who, err)
		}
		must(t, only(d.CreateSecret(ctx, n, by)))
		_, _, err = d.DescribeSecretOnWriter(ctx, admin, vault.ActionUpdate, n.Name)
		must(t, err)
		must(t, only(d.AppendVersion(ctx, vault.NewVersion{ID: n.ID, Name: n.Name, Expected: 1, Sealed: sealedValue(), Action: vault.ActionUpdate}, by)))
		bad := vault.Credential{Fingerprint: [32]byte{4}}
		who, err = d.Decide(ctx, bad, "create", string(n.Name), vault.Freshness{Primary: true})
		if err != nil || who.Cause != vault.CauseTokenUnknown {
			t.Errorf("%+v, %v", who, err)
		}
		_, _, err = d.DescribeSecretOnWriter(ctx, bad, vault.ActionUpdate, n.Name)
		code(t, err, core.Unauthenticated)
		if got, cause := reads(t, d, anonymous, n.Name); got != "" {
			t.Errorf("%q for %q", got, cause)
		}
		rows, err := verifiableRows(d, ctx, n.Name, vault.Freshness{})
		if err != nil || len(rows) != 2 {
			t.Errorf("%+v, %v", rows, err)
		}
		if rows, err := listed(d, ctx, "a", "", 10, vault.Freshness{}); err != nil || len(rows) == 0 {
			t.Errorf("%+v, %v", rows, err)
		}
		if changes, known, err := changesSince(d, ctx, vault.Place{}, 10); err != nil || !known || len(changes) == 0 {
			t.Errorf("%+v, %v", changes, err)
		}
		if s, err := statusOf(d, ctx); err != nil || s.Secrets == 0 || !s.AnonymousReadsAll {
			t.Errorf("%+v, %v", s, err)
		}
		if records, _, err := d.AuditAfter(ctx, admin, 0, 10); err != nil || len(records) == 0 {
			t.Errorf("%+v, %v", records, err)
		}
		_, _, err = d.AuditAfter(ctx, anonymous, 0, 10)
		code(t, err, core.Unauthenticated)
		if got, err := d.Passing(ctx, []vault.Credential{bad, admin, anonymous}); err != nil || !slices.Equal(got, []vault.Credential{admin, anonymous}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	use()
	_, _, err = d.ListTokens(ctx, admin, vault.TokenID{}, 10, vault.Freshness{})
	code(t, err, core.Unavailable)
	_, _, err = d.ListGrants(ctx, admin, vault.Freshness{})
	code(t, err, core.Unavailable)
	all, _, err := d.ListTokens(ctx, vault.Itself(), vault.TokenID{}, 10, vault.Freshness{})
	if err != nil || len(all) != 1 || all[0].Name != "ops" || all[0].Role != vault.AdminRole {
		t.Errorf("%+v, %v", all, err)
	}
	s.sql("old", "ALTER EXTENSION hyperion_vault UPDATE")
	use()
	all, _, err = d.ListTokens(ctx, admin, vault.TokenID{}, 10, vault.Freshness{})
	if err != nil || len(all) != 1 || all[0].Role != vault.AdminRole {
		t.Errorf("%+v, %v", all, err)
	}
	// On connections that were made to the old schema, too, what is revoked is so at once.
	s.sql("old", "SELECT vault.revoke_access('vault_anonymous', '*', '{read}')")
	if got, cause := reads(t, d, anonymous, "a/x"); got != core.Unauthenticated || cause != vault.CauseGrant {
		t.Errorf("%q for %q", got, cause)
	}
	_, _, err = d.RevokeToken(ctx, tok.ID, origin("x"))
	must(t, err)
	who, err := d.Decide(ctx, admin, vault.RightSelf, "", vault.Freshness{})
	if err != nil || who.Cause != vault.CauseTokenRevoked {
		t.Errorf("%+v, %v", who, err)
	}
}
