package exttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"

	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// block is a fenced block of a document; mark is the comment on the line before it.
type block struct{ lang, text, mark string }

// A block in a list is indented.
var fence = regexp.MustCompile("(?ms)(?:^ *<!-- ([^\n]*) -->\n)?^( *)```([a-z]+)\n(.*?)^ *```$")

func blocksOf(t *testing.T, path string) (out []block) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		lines := strings.SplitAfter(m[4], "\n")
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], m[2])
		}
		out = append(out, block{lang: m[3], text: strings.Join(lines, ""), mark: m[1]})
	}
	return out
}

func (b block) skipped() bool { return strings.HasPrefix(b.mark, "not run: ") }

// The marks of the blocks that a test runs. Blocks of SQL need none.
const (
	runSettings = "run: postgresql.conf" // appended to it, and the server is restarted
	runShell    = "run: shell"           // run in bash, in a copy of the machine
	runServer   = "run: server"          // the same, for a block that serves until it is stopped
)

// documents returns the paths of README and of all pages below docs.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("../../docs", func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	return append(paths, "../../README.md")
}

// TestDocumentedBlocks runs the SQL blocks of each document as they are printed and in their order, on a new server of
// their own, and its blocks of settings that say that they are run. A block that is not run says so, with the reason.
func TestDocumentedBlocks(t *testing.T) {
	t.Parallel()
	found := false
	for _, path := range documents(t) {
		blocks := blocksOf(t, path)
		wantMarks(t, path, blocks)
		runs, install := false, false
		for _, b := range blocks {
			runs = runs || b.lang == "sql" && !b.skipped()
			install = install || b.lang == "sql" && !b.skipped() && strings.Contains(b.text, "CREATE EXTENSION hyperion_vault")
		}
		if runs {
			found = true
			t.Run(filepath.Base(path), func(t *testing.T) { runBlocks(t, blocks, install) })
		}
	}
	if !found {
		t.Error("no document has a block of SQL")
	}
}

// runElsewhere are the pages whose blocks of shell other tests run. Those of rest.md are examples of one route each,
// which the tests of api/httpapi compare with openapi.yaml.
var runElsewhere = map[string]string{
	"ACCESS.md": "api/privilegetest", "LOGINS.md": "api/login/logintest", "BACKUP.md": "TestBackupPage", "rest.md": "api/httpapi", "sql.md": "regress/sql",
}

// wantMarks: each mark is known, and each block of shell says whether a test runs it, or why not.
func wantMarks(t *testing.T, path string, blocks []block) {
	t.Helper()
	for _, b := range blocks {
		switch b.mark {
		case "", runSettings, runShell, runServer:
		default:
			if !b.skipped() {
				t.Errorf("%s: unknown mark %q", path, b.mark)
			}
		}
		shell := b.lang == "sh" || b.lang == "bash" || b.lang == "console"
		if shell && b.mark == "" && runElsewhere[filepath.Base(path)] == "" {
			t.Errorf("no test runs this block of %s, and it does not say so:\n%s", path, b.text)
		}
	}
}

// makesSecret finds the blocks that make keys or passwords.
var makesSecret = regexp.MustCompile(`/dev/u?random|openssl rand|age-keygen`)

// standIns takes the place of what such a block does beside making files. sudo runs the command as this user.
const standIns = `
sudo() { while :; do case $1 in -u) shift 2 ;; -*) shift ;; *) break ;; esac; done; "$@"; }
install() { mkdir -p "${@: -1}"; }
editor() { :; }
docker() { :; }
hyperion-vault-api() { [ -z "${VAULT_LOCAL_MASTER_KEY:-}" ] || echo "a key in the environment is another one each time"; }
`

// TestSecretsAreMadeOnce pastes every block that makes a key or a password twice. The second time changes no file: what
// was sealed under a key that is replaced never opens again.
func TestSecretsAreMadeOnce(t *testing.T) {
	found := 0
	for _, path := range documents(t) {
		for _, b := range blocksOf(t, path) {
			if (b.lang != "sh" && b.lang != "bash") || !makesSecret.MatchString(b.text) {
				continue
			}
			// age-keygen itself never replaces a file, and the vault keeps versions.
			if strings.Contains(b.text, "age-keygen") || strings.Contains(b.text, "| hyperion-vault put") {
				continue
			}
			found++
			t.Run(filepath.Base(path), func(t *testing.T) { pasteTwice(t, b.text) })
		}
	}
	if found == 0 {
		t.Error("no document makes a key")
	}
}

func pasteTwice(t *testing.T, text string) {
	dir := t.TempDir()
	for _, place := range []string{"etc/credstore", "var/lib/hyperion-vault"} {
		if err := os.MkdirAll(filepath.Join(dir, place), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	text = strings.NewReplacer("/etc/", dir+"/etc/", "/var/", dir+"/var/").Replace(text)
	paste := func() map[string]string {
		bash := exec.CommandContext(t.Context(), "bash", "-c", standIns+text)
		bash.Dir = dir
		out, _ := bash.CombinedOutput() // the second one fails
		if strings.Contains(string(out), "another one each time") {
			t.Errorf("%s", out)
		}
		files := map[string]string{}
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			files[path] = string(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	first := paste()
	if len(first) == 0 || hasEmpty(first) {
		t.Fatalf("nothing was made by:\n%s", text)
	}
	if !reflect.DeepEqual(first, paste()) {
		t.Errorf("pasted again, it replaces what it has made:\n%s", text)
	}
}

// runBlocks runs them on a server that has nothing of the vault (install), or all of it, an API included.
func runBlocks(t *testing.T, blocks []block, install bool) {
	c := startCluster(t, !install)
	var db *vaulttest.DB
	if install {
		c.connect(t, "postgres", vaulttest.Superuser).exec("DROP ROLE " + vaulttest.ServiceRole)
		db = vaulttest.Of(c.Database("postgres"))
	} else {
		db = c.NewDB(t)
		vaulttest.NewServer(t, db)
	}
	serving := !install
	for _, b := range blocks {
		switch {
		case b.skipped():
		case b.mark == runSettings:
			if err := appendTo(filepath.Join(c.Data(), "postgresql.conf"), b.text); err != nil {
				t.Fatal(err)
			}
			c.MustStop(t, syscall.SIGINT)
			c.MustStart(t)
		case b.lang == "sql":
			runSQL(t, c, db.Name, b.text)
			if !serving {
				serving = true
				vaulttest.NewServer(t, db)
			}
		}
	}
}

func runSQL(t *testing.T, c cluster, database, text string) {
	t.Helper()
	script := filepath.Join(c.Dir(), "block.sql")
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := c.program(t, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", c.Dir(), "-U", vaulttest.Superuser, "-d", database, "-f", script)
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, text)
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func hasEmpty(files map[string]string) bool {
	for _, content := range files {
		if content == "" {
			return true
		}
	}
	return false
}
