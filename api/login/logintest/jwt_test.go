package logintest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer signs tokens with a key whose public half is in a file.
type issuer struct {
	t    *testing.T
	file string
	key  ed25519.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, file: filepath.Join(t.TempDir(), "keys.json"), key: key}
	if err := os.WriteFile(i.file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) sign(subject string) string {
	i.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: i.key}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		i.t.Fatal(err)
	}
	now := time.Now()
	payload, err := json.Marshal(map[string]any{
		"iss": "https://issuer.example", "aud": []string{"vault"}, "sub": subject, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		i.t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		i.t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return raw
}

// trust configures a mount for the issuer, with a role of batch tokens.
func (r *rig) trust(i *issuer, mount, tokenType string) {
	r.t.Helper()
	r.admin("PUT", "/v1/auth/"+mount, `{"kind":"jwt","config":{"issuer":"https://issuer.example","jwks_url":"file://`+i.file+`","default_role":"web"}}`, 200)
	r.admin("PUT", "/v1/auth/"+mount+"/roles/web", `{"role":"hv_login_web","token_type":"`+tokenType+`","token_ttl_secs":900,`+
		`"config":{"bound_audiences":["vault"],"bound_subject":"system:serviceaccount:shop:web"}}`, 200)
}

func TestJWTLogin(t *testing.T) {
	r := newRig(t, "VAULT_LOGIN_LOCAL_KEYS=on")
	i := newIssuer(t)
	r.trust(i, "kubernetes", "service")
	good := i.sign("system:serviceaccount:shop:web")
	a := mustLogin(t, r.s.URL, "kubernetes", `{"role":"web","jwt":"`+good+`"}`)
	if a.Metadata["subject"] != "system:serviceaccount:shop:web" || a.LeaseDuration != 900 {
		t.Errorf("logged in as %+v", a)
	}
	wantRead(t, r.s.URL, "web/a", a.ClientToken, 200)
	wantRead(t, r.s.URL, "other", a.ClientToken, 403)
	mustLogin(t, r.s.URL, "kubernetes", `{"jwt":"`+good+`"}`) // the default role
	for name, body := range map[string]string{
		"ErrSubject": `{"role":"web","jwt":"` + i.sign("system:serviceaccount:shop:other") + `"}`,
		"ErrRole":    `{"role":"other","jwt":"` + good + `"}`,
		"ErrKey":     `{"role":"web","jwt":"` + newIssuer(t).sign("system:serviceaccount:shop:web") + `"}`,
		"ErrNone":    `{"role":"web"}`,
		"ErrEmpty":   ``,
	} {
		t.Run(name, func(t *testing.T) {
			if status, answer, _ := login(t, r.s.URL, "kubernetes", body); status != 400 || answer != `{"errors":["permission denied"]}` {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	if strings.Contains(r.s.Log(), good) {
		t.Error("the log holds a JWT")
	}
}
