package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"

	"github.com/hyperiondb/hyperion-vault/docs"
)

// TestRoutesAreDocumented: what is served is in the OpenAPI document and the other way round, and the door knows what
// each route is for. Logins are served by the protocol of Vault (api/vaultapi).
func TestRoutesAreDocumented(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if method != http.MethodHead && !strings.Contains(path, "/login") {
				missing[method+" "+path] = true
			}
		}
	}
	if len(missing) < 40 {
		t.Fatalf("only %d operations are documented", len(missing))
	}
	for _, route := range servedRoutes(t) {
		if !missing[route] {
			t.Errorf("%s is served and not documented, or twice: see docs/openapi.yaml and templates in route.go", route)
		}
		delete(missing, route)
		open := slices.Contains([]string{pathHealth, pathReady, pathMetrics, pathOpenAPI}, strings.TrimPrefix(route, "GET "))
		if actions[route] == "" && !open {
			t.Errorf("%s has no action in route.go", route)
		}
	}
	for route := range missing {
		t.Errorf("%s is documented and not served", route)
	}
}

// servedRoutes returns the routes in the document's spelling. What POST does with a secret depends on the end of its path.
func servedRoutes(t *testing.T) (routes []string) {
	t.Helper()
	e, ok := New(Config{Metrics: http.NotFoundHandler()}).(*gin.Engine)
	if !ok {
		t.Fatal("the handler is not gin's")
	}
	for _, r := range e.Routes() {
		template, named := templates[r.Path]
		if !named {
			template = r.Path
		}
		switch {
		case r.Method == http.MethodHead:
		case r.Method == http.MethodPost && template == "/v1/secrets/{name}":
			for _, end := range secretOperations {
				routes = append(routes, r.Method+" "+template+end)
			}
		default:
			routes = append(routes, r.Method+" "+template)
		}
	}
	return routes
}
