package login

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

var t0 = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// rsaKey is made once: it is slow.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func ecKey(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func edKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pemOf(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// clock is a clock that tests set.
type clock struct{ at atomic.Int64 }

func newClock() *clock { c := &clock{}; c.at.Store(t0.UnixNano()); return c }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// gone takes a claim away.
const gone = absent(0)

type absent int

// goodClaims is what the role of goodRole lets in.
func goodClaims(with ...map[string]any) map[string]any {
	c := map[string]any{
		"iss": "https://issuer.example", "aud": "vault", "sub": "system:serviceaccount:shop:web",
		"iat": t0.Unix(), "nbf": t0.Unix(), "exp": t0.Add(time.Hour).Unix(),
	}
	for _, w := range with {
		maps.Copy(c, w)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool {
		_, is := v.(absent)
		return is
	})
	return c
}

func signed(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, c map[string]any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		opts = opts.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func config(t *testing.T, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// staticMethod trusts the given keys.
func staticMethod(t *testing.T, keys ...crypto.Signer) vault.LoginMethod {
	t.Helper()
	var texts []string
	for _, k := range keys {
		texts = append(texts, pemOf(t, k))
	}
	return vault.LoginMethod{Mount: "jwt", Kind: vault.LoginJWT, Revision: 1, Config: config(t, map[string]any{
		"issuer": "https://issuer.example", "static_keys": texts,
	})}
}

func roleOf(t *testing.T, c map[string]any) vault.LoginRole {
	t.Helper()
	return vault.LoginRole{Mount: "jwt", Name: "web", Config: config(t, c)}
}

func goodRole(t *testing.T) vault.LoginRole {
	t.Helper()
	return roleOf(t, map[string]any{"bound_audiences": []string{"vault"}, "bound_subject": "system:serviceaccount:shop:web"})
}

// causeOf returns the cause of a refusal, "" for success, and fails on any other error.
func causeOf(t *testing.T, err error) vault.LoginCause {
	t.Helper()
	if err == nil {
		return ""
	}
	r, ok := errors.AsType[*vault.LoginRefusal](err)
	if !ok {
		t.Fatalf("the error is no refusal: %v", err)
	}
	return r.Cause
}

// keyServer is an issuer's JWKS endpoint that counts its requests.
type keyServer struct {
	*httptest.Server
	asked atomic.Int64
	came  chan struct{} // closed at the first request that is held
	mu    sync.Mutex
	body  []byte
	code  int
	hold  chan struct{} // when not nil, answers wait until it is closed
}

func newKeyServer(t *testing.T, tls bool, keys ...jose.JSONWebKey) *keyServer {
	t.Helper()
	s := &keyServer{code: http.StatusOK, came: make(chan struct{})}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		body, code, hold := s.body, s.code, s.hold
		s.mu.Unlock()
		if hold != nil {
			close(s.came)
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(code)
		_, _ = w.Write(body)
	})
	if tls {
		s.Server = httptest.NewTLSServer(handler)
	} else {
		s.Server = httptest.NewServer(handler)
	}
	t.Cleanup(s.Close)
	s.publish(t, keys...)
	return s
}

func (s *keyServer) publish(t *testing.T, keys ...jose.JSONWebKey) {
	t.Helper()
	s.answer(http.StatusOK, config(t, jose.JSONWebKeySet{Keys: keys}))
}

func (s *keyServer) answer(code int, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.body = code, body
}

// caPEM is the certificate of a TLS server as a ca_pem setting.
func (s *keyServer) caPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func jwk(id string, key crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: id, Use: "sig"}
}

func remoteMethod(t *testing.T, s *keyServer, with ...map[string]any) vault.LoginMethod {
	t.Helper()
	c := map[string]any{"issuer": "https://issuer.example", "jwks_url": s.URL}
	if s.TLS != nil {
		c["ca_pem"] = s.caPEM()
	}
	for _, w := range with {
		maps.Copy(c, w)
	}
	return vault.LoginMethod{Mount: "remote", Kind: vault.LoginJWT, Revision: 1, Config: config(t, c)}
}
