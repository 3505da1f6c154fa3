package clienttest

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"text/template"
)

// TestWebhookRecipe fills in the templates of the recipe for the operator's webhook provider, as the operator does it with the
// library of the same name, and takes the value at the path that the recipe gives.
func TestWebhookRecipe(t *testing.T) {
	page, err := os.ReadFile("../../../docs/VAULT_API.md")
	ok(t, err)
	recipe := regexp.MustCompile(`(?s)webhook:\n +url: "([^\n]*)"\n +headers: \{Authorization: "([^\n]*)"\}\n +result: \{jsonPath: "\$\.([a-z]+)"\}`).FindSubmatch(page)
	if recipe == nil {
		t.Fatal("the recipe is not in docs/VAULT_API.md, or has another form")
	}
	s := newSite(t)
	s.MustCreate(t, "app/db", "plain")
	data := map[string]any{"remoteRef": map[string]string{"key": "app/db"}, "auth": map[string]string{"token": s.AdminToken}}
	fill := func(text []byte) string {
		t.Helper()
		var out strings.Builder
		parsed, err := template.New("").Parse(string(text))
		ok(t, err)
		ok(t, parsed.Execute(&out, data))
		return out.String()
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(fill(recipe[1]), "https://vault.example.org:8200", s.URL, 1), nil)
	ok(t, err)
	r.Header.Set("Authorization", fill(recipe[2]))
	res, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer func() { _ = res.Body.Close(); http.DefaultClient.CloseIdleConnections() }()
	var answer map[string]any
	ok(t, json.NewDecoder(res.Body).Decode(&answer))
	if got := answer[string(recipe[3])]; res.StatusCode != http.StatusOK || got != "plain" {
		t.Errorf("%d, the value is %v", res.StatusCode, got)
	}
}
