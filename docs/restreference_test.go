package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRESTPage compares the table of operations in docs/reference/rest.md with the OpenAPI document.
func TestRESTPage(t *testing.T) {
	text, err := os.ReadFile("reference/rest.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)` \\|").FindAllSubmatch(text, -1) {
		listed = append(listed, string(m[1]))
	}
	described := operations()
	if len(described) < 40 {
		t.Fatalf("%d operations found in openapi.yaml: this test misreads it", len(described))
	}
	for _, operation := range described {
		if !slices.Contains(listed, operation) {
			t.Errorf("reference/rest.md does not list %s", operation)
		}
	}
	for i, operation := range listed {
		if !slices.Contains(described, operation) {
			t.Errorf("reference/rest.md lists %s, which openapi.yaml does not have", operation)
		}
		if slices.Contains(listed[:i], operation) {
			t.Errorf("reference/rest.md lists %s twice", operation)
		}
	}
}

// TestChangesHaveAPosition: each change of what is stored answers where the log stands after it. A login and a rewrap change nothing
// that is read.
func TestChangesHaveAPosition(t *testing.T) {
	_, paths, _ := strings.Cut(string(OpenAPI), "\npaths:\n")
	paths, _, _ = strings.Cut(paths, "\ncomponents:\n")
	without := []string{"verifySecret", "batchReadSecrets", "startRewrap", "login", "loginByPut", "loginPassword", "loginPasswordByPut"}
	n := 0
	for _, operation := range regexp.MustCompile(`(?m)^    (?:post|put|patch|delete):$`).Split(paths, -1)[1:] {
		operation, _, _ = strings.Cut(operation, "\n    get:")
		id := regexp.MustCompile(`operationId: (\w+)`).FindStringSubmatch(operation)[1]
		if has := strings.Contains(operation, "            Vault-Lsn:"); has == slices.Contains(without, id) {
			t.Errorf("operation %s has Vault-Lsn in its answer: %t", id, has)
		}
		n++
	}
	if n < 40 {
		t.Errorf("%d changes found in openapi.yaml: this test misreads it", n)
	}
}

// operations returns what openapi.yaml describes, as "GET /v1/secrets".
func operations() []string {
	var out []string
	_, paths, _ := strings.Cut(string(OpenAPI), "\npaths:\n")
	paths, _, _ = strings.Cut(paths, "\ncomponents:\n")
	path := ""
	for line := range strings.SplitSeq(paths, "\n") {
		if strings.HasPrefix(line, "  /") {
			path = strings.TrimSuffix(strings.TrimSpace(line), ":")
		}
		if m := regexp.MustCompile(`^    (get|post|put|patch|delete):$`).FindStringSubmatch(line); m != nil {
			out = append(out, strings.ToUpper(m[1])+" "+path)
		}
	}
	return out
}
