package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/client/clienttest"
)

// real returns a client of a real vault, as an administrator.
func real(t *testing.T, env ...string) (*client.Client, *vaulttest.Server) {
	t.Helper()
	s := vaulttest.NewServer(t, vaulttest.NewDB(t), env...)
	return to(t, client.Config{Address: s.URL, Token: s.AdminToken}), s
}

func TestSecretsOfARealVault(t *testing.T) {
	c, _ := real(t)
	ctx := t.Context()
	value := []byte("\x00\xff binary \"value\"")
	made, err := c.Create(ctx, client.NewSecret{
		Name: "db/a.b-c", Kind: "manual", ContentType: "application/octet-stream", Value: value,
		Settings: client.Settings{Description: new("d"), Tags: map[string]string{"k": "v"}, GracePeriodSecs: new(int64(600))},
	})
	if err != nil || made.CurrentVersion != 1 || c.Position() == "" {
		t.Fatal(made, err, c.Position())
	}
	v, err := c.Get(ctx, "db/a.b-c")
	if err != nil || !bytes.Equal(v.Bytes, value) {
		t.Fatal(v, err)
	}
	if _, err := c.Update(ctx, "db/a.b-c", client.IfVersion(1), client.Update{Value: []byte("two")}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Update(ctx, "db/a.b-c", client.IfVersion(1), client.Update{Value: []byte("three")})
	if client.CodeOf(err) != client.Stale {
		t.Error(err)
	}
	if old, err := c.GetVersion(ctx, "db/a.b-c", 1); err != nil || old.ExpiresAt == nil {
		t.Error(old, err)
	}
	if verdict, err := c.Verify(ctx, "db/a.b-c", value); err != nil || !verdict.Valid || verdict.Version != 1 {
		t.Error(verdict, err)
	}
	if info, err := c.Expire(ctx, "db/a.b-c", 1, 0); err != nil || info.ExpiresAt == nil {
		t.Error(info, err)
	}
	changed, err := c.DeleteVersions(ctx, "db/a.b-c")
	if err != nil || !slices.Equal(changed, []int64{2}) {
		t.Error(changed, err)
	}
	if _, err := c.Get(ctx, "db/a.b-c"); client.CodeOf(err) != client.NotFound {
		t.Error(err)
	}
	if changed, err = c.UndeleteVersions(ctx, "db/a.b-c", 2); err != nil || !slices.Equal(changed, []int64{2}) {
		t.Error(changed, err)
	}
	if list, err := c.Versions(ctx, "db/a.b-c"); err != nil || len(list) == 0 || list[0].Version != 2 {
		t.Error(list, err)
	}
	meta, err := c.Describe(ctx, "db/a.b-c")
	if err != nil {
		t.Fatal(err)
	}
	meta, err = c.Configure(ctx, "db/a.b-c", client.IfUnchanged(*meta), client.SettingsChange{TagsPatch: map[string]*string{"k": nil, "n": new("m")}})
	if err != nil || len(meta.Tags) != 1 || meta.Tags["n"] != "m" || meta.Description != "d" {
		t.Error(meta, err)
	}
	results, err := c.GetMany(ctx, []string{"db/a.b-c", "no/such", "../x", "db/a.b-c"})
	if err != nil || string(results[3].Value.Bytes) != "two" || client.CodeOf(results[1].Err) != client.NotFound || client.CodeOf(results[2].Err) != client.Invalid {
		t.Error(results, err)
	}
	if err := c.Delete(ctx, "db/a.b-c", client.Any, false); err != nil {
		t.Error(err)
	}
}

func TestLists(t *testing.T) {
	c, _ := real(t)
	var names []string
	for i := range 25 {
		name := fmt.Sprintf("many/%02d", i)
		names = append(names, name)
		if _, err := c.Create(t.Context(), client.NewSecret{Name: name, Value: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{0, 1, 24, 25, 26} {
		var got []string
		for s, err := range c.List(t.Context(), client.ListOptions{Prefix: "many/", PageSize: size}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, s.Name)
		}
		if !slices.Equal(got, names) {
			t.Errorf("with pages of %d: %v", size, got)
		}
	}
	for _, err := range c.List(t.Context(), client.ListOptions{Prefix: "//"}) {
		if client.CodeOf(err) != client.Invalid {
			t.Error(err)
		}
	}
}

func TestTokensAndGrants(t *testing.T) {
	c, s := real(t)
	ctx := t.Context()
	s.MustCreate(t, "app/x", "value")
	s.MustCreate(t, "other/x", "value")
	child, err := c.CreateToken(ctx, client.NewToken{Name: "child", TTLSecs: new(int64(60)), Scope: []client.Scope{{Pattern: "app/*", Actions: []string{"read"}}}})
	if err != nil || child.Token == "" {
		t.Fatal(child, err)
	}
	cc, err := c.WithToken(child.Token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cc.Get(ctx, "app/x"); err != nil {
		t.Error(err)
	}
	if _, err := cc.Get(ctx, "other/x"); client.CodeOf(err) != client.Denied {
		t.Error(err)
	}
	if self, err := cc.ShowToken(ctx, client.Self); err != nil || self.Accessor != child.Accessor {
		t.Error(self, err)
	}
	if _, err := cc.RenewToken(ctx, client.Self, 30); err != nil {
		t.Error(err)
	}
	found := 0
	for tok, err := range c.Tokens(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if tok.Accessor == child.Accessor {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the token is listed %d times", found)
	}
	access, err := cc.ExplainAccess(ctx, "other/x", "")
	if err != nil || len(access.Actions) == 0 || access.Actions[0].Allowed {
		t.Error(access, err)
	}
	if err := c.Grant(ctx, "vault_anonymous", "a/*", "read", "verify"); err != nil {
		t.Error(err)
	}
	grants, err := c.Grants(ctx)
	if err != nil || !slices.ContainsFunc(grants, func(g client.Granted) bool { return g.Pattern == "a/*" && g.Action == "verify" }) {
		t.Error(grants, err)
	}
	if err := c.RevokeGrant(ctx, "vault_anonymous", "a/*", "read", "verify"); err != nil {
		t.Error(err)
	}
	if err := c.RevokeToken(ctx, child.Accessor); err != nil {
		t.Error(err)
	}
	if _, err := cc.Get(ctx, "app/x"); client.CodeOf(err) != client.Unauthenticated || strings.Contains(err.Error(), child.Token) {
		t.Error(err)
	}
}

func TestAppRole(t *testing.T) {
	c, s := real(t)
	ctx := t.Context()
	s.MustCreate(t, "app/x", "value")
	if _, err := c.PutLoginMethod(ctx, "approle", client.NewLoginMethod{Kind: "approle"}); err != nil {
		t.Fatal(err)
	}
	role, err := c.PutLoginRole(ctx, "approle", "ci", client.NewLoginRole{Role: "vault_anonymous", TokenTTLSecs: 60, TokenMaxTTLSecs: 60})
	if err != nil {
		t.Fatal(err)
	}
	secretID, err := c.CreateSecretID(ctx, "approle", "ci", client.NewSecretID{Uses: 1})
	if err != nil || secretID.SecretID == "" {
		t.Fatal(secretID, err)
	}
	bare := to(t, client.Config{Address: s.URL, Token: "hvt_has-ended"})
	login, err := bare.LoginAppRole(ctx, "approle", role.ID, secretID.SecretID)
	if err != nil || login.Token == "" || login.TTLSecs != 60 {
		t.Fatal(login, err)
	}
	in, err := bare.WithToken(login.Token)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := in.Get(ctx, "app/x"); err != nil || string(v.Bytes) != "value" {
		t.Error(v, err)
	}
	_, err = bare.LoginAppRole(ctx, "approle", role.ID, secretID.SecretID)
	if err == nil || strings.Contains(err.Error(), secretID.SecretID) {
		t.Errorf("a secret id of one use was used twice: %v", err)
	}
	if _, err := c.LoginRoles(ctx, "approle"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteLoginMethod(ctx, "approle"); err != nil {
		t.Error(err)
	}
}

func TestEventsAndAudit(t *testing.T) {
	c, s := real(t)
	events, connected := follow(t, c, client.WatchOptions{Prefix: "w/"})
	next(t, connected, "")
	s.MustCreate(t, "w/a", "1")
	s.MustCreate(t, "x/a", "1")
	next(t, events, "create w/a 1")
	if err := c.Delete(t.Context(), "w/a", client.IfVersion(1), false); err != nil {
		t.Fatal(err)
	}
	next(t, events, "delete w/a 1")
	old, _ := follow(t, c, client.WatchOptions{After: "1-1-1"})
	next(t, old, "reset")

	s.AwaitAudit(t)
	seen, last := 0, ""
	for r, err := range c.Audit(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.ID == last || !bytes.Contains(r.Line, []byte(r.ID)) {
			t.Error("an audit record came twice, or without its line")
		}
		last = r.ID
		if r.Name == "w/a" {
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("%d records of the secret, want 2", seen)
	}
	n := 0
	for _, err := range c.Audit(t.Context(), "", 2) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

func TestStatusAndProbes(t *testing.T) {
	c, _ := real(t)
	ctx := t.Context()
	if st, err := c.Status(ctx); err != nil || st.Version == "" || st.InRecovery {
		t.Error(st, err)
	}
	if p, err := c.Health(ctx); err != nil || p.Status != "ok" {
		t.Error(p, err)
	}
	if p, err := c.Ready(ctx); err != nil || p.Status == "" {
		t.Error(p, err)
	}
	if text, err := c.OpenAPI(ctx); err != nil || !bytes.HasPrefix(text, []byte("openapi:")) {
		t.Error(err)
	}
	if r, err := c.RewrapStatus(ctx); err != nil || r.State == "" {
		t.Error(r, err)
	}
}

// TestServerForTestsAnswersAsARealOne sends the same calls to both, and compares what they answer.
func TestServerForTestsAnswersAsARealOne(t *testing.T) {
	realOne, realServer := real(t)
	fake := clienttest.NewServer(t)
	fakeOne := fake.Client(t)
	for i, step := range sameSteps {
		a, b := step.call(t.Context(), realOne), step.call(t.Context(), fakeOne)
		if a != b {
			t.Errorf("step %d, %s: the vault answers %q, and clienttest %q", i, step.name, a, b)
		}
	}
	for i, r := range sameRequests {
		a, b := rawStatus(t, realServer.URL, realServer.AdminToken, r), rawStatus(t, fake.URL, fake.Token, r)
		if a != b || a < 400 {
			t.Errorf("request %d, %v: the vault answers %d, and clienttest %d", i, r, a, b)
		}
	}
}

type sameStep struct {
	name string
	call func(context.Context, *client.Client) string
}

func shown(v any, err error) string {
	if err != nil {
		e, _ := errors.AsType[*client.Error](err)
		return fmt.Sprintf("%d %s", e.Status, e.Code)
	}
	return fmt.Sprint(v)
}

func secretShown(s *client.Secret, err error) string {
	if err != nil {
		return shown(nil, err)
	}
	return fmt.Sprint(s.Name, s.Kind, s.ContentType, s.Description, s.Tags, s.CurrentVersion, s.FirstVersion, s.SettingsRevision, s.CASRequired)
}

func valueShown(v *client.Value, err error) string {
	if err != nil {
		return shown(nil, err)
	}
	return fmt.Sprint(v.Name, v.Kind, v.ContentType, v.Version, v.CurrentVersion, string(v.Bytes))
}

func creating(n client.NewSecret) sameStep {
	return sameStep{"create " + n.Name, func(ctx context.Context, c *client.Client) string { return secretShown(c.Create(ctx, n)) }}
}

func reading(name string) sameStep {
	return sameStep{"read " + name, func(ctx context.Context, c *client.Client) string { return valueShown(c.Get(ctx, name)) }}
}

func updating(name string, m client.Match, value string) sameStep {
	return sameStep{"update " + name, func(ctx context.Context, c *client.Client) string {
		return secretShown(c.Update(ctx, name, m, client.Update{Value: []byte(value)}))
	}}
}

func configuring(name string, m client.Match, s client.SettingsChange) sameStep {
	return sameStep{"configure " + name, func(ctx context.Context, c *client.Client) string { return secretShown(c.Configure(ctx, name, m, s)) }}
}

func deleting(name string, m client.Match) sameStep {
	return sameStep{"delete " + name, func(ctx context.Context, c *client.Client) string { return shown("", c.Delete(ctx, name, m, false)) }}
}

func verifying(name, candidate string) sameStep {
	return sameStep{"verify " + name, func(ctx context.Context, c *client.Client) string {
		v, err := c.Verify(ctx, name, []byte(candidate))
		return shown(v, err)
	}}
}

func listing(prefix string) sameStep {
	return sameStep{"list " + prefix, func(ctx context.Context, c *client.Client) string {
		var names []string
		for s, err := range c.List(ctx, client.ListOptions{Prefix: prefix, PageSize: 2}) {
			if err != nil {
				return shown(nil, err)
			}
			names = append(names, s.Name)
		}
		return fmt.Sprint(names)
	}}
}

var sameSteps = []sameStep{
	creating(client.NewSecret{Name: "a/b", Kind: "manual", Value: []byte("one"), Settings: client.Settings{Tags: map[string]string{"k": "v"}}}),
	creating(client.NewSecret{Name: "a/b", Kind: "manual", Value: []byte("one")}),
	creating(client.NewSecret{Name: "a/bin", Kind: "manual", Value: []byte{0, 255}, ContentType: "application/octet-stream"}),
	creating(client.NewSecret{Name: "a//b", Kind: "manual", Value: []byte("one")}),
	creating(client.NewSecret{Name: "a/c", Kind: "strange", Value: []byte("one")}),
	creating(client.NewSecret{Name: "a/c", Kind: "manual"}),
	creating(client.NewSecret{Name: "ab", Value: []byte("x")}),
	reading("a/b"), reading("a/bin"), reading("a/none"), reading("a/../b"),
	updating("a/b", client.IfVersion(1), "two"), updating("a/b", client.IfVersion(1), "three"), updating("a/b", "", "three"),
	updating("a/b", "nonsense", "three"), updating("a/none", client.Any, "x"), updating("a/b", client.Any, "three"),
	reading("a/b"),
	verifying("a/b", "three"), verifying("a/b", "wrong"), verifying("a/none", "x"),
	configuring("a/b", client.Any, client.SettingsChange{TagsPatch: map[string]*string{"k": nil, "n": new("m")}}),
	configuring("a/b", `"3.1"`, client.SettingsChange{Settings: client.Settings{Description: new("d")}}),
	configuring("a/b", `"3.2"`, client.SettingsChange{Settings: client.Settings{Description: new("d"), CASRequired: new(true)}}),
	updating("a/b", client.Any, "four"), updating("a/b", client.IfVersion(3), "four"),
	listing(""), listing("a"), listing("a/"), listing("a/b"), listing("none"),
	deleting("a/b", ""), deleting("a/b", client.IfVersion(9)), deleting("a/b", client.IfVersion(4)), deleting("a/b", client.Any),
	reading("a/b"),
	creating(client.NewSecret{Name: "a/b", Value: []byte("again")}),
	{"rotate a manual secret", func(ctx context.Context, c *client.Client) string { return secretShown(c.Rotate(ctx, "ab", "", false)) }},
	{"read many", func(ctx context.Context, c *client.Client) string {
		results, err := c.GetMany(ctx, []string{"ab", "none", "//"})
		out := shown(len(results), err)
		for _, r := range results {
			out += fmt.Sprint(" ", r.Value != nil, client.CodeOf(r.Err))
		}
		return out
	}},
}

type rawRequest struct{ method, path, contentType, body string }

var sameRequests = []rawRequest{
	{"POST", "/v1/secrets", "application/json", `{"name":"n","value":"x","colour":"red"}`},
	{"POST", "/v1/secrets", "application/json", `{"name":"n","value":"x","value_base64":"eA=="}`},
	{"POST", "/v1/secrets", "application/json", `{"name":"n","value":""}`},
	{"POST", "/v1/secrets", "application/json", `{"name":"n",`},
	{"GET", "/v1/secrets?limit=0", "", ""},
	{"GET", "/v1/secrets?limit=1001", "", ""},
	{"GET", "/v1/secrets/ab?version=x", "", ""},
	{"GET", "/v1/secrets/ab?version=7", "", ""},
	{"POST", "/v1/batch-read", "application/json", `{"names":[]}`},
}

func rawStatus(t *testing.T, url, token string, r rawRequest) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, url+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
