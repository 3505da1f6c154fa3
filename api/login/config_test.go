package login

import (
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

func TestCheckMethod(t *testing.T) {
	key := config(t, pemOf(t, edKey(t)))
	ca := config(t, newKeyServer(t, true, jwk("1", edKey(t))).caPEM())
	for _, good := range []struct {
		kind vault.LoginKind
		text string
	}{
		{vault.LoginAppRole, ``}, {vault.LoginAppRole, `{}`}, {vault.LoginCertificate, `null`},
		{vault.LoginJWT, `{"issuer":"x","static_keys":[` + string(key) + `]}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b","clock_skew_secs":0,"algorithms":["ES256"],"default_role":"d"}`},
		{vault.LoginJWT, `{"issuer":"x","discovery_url":"https://a","ca_pem":` + string(ca) + `,"clock_skew_secs":300}`},
	} {
		if err := CheckMethod(good.kind, json.RawMessage(good.text)); err != nil {
			t.Errorf("%s %s: %v", good.kind, good.text, err)
		}
	}
	p224, err := x509.MarshalPKIXPublicKey(ecKey(t, elliptic.P224()).Public())
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := x509.MarshalPKIXPublicKey(agreement.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(edKey(t))
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(config(t, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))))
	}
	static := func(key string) string { return `{"issuer":"x","static_keys":[` + key + `]}` }
	for _, bad := range []struct {
		kind vault.LoginKind
		text string
	}{
		{"ldap", `{}`}, {vault.LoginAppRole, `{"x":1}`}, {vault.LoginAppRole, `[]`}, {vault.LoginAppRole, `{} {}`},
		{vault.LoginJWT, `{}`}, {vault.LoginJWT, `{"issuer":"x"}`}, {vault.LoginJWT, `{"jwks_url":"https://a/b"}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b","discovery_url":"https://a"}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"http://a/b"}`}, {vault.LoginJWT, `{"issuer":"x","jwks_url":"https://u:p@a/b"}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https:///b"}`}, {vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b#c"}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b","algorithms":["HS256"]}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b","algorithms":["none"]}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b","clock_skew_secs":301}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b","clock_skew_secs":-1}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b","ca_pem":"nothing"}`},
		{vault.LoginJWT, `{"issuer":"x","jwks_url":"https://a/b","audience":["misspelt"]}`},
		{vault.LoginJWT, static(`"no PEM"`)}, {vault.LoginJWT, static(block("PUBLIC KEY", []byte("x")))},
		{vault.LoginJWT, static(block("PUBLIC KEY", p224))}, {vault.LoginJWT, static(block("PUBLIC KEY", x25519))},
		{vault.LoginJWT, static(string(config(t, pemOf(t, small))))}, {vault.LoginJWT, static(block("PRIVATE KEY", private))},
	} {
		if err := CheckMethod(bad.kind, json.RawMessage(bad.text)); core.CodeOf(err) != core.Invalid {
			t.Errorf("%s %s: %v", bad.kind, bad.text, err)
		}
	}
	long := json.RawMessage(fmt.Sprintf(`{"issuer":%q}`, strings.Repeat("x", MaxConfigLen)))
	if err := CheckMethod(vault.LoginJWT, long); core.CodeOf(err) != core.TooLarge {
		t.Error(err)
	}
}

func TestCheckRole(t *testing.T) {
	method := json.RawMessage(`{"issuer":"x","jwks_url":"https://a/b"}`)
	withAudience := json.RawMessage(`{"issuer":"x","jwks_url":"https://a/b","bound_audiences":["vault"]}`)
	good := func(kind vault.LoginKind, method json.RawMessage, text string) {
		t.Helper()
		if err := CheckRole(kind, method, json.RawMessage(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	bad := func(kind vault.LoginKind, method json.RawMessage, text string) {
		t.Helper()
		if err := CheckRole(kind, method, json.RawMessage(text)); core.CodeOf(err) != core.Invalid {
			t.Errorf("%s: %v", text, err)
		}
	}
	good(vault.LoginJWT, method, `{"bound_audiences":["a"],"bound_subject":"s"}`)
	good(vault.LoginJWT, withAudience, `{"bound_claims":{"a":"b","c":["d",1,true]}}`)
	bad(vault.LoginJWT, method, `{"bound_subject":"s"}`) // an audience is required
	bad(vault.LoginJWT, withAudience, `{}`)              // every token of GitHub would be let in
	bad(vault.LoginJWT, withAudience, `{"bound_claims":{}}`)
	bad(vault.LoginJWT, withAudience, `{"bound_claims":{"a":[]}}`)
	bad(vault.LoginJWT, withAudience, `{"bound_claims":{"a":null}}`)
	bad(vault.LoginJWT, withAudience, `{"bound_claims":{"a":{}}}`)
	bad(vault.LoginJWT, withAudience, `{"bound_claims":{"":"x"}}`)
	bad(vault.LoginJWT, withAudience, `{"bound_claims_glob":{"a":"*"}}`)
	bad(vault.LoginJWT, withAudience, `{"bound_claims_glob":{"a":["x","**"]}}`)
	bad(vault.LoginJWT, withAudience, `{"bound_subject":"s","max_age_secs":0}`)
	bad(vault.LoginJWT, withAudience, `{"bound_subject":"s","bound_claim":{"a":"b"}}`)

	good(vault.LoginAppRole, nil, `{"secret_id_ttl_secs":3600,"secret_id_num_uses":1,"secret_id_bound_cidrs":["10.0.0.0/8","::1"]}`)
	bad(vault.LoginAppRole, nil, `{"secret_id_ttl_secs":-1}`)
	bad(vault.LoginAppRole, nil, `{"secret_id_num_uses":1.5}`)
	bad(vault.LoginAppRole, nil, `{"secret_id_bound_cidrs":["10.0.0.1/8"]}`)
	bad(vault.LoginAppRole, nil, `{"secret_id_bound_cidrs":["::ffff:10.0.0.1"]}`)
	bad(vault.LoginAppRole, nil, `{"bind_secret_id":false}`)

	good(vault.LoginCertificate, nil, `{"allowed_dns_sans":["*.example"]}`)
	bad(vault.LoginCertificate, nil, `{}`)
	bad(vault.LoginCertificate, nil, `{"allowed_common_names":["*"]}`)
	bad(vault.LoginCertificate, nil, `{"allowed_fingerprints":["abcd"]}`)
	bad("ldap", nil, `{}`)
}

func TestParseAppRole(t *testing.T) {
	r, err := ParseAppRole(json.RawMessage(`{"secret_id_ttl_secs":60,"secret_id_num_uses":3,"secret_id_bound_cidrs":["10.0.0.0/8","::1"]}`))
	if err != nil || r.SecretIDTTL != time.Minute || r.SecretIDUses != 3 || fmt.Sprint(r.SecretIDCIDRs) != "[10.0.0.0/8 ::1/128]" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := ParseAppRole(nil); err != nil || r.SecretIDTTL != 0 || r.SecretIDUses != 0 || r.SecretIDCIDRs != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct{ pattern, text string }{
		{"", ""}, {"a", "a"}, {"*", ""}, {"*", "a/b"}, {"a*", "a"}, {"a*", "ab"}, {"*b", "ab"}, {"a*c", "ac"}, {"a*c", "abbc"},
		{"*a*a*", "xaya"}, {"a**b", "ab"}, {"*.x", "a.x.x"}, {"a*b*c", "abcbc"},
	} {
		if !glob(c.pattern, c.text) {
			t.Errorf("%q does not match %q", c.pattern, c.text)
		}
	}
	for _, c := range []struct{ pattern, text string }{
		{"", "a"}, {"a", ""}, {"a", "A"}, {"a", "ab"}, {"a*", "ba"}, {"*b", "ba"}, {"a*a", "a"}, {"ab*ba", "aba"}, {"*a*a*", "xa"},
		{"a?", "ab"}, {"[a]", "a"}, {`\*`, "*"},
	} {
		if glob(c.pattern, c.text) {
			t.Errorf("%q matches %q", c.pattern, c.text)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(`{"issuer":"x","jwks_url":"https://a/b","bound_audiences":["a"]}`, `{"bound_claims":{"a":"b"}}`)
	f.Add(`{}`, `{"secret_id_ttl_secs":1}`)
	f.Add(`null`, `{"allowed_common_names":["a"]}`)
	f.Fuzz(func(t *testing.T, method, role string) {
		for _, kind := range []vault.LoginKind{vault.LoginJWT, vault.LoginAppRole, vault.LoginCertificate} {
			for _, err := range []error{
				CheckMethod(kind, json.RawMessage(method)), CheckRole(kind, json.RawMessage(method), json.RawMessage(role)),
			} {
				if code := core.CodeOf(err); code != "" && code != core.Invalid && code != core.TooLarge {
					t.Errorf("%s: %v", code, err)
				}
			}
		}
	})
}
