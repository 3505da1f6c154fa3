package privilegetest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestRecipes runs the commands of docs/ACCESS.md one recipe after the other, and compares their output with what the
// page says.
func TestRecipes(t *testing.T) {
	for _, program := range []string{"bash", "curl", "jq", "psql"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIP: %v", err)
		}
	}
	text, err := os.ReadFile("../../docs/ACCESS.md")
	if err != nil {
		t.Fatal(err)
	}
	i := newIssuer(t)
	env := append(recipeServer(t), i.environment(t)...)
	recipes := regexp.MustCompile(`(?m)^### `).Split(i.localize(t, string(text)), -1)[1:]
	if len(recipes) != 5 {
		t.Fatalf("the page has %d recipes", len(recipes))
	}
	for _, r := range recipes {
		title, body, _ := strings.Cut(r, "\n")
		t.Run(title, func(t *testing.T) { runRecipe(t, env, body) })
	}
}

var block = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")

// runRecipe gives all commands of a recipe to one shell.
func runRecipe(t *testing.T, env []string, body string) {
	t.Helper()
	var commands, want strings.Builder
	commands.WriteString("set -euo pipefail\n")
	for _, b := range block.FindAllStringSubmatch(body, -1) {
		if b[1] == "sh" {
			commands.WriteString(b[2])
		} else {
			want.WriteString(b[2])
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", commands.String())
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != want.String() {
		t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, out, want.String())
	}
}

// recipeServer is a vault with the secrets that the recipes read, and the environment of their commands.
func recipeServer(t *testing.T) []string {
	t.Helper()
	db := vaulttest.NewDB(t)
	db.MustExec(t, "DROP ROLE IF EXISTS shop, alice, team, deploy, auditor")
	s := vaulttest.NewServer(t, db)
	for _, name := range []string{"shop/db", "other/db", "deploy/key"} {
		s.MustCreate(t, name, "value-of-"+strings.Split(name, "/")[0])
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "../cmd/hyperion-vault-api")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	conn := db.MustConnect(t, vaulttest.Superuser).Config()
	return append(s.Env, "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+bin, "VAULT_ADDR="+s.URL, "PGHOST="+conn.Host,
		fmt.Sprint("PGPORT=", conn.Port), "PGDATABASE="+conn.Database, "PGUSER="+conn.User)
}

// issuer signs JWTs as GitHub and a cluster would, and serves its public key over TLS and JWTs over HTTP.
type issuer struct {
	t      *testing.T
	signer jose.Signer
	keys   *httptest.Server
	tokens *httptest.Server
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t}
	i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		t.Fatal(err)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "1", Algorithm: "EdDSA", Use: "sig"}}}
	i.keys = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) }))
	i.tokens = httptest.NewServer(http.HandlerFunc(i.github))
	t.Cleanup(i.keys.Close)
	t.Cleanup(i.tokens.Close)
	return i
}

// github answers as the runner's endpoint does.
func (i *issuer) github(w http.ResponseWriter, r *http.Request) {
	_ = json.NewEncoder(w).Encode(map[string]string{"value": i.sign(map[string]any{
		"iss": "https://token.actions.githubusercontent.com", "aud": r.URL.Query().Get("audience"), "sub": "repo:example/shop:ref:refs/heads/main",
		"repository": "example/shop", "ref": "refs/heads/main",
	})})
}

func (i *issuer) sign(claims map[string]any) string {
	claims["iat"], claims["exp"] = time.Now().Unix(), time.Now().Add(time.Minute).Unix()
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Error(err)
	}
	jws, err := i.signer.Sign(payload)
	if err != nil {
		i.t.Error(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		i.t.Error(err)
	}
	return text
}

// ca is the certificate of the keys' server, in PEM.
func (i *issuer) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.keys.Certificate().Raw}))
}

// localize replaces what a test cannot have: GitHub, and the volume of a pod.
func (i *issuer) localize(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	pod := filepath.Join(dir, "token")
	claims := map[string]any{
		"iss": "https://kubernetes.default.svc.cluster.local", "aud": []string{"vault"}, "sub": "system:serviceaccount:shop:web",
		"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]string{"name": "web"}},
	}
	if err := os.WriteFile(pod, []byte(i.sign(claims)), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := json.Marshal(i.ca())
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"discovery_url": "https://token.actions.githubusercontent.com"`: `"jwks_url": "` + i.keys.URL + `", "ca_pem": ` + string(ca),
		"/var/run/secrets/vault/token":                                   pod,
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("the page does not have %s", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// environment is what GitHub sets in a workflow, and what the recipe for a cluster takes.
func (i *issuer) environment(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(file, []byte(i.ca()), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"CLUSTER_CA=" + file, "CLUSTER_URL=" + i.keys.URL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=x", "ACTIONS_ID_TOKEN_REQUEST_URL=" + i.tokens.URL + "/?v=1"}
}
