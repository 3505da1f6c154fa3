package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest/pki"
	"github.com/hyperiondb/hyperion-vault/client"
)

// securedVault is a real vault over TLS that lets a role in by JWT and by certificate.
type securedVault struct {
	t    *testing.T
	ca   *pki.CA
	env  []string // of the command, without a certificate of its own
	key  ed25519.PrivateKey
	role string
}

func newSecuredVault(t *testing.T) *securedVault {
	t.Helper()
	dir, v := t.TempDir(), &securedVault{t: t, ca: pki.NewCA(t)}
	p := v.ca.Issue(t, "server", time.Now().Add(time.Hour))
	caFile := pki.Write(t, filepath.Join(dir, "ca"), v.ca.PEM)
	db := vaulttest.NewDB(t)
	v.role = "app_" + db.Name
	db.MustExec(t, "CREATE ROLE "+v.role)
	db.MustExec(t, "SELECT vault.grant_access('"+v.role+"', 'app/*', '{read}')")
	s := vaulttest.NewServer(t, db, "VAULT_API_LISTEN=http://127.0.0.1:0,https://127.0.0.1:0", "VAULT_API_TLS_CLIENT_CA="+caFile,
		"VAULT_API_TLS_CERT="+pki.Write(t, filepath.Join(dir, "cert"), p.Cert), "VAULT_API_TLS_KEY="+pki.Write(t, filepath.Join(dir, "key"), p.Key),
		"VAULT_API_TLS_CLIENT_AUTH=optional")
	s.MustCreate(t, "app/x", "value of x")
	secure := regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+`).FindString(s.Log())
	v.env = []string{"VAULT_ADDR=" + secure, "VAULT_CACERT=" + caFile, "HOME=" + dir, "VAULT_MAX_RETRIES=0", "PATH=" + os.Getenv("PATH")}
	v.configure(s)
	return v
}

// configure makes the two methods, each with a role of the name web.
func (v *securedVault) configure(s *vaulttest.Server) {
	v.t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	v.check(err)
	v.key = key
	der, err := x509.MarshalPKIXPublicKey(public)
	v.check(err)
	c, err := client.New(client.Config{Address: s.URL, Token: s.AdminToken})
	v.check(err)
	methods := map[string]map[string]any{
		"jwt":  {"issuer": "https://issuer.example", "static_keys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}},
		"cert": {},
	}
	roles := map[string]map[string]any{
		"jwt":  {"bound_audiences": []string{"vault"}, "bound_subject": "web"},
		"cert": {"allowed_common_names": []string{"web"}},
	}
	for kind, config := range methods {
		_, err := c.PutLoginMethod(v.t.Context(), kind, client.NewLoginMethod{Kind: kind, Config: v.json(config)})
		v.check(err)
		_, err = c.PutLoginRole(v.t.Context(), kind, "web", client.NewLoginRole{Role: v.role, Config: v.json(roles[kind])})
		v.check(err)
	}
}

func (v *securedVault) check(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *securedVault) json(x any) json.RawMessage {
	v.t.Helper()
	b, err := json.Marshal(x)
	v.check(err)
	return b
}

// jwt returns the file of a signed token.
func (v *securedVault) jwt(subject string) string {
	v.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: v.key}, nil)
	v.check(err)
	now := time.Now()
	signed, err := signer.Sign(v.json(map[string]any{
		"iss": "https://issuer.example", "aud": []string{"vault"}, "sub": subject, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}))
	v.check(err)
	raw, err := signed.CompactSerialize()
	v.check(err)
	file := filepath.Join(v.t.TempDir(), "jwt")
	v.check(os.WriteFile(file, []byte(raw+"\n"), 0o600))
	return file
}

// certificate returns the variables that name a client's certificate and its key.
func (v *securedVault) certificate(ca *pki.CA, name string) []string {
	v.t.Helper()
	dir, p := v.t.TempDir(), ca.Issue(v.t, name, time.Now().Add(time.Hour))
	return []string{"VAULT_CLIENT_CERT=" + pki.Write(v.t, filepath.Join(dir, "cert"), p.Cert), "VAULT_CLIENT_KEY=" + pki.Write(v.t, filepath.Join(dir, "key"), p.Key)}
}

// run runs the command with more variables.
func (v *securedVault) run(more []string, args ...string) (output string, ok bool) {
	v.t.Helper()
	c := exec.CommandContext(v.t.Context(), "hyperion-vault", args...)
	c.Env = append(append([]string{}, v.env...), more...)
	out, err := c.CombinedOutput()
	return string(out), err == nil
}

// TestLoginsByJWTAndCertificate logs in at a real vault over TLS, and reads with the token.
func TestLoginsByJWTAndCertificate(t *testing.T) {
	v := newSecuredVault(t)
	for name, login := range map[string]struct {
		env  []string
		args []string
	}{
		"JWT":                     {nil, []string{"--method", "jwt", "--role", "web", "@" + v.jwt("web")}},
		"Certificate":             {v.certificate(v.ca, "web"), []string{"--method", "cert", "--role", "web"}},
		"CertificateWithoutARole": {v.certificate(v.ca, "web"), []string{"--method", "cert"}},
	} {
		t.Run(name, func(t *testing.T) {
			token, ok := v.run(login.env, append([]string{"login", "--no-store"}, login.args...)...)
			if !ok || !strings.HasPrefix(token, "hvt_") {
				t.Fatal(token)
			}
			if got, ok := v.run([]string{"VAULT_TOKEN=" + strings.TrimSpace(token)}, "get", "app/x"); !ok || strings.TrimSpace(got) != "value of x" {
				t.Errorf("it reads %q", got)
			}
		})
	}
}

func TestRefusedLoginsByJWTAndCertificate(t *testing.T) {
	v := newSecuredVault(t)
	other := pki.NewCA(t)
	for name, login := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"ErrSubject":    {nil, []string{"--method", "jwt", "--role", "web", "@" + v.jwt("other")}, "permission denied"},
		"ErrName":       {v.certificate(v.ca, "other"), []string{"--method", "cert", "--role", "web"}, "permission denied"},
		"ErrNone":       {nil, []string{"--method", "cert", "--role", "web"}, "VAULT_CLIENT_CERT"},
		"ErrAuthority":  {v.certificate(other, "web"), []string{"--method", "cert", "--role", "web"}, "VAULT_CLIENT_CERT"},
		"ErrServerName": {[]string{"VAULT_CACERT=" + pki.Write(t, filepath.Join(t.TempDir(), "ca"), other.PEM)}, []string{"--method", "jwt", "@" + v.jwt("web")}, "VAULT_CACERT"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := v.run(login.env, append([]string{"login", "--no-store"}, login.args...)...); ok || !strings.Contains(got, login.want) {
				t.Errorf("%v, %q", ok, got)
			}
		})
	}
}
