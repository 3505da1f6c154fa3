package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"time"
)

// logins are by a JWT of an issuer whose key is configured, and issue batch tokens, which are stored nowhere.
func (r *rest) logins(conns int) *load {
	return cycle(r.addr, conns, [][]byte{r.login})
}

const loginMount = "bench"

// openLogins configures the method and its role, and prepares the one request.
func (r *rest) openLogins(c *client) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err := r.configure(c, "", map[string]any{"kind": "jwt", "config": map[string]any{
		"issuer": "https://bench", "static_keys": []string{key}, "bound_audiences": []string{"bench"},
	}}); err != nil {
		return err
	}
	if err := r.configure(c, "/roles/app", map[string]any{
		"role": "vault_anonymous", "token_type": "batch", "token_ttl_secs": 600, "token_max_ttl_secs": 600,
		"config": map[string]any{"bound_subject": "bench"},
	}); err != nil {
		return err
	}
	jwt := signed(private, map[string]any{
		"iss": "https://bench", "aud": "bench", "sub": "bench", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	body, _ := json.Marshal(map[string]string{"role": "app", "jwt": jwt})
	r.login = request("PUT", r.addr, "/v1/auth/"+loginMount+"/login", "", string(body))
	return nil
}

func (r *rest) configure(c *client, path string, settings map[string]any) error {
	body, err := json.Marshal(settings)
	if err == nil {
		_, err = c.do(request("PUT", r.addr, "/v1/auth/"+loginMount+path, r.token, string(body)), http.StatusOK, nil)
	}
	if err != nil {
		return fmt.Errorf("configure a login: %w", err)
	}
	return nil
}

// signed returns a compact JWT.
func signed(key ed25519.PrivateKey, claims map[string]any) string {
	header, _ := json.Marshal(map[string]string{"alg": "EdDSA", "typ": "JWT"})
	payload, _ := json.Marshal(claims)
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}
