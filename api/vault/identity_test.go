package vault_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// holder makes a token of a role for a caller whose address may read.
func (d *door) holder(t *testing.T, r vault.TokenRequest) (vault.Caller, vault.TokenInfo) {
	t.Helper()
	made, info, err := d.MintToken(t.Context(), root, r)
	if err != nil {
		t.Fatal(err)
	}
	d.recorder.Take()
	return vault.Caller{Addr: netip.MustParseAddr("10.1.2.3"), Bearer: vault.Bearer(made.Reveal()), RequestID: "r-holder"}, info
}

// roles is a door with a role that has all rights on a/*.
func roles(t *testing.T) (*door, vault.Caller) {
	t.Helper()
	d := stocked(t)
	d.mustCreate(t, "other", marker)
	d.store.AddRole("app")
	d.store.GrantTo("app", "a/*", "read", "create", "update", "delete", "rotate", "verify")
	c, _ := d.holder(t, vault.TokenRequest{Name: "app", Role: "app", TTL: time.Hour, Renewable: true})
	return d, c
}

// everything is every operation on one name.
func everything(d *door, name string) map[string]func(context.Context, vault.Caller) error {
	return map[string]func(context.Context, vault.Caller) error{
		"read": func(ctx context.Context, c vault.Caller) error {
			v, err := d.Read(ctx, c, name, 0)
			v.Wipe()
			return err
		},
		"read a version": func(ctx context.Context, c vault.Caller) error {
			v, err := d.Read(ctx, c, name, 1)
			v.Wipe()
			return err
		},
		"batch read": func(ctx context.Context, c vault.Caller) error {
			b, err := d.BatchRead(ctx, c, []string{name})
			if err == nil {
				err = b[0].Err
			}
			b.Wipe()
			return err
		},
		"verify": func(ctx context.Context, c vault.Caller) error {
			_, err := d.Verify(ctx, c, name, []byte("x"))
			return err
		},
		"describe": func(ctx context.Context, c vault.Caller) error { _, err := d.Describe(ctx, c, name); return err },
		"versions": func(ctx context.Context, c vault.Caller) error { _, err := d.Versions(ctx, c, name); return err },
		"update": func(ctx context.Context, c vault.Caller) error {
			_, err := d.Update(ctx, c, vault.UpdateRequest{Name: name, Value: []byte("x")})
			return err
		},
		"rotate": func(ctx context.Context, c vault.Caller) error {
			_, err := d.Rotate(ctx, c, vault.RotateRequest{Name: name})
			return err
		},
		"expire": func(ctx context.Context, c vault.Caller) error { _, err := d.Expire(ctx, c, name, 1, 0); return err },
		"configure": func(ctx context.Context, c vault.Caller) error {
			_, err := d.Configure(ctx, c, vault.ConfigureRequest{Name: name, Settings: vault.Settings{KeepVersions: new(int)}})
			return err
		},
		"delete": func(ctx context.Context, c vault.Caller) error { _, err := d.Delete(ctx, c, name, 0); return err },
		"create": func(ctx context.Context, c vault.Caller) error {
			_, err := d.Create(ctx, c, vault.CreateRequest{Name: name, Value: []byte("x")})
			return err
		},
	}
}

// TestARefusedNameAndAMissingOneLookAlike: by no operation does a caller learn whether a name exists that it has no right
// on, and each refusal has one record, of whom the database found.
func TestARefusedNameAndAMissingOneLookAlike(t *testing.T) {
	d, c := roles(t)
	for what := range everything(d, "") {
		var texts []string
		for _, name := range []string{"other", "missing"} {
			before, _ := d.keeper.HandedOut()
			err := everything(d, name)[what](t.Context(), c)
			wantCode(t, err, core.Denied)
			texts = append(texts, core.MessageOf(err))
			if e := d.one(t); e.Outcome != vault.OutcomeDenied || e.Code != core.Denied || e.Origin.Actor != "token:app" || e.Origin.SessionRole != "app" || e.Name != name {
				t.Errorf("%s: %+v", what, e)
			}
			if after, _ := d.keeper.HandedOut(); after != before {
				t.Errorf("%s: a refused caller had a data key used", what)
			}
		}
		if texts[0] != texts[1] || !strings.Contains(texts[0], "GET /v1/access") {
			t.Errorf("%s: %q", what, texts)
		}
	}
}

// TestWhatEndsAToken: each of these ends all of its operations at once, in the middle of whatever its holder does.
func TestWhatEndsAToken(t *testing.T) {
	for name, end := range map[string]func(*door, *vault.Caller, vault.TokenInfo){
		"expired": func(d *door, _ *vault.Caller, _ vault.TokenInfo) { *d.now = d.now.Add(time.Hour) },
		"revoked": func(d *door, _ *vault.Caller, i vault.TokenInfo) {
			must(d.RevokeToken(context.Background(), root, i.ID.String()))
		},
		"parent revoked": func(d *door, c *vault.Caller, i vault.TokenInfo) {
			made, _, err := d.NewToken(context.Background(), *c, vault.TokenRequest{Name: "child"})
			must(err)
			c.Bearer = vault.Bearer(made.Reveal())
			must(d.RevokeToken(context.Background(), root, "app2"))
		},
		"wrong CIDR":   func(_ *door, c *vault.Caller, _ vault.TokenInfo) { c.Addr = netip.MustParseAddr("10.9.9.9") },
		"dropped role": func(d *door, _ *vault.Caller, _ vault.TokenInfo) { d.store.DropRole("app") },
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := roles(t)
			c, info := d.holder(t, vault.TokenRequest{Name: "app2", Role: "app", TTL: time.Hour, BoundCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
			wantCode(t, everything(d, "a/b")["read"](t.Context(), c), "")
			end(d, &c, info)
			d.recorder.Take()
			for what, do := range everything(d, "a/b") {
				err := do(t.Context(), c)
				wantCode(t, err, core.Unauthenticated)
				if core.MessageOf(err) != "the token is not valid" {
					t.Errorf("%s: %s", what, core.MessageOf(err))
				}
				if e := d.one(t); e.Outcome != vault.OutcomeDenied || e.Code != core.Unauthenticated {
					t.Errorf("%s: %+v", what, e)
				}
			}
		})
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestScopes(t *testing.T) {
	d, c := roles(t)
	narrow := vault.Scope{{Pattern: "a/b", Actions: []string{"read"}}}
	made, info, err := d.NewToken(t.Context(), c, vault.TokenRequest{Name: "narrow", Scope: narrow})
	if err != nil || info.Role != "app" {
		t.Fatalf("%+v, %v", info, err)
	}
	child := c
	child.Bearer = vault.Bearer(made.Reveal())
	wantCode(t, everything(d, "a/b")["read"](t.Context(), child), "")
	wantCode(t, everything(d, "a/b")["update"](t.Context(), child), core.Denied)
	wantCode(t, everything(d, "a/c")["read"](t.Context(), child), core.Denied)
	t.Run("a child of it can only be narrower", func(t *testing.T) {
		made, _, err := d.NewToken(t.Context(), child, vault.TokenRequest{Name: "wide", Scope: vault.Scope{{Pattern: "*", Actions: vault.Grantable}}})
		wantCode(t, err, "")
		grandchild := c
		grandchild.Bearer = vault.Bearer(made.Reveal())
		wantCode(t, everything(d, "a/b")["read"](t.Context(), grandchild), "")
		wantCode(t, everything(d, "a/b")["update"](t.Context(), grandchild), core.Denied)
		wantCode(t, everything(d, "other")["read"](t.Context(), grandchild), core.Denied)
	})
	t.Run("a wider scope gives nothing that the role has not", func(t *testing.T) {
		c, _ := d.holder(t, vault.TokenRequest{Name: "w", Role: "app", Scope: vault.Scope{{Pattern: "*", Actions: vault.Grantable}}})
		wantCode(t, everything(d, "other")["read"](t.Context(), c), core.Denied)
		_, err := d.StartRewrap(t.Context(), c, 0)
		wantCode(t, err, core.Denied)
	})
	for name, bad := range map[string]vault.Scope{
		"empty": {}, "no pattern": {{Actions: []string{"read"}}}, "no actions": {{Pattern: "a"}}, "unknown": {{Pattern: "a", Actions: []string{"list"}}},
		"no prefix": {{Pattern: "a*", Actions: []string{"read"}}}, "many": make(vault.Scope, 65),
	} {
		_, _, err := d.NewToken(t.Context(), c, vault.TokenRequest{Name: "bad", Scope: bad})
		if core.CodeOf(err) != core.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMembership(t *testing.T) {
	d, _ := roles(t)
	d.store.AddRole("member", "app")
	c, _ := d.holder(t, vault.TokenRequest{Name: "m", Role: "member"})
	read := everything(d, "a/b")["read"]
	wantCode(t, read(t.Context(), c), "")
	d.store.RenameRole("member", "renamed")
	d.recorder.Take()
	wantCode(t, read(t.Context(), c), "")
	if e := d.one(t); e.Origin.SessionRole != "renamed" || e.Origin.Actor != "token:m" {
		t.Errorf("%+v", e)
	}
	w, err := d.Watch(t.Context(), c, "", &vault.Place{})
	wantCode(t, err, "")
	if n, err := w.Next(t.Context()); err != nil || len(n.Changes) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	d.store.Leave("renamed")
	wantCode(t, read(t.Context(), c), core.Denied)
	if _, err := w.Next(t.Context()); core.CodeOf(err) != core.Denied {
		t.Errorf("a watch goes on: %v", err)
	}
}

// TestOnlyWhatMayBeSeen: what concerns many names shows those that the caller may do anything with.
func TestOnlyWhatMayBeSeen(t *testing.T) {
	d, c := roles(t)
	page, err := d.List(t.Context(), c, "", "", 0)
	if err != nil || len(page.Secrets) != 1 || page.Secrets[0].Name != "a/b" {
		t.Errorf("%+v, %v", page, err)
	}
	b, err := d.BatchRead(t.Context(), c, []string{"a/b", "other", "missing", "a/missing", "not a name"})
	wantCode(t, err, "")
	defer b.Wipe()
	var codes []core.Code
	for _, r := range b {
		codes = append(codes, core.CodeOf(r.Err))
	}
	if want := []core.Code{"", core.Denied, core.Denied, core.NotFound, core.Invalid}; !slices.Equal(codes, want) {
		t.Errorf("%q", codes)
	}
	d.recorder.Take()
	none, _ := d.holder(t, vault.TokenRequest{Name: "none", Role: "app", Scope: vault.Scope{{Pattern: "x", Actions: []string{"manage"}}}})
	for what, do := range map[string]func() error{
		"list":   func() error { _, err := d.List(t.Context(), none, "", "", 0); return err },
		"status": func() error { _, err := d.Status(t.Context(), none); return err },
		"watch":  func() error { _, err := d.Watch(t.Context(), none, "", nil); return err },
		"audit":  func() error { _, err := d.ExportAudit(t.Context(), none, 0, func() error { return nil }); return err },
		"rewrap": func() error { _, err := d.RewrapStatus(t.Context(), none); return err },
	} {
		if err := do(); core.CodeOf(err) != core.Denied {
			t.Errorf("%s: %v", what, err)
		}
		if e := d.one(t); e.Outcome != vault.OutcomeDenied || e.Origin.Actor != "token:none" {
			t.Errorf("%s: %+v", what, e)
		}
	}
}

func TestAnonymous(t *testing.T) {
	d, c := roles(t)
	read := everything(d, "a/b")["read"]
	wantCode(t, read(t.Context(), d.reader), "")
	d.store.RevokeFrom("vault_anonymous", "*", "read")
	d.store.GrantTo("vault_anonymous", "public/*", "read")
	for _, name := range []string{"a/b", "missing"} {
		wantCode(t, everything(d, name)["read"](t.Context(), d.reader), core.Unauthenticated)
	}
	wantCode(t, everything(d, "public/x")["read"](t.Context(), d.reader), core.NotFound)
	t.Run("ErrChanges", func(t *testing.T) {
		d.store.GrantTo("vault_anonymous", "*", vault.Grantable...)
		wantCode(t, everything(d, "a/b")["update"](t.Context(), d.reader), core.Unauthenticated) // whatever is granted
		wantCode(t, read(t.Context(), d.reader), "")
	})
	t.Run("ErrOff", func(t *testing.T) {
		d.SetAnonymous(false)
		asked := false
		d.store.FailWith(func(string) error { asked = true; return nil })
		wantCode(t, read(t.Context(), d.reader), core.Unauthenticated)
		if asked {
			t.Error("the store is asked about a caller that is refused in any case")
		}
		d.store.FailWith(nil)
		wantCode(t, read(t.Context(), c), "")
		d.SetAnonymous(true)
		wantCode(t, read(t.Context(), d.reader), "")
	})
	t.Run("ErrAddress", func(t *testing.T) {
		c.Addr = netip.MustParseAddr("192.0.2.1")
		wantCode(t, read(t.Context(), c), core.Denied) // the allowlist bounds reads with a token too
		wantCode(t, everything(d, "a/b")["update"](t.Context(), c), "")
	})
}

func TestTokensByREST(t *testing.T) {
	d, c := roles(t)
	made, child, err := d.NewToken(t.Context(), c, vault.TokenRequest{Name: "child", TTL: 3 * time.Hour, Renewable: true})
	wantCode(t, err, "")
	if e := d.one(t); e.Action != vault.ActionTokenCreate || e.Origin.Actor != "token:app" || e.Name != "child" {
		t.Errorf("%+v", e)
	}
	own, err := d.Token(t.Context(), c, vault.TokenID{})
	if err != nil || child.Parent != own.ID || child.ExpiresAt.After(own.ExpiresAt) {
		t.Errorf("%+v, %+v, %v", own, child, err)
	}
	for what, want := range map[*vault.Caller]int{&c: 2, &d.admin: 3} {
		p, err := d.Tokens(t.Context(), *what, vault.TokenID{}, 0)
		if err != nil || len(p.Tokens) != want {
			t.Errorf("%d tokens, not %d: %v", len(p.Tokens), want, err)
		}
	}
	first, err := d.Tokens(t.Context(), d.admin, vault.TokenID{}, 2)
	if err != nil || len(first.Tokens) != 2 || first.Next != first.Tokens[1].ID {
		t.Errorf("%+v, %v", first, err)
	}
	ofChild := c
	ofChild.Bearer = vault.Bearer(made.Reveal())
	for _, op := range []func(vault.Caller, vault.TokenID) error{
		func(c vault.Caller, id vault.TokenID) error { _, err := d.Token(t.Context(), c, id); return err },
		func(c vault.Caller, id vault.TokenID) error {
			_, err := d.RenewToken(t.Context(), c, id, 0)
			return err
		},
		func(c vault.Caller, id vault.TokenID) error { _, err := d.EndToken(t.Context(), c, id); return err },
	} {
		wantCode(t, op(ofChild, own.ID), core.NotFound)
		wantCode(t, op(ofChild, vault.TokenID{1}), core.NotFound)
	}
	renewed, err := d.RenewToken(t.Context(), ofChild, vault.TokenID{}, time.Minute)
	if err != nil || !renewed.ExpiresAt.Equal(d.now.Add(time.Minute)) {
		t.Errorf("%+v, %v", renewed, err)
	}
	_, _, err = d.NewToken(t.Context(), c, vault.TokenRequest{Name: "x", Role: "vault_admin"})
	wantCode(t, err, core.Denied)
	_, err = d.EndToken(t.Context(), c, vault.TokenID{})
	wantCode(t, err, "")
	_, err = d.Token(t.Context(), ofChild, vault.TokenID{})
	wantCode(t, err, core.Unauthenticated)
	_, err = d.Tokens(t.Context(), vault.Caller{Addr: c.Addr}, vault.TokenID{}, 0)
	wantCode(t, err, core.Unauthenticated)
}

func TestGrants(t *testing.T) {
	d, c := roles(t)
	g := vault.Grant{Role: "app", Pattern: "a/x/*", Actions: []string{"audit"}}
	wantCode(t, failed(d.Grant(t.Context(), c, g)), core.Denied)
	if e := d.one(t); e.Action != vault.ActionGrant || e.Name != "audit on a/x/* to app" || e.Outcome != vault.OutcomeDenied {
		t.Errorf("%+v", e)
	}
	d.store.GrantTo("app", "a/*", "manage")
	wantCode(t, failed(d.Grant(t.Context(), c, g)), "")
	outside := g
	outside.Pattern = "b"
	wantCode(t, failed(d.Grant(t.Context(), c, outside)), core.Denied)
	all, err := d.Grants(t.Context(), c)
	if err != nil || len(all) != 8 || slices.ContainsFunc(all, func(g vault.GrantInfo) bool { return g.Pattern == "*" }) {
		t.Errorf("%+v, %v", all, err)
	}
	wantCode(t, failed(d.Revoke(t.Context(), c, g)), "")
	wantCode(t, failed(d.Revoke(t.Context(), c, g)), core.NotFound)
	for _, bad := range []vault.Grant{{}, {Role: "app", Pattern: "a b", Actions: []string{"read"}}, {Role: "app", Pattern: "a"}, {Role: "app", Pattern: "a", Actions: []string{"x"}}} {
		d.recorder.Take()
		wantCode(t, failed(d.Grant(t.Context(), c, bad)), core.Invalid)
		if e := d.one(t); e.Name != "" {
			t.Errorf("%+v", e) // what is no pattern may be a value
		}
	}
	x, err := d.Explain(t.Context(), c, "", "a/b")
	if err != nil || x.Role != "app" || len(x.Lines) != 8 {
		t.Errorf("%+v, %v", x, err)
	}
	_, err = d.Explain(t.Context(), c, "vault_admin", "other")
	wantCode(t, err, core.Denied)
}

// TestEveryActionHasARight: an action that is not known to need less is management.
func TestEveryActionHasARight(t *testing.T) {
	for _, a := range []vault.Action{"", "unheard of", vault.ActionRewrap, vault.ActionRewrapStatus, vault.ActionGrant, vault.ActionAuditPrune} {
		if got := vault.RightOf(a); got != "manage" {
			t.Errorf("%s: %s", a, got)
		}
	}
	for cause := range map[vault.Cause]bool{vault.CauseScope: true, vault.CauseGrant: true, vault.CauseTokenExpired: true} {
		for _, by := range []vault.Credential{{}, {Fingerprint: [32]byte{1}}, {Claims: "{}"}} {
			if (vault.Identity{Cause: cause}).Refusal(by, "read") == nil {
				t.Errorf("%s is no refusal", cause)
			}
		}
	}
	if (vault.Identity{}).Refusal(vault.Credential{}, "read") != nil {
		t.Error("what is allowed is refused")
	}
}

// TestGrantlessHoldersAreNotLockedOut: the holder of a valid token passes the screen in a network from which a flood comes, with
// good requests and with refused ones, which are all recorded.
func TestGrantlessHoldersAreNotLockedOut(t *testing.T) {
	d, c := roles(t)
	d.refuse(t, vault.Caller{Addr: c.Addr}, 100)
	wantCode(t, everything(d, "a/b")["read"](t.Context(), c), "")
	d.recorder.Take()
	for range 100 {
		wantCode(t, everything(d, "other")["read"](t.Context(), c), core.Denied)
	}
	if n := len(d.recorder.Take()); n != 100 {
		t.Errorf("%d records", n)
	}
	wantCode(t, everything(d, "a/b")["read"](t.Context(), vault.Caller{Addr: c.Addr}), "") // nor those without a token that may read
	d.store.RevokeFrom("vault_anonymous", "*", "read", "verify")
	*d.now = d.now.Add(time.Second)
	d.refuse(t, vault.Caller{Addr: c.Addr}, 2)
	wantCode(t, everything(d, "a/b")["read"](t.Context(), vault.Caller{Addr: c.Addr}), core.TooMany)
}

func ExampleActorName() {
	fmt.Println(vault.ActorName("token:ci\x1f9b2e\x1fgithub"), vault.ActorName("reader"))
	// Output: token:ci reader
}
