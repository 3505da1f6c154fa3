package vaultapi

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestDecodeLogin(t *testing.T) {
	for body, want := range map[string]vault.LoginRequest{
		``: {}, `null`: {}, ` {} `: {}, `{"jwt":null}`: {},
		`{"role_id":"r","secret_id":"s","extra":{"a":[1]}}`: {Role: "r", SecretID: "s"},
		`{"role":"r","jwt":"j"}`:                            {Role: "r", JWT: "j"},
		`{"name":"n"}`:                                      {Role: "n"},
	} {
		var r vault.LoginRequest
		f, err := parseFields([]byte(body))
		if err == nil {
			err = decodeLogin(f, &r)
		}
		if err != nil || r.Role != want.Role || r.SecretID != want.SecretID || r.JWT != want.JWT {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{`, `[]`, `"x"`, `{"role":1}`, `{"role":"a","role":"b"}`, "{\"role\":\"\xff\"}", `{} {}`} {
		f, err := parseFields([]byte(body))
		if err == nil {
			err = decodeLogin(f, &vault.LoginRequest{})
		}
		if core.CodeOf(err) != core.Invalid {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestOnlyLogins: where the KV engine is not served, logins are, and nothing else of the protocol.
func TestOnlyLogins(t *testing.T) {
	a := New(Config{OnlyLogins: true})
	for path, want := range map[string]bool{
		"/v1/auth/approle/login": true, "/v1/auth/a/login/": true, "/v1/auth/token/lookup-self": false, "/v1/auth/token/login": false,
		"/v1/sys/health": false, "/v1/secret/data/a": false, "/v1/auth/approle": false, "/v1/auth/approle/roles/login": false,
		"/v1/auth//login": false, "/v1/auth/a/login/b/c": false, "/v1/secrets/auth/a/login": false,
	} {
		if a.Owns(path) != want {
			t.Errorf("%s: it belongs to the protocol: %v", path, !want)
		}
	}
}
