package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	script := `-- a comment; with a semicolon
\echo Use it; \quit
CREATE TABLE a (b text CHECK (b <> ';'), "c;d" int); -- trailing
CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN; -- it's inside
END $$;
DO $x$ SELECT $$;$$; $x$;
COMMENT ON FUNCTION f() IS 'it''s; fine';
`
	want := []string{
		`CREATE TABLE a (b text CHECK (b <> ';'), "c;d" int);`,
		"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN; -- it's inside\nEND $$;",
		"DO $x$ SELECT $$;$$; $x$;",
		"COMMENT ON FUNCTION f() IS 'it''s; fine';",
	}
	got, err := split(script)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, broken := range []string{"SELECT 1", "SELECT 'a;", "DO $$ x;", `SELECT "a;`, "SELECT 1 -- x;"} {
		if got, err := split(broken); err == nil {
			t.Errorf("%q was split to %q", broken, got)
		}
	}
}

// What the parts of the schema are made of comes through whole.
func TestSplitOfTheSchema(t *testing.T) {
	parts, err := filepath.Glob("../../sql/*.sql")
	if err != nil || len(parts) < 10 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	known := []string{"CREATE ", "COMMENT ON ", "ALTER ", "DO ", "SELECT ", "REVOKE ", "INSERT ", "LOCK ", "UPDATE ", "DROP ", "GRANT "}
	for _, part := range parts {
		b, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		statements, err := split(string(b))
		if err != nil {
			t.Errorf("%s: %v", part, err)
		}
		for _, s := range statements {
			begins := func(k string) bool { return strings.HasPrefix(s, k) }
			if !anyOf(known, begins) || strings.Count(s, "CREATE FUNCTION ") > 1 {
				t.Errorf("%s: not one statement: %.80s", part, s)
			}
		}
	}
}

func anyOf(all []string, is func(string) bool) bool {
	for _, s := range all {
		if is(s) {
			return true
		}
	}
	return false
}

func TestUpgrade(t *testing.T) {
	before := `CREATE TABLE t (a int);
CREATE FUNCTION same() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION other() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
COMMENT ON FUNCTION other() IS 'one';
`
	after := `CREATE TABLE t (a int, b int);
CREATE FUNCTION same() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION other() RETURNS int LANGUAGE sql AS $$ SELECT 2 $$;
CREATE FUNCTION fresh() RETURNS int LANGUAGE sql AS $$ SELECT 3 $$;
COMMENT ON FUNCTION other() IS 'two';
`
	hand := "ALTER TABLE t ADD b int;\nDROP FUNCTION gone();\n" + secondHalf + "\nALTER TABLE t ADD CHECK (other() > b);\n"
	got, err := upgrade(before, after, hand, "DO $$ BEGIN END $$;\n")
	want := guard + `
ALTER TABLE t ADD b int;
DROP FUNCTION gone();

CREATE OR REPLACE FUNCTION other() RETURNS int LANGUAGE sql AS $$ SELECT 2 $$;

CREATE OR REPLACE FUNCTION fresh() RETURNS int LANGUAGE sql AS $$ SELECT 3 $$;

ALTER TABLE t ADD CHECK (other() > b);

COMMENT ON FUNCTION other() IS 'two';

DO $$ BEGIN END $$;
`
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := upgrade("SELECT '", after, hand, ""); err == nil {
		t.Error("an old schema that cannot be read was taken")
	}
	if _, err := upgrade(before, "SELECT '", hand, ""); err == nil {
		t.Error("a new schema that cannot be read was taken")
	}
}
