package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What is read from its top to its end is short enough to be held in mind.
const (
	maxFunction = 40
	maxFile     = 400
	// maxStatements bounds a function of SQL, whose statements are not shorter for being in two functions.
	maxStatements = 60
)

// maxComment is how wide a line of a comment may be. Code has 120 columns where that is clear, and no limit: a signature or
// a message is not clearer for being broken.
const maxComment = 128

// wide finds lines of comments that are too wide. An example of data stands behind a tab.
var wide = regexp.MustCompile(fmt.Sprintf(`(?m)^\s*(?://|\*|--|#) [^\n]{%d,}$`, maxComment))

// longer has what may be longer, with the reason: a file, or a function after a colon.
var longer = map[string]string{}

// TestSizes checks that no function and no file of the product is too long. Tests and generated files may be.
func TestSizes(t *testing.T) {
	unused := maps.Clone(longer)
	functions := 0
	check := func(name string, lines, limit int) {
		switch reason, allowed := longer[name]; {
		case lines <= limit:
		case allowed && reason != "":
			delete(unused, name)
		default:
			t.Errorf("%s has %d lines, at most %d are clear", name, lines, limit)
		}
	}
	for _, name := range trackedFiles(t) {
		of := functionsOf[path.Ext(name)]
		if of == nil || isReleased(name) || isTest(name) {
			continue
		}
		text, err := os.ReadFile("../" + name)
		if err != nil {
			continue // it is deleted and not committed yet
		}
		check(name, strings.Count(string(text), "\n"), maxFile)
		for _, line := range wide.FindAllString(string(text), -1) {
			t.Errorf("%s: a line of a comment has more than %d columns: %s", name, maxComment, line)
		}
		limit := maxFunction
		if path.Ext(name) == ".sql" {
			limit = maxStatements
		}
		for function, lines := range of(t, name, string(text)) {
			functions++
			check(name+":"+function, lines, limit)
		}
	}
	if functions < 3000 {
		t.Errorf("only %d functions were checked", functions)
	}
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		t.Errorf("%s is allowed to be longer, and is not", name)
	}
}

// functionsOf returns the functions of a source with their lines, by the end of the file's name.
var functionsOf = map[string]func(t *testing.T, name, text string) map[string]int{
	".go":  goFunctions,
	".c":   endedBy("}", regexp.MustCompile(`^(?:[A-Za-z_][\w *]*[ *])?(\w+)\([^;]*$`)),
	".h":   endedBy("}", regexp.MustCompile(`^(?:[A-Za-z_][\w *]*[ *])?(\w+)\([^;]*$`)),
	".sh":  endedBy("}", regexp.MustCompile(`^(\w+)\(\) \{$`)),
	".sql": endedBy("$$;", regexp.MustCompile(`^CREATE FUNCTION ([\w.]+)|^AS '`)), // the body of one in C is elsewhere
}

// endedBy counts the lines from one that begins a function, whose name is the first group, to the next line that is end.
func endedBy(end string, begin *regexp.Regexp) func(t *testing.T, name, text string) map[string]int {
	return func(_ *testing.T, _, text string) map[string]int {
		found := map[string]int{}
		called, lines := "", 0
		for line := range strings.Lines(text) {
			if m := begin.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
				called, lines = m[1], 0
			}
			if lines++; strings.TrimRight(line, "\n") == end && called != "" {
				found[called], called = lines, ""
			}
		}
		return found
	}
}

func goFunctions(t *testing.T, name, text string) map[string]int {
	t.Helper()
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			line := func(p token.Pos) int { return positions.Position(p).Line }
			called := f.Name.Name
			if f.Recv != nil {
				called = receiver(f.Recv.List[0].Type) + "." + called
			}
			found[called] = line(f.End()) - line(f.Pos()) + 1
		}
	}
	return found
}

// receiver returns the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return fmt.Sprintf("%T", e)
}
