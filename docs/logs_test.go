package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// computed names the log calls whose message is not written where it is logged, and where logLines finds it instead.
var computed = map[string]string{
	"api/audit/quota.go: b.reached":                                   "the fields named reached",
	"api/cmd/hyperion-vault-api/command.go: w.Text":                   "the calls of warn in api/config",
	"api/cmd/service/readiness.go: message":                           "what is assigned to message",
	"api/rotator/rotator.go: message":                                 "the calls of warn in api/rotator",
	"api/httpapi/errorlog.go: string(bytes.TrimRight(line, \"\\n\"))": "net/http, whose lines begin with http:",
}

// TestLogLines: docs/OPERATIONS.md says of every line that the program logs as a warning or an error what to do, and of
// no line that the program does not log.
func TestLogLines(t *testing.T) {
	described := rows(t, "## Log lines of the API")
	lines, opaque := logLines(t)
	lines["http: …"] = "api/httpapi/errorlog.go"
	for _, known := range []string{"request failed", "condition began", "cannot claim rotations", "a reload did not change a setting: …"} {
		if lines[known] == "" {
			t.Errorf("the line %q is not found in the sources: this test misreads them", known)
		}
	}
	compare(t, described, lines)
	for place := range opaque {
		if computed[place] == "" {
			t.Errorf("%s: the message is not a constant; this test has to learn where it comes from", place)
		}
	}
	for place := range computed {
		if !opaque[place] {
			t.Errorf("%s no longer logs anything", place)
		}
	}
}

// TestServerLogLines: the same for what the extension writes into the log of PostgreSQL below an error.
func TestServerLogLines(t *testing.T) {
	lines := map[string]string{}
	collect := func(glob string, pattern *regexp.Regexp) {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", glob, err, len(files))
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range pattern.FindAllSubmatch(text, -1) {
				message := regexp.MustCompile(`"\s*HV_SCHEMA_NAME\s*"`).ReplaceAllString(string(m[1]), "vault")
				lines[open(strings.ReplaceAll(message, `\"`, `"`))] = name
			}
		}
	}
	collect("../extension/shim/*.c", regexp.MustCompile(
		`ereport\((?:WARNING|LOG|LOG_SERVER_ONLY|last->level),\s*\(\s*(?:errcode\([^)]*\)+,\s*)?errmsg\("((?:[^"\\]|\\.|"\s*HV_SCHEMA_NAME\s*")*)"`))
	collect("../sql/*.sql", regexp.MustCompile(`RAISE (?:WARNING|LOG) '([^']+)'`))
	compare(t, rows(t, "## Log lines of PostgreSQL"), lines)
}

func compare(t *testing.T, described map[string]bool, lines map[string]string) {
	t.Helper()
	for line, place := range lines {
		if !described[line] {
			t.Errorf("OPERATIONS.md has no line for what %s logs:\n| `%s` | |", place, line)
		}
	}
	for line := range described {
		if lines[line] == "" {
			t.Errorf("OPERATIONS.md describes a line that nothing logs: %s", line)
		}
	}
}

// rows returns the messages of the table under a heading, those whose last column is not empty.
func rows(t *testing.T, heading string) map[string]bool {
	t.Helper()
	page, err := os.ReadFile("OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n"+heading+"\n")
	if !found {
		t.Fatalf("OPERATIONS.md has no heading %s", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	messages := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(.+?)` \\| \\S.* \\|$").FindAllStringSubmatch(section, -1) {
		messages[m[1]] = true
	}
	return messages
}

// open shows where a message has something of its own.
func open(message string) string {
	return regexp.MustCompile(`%[a-z]?`).ReplaceAllString(message, "…")
}

// logLines returns each message that may be logged as a warning or an error with the file that has it, and the calls
// whose message is no constant.
func logLines(t *testing.T) (lines map[string]string, opaque map[string]bool) {
	t.Helper()
	lines, opaque = map[string]string{}, map[string]bool{}
	for _, root := range []string{"../api", "../core"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (strings.HasSuffix(path, "test")):
				return filepath.SkipDir // they are no part of the program
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				for _, e := range logged(n, path) {
					place := strings.TrimPrefix(path, "../")
					if text, constant := message(e); constant {
						lines[open(text)] = place
					} else {
						opaque[place+": "+source(t, path, e)] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return lines, opaque
}

// logged returns the messages that a node logs, or keeps for that.
func logged(n ast.Node, path string) []ast.Expr {
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "reached" && path == "../api/audit/quota.go" {
			return []ast.Expr{n.Value}
		}
	case *ast.AssignStmt:
		if to, ok := n.Lhs[0].(*ast.Ident); ok && to.Name == "message" && path == "../api/cmd/service/readiness.go" {
			return n.Rhs
		}
	case *ast.CallExpr:
		if to, ok := n.Fun.(*ast.SelectorExpr); ok {
			if at := messageAt(to.Sel.Name, path, n.Args); at >= 0 && at < len(n.Args) {
				return n.Args[at : at+1]
			}
		}
	}
	return nil
}

// messageAt returns which argument of a method is the message of a warning or an error; -1 if none is.
func messageAt(method, path string, args []ast.Expr) int {
	switch {
	case method == "Warn", method == "Error" && len(args) > 0:
		return 0
	case method == "WarnContext", method == "ErrorContext":
		return 1
	case (method == "Log" || method == "LogAttrs") && len(args) > 2:
		if level, ok := args[1].(*ast.SelectorExpr); ok && (level.Sel.Name == "LevelInfo" || level.Sel.Name == "LevelDebug") {
			return -1
		}
		return 2
	case method == "warn" && strings.HasPrefix(path, "../api/config/"):
		return 1
	case method == "warn" && strings.HasPrefix(path, "../api/rotator/"):
		return 3
	}
	return -1
}

// message returns a constant text. What is appended to one is shown as open.
func message(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, ok := message(e.X)
		if !ok {
			return "", false
		}
		if right, ok := message(e.Y); ok {
			return left + right, true
		}
		return left + "…", true
	}
	return "", false
}

// source returns an expression as it is written.
func source(t *testing.T, path string, e ast.Expr) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[e.Pos()-1 : e.End()-1])
}
