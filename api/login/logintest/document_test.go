package logintest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/hyperiondb/hyperion-vault/docs"
)

var document = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI)
	if err != nil {
		return nil, err
	}
	doc.Servers = nil
	return legacy.NewRouter(doc)
})

// checkDocument compares an exchange of a login route with the OpenAPI document.
func checkDocument(t *testing.T, req *http.Request, body string, res *http.Response, answer []byte) {
	t.Helper()
	if !strings.HasPrefix(req.URL.Path, "/v1/auth") && req.URL.Path != "/v1/admin/token-key" {
		return
	}
	router, err := document()
	if err != nil {
		t.Fatal(err)
	}
	asked := req.Clone(t.Context())
	asked.Body = io.NopCloser(strings.NewReader(body))
	asked.URL.Scheme, asked.URL.Host, asked.Host = "", "", ""
	if body != "" && asked.Header.Get("Content-Type") == "" {
		asked.Header.Set("Content-Type", "application/json") // clients of Vault send none
	}
	route, params, err := router.FindRoute(asked)
	if err != nil {
		t.Errorf("%s %s is not in the document: %v", req.Method, req.URL.Path, err)
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: asked, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if res.StatusCode < 400 {
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
			t.Errorf("%s %s was accepted against the document: %v", req.Method, req.URL.Path, err)
		}
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Options: in.Options, Body: io.NopCloser(bytes.NewReader(answer)),
	})
	if err != nil {
		t.Errorf("%s %s answered against the document: %v", req.Method, req.URL.Path, err)
	}
}
