package docs

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reference/sql.md")

const (
	sqlPage  = "reference/sql.md"
	sqlBegin = "<!-- made by go test ./docs -run TestSQLPage -update -->\n"
	sqlEnd   = "<!-- end -->\n"
)

// sqlFunction is a function of the schema as its source in sql/ declares it.
type sqlFunction struct{ file, name, arguments, returns, comment string }

// sqlGroups are the functions that people and applications call. The part of sql/ tells them from others of the same
// name, which the API calls.
var sqlGroups = []struct{ heading, functions string }{
	{"Secrets", "plaintext.sql: create_secret read_secret read_secret_bytes read_secrets read_secrets_below update_secret rotate_secret configure_secret expire_version " +
		"create_metadata set_version_settings delete_versions undelete_versions destroy_versions list_versions " +
		"delete_secret destroy_secret list_deleted_secrets restore_secret destroy_deleted_secret verify verify_version list_secrets"},
	{"Access", "access.sql: grant_access revoke_access access_list; decide.sql: who_may explain_access; " +
		"missing.sql: missing_grants adopt_grants forget_grants"},
	{"Roles of PostgreSQL", "rolebind.sql: bind_role bind_role_pair import_role unbind_role repair_role; " +
		"roledrift.sql: bound_roles; rolesession.sql: configure_role role_sessions"},
	{"Tokens and logins", "token.sql: create_token token_list renew_token revoke_token; loginpeople.sql: set_login_method drop_login_method " +
		"login_method_list set_login_role drop_login_role login_role_list revoke_batch_tokens create_secret_id destroy_secret_id secret_id_list"},
	{"Leased roles", "leaserest.sql: create_role_template drop_role_template role_templates issue_role renew_lease revoke_lease leases"},
	{"Audit and operation", "auditlook.sql: audit audit_after; auditprune.sql: prune_audit; status.sql: status; " +
		"service.sql: grant_service_role revoke_service_role"},
}

// TestSQLPage compares docs/reference/sql.md with the functions and comments in sql/.
func TestSQLPage(t *testing.T) {
	text, err := os.ReadFile(sqlPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), sqlBegin)
	got, after, ended := strings.Cut(rest, sqlEnd)
	if !ok || !ended {
		t.Fatalf("%s lacks the lines\n%s%s", sqlPage, sqlBegin, sqlEnd)
	}
	want := sqlList(t)
	if *update {
		if err := os.WriteFile(sqlPage, []byte(before+sqlBegin+want+sqlEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s is not what sql/ says. Run: go test ./docs -run TestSQLPage -update", sqlPage)
	}
}

// TestSQLPageIsComplete checks that the page has every function that a grant lets a role call.
func TestSQLPageIsComplete(t *testing.T) {
	text, err := os.ReadFile("../sql/access.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "CREATE FUNCTION vault.entry_points(")
	body, _, _ = strings.Cut(body, "COMMENT ON")
	page := sqlList(t)
	entries := regexp.MustCompile(`\('\w+', '(?:vault\.)?(\w+)`).FindAllStringSubmatch(body, -1)
	if len(entries) < 30 {
		t.Fatalf("%d entry points found: this test misreads them", len(entries))
	}
	for _, m := range entries {
		if !strings.Contains(page, "**`vault."+m[1]+"`**") {
			t.Errorf("%s lacks vault.%s", sqlPage, m[1])
		}
	}
}

// sqlList returns the generated part of the page.
func sqlList(t *testing.T) string {
	t.Helper()
	functions := sqlFunctions(t)
	var b strings.Builder
	for _, group := range sqlGroups {
		b.WriteString("\n### " + group.heading + "\n\n")
		for part := range strings.SplitSeq(group.functions, "; ") {
			file, names, _ := strings.Cut(part, ": ")
			for name := range strings.FieldsSeq(names) {
				found := false
				for _, f := range functions {
					if f.file == file && f.name == name {
						found = true
						b.WriteString(f.item())
					}
				}
				if !found {
					t.Errorf("sql/%s does not create vault.%s", file, name)
				}
			}
		}
	}
	return b.String() + "\n"
}

// item is the entry of a function in the page.
func (f sqlFunction) item() string {
	call := "- **`vault." + f.name + "`** `(" + f.arguments + ")"
	if f.returns != "void" {
		call += " returns " + f.returns
	}
	lines := wrapAt(call+"`.", 98, "  ")
	return lines + "\n  " + wrapAt(f.comment, 96, "  ") + "\n"
}

// wrapAt breaks text into lines of at most width bytes, and begins all but the first with an indent.
func wrapAt(text string, width int, indent string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, line), "\n"+indent)
}

// sqlFunctions reads the sources of the schema.
func sqlFunctions(t *testing.T) []sqlFunction {
	t.Helper()
	files, err := filepath.Glob("../sql/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources of the schema: %v", err)
	}
	create := regexp.MustCompile(`(?s)CREATE FUNCTION vault\.(\w+)\((.*?)\)\s+RETURNS\s+(.*?)\s+(?:AS|LANGUAGE)\b`)
	comment := regexp.MustCompile(`(?s)COMMENT ON FUNCTION vault\.(\w+)\(.*?\)\s+IS '((?:[^']|'')*)'`)
	var out []sqlFunction
	for _, file := range slices.Sorted(slices.Values(files)) {
		if strings.Contains(file, "hyperion_vault--") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range create.FindAllSubmatchIndex(source, -1) {
			part := func(i int) string { return strings.Join(strings.Fields(string(source[at[2*i]:at[2*i+1]])), " ") }
			f := sqlFunction{file: filepath.Base(file), name: part(1), arguments: part(2), returns: part(3)}
			if m := comment.FindSubmatch(source[at[1]:]); m != nil && string(m[1]) == f.name {
				f.comment = strings.ReplaceAll(string(m[2]), "''", "'")
			}
			out = append(out, f)
		}
	}
	return out
}
