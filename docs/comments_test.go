package docs

import (
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

// comment finds the comment of a line of source, by the end of the file's name.
var comment = map[string]*regexp.Regexp{
	".go":  regexp.MustCompile("(^|\\s)//.*$"),
	".c":   regexp.MustCompile(`/\*.*$|^\s*\*.*$`),
	".h":   regexp.MustCompile(`/\*.*$|^\s*\*.*$`),
	".sql": regexp.MustCompile(`--.*$`),
	".sh":  regexp.MustCompile(`(^|\s)#.*$`),
}

// quoted is what a comment only mentions.
var quoted = regexp.MustCompile(`"[^"]*"`)

// TestComments checks the words of comments in the source, as TestProse does those of documents.
func TestComments(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files").Output()
	if err != nil {
		t.Skip("no git checkout")
	}
	checked := 0
	for name := range strings.FieldsSeq(string(out)) {
		of := comment[path.Ext(name)]
		if of == nil || isReleased(name) {
			continue
		}
		text, err := os.ReadFile("../" + name)
		if err != nil {
			continue // it is deleted and not committed yet
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			said := quoted.ReplaceAllString(of.FindString(strings.TrimRight(line, "\n")), "")
			if said != "" {
				checked++
			}
			if word := unclear.FindString(said); word != "" {
				t.Errorf("%s:%d: %q has a clearer word: %s", name, number, word, strings.TrimSpace(said))
			}
		}
	}
	if checked < 5000 {
		t.Errorf("only %d comments were checked", checked)
	}
}

// isReleased reports whether users have a file, so that it may not change.
func isReleased(name string) bool { return strings.HasPrefix(name, "sql/frozen/") }

// isTest reports whether a file is part of the tests.
func isTest(name string) bool {
	return strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "regress/")
}
