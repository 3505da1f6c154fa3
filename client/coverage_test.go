package client_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/hyperiondb/hyperion-vault/client"
	"github.com/hyperiondb/hyperion-vault/docs"
)

const id = "0b7ae4a9-5f67-4b43-9d0c-0d2a2f3c9a11"

// aliases are operations that do what another one does.
var aliases = map[string]string{"loginByPut": "login", "loginPasswordByPut": "loginPassword", "healthHead": "health", "readyHead": "ready"}

// calls has a call of the client for each operation of the API.
var calls = map[string]func(ctx context.Context, c *client.Client){
	"createSecret": func(ctx context.Context, c *client.Client) {
		_, _ = c.Create(ctx, client.NewSecret{
			Name: "a/b", Kind: "manual", Value: []byte{0, 1}, Settings: client.Settings{
				Description: new("x"), Tags: map[string]string{"a": "b"}, GracePeriodSecs: new(int64(5)), KeepVersions: new(3), CASRequired: new(true),
				GeneratePolicy: &client.GeneratePolicy{Length: 20, Symbols: new(true)}, DeleteVersionAfterSecs: new(int64(60)),
				RotationSchedule: new("30 2 * * 1"), RotationTimeZone: new("Europe/Berlin"), RotationWindowSecs: new(int64(60)), RotationPaused: new(true)},
		})
	},
	"listSecrets": func(ctx context.Context, c *client.Client) {
		for range c.List(ctx, client.ListOptions{Prefix: "a", After: "a/b"}) {
			break
		}
	},
	"readSecret": func(ctx context.Context, c *client.Client) { _, _ = c.GetVersion(ctx, "a/b", 3) },
	"updateSecret": func(ctx context.Context, c *client.Client) {
		_, _ = c.Update(ctx, "a/b", client.IfVersion(1), client.Update{Value: []byte("x"), Description: new("d"), Tags: map[string]string{"a": "b"}, GracePeriodSecs: new(int64(0))})
	},
	"deleteSecret":     func(ctx context.Context, c *client.Client) { _ = c.Delete(ctx, "a/b", client.Any, true) },
	"rotateSecret":     func(ctx context.Context, c *client.Client) { _, _ = c.Rotate(ctx, "a/b", "", true) },
	"expireVersion":    func(ctx context.Context, c *client.Client) { _, _ = c.Expire(ctx, "a/b", 1, 0) },
	"deleteVersions":   func(ctx context.Context, c *client.Client) { _, _ = c.DeleteVersions(ctx, "a/b") },
	"undeleteVersions": func(ctx context.Context, c *client.Client) { _, _ = c.UndeleteVersions(ctx, "a/b", 1, 2) },
	"destroyVersions":  func(ctx context.Context, c *client.Client) { _, _ = c.DestroyVersions(ctx, "a/b", 1) },
	"verifySecret":     func(ctx context.Context, c *client.Client) { _, _ = c.Verify(ctx, "a/b", []byte("x")) },
	"batchReadSecrets": func(ctx context.Context, c *client.Client) { _, _ = c.GetMany(ctx, []string{"a", "b"}) },
	"describeSecret":   func(ctx context.Context, c *client.Client) { _, _ = c.Describe(ctx, "a/b") },
	"configureSecret": func(ctx context.Context, c *client.Client) {
		_, _ = c.Configure(ctx, "a/b", client.IfUnchanged(client.Secret{CurrentVersion: 1, SettingsRevision: 2}),
			client.SettingsChange{Settings: client.Settings{RotationIntervalSecs: new(int64(60))}, TagsPatch: map[string]*string{"a": nil, "b": new("c")}})
	},
	"listVersions":         func(ctx context.Context, c *client.Client) { _, _ = c.Versions(ctx, "a/b") },
	"listDeletedSecrets":   func(ctx context.Context, c *client.Client) { _, _ = c.Deleted(ctx, "a", 5) },
	"restoreSecret":        func(ctx context.Context, c *client.Client) { _, _ = c.Restore(ctx, id) },
	"destroyDeletedSecret": func(ctx context.Context, c *client.Client) { _ = c.DestroyDeleted(ctx, id) },
	"startRewrap":          func(ctx context.Context, c *client.Client) { _, _ = c.StartRewrap(ctx, 5) },
	"rewrapStatus":         func(ctx context.Context, c *client.Client) { _, _ = c.RewrapStatus(ctx) },
	"status":               func(ctx context.Context, c *client.Client) { _, _ = c.Status(ctx) },
	"watchSecrets": func(ctx context.Context, c *client.Client) {
		for range c.Watch(ctx, client.WatchOptions{Prefix: "a", After: "1-2-3"}) {
			break
		}
	},
	"exportAudit": func(ctx context.Context, c *client.Client) {
		for range c.Audit(ctx, "12", 3) {
			break
		}
	},
	"issueRole": func(ctx context.Context, c *client.Client) { _, _ = c.IssueRole(ctx, "a/b", 60) },
	"listLeases": func(ctx context.Context, c *client.Client) {
		for range c.Leases(ctx, "a/b") {
			break
		}
	},
	"showLease":   func(ctx context.Context, c *client.Client) { _, _ = c.ShowLease(ctx, id) },
	"renewLease":  func(ctx context.Context, c *client.Client) { _, _ = c.RenewLease(ctx, id, 60) },
	"revokeLease": func(ctx context.Context, c *client.Client) { _ = c.RevokeLease(ctx, id) },
	"listRoleTemplates": func(ctx context.Context, c *client.Client) {
		for range c.RoleTemplates(ctx) {
			break
		}
	},
	"showRoleTemplate": func(ctx context.Context, c *client.Client) { _, _ = c.ShowRoleTemplate(ctx, "a/b") },
	"putRoleTemplate": func(ctx context.Context, c *client.Client) {
		_, _ = c.PutRoleTemplate(ctx, "a/b", client.NewRoleTemplate{MemberOf: []string{"g"}, TTLSecs: 60, MaxTTLSecs: 120, RolePrefix: "x",
			ConnectionLimit: new(int32(3)), Settings: map[string]string{"search_path": "app"}, ReassignTo: "g", MaxLeases: 10})
	},
	"deleteRoleTemplate": func(ctx context.Context, c *client.Client) { _ = c.DeleteRoleTemplate(ctx, "a/b") },
	"createToken": func(ctx context.Context, c *client.Client) {
		_, _ = c.CreateToken(ctx, client.NewToken{
			Name: "n", Role: "r", TTLSecs: new(int64(0)), MaxTTLSecs: 5, Renewable: new(false),
			Scope: []client.Scope{{Pattern: "a/*", Actions: []string{"read"}}}, BoundCIDRs: []string{"10.0.0.0/8"},
		})
	},
	"listTokens": func(ctx context.Context, c *client.Client) {
		for range c.Tokens(ctx) {
			break
		}
	},
	"showToken":         func(ctx context.Context, c *client.Client) { _, _ = c.ShowToken(ctx, client.Self) },
	"revokeToken":       func(ctx context.Context, c *client.Client) { _ = c.RevokeToken(ctx, id) },
	"renewToken":        func(ctx context.Context, c *client.Client) { _, _ = c.RenewToken(ctx, client.Self, 60) },
	"listGrants":        func(ctx context.Context, c *client.Client) { _, _ = c.Grants(ctx) },
	"grantAccess":       func(ctx context.Context, c *client.Client) { _ = c.Grant(ctx, "r", "a/*", "read", "verify") },
	"revokeAccess":      func(ctx context.Context, c *client.Client) { _ = c.RevokeGrant(ctx, "r", "*", "manage") },
	"explainAccess":     func(ctx context.Context, c *client.Client) { _, _ = c.ExplainAccess(ctx, "a/b", "r") },
	"listLoginMethods":  func(ctx context.Context, c *client.Client) { _, _ = c.LoginMethods(ctx) },
	"getLoginMethod":    func(ctx context.Context, c *client.Client) { _, _ = c.LoginMethod(ctx, "jwt") },
	"deleteLoginMethod": func(ctx context.Context, c *client.Client) { _ = c.DeleteLoginMethod(ctx, "jwt") },
	"putLoginMethod": func(ctx context.Context, c *client.Client) {
		_, _ = c.PutLoginMethod(ctx, "jwt", client.NewLoginMethod{Kind: "jwt", Config: []byte(`{"a":1}`)})
	},
	"login": func(ctx context.Context, c *client.Client) { _, _ = c.LoginAppRole(ctx, "approle", "r", "s") },
	"loginPassword": func(ctx context.Context, c *client.Client) {
		_, _ = c.LoginPassword(ctx, "userpass", "alice", "password")
	},
	"setLoginPassword": func(ctx context.Context, c *client.Client) {
		_ = c.SetLoginPassword(ctx, "userpass", "alice", "correct horse")
	},
	"listLoginRoles": func(ctx context.Context, c *client.Client) { _, _ = c.LoginRoles(ctx, "jwt") },
	"getLoginRole":   func(ctx context.Context, c *client.Client) { _, _ = c.LoginRole(ctx, "jwt", "ci") },
	"putLoginRole": func(ctx context.Context, c *client.Client) {
		_, _ = c.PutLoginRole(ctx, "jwt", "ci", client.NewLoginRole{Role: "r", TokenType: "batch", TokenTTLSecs: 60})
	},
	"deleteLoginRole":   func(ctx context.Context, c *client.Client) { _ = c.DeleteLoginRole(ctx, "jwt", "ci") },
	"revokeBatchTokens": func(ctx context.Context, c *client.Client) { _, _ = c.RevokeBatchTokens(ctx, "jwt", "ci") },
	"listSecretIDs": func(ctx context.Context, c *client.Client) {
		for range c.SecretIDs(ctx, "approle", "ci") {
			break
		}
	},
	"createSecretID": func(ctx context.Context, c *client.Client) {
		_, _ = c.CreateSecretID(ctx, "approle", "ci", client.NewSecretID{Uses: 1})
	},
	"destroySecretID": func(ctx context.Context, c *client.Client) { _ = c.DestroySecretID(ctx, "approle", "ci", id) },
	"rotateTokenKey":  func(ctx context.Context, c *client.Client) { _, _ = c.RotateTokenKey(ctx) },
	"configureRole": func(ctx context.Context, c *client.Client) {
		_ = c.ConfigureRole(ctx, "a", client.RoleOptions{SessionPolicy: "ignore"})
	},
	"roleSessions": func(ctx context.Context, c *client.Client) { _, _ = c.RoleSessions(ctx, "a") },
	"listRoles":    func(ctx context.Context, c *client.Client) { _, _ = c.BoundRoles(ctx, "a/") },
	"bindRole": func(ctx context.Context, c *client.Client) {
		_ = c.BindRole(ctx, "a/b", client.RoleBinding{Pair: []string{"r1", "r2"}, SharedRole: "r", AutoRepair: true})
	},
	"unbindRole": func(ctx context.Context, c *client.Client) { _ = c.UnbindRole(ctx, "a/b") },
	"repairRole": func(ctx context.Context, c *client.Client) { _ = c.RepairRole(ctx, "a/b") },
	"openapi":    func(ctx context.Context, c *client.Client) { _, _ = c.OpenAPI(ctx) },
	"health":     func(ctx context.Context, c *client.Client) { _, _ = c.Health(ctx) },
	"ready":      func(ctx context.Context, c *client.Client) { _, _ = c.Ready(ctx) },
	"metrics":    func(ctx context.Context, c *client.Client) { _, _ = c.Metrics(ctx) },
}

// recorder keeps the request of a call and answers 404.
type recorder struct {
	req  *http.Request
	body []byte
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.req = req
	r.body, _ = io.ReadAll(req.Body)
	return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// TestCoversTheAPI compares the calls of the client with the description of the API: each operation has one, and its
// request is valid.
func TestCoversTheAPI(t *testing.T) {
	doc, router := description(t)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if aliases[op.OperationID] != "" {
				continue
			}
			t.Run(op.OperationID, func(t *testing.T) {
				call := calls[op.OperationID]
				if call == nil {
					t.Fatalf("%s %s has no call in the client; add one, and a line of this test", method, path)
				}
				checkCall(t, router, call, op.OperationID)
			})
		}
	}
	if len(calls) < 40 {
		t.Errorf("only %d calls: this test checks too little", len(calls))
	}
}

func checkCall(t *testing.T, router routers.Router, call func(context.Context, *client.Client), operation string) {
	t.Helper()
	seen := &recorder{}
	c, err := client.New(client.Config{Address: "http://127.0.0.1:1", Token: "hvt_x", Transport: seen})
	if err != nil {
		t.Fatal(err)
	}
	c.Advance("3-16/B374D848")
	call(t.Context(), c)
	if seen.req == nil {
		t.Fatal("the call has sent nothing")
	}
	req := seen.req.Clone(t.Context())
	req.Body = io.NopCloser(bytes.NewReader(seen.body))
	req.GetBody = nil // of a call that is over
	req.URL.Scheme, req.URL.Host, req.Host = "", "", ""
	req.URL.Path = sameSegment(req.URL.Path)
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	if route.Operation.OperationID != operation {
		t.Fatalf("the call is one of %s", route.Operation.OperationID)
	}
	input := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
		t.Error(err)
	}
}

// sameSegment spells the name that the calls use without a slash, because the router knows no parameter with one.
func sameSegment(path string) string { return strings.Replace(path, "/a/b", "/ab", 1) }

func description(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}
