package vault_test

import (
	"os"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
)

// TestConditionsAreExplained: alerts link to the heading of a condition, and each is in the description of the API.
func TestConditionsAreExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	api, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range vault.ConditionNames {
		if !strings.Contains(string(page), "\n## "+name+"\n") {
			t.Errorf("%s has no heading in OPERATIONS.md", name)
		}
		if !strings.Contains(string(api), name) {
			t.Errorf("%s is not in openapi.yaml", name)
		}
	}
	for _, reason := range vault.WaitingReasons {
		if !strings.Contains(string(page), "- `"+reason+"`") {
			t.Errorf("the reason %s is not in OPERATIONS.md", reason)
		}
	}
}
