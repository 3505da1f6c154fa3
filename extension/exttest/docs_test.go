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

// TestDocumentedBlocks runs the SQL blocks of each document as they are printed and in their order, on a new server of
// their own, and its blocks of settings that say that they are run. A block that is not run says so, with the reason.
func TestDocumentedBlocks(t *testing.T) {
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatal(documents, err)
	}
	found := false
	for _, path := range append(documents, "../../README.md") {
		blocks := blocksOf(t, path)
		runs := false
		for _, b := range blocks {
			if b.mark != "" && !b.skipped() && b.mark != "run: postgresql.conf" {
				t.Errorf("%s: unknown mark %q", path, b.mark)
			}
			runs = runs || b.lang == "sql" && !b.skipped()
		}
		if pasted[filepath.Base(path)] {
			wantMarks(t, path, blocks)
		}
		if runs {
			found = true
			t.Run(filepath.Base(path), func(t *testing.T) { runBlocks(t, blocks, strings.HasSuffix(path, "README.md")) })
		}
	}
	if !found {
		t.Error("no document has a block of SQL")
	}
}

// pasted are the pages whose shell blocks a reader pastes.
var pasted = map[string]bool{
	"README.md": true, "INSTALL.md": true, "SERVER.md": true, "CLUSTER.md": true, "KMS.md": true, "AUDIT.md": true, "SECURITY.md": true,
}

// wantMarks: each shell block of such a page says that no test runs it as a whole.
func wantMarks(t *testing.T, path string, blocks []block) {
	t.Helper()
	for _, b := range blocks {
		if (b.lang == "sh" || b.lang == "bash" || b.lang == "console") && !b.skipped() {
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
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range append(documents, "../../README.md") {
		for _, b := range blocksOf(t, path) {
			if (b.lang != "sh" && b.lang != "bash") || !makesSecret.MatchString(b.text) || strings.Contains(b.text, "age-keygen") {
				continue // age-keygen itself never replaces a file
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
		db = c.Database("postgres")
	} else {
		db = c.NewDB(t)
		vaulttest.NewServer(t, db)
	}
	serving := !install
	for _, b := range blocks {
		switch {
		case b.skipped():
		case b.mark == "run: postgresql.conf":
			if err := appendTo(filepath.Join(c.Data(), "postgresql.conf"), b.text); err != nil {
				t.Fatal(err)
			}
			c.MustStop(t, syscall.SIGINT)
			c.MustStart(t)
		case b.lang == "sql":
			script := filepath.Join(c.Dir(), "block.sql")
			if err := os.WriteFile(script, []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := c.program(t, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", c.Dir(), "-U", vaulttest.Superuser, "-d", db.Name, "-f", script)
			if err != nil {
				t.Fatalf("%v: %s\n%s", err, out, b.text)
			}
			if !serving {
				serving = true
				vaulttest.NewServer(t, db)
			}
		}
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
