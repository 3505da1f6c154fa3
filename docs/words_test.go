package docs

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// unclear are words of everyday language where the field has a clearer one: directory, check, repair, no longer.
var unclear = regexp.MustCompile(`(?i)\b(nobody|anybody|somebody|whoever|folders?|mend(s|ed|ing)?|tells? whether|` +
	`look(s|ed|ing)? (at|whether)|begun|any more|for ever|in vain|taken (for|to be)|takes? (it|itself|them) for|seldom|anew|` +
	`ask(s|ed|ing)? the (reader|primary|writer|store|database|servers?|hosts?))\b`)

// given are spellings that others have fixed: a constant of net/http, and the user that owns nothing on Unix.
var given = regexp.MustCompile(`\bNoBody\b|"nobody"|\bnobody\b = |: nobody\b|=nobody\b|user nobody\b|echo nobody|or nobody"`)

// TestWords checks the words of every source: comments, messages, hints, descriptions and names. TestProse does the
// same for documents.
func TestWords(t *testing.T) {
	checked := 0
	for _, name := range trackedFiles(t) {
		if isReleased(name) || path.Ext(name) == ".md" || name == "LICENSE" || name == "docs/words_test.go" {
			continue
		}
		text, err := os.ReadFile("../" + name)
		if err != nil || !utf8.Valid(text) {
			continue // it is deleted and not committed yet, or a picture
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			checked++
			if word := unclear.FindString(given.ReplaceAllString(line, "")); word != "" {
				t.Errorf("%s:%d: %q has a clearer word: %s", name, number, word, strings.TrimSpace(line))
			}
		}
	}
	if checked < 150_000 {
		t.Errorf("only %d lines were checked", checked)
	}
}

// isReleased reports whether users have a file, so that it may not change.
func isReleased(name string) bool { return strings.HasPrefix(name, "sql/frozen/") }

// isTest reports whether a file is part of the tests.
func isTest(name string) bool {
	return strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "regress/")
}

// vague are verbs that do not say what a function does to what: poll, query, report, log, check.
var vague = regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?(look|ask|tell|lay|aim|shun|mend|worse|plainer)(\w*)[\[(]`)

// TestNames checks the names of the product's functions.
func TestNames(t *testing.T) {
	functions := 0
	eachSource(t, func(name, text string) {
		if path.Ext(name) != ".go" {
			return
		}
		functions += strings.Count(text, "\nfunc ")
		for _, m := range vague.FindAllStringSubmatch(text, -1) {
			if m[2] == "" || m[2] != "Up" && strings.ToUpper(m[2][:1]) == m[2][:1] {
				t.Errorf("%s: func %s%s: name what it does, as poll, query, report or check", name, m[1], m[2])
			}
		}
	})
	if functions < 3000 {
		t.Errorf("only %d functions were checked", functions)
	}
}
