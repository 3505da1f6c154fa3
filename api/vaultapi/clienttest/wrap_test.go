package clienttest

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/vault/api"
	bao "github.com/openbao/openbao/api/v2"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// wrapped is a client that has every answer wrapped.
func wrapped(t *testing.T, s *site, ttl string) *api.Client {
	t.Helper()
	client := newVaultClient(t, s)
	client.SetWrappingLookupFunc(func(string, string) string { return ttl })
	return client
}

const textUsed = "wrapping token is not valid or does not exist"

func TestWrapping(t *testing.T) {
	s := newSite(t)
	s.MustCreate(t, "app/w", "marker-7c1e")
	got, err := wrapped(t, s, "60s").Logical().Read("secret/data/app/w")
	ok(t, err)
	w := got.WrapInfo
	if got.Data != nil || w == nil || w.TTL != 60 || w.CreationPath != "secret/data/app/w" || w.CreationTime.IsZero() || !strings.HasPrefix(w.Token, "hvw_") {
		t.Fatalf("%+v %+v", got, w)
	}
	none := newVaultClient(t, s)
	none.SetToken(w.Token)
	t.Run("IsNoToken", func(t *testing.T) {
		for _, path := range []string{"secret/data/app/w", "auth/token/lookup-self"} {
			if got, err := none.Logical().Read(path); !mentions(err, 403, "permission denied") {
				t.Errorf("%s by a wrapping token: %+v %v", path, got, err)
			}
		}
	})
	known, err := none.Logical().Write("sys/wrapping/lookup", map[string]any{"token": w.Token})
	ok(t, err)
	if known.Data["creation_path"] != "secret/data/app/w" || known.Data["creation_time"] == nil {
		t.Fatalf("%v", known.Data)
	}
	again, err := none.Logical().Write("sys/wrapping/rewrap", map[string]any{"token": w.Token})
	ok(t, err)
	if _, err := none.Logical().Unwrap(w.Token); !mentions(err, 400, textUsed) {
		t.Fatalf("the token before the rewrap: %v", err)
	}
	if again.WrapInfo.CreationPath != "secret/data/app/w" || again.WrapInfo.TTL != 60 {
		t.Fatalf("%+v", again.WrapInfo)
	}
	client := newVaultClient(t, s)
	client.SetToken(again.WrapInfo.Token)
	data, err := client.Logical().Unwrap("") // the wrapping token in the header
	ok(t, err)
	if data.Data["data"].(map[string]any)["value"] != "marker-7c1e" || data.WrapInfo != nil {
		t.Fatalf("%+v", data)
	}
	for _, c := range []*api.Client{client, newVaultClient(t, s)} {
		if _, err := c.Logical().Unwrap(again.WrapInfo.Token); !mentions(err, 400, textUsed) {
			t.Fatalf("twice: %v", err)
		}
	}
	if got := queried(t, s, "SELECT string_agg(action || ' ' || outcome || ' ' || coalesce(secret_name, '-'), ', ' ORDER BY id) FROM vault.audit_log WHERE action IN ('wrap', 'unwrap') AND outcome = 'ok'"); got !=
		"wrap ok app/w, wrap ok app/w, unwrap ok app/w" {
		t.Errorf("recorded: %s", got)
	}
}

// TestWrappedLogin: a login and a new secret id are delivered wrapped.
func TestWrappedLogin(t *testing.T) {
	s := newSite(t)
	secret, err := wrapped(t, s, "5m").Logical().Write("auth/approle/login", map[string]any{"role_id": s.roleID, "secret_id": s.secretID})
	ok(t, err)
	if secret.Auth != nil || secret.WrapInfo.WrappedAccessor == "" || secret.WrapInfo.TTL != 300 {
		t.Fatalf("%+v %+v", secret, secret.WrapInfo)
	}
	client := newVaultClient(t, s)
	client.ClearToken()
	client.SetToken(secret.WrapInfo.Token)
	in, err := client.Logical().Unwrap("")
	ok(t, err)
	if in.Auth.ClientToken == "" || in.Auth.Accessor != secret.WrapInfo.WrappedAccessor {
		t.Fatalf("%+v", in.Auth)
	}
	client.SetToken(in.Auth.ClientToken)
	_, err = client.Auth().Token().LookupSelf()
	ok(t, err)
	own, err := wrapped(t, s, "60s").Logical().Write("sys/wrapping/wrap", map[string]any{"zip": "zap", "n": 12345678901234567})
	ok(t, err)
	b := bao.DefaultConfig()
	b.Address = s.URL
	openbao, err := bao.NewClient(b)
	ok(t, err)
	openbao.SetToken(s.AdminToken)
	back, err := openbao.Logical().Unwrap(own.WrapInfo.Token)
	ok(t, err)
	if back.Data["zip"] != "zap" {
		t.Fatalf("%v", back.Data)
	}
	if status, answer := s.Do(t, "PUT", "/v1/sys/wrapping/wrap", `{"zip":"zap"}`); status != 400 || !strings.Contains(answer, "endpoint requires response wrapping") {
		t.Errorf("wrap without a lifetime: %d %s", status, answer)
	}
	if _, err := wrapped(t, s, "60s").Logical().Write("auth/approle/login", map[string]any{"role_id": s.roleID, "secret_id": "hvi_x"}); !mentions(err, 400, "invalid role or secret ID") {
		t.Errorf("a refused login: %v", err)
	}
}

// TestWrappingTraps: no caller gets in the clear what was to be wrapped.
func TestWrappingTraps(t *testing.T) {
	s := newSite(t)
	s.MustCreate(t, "app/w", "marker-7c1e")
	for _, ttl := range []string{"x", "500ms", "-5s", "9999h"} {
		if got, err := wrapped(t, s, ttl).Logical().Read("secret/data/app/w"); err == nil || got != nil {
			t.Errorf("for %s: %+v", ttl, got)
		}
	}
	anonymous := wrapped(t, s, "60s")
	anonymous.ClearToken()
	if got, err := anonymous.Logical().Read("secret/data/app/w"); err == nil {
		t.Errorf("without a token: %+v", got)
	}
	if got, err := wrapped(t, s, "60s").Logical().Read("secret/data/app/none"); err != nil || got != nil {
		t.Errorf("nothing there: %+v %v", got, err)
	}
	ok(t, wrapped(t, s, "60s").KVv2("secret").DeleteMetadata(t.Context(), "app/gone"))
	if _, err := wrapped(t, s, "60s").Sys().Health(); err != nil {
		t.Errorf("what is never wrapped: %v", err)
	}
	one, err := wrapped(t, s, "1s").Logical().Read("secret/data/app/w")
	ok(t, err)
	s.db.MustExec(t, "UPDATE vault.wrapped_answers SET expires_at = clock_timestamp()")
	if _, err := newVaultClient(t, s).Logical().Unwrap(one.WrapInfo.Token); !mentions(err, 400, textUsed) {
		t.Errorf("one that has ended: %v", err)
	}
	s.db.MustExec(t, "SELECT vault.supervise(1000, false)")
	if n := queried(t, s, "SELECT count(*)::text FROM vault.wrapped_answers"); n != "0" {
		t.Errorf("%s answers that have ended are kept", n)
	}
	two, err := wrapped(t, s, "60s").Logical().Read("secret/data/app/w")
	ok(t, err)
	if n := queried(t, s, "SELECT count(*)::text FROM vault.wrapped_answers w WHERE strpos(w::text, 'marker') > 0 OR strpos(w::text, encode('marker-7c1e', 'hex')) > 0 OR strpos(w::text, 'hvw_') > 0"); n != "0" {
		t.Error("an answer or a token is stored in the clear")
	}
	// A row that is given to another token does not open.
	mine, err := wrapped(t, s, "60s").Logical().Write("sys/wrapping/wrap", map[string]any{"a": "b"})
	ok(t, err)
	s.db.MustExec(t, `WITH a AS (DELETE FROM vault.wrapped_answers WHERE path = 'sys/wrapping/wrap' RETURNING fingerprint)
		UPDATE vault.wrapped_answers w SET fingerprint = a.fingerprint FROM a`)
	if got, err := newVaultClient(t, s).Logical().Unwrap(mine.WrapInfo.Token); err == nil {
		t.Errorf("the answer of another token: %+v", got)
	}
	_ = two
}

// TestWrappingIsBounded: a token has so many wrapped answers at a time, and no more.
func TestWrappingIsBounded(t *testing.T) {
	s := newSite(t)
	client := wrapped(t, s, "60s")
	first, err := client.Logical().Write("sys/wrapping/wrap", map[string]any{"a": "b"})
	ok(t, err)
	s.db.MustExec(t, `INSERT INTO vault.wrapped_answers SELECT gen_random_uuid(), sha256(i::text::bytea), owner, secret_name, path, envelope_version, kms_key_id,
		wrapped_dek, nonce, ciphertext, created_at, expires_at FROM vault.wrapped_answers, generate_series(2, 1000) i`)
	if _, err := client.Logical().Write("sys/wrapping/wrap", map[string]any{"a": "b"}); !mentions(err, 429, "as many wrapped answers as it may") {
		t.Errorf("beyond the bound: %v", err)
	}
	_, err = client.Logical().Write("sys/wrapping/rewrap", map[string]any{"token": first.WrapInfo.Token})
	if !mentions(err, 400, "not wrapped") {
		t.Errorf("a rewrap that asks for wrapping: %v", err)
	}
	_, err = newVaultClient(t, s).Logical().Unwrap(first.WrapInfo.Token)
	ok(t, err)
	_, err = client.Logical().Write("sys/wrapping/wrap", map[string]any{"a": "b"})
	ok(t, err)
}

// TestUnwrapOnce: of many at once, on several nodes, exactly one gets the answer. It does after a failover as well.
func TestUnwrapOnce(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, c)
	standby := c.NewStandby(t)
	first := newSiteOn(t, db)
	second := *first
	second.Server = vaulttest.NewServer(t, db.On(standby))
	first.MustCreate(t, "app/w", "v")
	for range 5 {
		secret, err := wrapped(t, first, "60s").Logical().Read("secret/data/app/w")
		ok(t, err)
		var mu sync.Mutex
		var all sync.WaitGroup
		got, refused := 0, 0
		for i := range 16 {
			client := newVaultClient(t, []*site{first, &second}[i%2])
			all.Go(func() {
				_, err := client.Logical().Unwrap(secret.WrapInfo.Token)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					got++
				case mentions(err, 400, textUsed):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got != 1 || refused != 15 {
			t.Fatalf("%d got the answer, %d were refused", got, refused)
		}
	}
	secret, err := wrapped(t, first, "60s").Logical().Read("secret/data/app/w")
	ok(t, err)
	standby.MustCatchUp(t)
	c.MustStop(t, syscall.SIGKILL)
	standby.MustPromote(t)
	after := newVaultClient(t, &second)
	_, err = after.Logical().Unwrap(secret.WrapInfo.Token)
	ok(t, err)
	if _, err := after.Logical().Unwrap(secret.WrapInfo.Token); !mentions(err, http.StatusBadRequest, textUsed) {
		t.Errorf("twice after a failover: %v", err)
	}
}

// queried returns the one text that a query of a superuser finds.
func queried(t *testing.T, s *site, sql string) (text string) {
	t.Helper()
	ok(t, s.db.MustConnect(t, pgtest.Superuser).QueryRow(t.Context(), sql).Scan(&text))
	return text
}
