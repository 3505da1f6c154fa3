package httpapi

import (
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestDecodeLogin(t *testing.T) {
	for body, want := range map[string]vault.LoginRequest{
		``: {}, `null`: {}, ` {} `: {},
		`{"role_id":"r","secret_id":"s","extra":{"a":[1]}}`: {Role: "r", SecretID: "s"},
		`{"role":"r","jwt":"j"}`:                            {Role: "r", JWT: "j"},
		`{"name":"n"}`:                                      {Role: "n"},
	} {
		var r vault.LoginRequest
		if _, err := decodeLogin([]byte(body), &r); err != nil || r.Role != want.Role || r.SecretID != want.SecretID || r.JWT != want.JWT {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{`, `[]`, `"x"`, `{"role":1}`, `{"jwt":null}`, `{"role":"a","role":"b"}`, "{\"role\":\"\xff\"}", `{} {}`} {
		if _, err := decodeLogin([]byte(body), &vault.LoginRequest{}); core.CodeOf(err) != core.Invalid {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func FuzzDecodeLogin(f *testing.F) {
	f.Add([]byte(`{"role_id":"r","secret_id":"s"}`))
	f.Add([]byte(`{"role":"r","jwt":"j","x":[{}]}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var r vault.LoginRequest
		if _, err := decodeLogin(body, &r); err != nil && core.CodeOf(err) != core.Invalid {
			t.Errorf("%q: %v", body, err)
		}
	})
}
