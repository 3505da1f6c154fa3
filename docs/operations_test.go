package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProblemCodes: docs/OPERATIONS.md says of every problem code what to do.
func TestProblemCodes(t *testing.T) {
	page, err := os.ReadFile("OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../api/httpapi/*.go")
	if err != nil {
		t.Fatal(err)
	}
	inSource := regexp.MustCompile(`(?:\bCode = |http\.Status\w+, (?:code: )?)"([a-z_]+)"`)
	found := map[string]bool{}
	for _, name := range append(files, "../core/error.go") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inSource.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
	}
	for _, known := range []string{"invalid", "unknown_host", "request_timeout"} {
		if !found[known] {
			t.Errorf("the code %s is not found in the sources: this test misreads them", known)
		}
	}
	for code := range found {
		if !strings.Contains(string(page), "\n| `"+code+"` | ") {
			t.Errorf("OPERATIONS.md does not say what to do about the code %s", code)
		}
	}
}
