package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Limits of the prose in a document, on average over its sentences.
const (
	maxColumns     = 100
	maxFrontPage   = 120 // lines of README
	maxWords       = 22.0
	maxClauseMarks = 1.2
)

// TestProse checks the prose of every Markdown document: its columns, its words, and the length of its sentences.
func TestProse(t *testing.T) {
	checked := 0
	for _, name := range trackedFiles(t, "*.md") {
		text, err := os.ReadFile("../" + name)
		if err != nil || strings.HasPrefix(name, ".github/") {
			continue
		}
		checked++
		if n := strings.Count(string(text), "\n"); name == "README.md" && n > maxFrontPage {
			t.Errorf("%s has %d lines, a front page has at most %d", name, n, maxFrontPage)
		}
		lines := proseLines(string(text))
		for _, line := range lines {
			if utf8.RuneCountInString(line) > maxColumns && strings.Contains(line[:60], " ") && !strings.HasPrefix(line, "- [") && !strings.HasPrefix(line, "#") {
				t.Errorf("%s: a line has more than %d columns: %s", name, maxColumns, line)
			}
		}
		checkProse(t, name, lines)
	}
	if checked < 100 {
		t.Errorf("only %d documents were checked", checked)
	}
}

// checkProse checks the words and the sentences of a document.
func checkProse(t *testing.T, name string, lines []string) {
	t.Helper()
	code := regexp.MustCompile("`[^`]*`")
	target := regexp.MustCompile(`\]\([^)]*\)`) // of a link: file names keep words that titles no longer have
	sentences, words, marks := 0, 0, 0
	for _, paragraph := range paragraphs(lines) {
		paragraph = target.ReplaceAllString(code.ReplaceAllString(paragraph, "X"), "]")
		if word := unclear.FindString(paragraph); word != "" {
			t.Errorf("%s: %q has a clearer word: %s", name, word, paragraph)
		}
		for _, sentence := range regexp.MustCompile(`[.!?][")*]*\s+`).Split(paragraph, -1) {
			if n := len(strings.Fields(sentence)); n > 1 {
				sentences++
				words += n
				marks += len(regexp.MustCompile(`[,;:](\s|$)`).FindAllString(sentence, -1))
			}
		}
	}
	if sentences == 0 {
		return
	}
	if w := float64(words) / float64(sentences); w > maxWords {
		t.Errorf("%s: %.1f words a sentence, at most %.0f", name, w, maxWords)
	}
	if m := float64(marks) / float64(sentences); m > maxClauseMarks && sentences > 10 {
		t.Errorf("%s: %.2f commas, colons and semicolons a sentence, at most %.1f", name, m, maxClauseMarks)
	}
}

// proseLines leaves out code, tables, comments and what the code generates.
func proseLines(text string) (lines []string) {
	text = regexp.MustCompile(`(?s)<!--.*?-->`).ReplaceAllString(text, "")
	fenced := false
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if !fenced && !strings.HasPrefix(strings.TrimSpace(line), "|") && !strings.HasPrefix(line, "Status: ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// paragraphs joins lines; an item of a list is a paragraph of its own.
func paragraphs(lines []string) (out []string) {
	item := regexp.MustCompile(`^\s*([-*]|\d+\.) `)
	current := ""
	for _, line := range append(lines, "") {
		blank := strings.TrimSpace(line) == ""
		if (blank || item.MatchString(line) || strings.HasPrefix(line, "#")) && current != "" {
			out = append(out, current)
			current = ""
		}
		if !blank && !strings.HasPrefix(line, "#") {
			current += " " + item.ReplaceAllString(line, "")
		}
	}
	return out
}
