package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"go.uber.org/goleak"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vault/doortest"
	"github.com/hyperiondb/hyperion-vault/api/vaultapi"
	"github.com/hyperiondb/hyperion-vault/core/allowlist"
	"github.com/hyperiondb/hyperion-vault/docs"
)

func TestMain(m *testing.M) {
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.RegisteredBodyDecoder("text/plain"))
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.RegisteredBodyDecoder("text/plain"))
	goleak.VerifyTestMain(m)
}

const (
	marker  = "MARKER-91bc-plaintext"
	inside  = "10.1.2.3:4711"
	outside = "192.0.2.9:4711"
)

// api is the handler on a door of fakes. Every answer is checked against the
// served document.
type api struct {
	http.Handler
	t        *testing.T
	store    *doortest.Store
	keeper   *doortest.Keeper
	recorder *doortest.Recorder
	token    string
	logs     *bytes.Buffer
	doc      *openapi3.T
	paths    []documented
}

func newAPI(t *testing.T, change ...func(*httpapi.Config)) *api {
	t.Helper()
	a := &api{t: t, keeper: &doortest.Keeper{}, recorder: &doortest.Recorder{}, logs: &bytes.Buffer{}}
	a.store = &doortest.Store{Recorder: a.recorder, Now: time.Now}
	allow, err := allowlist.Parse("10.0.0.0/8, 2001:db8::/32")
	must(t, err)
	v, err := vault.New(vault.Config{Store: a.store, Keeper: a.keeper, Recorder: a.recorder, Allow: allow, Node: "n", Database: "app"})
	must(t, err)
	tok, err := v.CreateToken(t.Context(), vault.Operator{Name: "root"}, "ops", 0)
	must(t, err)
	a.token = tok.Reveal()
	a.recorder.Take()
	// A server that is stopping: an event stream sends what there is, and ends.
	closing := make(chan struct{})
	close(closing)
	c := httpapi.Config{Vault: v, Protocol: vaultapi.New(vaultapi.Config{Vault: v, OnlyLogins: true}), Log: slog.New(slog.NewJSONHandler(a.logs, nil)), Closing: closing,
		Metrics: http.HandlerFunc(metrics)}
	for _, f := range change {
		f(&c)
	}
	a.Handler = httpapi.New(c)
	a.doc, err = document()
	must(t, err)
	a.paths = documentedPaths(a.doc)
	return a
}

// document is the described API, which is read and validated once for all tests.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

func metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = io.WriteString(w, "up 1\n")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call is one request; zero fields have the defaults of a well-formed one.
type call struct {
	method, path, body string
	from               string // RemoteAddr; "" = inside
	host               string // "" = localhost
	header             map[string]string
	noToken, noType    bool
}

// answer is one response.
type answer struct {
	*httptest.ResponseRecorder
	json map[string]any
}

func (a *api) do(c call) answer {
	a.t.Helper()
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	r := httptest.NewRequest(c.method, c.path, body)
	r.RemoteAddr = inside
	r.Host = "localhost"
	if c.host != "" {
		r.Host = c.host
	}
	if c.from != "" {
		r.RemoteAddr = c.from
	}
	if !c.noToken {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	if c.body != "" && !c.noType {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	a.conforms(r, c.body, w)
	out := answer{ResponseRecorder: w}
	if ct := w.Header().Get("Content-Type"); strings.HasSuffix(ct, "json") && !strings.HasSuffix(ct, "ndjson") {
		if err := json.Unmarshal(w.Body.Bytes(), &out.json); err != nil {
			a.t.Fatalf("%s %s: answer is not JSON: %v", c.method, c.path, err)
		}
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Request-Id") == "" {
		a.t.Errorf("%s %s: headers %v", c.method, c.path, w.Header())
	}
	return out
}

// documented is a path of the document, as a pattern of the paths that it serves.
type documented struct {
	path    string
	params  []string
	literal int // bytes that are no parameter
	pattern *regexp.Regexp
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// documentedPaths returns the paths of the document. Names hold slashes, so no router of the validator's can find them.
func documentedPaths(doc *openapi3.T) (all []documented) {
	for path := range doc.Paths.Map() {
		d := documented{path: path, literal: len(parameter.ReplaceAllString(path, ""))}
		pattern := path // no character of the others means something in a pattern but the point, which is one of them
		for _, m := range parameter.FindAllStringSubmatch(path, -1) {
			d.params = append(d.params, m[1])
			value := "([^/]+)"
			if m[1] == "name" {
				value = "(?s:(.+))"
			}
			pattern = strings.Replace(pattern, m[0], value, 1)
		}
		d.pattern = regexp.MustCompile("^" + pattern + "$")
		all = append(all, d)
	}
	return all
}

// operation returns what the document has for a request, with its path and parameters; nil = nothing. Of several paths the
// one with the most fixed text is meant.
func (a *api) operation(method, path string) (op *openapi3.Operation, found documented, params map[string]string) {
	if method == http.MethodHead {
		method = http.MethodGet // the recorder keeps the body that a server leaves out
	}
	for _, d := range a.paths {
		candidate := a.doc.Paths.Value(d.path).GetOperation(method)
		values := d.pattern.FindStringSubmatch(path)
		if candidate == nil || values == nil || op != nil && d.literal <= found.literal {
			continue
		}
		op, found, params = candidate, d, map[string]string{}
		for i, name := range d.params {
			params[name] = values[i+1]
		}
	}
	return op, found, params
}

// conforms checks the answer against the document, and the request too when it was
// accepted: what the document forbids must not be served.
func (a *api) conforms(r *http.Request, body string, w *httptest.ResponseRecorder) {
	a.t.Helper()
	op, found, params := a.operation(r.Method, r.URL.Path)
	if op == nil {
		if w.Code < 400 {
			a.t.Errorf("%s %s is served and not documented", r.Method, r.URL.Path)
		}
		return
	}
	r.Body = io.NopCloser(strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params,
		Route: &routers.Route{Spec: a.doc, Path: found.path, PathItem: a.doc.Paths.Value(found.path), Method: r.Method, Operation: op},
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true,
		},
	}
	if w.Code < 400 {
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
			a.t.Errorf("%s %s was accepted against the document: %v", r.Method, r.URL.Path, err)
		}
	}
	err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: w.Code, Header: w.Header(), Options: in.Options,
		Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
	})
	if err != nil {
		a.t.Errorf("%s %s: the answer is not as documented: %v", r.Method, r.URL.Path, err)
	}
}

func (a *api) want(c call, status int, code string) answer {
	a.t.Helper()
	got := a.do(c)
	gotCode, _ := got.json["code"].(string)
	if got.Code != status || (status >= 400 && gotCode != code) {
		a.t.Fatalf("%s %s: %d %s, want %d %s: %s", c.method, c.path, got.Code, gotCode, status, code, got.Body)
	}
	if status >= 400 && strings.Contains(got.Body.String(), marker) {
		a.t.Fatalf("the problem shows the value: %s", got.Body)
	}
	return got
}

func (a *api) create(name, value string) {
	a.t.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "value": value, "grace_period_secs": 60})
	must(a.t, err)
	a.want(call{method: "POST", path: "/v1/secrets", body: string(body)}, 201, "")
	a.recorder.Take()
}

func trusting(prefixes ...string) func(*httpapi.Config) {
	return func(c *httpapi.Config) {
		p := httpapi.Policy{}
		for _, text := range prefixes {
			p.TrustedProxies = append(p.TrustedProxies, netip.MustParsePrefix(text))
		}
		c.Policy = httpapi.NewLivePolicy(p)
	}
}
