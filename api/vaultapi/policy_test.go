package vaultapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/core"
)

// read returns the rights that a policy means.
func read(text string) (rights, error) {
	rules, err := parsePolicy(text)
	if err != nil {
		return nil, err
	}
	return rightsOf("secret", rules)
}

// pathRule is a rule.
func pathRule(p, capabilities string) string {
	return "path \"" + p + "\" { capabilities = [\"" + strings.ReplaceAll(capabilities, " ", `", "`) + "\"] }\n"
}

func TestPolicy(t *testing.T) {
	full := pathRule("secret/data/app/*", "create read update delete patch list") + pathRule("secret/metadata/app/*", "read list delete update") +
		pathRule("secret/delete/app/*", "update") + pathRule("secret/undelete/app/*", "update") + pathRule("secret/destroy/app/*", "update")
	for text, want := range map[string]rights{
		"":                                    {},
		"# nothing\n/* at all */ // either":   {},
		pathRule("secret/data/app/*", "read"): {"app/*": {"read"}},
		pathRule("/secret/data/app/db", "read") + pathRule("secret/metadata/app/db", "read list"):                            {"app/db": {"read"}},
		pathRule("secret/data/*", "read") + pathRule("secret/metadata/app/*", "list") + pathRule("secret/metadata/", "list"): {"*": {"read"}},
		pathRule("secret/data/app/*", "create") + pathRule("secret/data/app/*", "update"):                                    {"app/*": {"create", "update"}},
		full: {"app/*": {"create", "read", "update", "delete"}},
		pathRule("secret/+/app/*", "create read update delete list") + pathRule("auth/token/lookup-self", "read") + pathRule("secret/config", "read"): {"app/*": {"create", "read", "update", "delete"}},
		pathRule("secret/*", "create read update delete patch list"):                                                                                  {"*": {"create", "read", "update", "delete"}},
		"path \"secret/data/a\" {\n capabilities = [\n \"read\", # why\n ]\n}":                                                                        {"a": {"read"}},
	} {
		got, err := read(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nmeans %v, want %v: %v", text, got, want, err)
		}
	}
}

// TestPolicyRefused: a policy that no grants express is refused, and not half of it granted.
func TestPolicyRefused(t *testing.T) {
	app := pathRule("secret/data/app/*", "read update")
	for _, text := range []string{
		"{", "path", `path "secret/data/a" {}`, `path secret { capabilities = ["read"] }`, `path "secret/data/a" { policy = "read" }`, `{"path":{}}`,
		`path "secret/data/a" { capabilities = ["read"] allowed_parameters = {} }`, `path "secret/data/a" { capabilities = ["read" "list"] }`, "/* no end",
		`path "secret/data/${a}" { capabilities = ["read"] }`, `path "secret/data/{{identity.entity.name}}/*" { capabilities = ["read"] }`,
		`path "secret/data/\u0061" { capabilities = ["read"] }`, strings.Repeat(" ", maxPolicy+1), strings.Repeat(pathRule("secret/data/a", "read"), maxRules+1),
		app + pathRule("secret/data/app/x", "deny"), app + pathRule("secret/data/app/x", "sudo"), pathRule("sys/mounts", "read"), pathRule("*", "read"), pathRule("auth/token/create", "update"),
		pathRule("secret/data/app*", "read"), pathRule("secret/data/+/db", "read"), pathRule("secret/data", "read"), pathRule("secret/data/", "read"), pathRule("other/data/a", "read"),
		pathRule("secret/nothing/a", "read"), pathRule("secret", "read"), pathRule("secret/config", "update") + pathRule("secret/data//a", "read"), pathRule("auth/token/lookup-self", "delete"),
		pathRule("secret/data/app/*", "delete"), pathRule("secret/delete/app/*", "update"), pathRule("secret/destroy/app/*", "update"), pathRule("secret/metadata/app/*", "delete"),
		pathRule("secret/data/app/*", "patch"), pathRule("secret/data/app/*", "read patch"), pathRule("secret/subkeys/app/*", "read"),
		pathRule("secret/undelete/app/*", "update"), pathRule("secret/metadata/app/*", "update"), pathRule("secret/metadata/app/*", "create"),
		pathRule("secret/metadata/app/*", "list"), pathRule("secret/metadata/", "list"), pathRule("secret/data/app/*", "read") + pathRule("secret/metadata/*", "list"),
	} {
		if got, err := read(text); core.CodeOf(err) != core.Invalid {
			t.Errorf("%.200s\nmeans %v, %v", text, got, err)
		}
	}
}

// TestPolicyText: what a policy shows means the same rights when it is written again.
func TestPolicyText(t *testing.T) {
	for n := range 1 << len(policyActions) {
		var actions []string
		for i, a := range policyActions {
			if n>>i&1 == 1 {
				actions = append(actions, a)
			}
		}
		want := rights{}
		if len(actions) > 0 {
			want = rights{"app/*": actions, "*": actions, "app/db": {"read"}}
		}
		text := policyText("secret", want)
		got, err := read(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %v, %v\n%s", want, got, err, text)
		}
	}
	text := policyText("secret", rights{"app/*": {"verify", "rotate"}})
	if got, err := read(text); err != nil || len(got) != 0 || !strings.Contains(text, "rotate, verify") {
		t.Errorf("%q: %v %v", text, got, err)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(pathRule("secret/data/app/*", "read update patch") + pathRule("secret/metadata/app/*", "list"))
	f.Add("# a\npath \"secret/*\" { capabilities = [\"create\", \"read\", \"update\", \"delete\",] }")
	f.Add("/* \n */ path\"secret/+/a\"{capabilities=[]}")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := read(text)
		if err != nil {
			if core.CodeOf(err) != core.Invalid || len(err.Error()) > 1000 {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, actions := range got {
			if !slices.IsSortedFunc(actions, func(a, b string) int { return slices.Index(policyActions, a) - slices.Index(policyActions, b) }) {
				t.Errorf("%q: %v", text, actions)
			}
		}
		again, err := read(policyText("secret", got))
		if err != nil || !maps.EqualFunc(again, got, slices.Equal) {
			t.Errorf("%q means %v, and shown %v: %v", text, got, again, err)
		}
	})
}
