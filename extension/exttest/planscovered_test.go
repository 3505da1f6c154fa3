package exttest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// embedded finds the statements in the sources of the library, and partOf their literals. Between two literals a macro may stand.
var (
	embedded = regexp.MustCompile(`HvStatement (\w+) = \{\s*((?:(?:"(?:[^"\\]|\\.)*"|[A-Z_]+)\s*)+),`)
	partOf   = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
)

// notSent are statements of the library that TestPlans does not send, and why. Each is named by its file and its variable.
var notSent = map[string]string{
	"boundrole.refuse_statement": "it only words an error", "dropguard.exist_statement": atDrop, "dropguard.restorable_statement": atDrop, "dropguard.lock_statement": atDrop,
	"dropguard.leased_statement": atDrop,
	"granting.granted_statement": byScan, "lock.lock_row_statement": byScan,
}

const (
	atDrop = "DROP EXTENSION sends it once"
	byScan = "the library scans the index without a statement, unless the table is not as expected"
)

// planning finds what makes a statement have a plan of its own: the tables of the vault, and the functions that the planner expands.
func planning(s *session) *regexp.Regexp {
	s.t.Helper()
	names := column(s, `SELECT relname::text FROM pg_class WHERE relnamespace = 'vault'::regnamespace AND relkind IN ('r', 'p')
		UNION SELECT p.proname::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		WHERE p.pronamespace = 'vault'::regnamespace AND l.lanname = 'sql' AND p.proconfig IS NULL AND NOT p.prosecdef`)
	return regexp.MustCompile(`\bvault\.(` + strings.Join(names, "|") + `)\b`)
}

// checkSent fails the test for each statement in the sources of the library that has a plan, of which there is none.
func checkSent(s *session, plans []loggedPlan) {
	s.t.Helper()
	files, err := filepath.Glob("../shim/*.c")
	if err != nil {
		s.t.Fatal(err)
	}
	has, n := planning(s), 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range embedded.FindAllStringSubmatch(string(text), -1) {
			name := strings.TrimSuffix(filepath.Base(file), ".c") + "." + m[1]
			if !has.MatchString(m[2]) {
				continue
			}
			n++
			if sent := isSent(m[2], plans); !sent && notSent[name] == "" {
				s.t.Errorf("%s was not sent: have a statement of planned need it, or say in notSent why not", name)
			} else if sent && notSent[name] != "" {
				s.t.Errorf("%s was sent, but is in notSent", name)
			}
		}
	}
	if n < 8 {
		s.t.Errorf("only %d statements with a plan were found in the sources", n)
	}
}

// isSent reports whether one of the plans is of a statement with these literals, one after the other.
func isSent(literals string, plans []loggedPlan) bool {
	parts := partOf.FindAllStringSubmatch(literals, -1)
	for _, p := range plans {
		rest, found := p.Query, true
		for _, part := range parts {
			if _, rest, found = strings.Cut(rest, part[1]); !found {
				break
			}
		}
		if found && rest == "" {
			return true
		}
	}
	return false
}

// staySmall are tables that TestPlans leaves as they are, and why.
var staySmall = map[string]string{
	"audit_journals": "a row for each directory of an API", "audit_numbering": "one row", "supervisor_passes": "one row",
	"login_methods": "a row for each mount", "token_keys": "a key a month", "revoked_defaults": "a row for each default grant that was taken back",
	"standby_sessions": "a row for each retiring role and standby",
}

// checkFilled fails the test for each table of the vault that neither has many rows nor stays small.
func checkFilled(s *session, grown map[string]int) {
	s.t.Helper()
	for _, name := range column(s, `SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'p')
		AND NOT c.relispartition ORDER BY 1`) {
		if _, fills := grown[name]; !fills && staySmall[name] == "" && name != "audit_log" { // whose parts are tables
			s.t.Errorf("vault.%s has few rows: fill it, or say in staySmall why it has no more", name)
		}
	}
}
