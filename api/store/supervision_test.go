package store

import "testing"

func TestConfLiteral(t *testing.T) {
	for s, want := range map[string]string{"app": "'app'", "it's": "'it''s'", `a\n`: `'a\\n'`, `\'`: `'\\'''`} {
		if got := confLiteral(s); got != want {
			t.Errorf("%q became %s, want %s", s, got, want)
		}
	}
}
