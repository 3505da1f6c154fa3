package login

import (
	"context"
	"crypto"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// remote is a verifier, and a method whose keys are at a TLS server.
type remote struct {
	t *testing.T
	*keyServer
	*clock
	v *Verifier
	m vault.LoginMethod
}

func newRemote(t *testing.T, keys ...jose.JSONWebKey) *remote {
	t.Helper()
	r := &remote{t: t, keyServer: newKeyServer(t, true, keys...), clock: newClock()}
	r.v, r.m = New(Config{Clock: r.clock.now}), remoteMethod(t, r.keyServer)
	return r
}

// try logs in with a token that is valid at the clock's time.
func (r *remote) try(kid string, key crypto.Signer) error {
	r.t.Helper()
	now := r.clock.now()
	raw := signed(r.t, jose.EdDSA, key, kid, goodClaims(map[string]any{"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()}))
	_, err := r.v.JWT(r.t.Context(), r.m, goodRole(r.t), raw)
	return err
}

func (r *remote) wantAsked(n int64) {
	r.t.Helper()
	if got := r.asked.Load(); got != n {
		r.t.Errorf("the issuer was asked %d times, want %d", got, n)
	}
}

func (r *remote) wantIn(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("refused: %v", err)
	}
}

func (r *remote) wantCause(err error, want vault.LoginCause) {
	r.t.Helper()
	if got := causeOf(r.t, err); got != want {
		r.t.Fatalf("cause is %q, want %q", got, want)
	}
}

func TestJWKSRotation(t *testing.T) {
	old, next := edKey(t), edKey(t)
	r := newRemote(t, jwk("1", old))
	r.wantIn(r.try("1", old))
	r.wantAsked(1)

	r.publish(t, jwk("1", old), jwk("2", next))
	r.advance(fetchPause)
	r.wantIn(r.try("2", next)) // an unknown key id is worth a fetch
	r.wantIn(r.try("1", old))
	r.wantAsked(2)

	r.publish(t, jwk("2", next))
	r.wantIn(r.try("1", old)) // not known here yet
	r.advance(keysFresh)
	r.wantCause(r.try("1", old), vault.CauseLoginSignature) // a withdrawn key ends
	r.wantIn(r.try("2", next))
	r.wantAsked(3)
}

// An issuer that gives a new key the id of the old one is understood, too.
func TestJWKSRotationWithTheSameID(t *testing.T) {
	old, next := edKey(t), edKey(t)
	r := newRemote(t, jwk("1", old))
	r.wantIn(r.try("1", old))
	r.publish(t, jwk("1", next))
	r.advance(fetchPause)
	r.wantIn(r.try("1", next))
	r.wantCause(r.try("1", old), vault.CauseLoginSignature)
}

func TestJWKSAway(t *testing.T) {
	key := edKey(t)
	r := newRemote(t, jwk("1", key))
	r.answer(http.StatusInternalServerError, nil)
	if err := r.try("1", key); core.CodeOf(err) != core.Unavailable {
		t.Fatalf("without keys: %v", err)
	}
	r.wantAsked(1)
	if err := r.try("1", key); core.CodeOf(err) != core.Unavailable { // at once
		t.Fatalf("without keys: %v", err)
	}
	r.wantAsked(1)

	r.publish(t, jwk("1", key))
	r.advance(fetchPause)
	r.wantIn(r.try("1", key))
	r.wantAsked(2)

	r.answer(http.StatusInternalServerError, nil)
	r.advance(keysFresh)
	r.wantIn(r.try("1", key)) // cached keys go on
	r.wantAsked(3)
	r.wantIn(r.try("1", key)) // and do not wait for the issuer each time
	r.wantAsked(3)
	r.advance(keysHold - keysFresh)
	if err := r.try("1", key); core.CodeOf(err) != core.Unavailable {
		t.Fatalf("with keys that are too old: %v", err)
	}
}

func TestUnknownKeyIDsDoNotHammer(t *testing.T) {
	key := edKey(t)
	r := newRemote(t, jwk("1", key))
	r.wantIn(r.try("1", key))
	forger := edKey(t)
	for i := range 200 {
		r.wantCause(r.try(string(rune('a'+i%26))+"x", forger), vault.CauseLoginSignature)
	}
	r.wantAsked(1)
	r.advance(fetchPause)
	for range 200 {
		r.wantCause(r.try("unknown", forger), vault.CauseLoginSignature)
	}
	r.wantAsked(2)
	r.wantIn(r.try("1", key))
}

// Many logins at once share one fetch, and a client that gives up does not end it for the others.
func TestFetchIsShared(t *testing.T) {
	key := edKey(t)
	r := newRemote(t, jwk("1", key))
	hold := make(chan struct{})
	r.mu.Lock()
	r.hold = hold
	r.mu.Unlock()
	raw := signed(t, jose.EdDSA, key, "1", goodClaims())
	gone, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := r.v.JWT(gone, r.m, goodRole(t), raw)
		first <- err
	}()
	<-r.came
	cancel()
	if err := <-first; core.CodeOf(err) != core.Unavailable {
		t.Fatalf("who gave up got %v", err)
	}
	var wait sync.WaitGroup
	role := goodRole(t)
	for range 20 {
		wait.Go(func() {
			if _, err := r.v.JWT(t.Context(), r.m, role, raw); err != nil {
				t.Error(err)
			}
		})
	}
	close(hold)
	wait.Wait()
	r.wantAsked(1)
}

func TestChangedMethodForgetsKeys(t *testing.T) {
	key, other := edKey(t), edKey(t)
	r := newRemote(t, jwk("1", key))
	r.wantIn(r.try("1", key))
	elsewhere := newKeyServer(t, true, jwk("1", other))
	r.m = remoteMethod(t, elsewhere)
	r.m.Revision = 2
	r.wantCause(r.try("1", key), vault.CauseLoginSignature)
	r.wantIn(r.try("1", other))
}

func TestDiscovery(t *testing.T) {
	key := edKey(t)
	r := newRemote(t, jwk("1", key))
	keys := config(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk("1", key)}})
	document := func(issuer, keysURL string) *httptest.Server {
		s := httptest.NewTLSServer(nil)
		t.Cleanup(s.Close)
		if keysURL == "" {
			keysURL = s.URL + "/keys"
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /tenant/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(config(t, map[string]any{"issuer": issuer, "jwks_uri": keysURL}))
		})
		mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keys) })
		mux.HandleFunc("GET /redirect", func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, "/keys", http.StatusFound) })
		s.Config.Handler = mux
		return s
	}
	method := func(s *httptest.Server) vault.LoginMethod {
		return vault.LoginMethod{Mount: s.URL, Kind: vault.LoginJWT, Config: config(t, map[string]any{
			"issuer": "https://issuer.example", "discovery_url": s.URL + "/tenant/", "ca_pem": (&keyServer{Server: s}).caPEM(),
		})}
	}
	t.Run("OK", func(t *testing.T) {
		r.m = method(document("https://issuer.example", ""))
		r.wantIn(r.try("1", key))
	})
	for name, c := range map[string]struct{ issuer, keys string }{
		"ErrAnotherIssuer": {"https://attacker.example", ""},
		"ErrKeysOverHTTP":  {"https://issuer.example", "http://127.0.0.1/keys"},
		"ErrKeysInFile":    {"https://issuer.example", "file:///etc/passwd"},
		"ErrNoKeys":        {"https://issuer.example", "https://127.0.0.1:1/keys"},
	} {
		t.Run(name, func(t *testing.T) {
			r.m = method(document(c.issuer, c.keys))
			if err := r.try("1", key); core.CodeOf(err) != core.Unavailable {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("ErrRedirect", func(t *testing.T) {
		s := document("https://issuer.example", "")
		r.m = vault.LoginMethod{Mount: "redirect", Kind: vault.LoginJWT, Config: config(t, map[string]any{
			"issuer": "https://issuer.example", "jwks_url": s.URL + "/redirect", "ca_pem": (&keyServer{Server: s}).caPEM(),
		})}
		if err := r.try("1", key); core.CodeOf(err) != core.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

func TestFetchBounds(t *testing.T) {
	key := edKey(t)
	r := newRemote(t, jwk("1", key))
	good := config(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk("1", key)}})
	for name, body := range map[string]string{
		"ErrTooLong":   string(good) + strings.Repeat(" ", maxFetched),
		"ErrNoJSON":    "<html>",
		"ErrEmpty":     "",
		"ErrNoKeys":    `{"keys":[]}`,
		"ErrTooMany":   `{"keys":[` + strings.Repeat(`{},`, maxKeys) + `{}]}`,
		"ErrSymmetric": `{"keys":[{"kty":"oct","kid":"1","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			r.answer(http.StatusOK, []byte(body))
			r.advance(keysFresh)
			if err := r.try("1", key); core.CodeOf(err) != core.Unavailable {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("OKAtTheLimit", func(t *testing.T) {
		r.answer(http.StatusOK, append(good, strings.Repeat(" ", maxFetched-len(good))...))
		r.advance(keysFresh)
		r.wantIn(r.try("1", key))
	})
	t.Run("ErrUntrustedServer", func(t *testing.T) {
		m := r.m
		m.Config = config(t, map[string]any{"issuer": "https://issuer.example", "jwks_url": r.URL})
		_, err := r.v.JWT(t.Context(), m, goodRole(t), signed(t, jose.EdDSA, key, "1", goodClaims()))
		if core.CodeOf(err) != core.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

// A key set may hold keys that are none of ours: they hinder no other, and sign nothing.
func TestKeySetSkipsKeys(t *testing.T) {
	good, private := edKey(t), edKey(t)
	enc := jwk("enc", good)
	enc.Use = "enc"
	list := []json.RawMessage{
		json.RawMessage(`{"kty":"future","kid":"f"}`), json.RawMessage(`7`), json.RawMessage(`{"kty":"RSA","n":"AQAB","e":"AQAB"}`),
		config(t, jose.JSONWebKey{Key: private, KeyID: "p"}), config(t, enc), config(t, jwk("1", good)),
	}
	keys, err := parseKeySet(config(t, map[string]any{"keys": list}))
	if err != nil || len(keys) != 1 || keys[0].KeyID != "1" {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
}

func TestLocalKeys(t *testing.T) {
	key := edKey(t)
	s := newKeyServer(t, false, jwk("1", key))
	dir := t.TempDir()
	file := filepath.Join(dir, "keys.json")
	if err := os.WriteFile(file, config(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk("1", key)}}), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	login := func(local bool, url string) error {
		v := New(Config{Clock: newClock().now, LocalKeys: local})
		m := vault.LoginMethod{Mount: "l", Kind: vault.LoginJWT, Config: config(t, map[string]any{"issuer": "https://issuer.example", "jwks_url": url})}
		_, err := v.JWT(t.Context(), m, goodRole(t), signed(t, jose.EdDSA, key, "1", goodClaims()))
		return err
	}
	for _, url := range []string{s.URL, "file://" + file} {
		if err := login(true, url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if err := login(false, url); core.CodeOf(err) != core.Unavailable {
			t.Errorf("%s although it is not allowed: %v", url, err)
		}
	}
	for _, url := range []string{"file://" + pipe, "file:///dev/zero", "file://" + dir, "file://" + file + "x"} {
		if err := login(true, url); core.CodeOf(err) != core.Unavailable {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"http://localhost/x", "http://10.0.0.1/x", "http://127.0.0.1.example/x", "ftp://127.0.0.1/x", "file://host/x", "file:///a/../b"} {
		if err := login(true, url); core.CodeOf(err) != core.Invalid {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[null]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeySet(text)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys and %v", len(keys), err)
		}
		for _, k := range keys {
			if !k.IsPublic() || !acceptable(k.Key) {
				t.Errorf("accepted %T", k.Key)
			}
		}
	})
}
