package vault_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

var root = vault.Operator{Name: "root", RequestID: "cli-1"}

func TestTokens(t *testing.T) {
	d := newDoor(t)
	manage := func(b vault.Bearer) core.Code {
		_, err := d.Delete(t.Context(), vault.Caller{Bearer: b}, "none", 1)
		return core.CodeOf(err)
	}
	tok, err := d.CreateToken(t.Context(), root, "ci", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if e := d.one(t); e.Action != vault.ActionTokenCreate || e.Origin.Actor != "cli:root" || e.Outcome != vault.OutcomeOK || e.Name != "ci" {
		t.Fatalf("%+v", e)
	}
	b := vault.Bearer(tok.Reveal())
	if manage(b) != core.NotFound {
		t.Fatal("a new token is not accepted")
	}
	if e := d.one(t); e.Origin.Actor != "token:ci" {
		t.Fatalf("%+v", e)
	}
	t.Run("ErrExists", func(t *testing.T) {
		_, err := d.CreateToken(t.Context(), root, "ci", 0)
		wantCode(t, err, core.Exists)
		if e := d.one(t); e.Outcome != vault.OutcomeFailed || e.Code != core.Exists {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("ErrExpired", func(t *testing.T) {
		before := *d.now
		*d.now = before.Add(time.Hour)
		if manage(b) != core.Unauthenticated {
			t.Error("an expired token is accepted")
		}
		*d.now = before
	})
	t.Run("ErrRevoked", func(t *testing.T) {
		wantCode(t, d.RevokeToken(t.Context(), root, "ci"), "")
		if manage(b) != core.Unauthenticated {
			t.Error("a revoked token is accepted")
		}
		if manage(d.admin.Bearer) != core.NotFound {
			t.Error("the other token is refused")
		}
		wantCode(t, d.RevokeToken(t.Context(), root, "ci"), core.NotFound)
	})
	d.recorder.Take()
	t.Run("OKList", func(t *testing.T) {
		l, err := d.ListTokens(t.Context(), root)
		if err != nil || len(l) != 2 || (l[0].Name == "ci") == l[0].RevokedAt.IsZero() || (l[1].Name == "ci") == l[1].RevokedAt.IsZero() {
			t.Fatalf("%+v, %v", l, err)
		}
		if e := d.one(t); e.Action != vault.ActionTokenList || e.Outcome != vault.OutcomeOK {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("ErrInvalid", func(t *testing.T) {
		for _, n := range []string{"", "a b", strings.Repeat("x", 65), "a+b", "\n"} {
			_, err := d.CreateToken(t.Context(), root, n, 0)
			wantCode(t, err, core.Invalid)
			wantCode(t, d.RevokeToken(t.Context(), root, n), core.Invalid)
		}
		_, err := d.CreateToken(t.Context(), root, "x", -time.Second)
		wantCode(t, err, core.Invalid)
	})
	t.Run("ErrNamelessOperator", func(t *testing.T) {
		_, err := d.CreateToken(t.Context(), vault.Operator{}, "x", 0)
		wantCode(t, err, core.Denied)
	})
}

func TestAuthenticationNeedsThePrimary(t *testing.T) {
	d := newDoor(t)
	d.store.FailWith(func(op string) error { return core.Errorf(core.Unavailable, "no primary") })
	_, err := d.Create(t.Context(), d.admin, vault.CreateRequest{Name: "a", Value: []byte(marker)})
	wantCode(t, err, core.Unavailable)
	if e := d.one(t); e.Origin.Actor != "anonymous" || e.Code != core.Unavailable {
		t.Fatalf("%+v", e)
	}
}

func TestBearerNeverPrints(t *testing.T) {
	b := vault.Bearer("hvt_" + marker)
	c := vault.Caller{Bearer: b}
	var out strings.Builder
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "bearer", b, "caller", c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "bearer", b, "caller", c)
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d %v %+v %#v", b, b, b, b, b, b, b, c, c, c)
	if strings.Contains(out.String(), marker) || strings.Contains(out.String(), fmt.Sprintf("%x", marker)) {
		t.Errorf("printed: %s", out.String())
	}
}
