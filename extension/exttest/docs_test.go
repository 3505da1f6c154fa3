package exttest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// block is a fenced block of a document; mark is the comment on the line before it.
type block struct{ lang, text, mark string }

var fence = regexp.MustCompile("(?ms)(?:^<!-- ([^\n]*) -->\n)?^```([a-z]+)\n(.*?)^```$")

func blocksOf(t *testing.T, path string) (out []block) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		out = append(out, block{lang: m[2], text: m[3], mark: m[1]})
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
		if strings.HasSuffix(path, "README.md") {
			wantMarks(t, blocks)
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

// wantMarks: a reader pastes the README's shell blocks, so each says that no test runs it. A console block shows a run.
func wantMarks(t *testing.T, blocks []block) {
	t.Helper()
	for _, b := range blocks {
		if (b.lang == "sh" || b.lang == "bash") && !b.skipped() {
			t.Errorf("no test runs this block of README.md, and it does not say so:\n%s", b.text)
		}
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
