package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

const marker = "CANARY-VALUE"

// pair is two vaults of ours: to an import the first is any KV engine of version 2.
type pair struct {
	source, target *vaulttest.Server
	db             *vaulttest.DB // of the source
	env, flags     []string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	db := vaulttest.NewDB(t)
	p := &pair{source: vaulttest.NewServer(t, db), target: vaulttest.NewServer(t, vaulttest.NewDB(t)), db: db}
	p.env = []string{"VAULT_ADDR=" + p.source.URL, "VAULT_TOKEN=" + p.source.AdminToken}
	p.flags = p.to(t, p.target.URL)
	return p
}

func (p *pair) to(t *testing.T, address string) []string {
	return []string{"import", "--address", address, "--token-file", private(t, p.target.AdminToken)}
}

func private(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func must(t *testing.T, s *vaulttest.Server, method, path, body string) string {
	t.Helper()
	status, answer := s.Do(t, method, "/v1/secret/"+path, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	return answer
}

func value(n int) string { return fmt.Sprintf(`{"data":{"k":"%s-%d"}}`, marker, n) }

// run calls the import and checks its exit code, and that no value is in its output.
func (p *pair) run(t *testing.T, exit int, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := call(t, p.env, append(p.flags, args...)...)
	if code != exit {
		t.Fatalf("exit %d, want %d\n%s\n%s", code, exit, stdout, stderr)
	}
	for _, secret := range []string{marker, p.source.AdminToken, p.target.AdminToken} {
		if strings.Contains(stdout+stderr, secret) {
			t.Fatalf("the output shows a secret:\n%s\n%s", stdout, stderr)
		}
	}
	return stdout, stderr
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

func (p *pair) fill(t *testing.T) {
	t.Helper()
	must(t, p.source, "PUT", "metadata/app/db", `{"max_versions":12,"custom_metadata":{"owner":"me"},"delete_version_after":"720h"}`)
	for n := range 12 {
		must(t, p.source, "PUT", "data/app/db", value(n))
	}
	for n := range 4 {
		must(t, p.source, "PUT", "data/app/holes", value(n))
	}
	must(t, p.source, "PUT", "destroy/app/holes", `{"versions":[1]}`)
	must(t, p.source, "PUT", "delete/app/holes", `{"versions":[3]}`)
	must(t, p.source, "PUT", "data/app/deleted", value(1))
	must(t, p.source, "PUT", "data/app/deleted", value(2))
	must(t, p.source, "DELETE", "data/app/deleted", "")
	must(t, p.source, "PUT", "metadata/app/empty", `{"cas_required":true}`)
	must(t, p.source, "PUT", "data/app/deep/n.a-m_e", value(1))
	must(t, p.source, "PUT", "data/other", value(1))
	p.source.MustCreate(t, "app/text", marker)
}

func TestImportFromVault(t *testing.T) {
	p := newPair(t)
	p.fill(t)
	stdout, stderr := p.run(t, 1, "--from", "vault", "--prefix", "app")
	has(t, stdout, "imported: 5 (versions: 16)\n", "different: 0\n", "not imported: 1\n",
		"not imported: app/deleted: its current version is deleted or destroyed\n",
		"lost: app/holes: version 1 is deleted or destroyed\n", "lost: app/holes: version 3 is")
	has(t, stderr, "app/db: imported, versions: 12\n")
	for n := 1; n <= 12; n++ {
		has(t, must(t, p.target, "GET", fmt.Sprintf("data/app/db?version=%d", n), ""), fmt.Sprintf(`%s-%d"`, marker, n-1))
	}
	has(t, must(t, p.target, "GET", "metadata/app/db", ""), `"owner":"me"`, `"max_versions":12`, `"delete_version_after":"720h0m0s"`)
	has(t, must(t, p.target, "GET", "metadata/app/empty", ""), `"cas_required":true`, `"current_version":0`)
	has(t, must(t, p.target, "GET", "data/app/holes", ""), marker+`-3"`, `"version":2`)
	has(t, must(t, p.target, "GET", "data/app/deep/n.a-m_e", ""), marker)
	has(t, must(t, p.target, "GET", "data/app/text", ""), `{"value":"`+marker)
	for _, name := range []string{"other", "app/deleted"} {
		if status, _ := p.target.Do(t, "GET", "/v1/secret/data/"+name, nil); status != http.StatusNotFound {
			t.Errorf("%s: %d", name, status)
		}
	}
	stdout, _ = p.run(t, 1, "--from", "openbao", "--prefix", "app/")
	has(t, stdout, "imported: 0 (versions: 0)\nthere already: 5\ndifferent: 0\nnot imported: 1\n")
	must(t, p.source, "PUT", "data/app/holes", value(7))
	must(t, p.target, "PUT", "data/app/db", value(99))
	stdout, _ = p.run(t, 1, "--from", "vault", "--prefix", "app")
	has(t, stdout, "imported: 1 (versions: 1)\n", "different: 1\n", "different: app/db: ")
	has(t, must(t, p.target, "GET", "data/app/db", ""), marker+`-99"`)
	for range 2 { // the second finds what the first wrote
		p.run(t, 1, "--from", "vault", "--prefix", "app", "--overwrite")
	}
	has(t, must(t, p.target, "GET", "data/app/db", ""), marker+`-11"`, `"version":25`)
	p.run(t, 0, "--from", "vault", "--prefix", "app/deep", "--below", "from/old")
	has(t, must(t, p.target, "GET", "data/from/old/app/deep/n.a-m_e", ""), marker)
}

// TestImportInterrupted breaks the connection between two versions of a secret, and lets the next run go on.
func TestImportInterrupted(t *testing.T) {
	p := newPair(t)
	for n := range 5 {
		must(t, p.source, "PUT", "data/app/db", value(n))
	}
	to, err := url.Parse(p.target.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	var writes atomic.Int32
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/data/") && r.Method == "PUT" && writes.Add(1) == 3 {
			panic(http.ErrAbortHandler)
		}
		r.Host, r.Header["X-Forwarded-For"] = to.Host, nil // to the API it is no proxy, but the network
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	p.flags = p.to(t, front.URL)
	stdout, stderr := p.run(t, 1, "--from", "vault")
	has(t, stdout, "imported: 1 (versions: 2)\n")
	has(t, stderr, "goes on when it is started again")
	stdout, _ = p.run(t, 0, "--from", "vault")
	has(t, stdout, "imported: 1 (versions: 3)\n")
	has(t, must(t, p.target, "GET", "data/app/db", ""), marker+`-4"`, `"version":5`)
}

func TestImportFromFiles(t *testing.T) {
	p := newPair(t)
	large := strings.Repeat("x", 2<<20)
	file := private(t, `{"app/a":{"k":"`+marker+`","n":1.50},"we ird":{},"app/list":["`+marker+`"],"app/large":{"k":"`+large+`"}}`)
	stdout, _ := p.run(t, 1, "--from", "json", file)
	has(t, stdout, "imported: 1 (versions: 1)\n", "not imported: 3\n", `not imported: "we ird": `, "not imported: app/list: its value is no JSON object",
		"not imported: app/large: the API answers 413")
	has(t, must(t, p.target, "GET", "data/app/a", ""), `{"k":"`+marker+`","n":1.50}`)
	env := private(t, "# settings\nexport USER=me\nPASSWORD='"+marker+"'")
	p.run(t, 0, "--from", "dotenv", "--name", "env", "--below", "app", env)
	has(t, must(t, p.target, "GET", "data/app/env", ""), `{"USER":"me","PASSWORD":"`+marker+`"}`)
	_, stderr := p.run(t, 1, "--from", "dotenv", "--name", "x", private(t, "A=1\n"+marker))
	has(t, stderr, "file: line 2: ")
	_, stderr = p.run(t, 1, "--from", "json", private(t, `{"a":{"k":"`+marker+`"`))
	has(t, stderr, "file: the file is no JSON object of secrets")
	tags := make([]string, 65)
	for i := range tags {
		tags[i] = fmt.Sprintf(`"t%d":"v"`, i)
	}
	t.Run("OKTooManyTags", func(t *testing.T) { p.tooManyTags(t, "{"+strings.Join(tags, ",")+"}") })
	t.Run("ErrToken", func(t *testing.T) {
		open := private(t, p.target.AdminToken)
		if err := os.Chmod(open, 0o640); err != nil {
			t.Fatal(err)
		}
		_, stderr := p.run(t, 1, "--from", "json", file, "--token-file", open)
		has(t, stderr, "its mode is 0640, want 0600")
		_, stderr = p.run(t, 1, "--from", "json", file, "--token-file", private(t, testToken))
		has(t, stderr, "the API to import into: the server answers 403")
	})
}

// tooManyTags imports from a server that has more custom metadata than we take.
func (p *pair) tooManyTags(t *testing.T, tags string) {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"data":{"keys":["tagged"]}}`
		switch r.URL.Path {
		case "/v1/secret/metadata/tagged":
			answer = `{"data":{"current_version":1,"versions":{"1":{}},"custom_metadata":` + tags + `}}`
		case "/v1/secret/data/tagged":
			answer = `{"data":{"data":{"k":"v"}}}`
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(vault.Close)
	p.env = []string{"VAULT_ADDR=" + vault.URL, "VAULT_TOKEN=s.x"}
	stdout, _ := p.run(t, 1, "--from", "vault")
	has(t, stdout, "imported: 1 (versions: 1)\n", "not imported: tagged: its description, custom metadata and delete_version_after: the API answers 4")
	has(t, must(t, p.target, "GET", "data/tagged", ""), `{"k":"v"}`)
}

func TestImportCalls(t *testing.T) {
	full := []string{"--address", "https://h", "--token-file", "f"}
	for want, args := range map[string][]string{
		"--from wants":           full,
		"need a FILE":            append([]string{"--from", "json"}, full...),
		"take none":              append([]string{"--from", "vault", "file"}, full...),
		"--source-schema is":     append([]string{"--from", "supabase"}, full...),
		"--prefix is for":        append([]string{"--from", "json", "file", "--prefix", "x"}, full...),
		"--name is needed":       append([]string{"--from", "dotenv", "file"}, full...),
		"is for nothing else":    append([]string{"--from", "json", "file", "--name", "x"}, full...),
		"needs --address and --": {"--from", "vault"},
	} {
		code, stdout, stderr := callHere(append([]string{"import"}, args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit %d, %s, want %q", args, code, stderr, want)
		}
	}
}
