package exttest

import (
	"bytes"
	"testing"
)

// TestReadsOpenWithoutGo: a backend that only reads opens values of every length itself, and loads no Go library for it.
func TestReadsOpenWithoutGo(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	values := map[string][]byte{}
	for _, n := range []int{1, 15, 16, 17, 63, 64, 65, 4096, 65535, 65536} {
		name := "open/" + string(rune('a'+len(values)))
		values[name] = bytes.Repeat([]byte{0, 0xff, byte(n)}, n/3+1)[:n]
		b.exec("SELECT vault.create_secret($1, $2::bytea)", name, values[name])
	}
	b.exec("SELECT vault.create_secret('open/text', 'täxt'::text)")
	s := b.c.connect(t, b.db, "postgres")
	for name, want := range values {
		if got := get[[]byte](s, "SELECT vault.read_secret_bytes($1)", name); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes are not those that were sealed", name, len(want))
		}
	}
	if got := get[string](s, "SELECT vault.read_secret('open/text')"); got != "täxt" {
		t.Errorf("read %q", got)
	}
	wantNoGo(t, "a backend that only reads", s.pid())
}

// TestChangedRowsDoNotOpen changes each part of a stored version, and what it is bound to.
func TestChangedRowsDoNotOpen(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("SELECT vault.create_secret('sealed/a', 'value'::text)")
	b.exec("SELECT vault.create_secret('sealed/b', 'other'::text)")
	for _, change := range []string{
		"UPDATE vault.secret_versions SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1)",
		"UPDATE vault.secret_versions SET ciphertext = set_byte(ciphertext, length(ciphertext) - 1, get_byte(ciphertext, length(ciphertext) - 1) # 1)",
		"UPDATE vault.secret_versions SET ciphertext = ciphertext || '\\x00'",
		"UPDATE vault.secret_versions SET ciphertext = substr(ciphertext, 1, length(ciphertext) - 1)",
		"UPDATE vault.secret_versions SET nonce = set_byte(nonce, 0, get_byte(nonce, 0) # 1)",
		"UPDATE vault.secret_versions SET nonce = set_byte(nonce, 23, get_byte(nonce, 23) # 1)",
		"UPDATE vault.secrets SET content_type = 'application/json'",
		"UPDATE vault.secrets SET name = CASE name WHEN 'sealed/a' THEN 'sealed/c' WHEN 'sealed/b' THEN 'sealed/a' ELSE name END",
	} {
		b.exec("BEGIN")
		b.exec(change)
		wantError(t, b.try("SELECT vault.read_secret('sealed/a')"), "XX001", "does not open")
		b.exec("ROLLBACK")
	}
	if got := get[string](b.session, "SELECT vault.read_secret('sealed/a')"); got != "value" {
		t.Errorf("read %q", got)
	}
}

// TestPatternsFindWhatTheyMatch: the grants of a name are found by its patterns, which have to be those that match it.
func TestPatternsFindWhatTheyMatch(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	b.exec("CREATE TEMP TABLE texts AS WITH RECURSIVE w (s) AS (SELECT '' UNION ALL SELECT w.s || c FROM w, unnest('{a,b,/,*}'::text[]) c WHERE length(w.s) < 4) SELECT s FROM w WHERE s <> ''")
	wrong := get[[]string](b.session, `SELECT coalesce(array_agg(p.s || ' and ' || n.s), '{}') FROM texts p, texts n
		WHERE vault.pattern_matches(p.s, n.s) <> (p.s = ANY (vault.matching_patterns(n.s)))`)
	if len(wrong) > 0 {
		t.Errorf("%d pairs differ, as %q", len(wrong), wrong[0])
	}
	if n := get[int](b.session, "SELECT count(*)::int FROM texts p, texts n WHERE vault.pattern_matches(p.s, n.s)"); n < 500 {
		t.Errorf("only %d pairs match", n)
	}
}
