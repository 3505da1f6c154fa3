// Upgradescript writes the part of an upgrade script between two versions of the schema that a diff shows.
//
//	upgradescript OLD.sql NEW.sql TAIL.sql HAND.sql... > hyperion_vault--OLD--NEW.sql
//
// The hand-written parts come first, as one text in the order of the arguments. They change tables, types and policies, and
// drop each function that goes or gets other arguments. The text may have a second half, after a line "-- After the
// functions". Each function of NEW that is not word for word in OLD follows as CREATE OR REPLACE. Then come each comment
// that is new, and the tail, which gives new objects their owner and privileges. Nothing here proves that the result is
// complete. A test compares the catalogs of an upgraded and a fresh installation.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// secondHalf is the line of the hand-written text from which on it follows the functions.
const secondHalf = "-- After the functions"

const guard = `-- Generated from sql/ by extension/upgradescript; frozen at the release.
\echo Use "ALTER EXTENSION hyperion_vault UPDATE" to load this file. \quit
`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "upgradescript:", err)
		os.Exit(1)
	}
}

func run(files []string, out io.Writer) error {
	if len(files) < 4 {
		return fmt.Errorf("want OLD.sql NEW.sql TAIL.sql HAND.sql..., got %d files", len(files))
	}
	texts := make([]string, len(files))
	for i, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		texts[i] = string(b)
	}
	script, err := upgrade(texts[0], texts[1], strings.Join(texts[3:], ""), texts[2])
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, script)
	return err
}

// upgrade returns the script. An error says which of the texts cannot be split into statements.
func upgrade(before, after, hand, tail string) (string, error) {
	had, err := split(before)
	if err != nil {
		return "", fmt.Errorf("the old schema: %w", err)
	}
	has, err := split(after)
	if err != nil {
		return "", fmt.Errorf("the new schema: %w", err)
	}
	known := map[string]bool{}
	for _, s := range had {
		known[s] = true
	}
	first, second, _ := strings.Cut(hand, secondHalf)
	var functions, comments strings.Builder
	for _, s := range has {
		body, function := strings.CutPrefix(s, "CREATE FUNCTION ")
		switch {
		case known[s]:
		case function:
			fmt.Fprintf(&functions, "\nCREATE OR REPLACE FUNCTION %s\n", body)
		case strings.HasPrefix(s, "COMMENT ON "):
			fmt.Fprintf(&comments, "%s\n", s)
		}
	}
	parts := []string{guard, first, functions.String(), second, comments.String(), tail}
	var script strings.Builder
	for _, p := range parts {
		if p = strings.Trim(p, "\n"); p != "" {
			script.WriteString(p + "\n\n")
		}
	}
	return strings.TrimSuffix(script.String(), "\n"), nil
}
