package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

// The longest sentence of a comment, and how many colons and semicolons it may have after its label.
const (
	maxSentence = 40
	maxColons   = 1
)

// tally counts sentences, their words and their clause marks.
type tally struct{ sentences, words, marks int }

// measure adds the sentences of a text and returns those that are too long to be read once.
func (y *tally) measure(text string, colons int) (hard []string) {
	text = regexp.MustCompile("`[^`]*`|\"[^\"]*\"").ReplaceAllString(text, "X")
	for _, s := range regexp.MustCompile(`[.!?]["')*]*\s+|\s[-*]\s`).Split(text+" ", -1) {
		s = regexp.MustCompile(`^\s*[\w./()-]+(, [\w./-]+)*( (and|or) [\w./-]+)?: `).ReplaceAllString(s, "") // a label
		words := len(strings.Fields(s))
		if words <= 3 {
			continue
		}
		y.sentences++
		y.words += words
		y.marks += len(regexp.MustCompile(`[,;:](\s|$)`).FindAllString(s, -1))
		if words > maxSentence || len(regexp.MustCompile(`[;:](\s|$)`).FindAllString(s, -1)) > colons {
			hard = append(hard, strings.TrimSpace(s))
		}
	}
	return hard
}

// check fails if the sentences are longer on average than those of documents may be.
func (y *tally) check(t *testing.T, of string) {
	t.Helper()
	if y.sentences <= 10 {
		return
	}
	if w := float64(y.words) / float64(y.sentences); w > maxWords {
		t.Errorf("%s: %.1f words a sentence, at most %.0f", of, w, maxWords)
	}
	if m := float64(y.marks) / float64(y.sentences); m > maxClauseMarks {
		t.Errorf("%s: %.2f commas, colons and semicolons a sentence, at most %.1f", of, m, maxClauseMarks)
	}
}

// TestCommentSentences checks the sentences of the product's comments, each alone and on average in a directory.
func TestCommentSentences(t *testing.T) {
	of := map[string]*tally{}
	total := 0
	eachSource(t, func(name, text string) {
		dir := path.Dir(name)
		if of[dir] == nil {
			of[dir] = &tally{}
		}
		for _, c := range commentsOf(t, name, text) {
			for _, s := range of[dir].measure(c, maxColons) {
				t.Errorf("%s: read this twice, then write it in two sentences: %s", name, s)
			}
		}
	})
	for dir, y := range of {
		y.check(t, dir)
		total += y.sentences
	}
	if total < 5000 {
		t.Errorf("only %d sentences were checked", total)
	}
}

// TestMessageSentences checks the sentences of what the product says: errors, hints, log lines, help, COMMENT ON and the
// descriptions of the REST API. A colon may stand before each cause of an error.
func TestMessageSentences(t *testing.T) {
	of := map[string]*tally{}
	total := 0
	eachSource(t, func(name, text string) {
		if strings.HasSuffix(path.Dir(name), "test") {
			return // it is no part of the program
		}
		y := of[path.Dir(name)]
		if y == nil {
			y = &tally{}
			of[path.Dir(name)] = y
		}
		for _, m := range messagesOf(t, name, text) {
			for _, s := range y.measure(m, math.MaxInt) {
				t.Errorf("%s: read this twice, then write it in two sentences: %s", name, s)
			}
		}
	})
	for dir, y := range of {
		y.check(t, dir+", messages")
		total += y.sentences
	}
	if total < 2000 {
		t.Errorf("only %d sentences were checked", total)
	}
}

// trackedFiles are the names of the files in git that match one of the patterns; no pattern matches all.
func trackedFiles(t *testing.T, patterns ...string) []string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"-C", "..", "ls-files"}, patterns...)...).Output()
	if err != nil {
		t.Skip("no git checkout")
	}
	return strings.Fields(string(out))
}

// eachSource calls do with each source of the product that people read.
func eachSource(t *testing.T, do func(name, text string)) {
	t.Helper()
	for _, name := range trackedFiles(t) {
		if isReleased(name) || isTest(name) || strings.Contains(name, "/testdata/") {
			continue
		}
		text, err := os.ReadFile("../" + name)
		if err != nil {
			continue // it is deleted and not committed yet
		}
		do(name, string(text))
	}
}

// commentsOf returns the comments of a source, each as one text.
func commentsOf(t *testing.T, name, text string) (comments []string) {
	t.Helper()
	switch path.Ext(name) {
	case ".go":
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range file.Comments {
			comments = append(comments, strings.Split(regexp.MustCompile(`(?m)^(\t| {2,}).*$`).ReplaceAllString(group.Text(), ""), "\n\n")...)
		}
	case ".c", ".h":
		for _, m := range regexp.MustCompile(`(?ms)(?:^|[\s;,{])/\*(.*?)\*/`).FindAllStringSubmatch(text, -1) {
			comments = append(comments, strings.Split(regexp.MustCompile(`(?m)^\s*\* ?`).ReplaceAllString(m[1], ""), "\n\n")...)
		}
	case ".sql":
		for _, m := range regexp.MustCompile(`(?m)(^\s*--.*\n)+`).FindAllString(text, -1) {
			comments = append(comments, regexp.MustCompile(`(?m)^\s*--+ ?`).ReplaceAllString(m, " "))
		}
	}
	return comments
}

// messagesOf returns the texts of a source that people read where the program runs.
func messagesOf(t *testing.T, name, text string) (messages []string) {
	t.Helper()
	switch {
	case path.Ext(name) == ".go":
		return goTexts(t, name, text)
	case path.Ext(name) == ".c":
		text = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(text, "")
		for _, m := range regexp.MustCompile(`err(?:msg|hint|detail)\("((?:[^"\\]|\\.|"\s*\w*\s*")*)"`).FindAllStringSubmatch(text, -1) {
			messages = append(messages, m[1])
		}
	case strings.HasPrefix(name, "sql/"):
		for _, m := range regexp.MustCompile(`(?:IS|RAISE \w+|HINT =|DETAIL =)\s+'((?:[^']|'')*)'`).FindAllStringSubmatch(text, -1) {
			messages = append(messages, m[1])
		}
	case name == "docs/openapi.yaml":
		return descriptions(text)
	}
	return messages
}

// descriptions returns the descriptions and summaries of the operations, which may have several lines.
func descriptions(document string) (texts []string) {
	indent, current := -1, ""
	for line := range strings.Lines(document) {
		depth := len(line) - len(strings.TrimLeft(line, " "))
		if indent >= 0 && (depth > indent || strings.TrimSpace(line) == "") {
			current += " " + strings.TrimSpace(line)
			continue
		}
		texts = append(texts, current)
		indent, current = -1, ""
		if key, rest, _ := strings.Cut(strings.TrimLeft(line, " -"), ": "); key == "description" || key == "summary" {
			indent, current = depth, strings.Trim(strings.TrimSpace(rest), ">|-")
		}
	}
	return append(texts, current)
}

// goTexts returns the string constants of a file that are sentences, and not SQL.
func goTexts(t *testing.T, name, text string) (texts []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	statement := regexp.MustCompile(`\b(SELECT|INSERT|UPDATE|DELETE|VALUES|WHERE|CALL|ALTER|GRANT)\b|\{\{|\$\d|::\w`)
	ast.Inspect(file, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			if s, ok := message(e); ok && !statement.MatchString(s) && strings.Count(s, " ") > 3 {
				texts = append(texts, regexp.MustCompile(`(?m)^ .*$`).ReplaceAllString(s, "")) // a list has lines of its own
				return false
			}
		}
		return true
	})
	return texts
}
