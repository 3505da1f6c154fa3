package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// decisionSections lists what each decision has at least, in this order.
var decisionSections = []string{"Context", "Decision"}

// TestDecisions compares the files of decisions with their index, and checks their form.
func TestDecisions(t *testing.T) {
	files := decisionFiles(t)
	var want []string
	for _, number := range slices.Sorted(maps.Keys(files)) {
		want = append(want, checkDecision(t, number, files[number]))
	}
	index, err := os.ReadFile("decisions/README.md")
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`(?m)^- .*$`).FindAllString(string(index), -1)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("decisions/README.md lacks the line\n%s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("decisions/README.md has a line that no file explains:\n%s", line)
		}
	}
	if !slices.IsSorted(decisionNumbers(got)) {
		t.Error("decisions/README.md is not in the order of numbers")
	}
}

// decisionFiles returns the files of decisions by their number of four digits.
func decisionFiles(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("decisions/*.md")
	if err != nil || len(names) < 100 {
		t.Fatalf("%d files of decisions: %v", len(names), err)
	}
	files := map[string]string{}
	for _, name := range names {
		base := filepath.Base(name)
		if base == "README.md" {
			continue
		}
		if !regexp.MustCompile(`^\d{4}-[a-z0-9-]+\.md$`).MatchString(base) {
			t.Errorf("%s: the name is not NNNN-title.md", name)
			continue
		}
		if files[base[:4]] != "" {
			t.Errorf("%s and %s have one number", name, files[base[:4]])
		}
		files[base[:4]] = name
	}
	return files
}

// checkDecision checks the form of one decision, and returns the line of the index that stands for it.
func checkDecision(t *testing.T, number, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`\A# (\d+)\. (.+)\n\nStatus: (accepted|replaced by \d+|dropped), \d{4}-\d\d-\d\d\n`).FindSubmatch(text)
	if heading == nil {
		t.Errorf("%s: want the heading \"# N. Title\" and the line \"Status: accepted, YYYY-MM-DD\"", name)
		return ""
	}
	if got := fourDigits(heading[1]); got != number {
		t.Errorf("%s: the heading has the number %s", name, heading[1])
	}
	at := 0
	for _, section := range decisionSections {
		i := strings.Index(string(text[at:]), "\n## "+section+"\n\n")
		if i < 0 {
			t.Errorf("%s: the section %q is missing, or not in its place", name, section)
			continue
		}
		at += i
	}
	return fmt.Sprintf("- [%s. %s](%s)", heading[1], heading[2], filepath.Base(name))
}

// fourDigits returns a number as names of files have it.
func fourDigits(number []byte) string {
	n, _ := strconv.Atoi(string(number))
	return fmt.Sprintf("%04d", n)
}

// decisionNumbers returns the numbers of lines of the index.
func decisionNumbers(lines []string) []int {
	var numbers []int
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line, "- [%d.", &n); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// TestDecisionReferences finds every reference to a decision in the tree, and fails for one that no file has.
func TestDecisionReferences(t *testing.T) {
	files := decisionFiles(t)
	reference := regexp.MustCompile(`DECISIONS?\]?(?:\([^)]*\))?((?:[\s,]| and | to |\[|\]\([^)]*\))*\d+)+|docs/decisions/(\d{4})`)
	number := regexp.MustCompile(`\d+`)
	found := 0
	for _, name := range trackedFiles(t) {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			continue
		}
		for _, m := range reference.FindAll(text, -1) {
			plain := regexp.MustCompile(`\([^)]*\)`).ReplaceAll(m, nil)
			for _, n := range number.FindAll(plain, -1) {
				found++
				if files[fourDigits(n)] == "" {
					t.Errorf("%s: there is no decision %s", name, n)
				}
			}
		}
	}
	if found < 4 {
		t.Errorf("%d references found: this test misreads them", found)
	}
}
