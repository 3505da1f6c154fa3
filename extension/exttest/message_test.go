package exttest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// message is a text of the programs that a person may read.
type message struct{ at, text string }

// goMessages are the string literals of the programs, without statements that they send themselves and without tests.
func goMessages(t *testing.T) (all []message) {
	t.Helper()
	files := token.NewFileSet()
	for _, dir := range []string{"../../api", "../../core", "../golib"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{"pgtest", "vaulttest", "clustertest", "kmstest"}, d.Name()):
				return fs.SkipDir
			case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if text, ok := joined(n); ok {
					all = append(all, message{files.Position(n.Pos()).String(), text})
					return false
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// joined is the text of a literal, or of several that are added; what stands between them is left out.
func joined(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
			return text, true
		}
	case *ast.BinaryExpr:
		x, ok := joined(n.X)
		y, also := joined(n.Y)
		return x + y, n.Op == token.ADD && (ok || also)
	}
	return "", false
}

// hintsOfSources are the messages, details and hints of the schema and of the shim.
func hintsOfSources(t *testing.T) (all []message) {
	t.Helper()
	said := regexp.MustCompile(`(?s)(?:err(?:msg|hint|detail)\(|_HINT\t|(?:HINT|DETAIL|MESSAGE)\s*=|RAISE (?:EXCEPTION|WARNING|NOTICE))[^;]*?((?:["'](?:[^"'\n]|'')*["'][\s|]*)+)`)
	for _, pattern := range []string{"../../sql/[a-z]*.sql", "../shim/*.[ch]"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range said.FindAllStringSubmatch(string(text), -1) {
				all = append(all, message{file, m[1]})
			}
		}
	}
	return all
}

// TestMessagesNameWhatThereIs: each setting, function and command that a message names exists, and a statement that a message
// of the API suggests runs as it is printed.
func TestMessagesNameWhatThereIs(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	settings, err := os.ReadFile("../../docs/reference/settings.md") // compared with the code by a test of its own
	if err != nil {
		t.Fatal(err)
	}
	named := func(pattern string, exists func(name string) bool) func(message) int {
		find := regexp.MustCompile(pattern)
		known := map[string]bool{}
		return func(m message) int {
			found := find.FindAllStringSubmatch(m.text, -1)
			for _, f := range found {
				ok, seen := known[f[1]]
				if !seen {
					ok = exists(f[1])
					known[f[1]] = ok
				}
				if !ok {
					t.Errorf("%s: %s is none: %.200s", m.at, f[0], m.text)
				}
			}
			return len(found)
		}
	}
	checks := map[string]func(message) int{
		"setting of the API": named(`\b(VAULT_[A-Z0-9]+(?:_[A-Z0-9]+)*)\b`, func(name string) bool {
			if slices.Contains([]string{"VAULT_ADDR", "VAULT_TOKEN", "VAULT_CACERT", "VAULT_NAMESPACE", "VAULT_ADMIN_TOKEN"}, name) { // of clients
				return true
			}
			return strings.Contains(string(settings), "`"+name+"`") || strings.Contains(string(settings), "`"+strings.TrimSuffix(name, "_FILE")+"`")
		}),
		"setting of the server": named(`\bhyperion_vault\.([a-z_]+[a-z])\b`, func(name string) bool {
			return get[int](b.session, "SELECT count(*)::int FROM pg_settings WHERE name = 'hyperion_vault.' || $1", name) == 1
		}),
		"function": named(`\bvault\.([a-z_]+[a-z])\(`, func(name string) bool {
			return get[int](b.session, "SELECT count(*)::int FROM pg_proc WHERE pronamespace = 'vault'::regnamespace AND proname = $1", name) > 0
		}),
		"command": named(`\bhyperion-vault-api ((?:token|auth|[a-z]+)(?: (?:create|list|settings|role|method))?)\b`, func(name string) bool {
			for _, prose := range []string{"on", "made", "by", "is", "running", "that", "serves", "has", "needs", "in", "could", "of", "and", "which", "with"} {
				if name == prose {
					return true
				}
			}
			words := strings.Fields(name)
			if words[0] != "help" {
				words = append([]string{"help"}, words...)
			}
			return program(words...).Run() == nil
		}),
	}
	texts := append(goMessages(t), hintsOfSources(t)...)
	pages := regexp.MustCompile(`\w+\.md\b`)
	for i := range texts {
		texts[i].text = pages.ReplaceAllString(texts[i].text, "")
	}
	for what, check := range checks {
		n := 0
		for _, m := range texts {
			n += check(m)
		}
		if n == 0 {
			t.Errorf("no message names a %s", what)
		}
	}
	b.runSuggested(t, texts)
}

// runSuggested runs statements that stand in messages of Go, which end them with a semicolon. What the program itself sends
// ends without one.
func (b *bench) runSuggested(t *testing.T, texts []message) {
	t.Helper()
	statement := regexp.MustCompile(`(?:^|: |\(|\brun )((?:SELECT|ALTER|GRANT|CREATE|SET|DROP) [^;]*);`)
	n := 0
	for _, m := range texts {
		if !strings.HasSuffix(strings.SplitN(m.at, ":", 2)[0], ".go") || strings.HasPrefix(m.text, "SELECT ") {
			continue
		}
		for _, f := range statement.FindAllStringSubmatch(m.text, -1) {
			n++
			if strings.HasPrefix(f[1], "CREATE DATABASE ") { // takes no transaction
				b.exec(f[1])
				b.exec("DROP DATABASE " + strings.Fields(f[1])[2])
				continue
			}
			b.script("BEGIN; " + f[1] + "; ROLLBACK")
		}
	}
	if n < 4 {
		t.Errorf("only %d statements were found", n)
	}
}

// program is hyperion-vault-api: built from its source, or as it was built, where there is no Go to do so.
func program(args ...string) *exec.Cmd {
	if _, err := exec.LookPath("go"); err != nil {
		return exec.Command("../../bin/hyperion-vault-api", args...)
	}
	return exec.Command("go", append([]string{"run", "../../api/cmd/hyperion-vault-api"}, args...)...)
}
