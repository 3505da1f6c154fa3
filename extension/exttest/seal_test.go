package exttest

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestChangesSealWithoutGo: a backend that only stores ordinary values seals those of every length itself, and loads no Go
// library for it. Go opens each of them as what was stored.
func TestChangesSealWithoutGo(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	s := b.c.connect(t, b.db, "postgres")
	values := map[string][]byte{}
	for _, n := range []int{1, 15, 16, 17, 63, 64, 65, 4096, 65535, 65536} {
		name := "seal/" + string(rune('a'+len(values)))
		values[name] = bytes.Repeat([]byte{0, 0xff, byte(n)}, n/3+1)[:n]
		s.exec("SELECT vault.create_secret($1, 'first'::bytea)", name)
		s.exec("SELECT vault.update_secret($1, $2::bytea, 1)", name, values[name])
	}
	s.exec("SELECT vault.create_secret('seal/text', 'first'::text)")
	s.exec("SELECT vault.update_secret('seal/text', 'täxt'::text, NULL)")
	values["seal/text"] = []byte("täxt")
	wantNoGo(t, "a backend that only seals", s.pid())

	for name, value := range values {
		if !get[bool](b.session, "SELECT vault.verify($1, $2::bytea)", name, value) {
			t.Errorf("%s: Go opens another value than the %d bytes that were sealed", name, len(value))
		}
		if got := get[[]byte](s, "SELECT vault.read_secret_bytes($1)", name); !bytes.Equal(got, value) {
			t.Errorf("%s: the backend opens another value than the %d bytes that were sealed", name, len(value))
		}
	}
	wantGo(t, "the backend that verifies", b.pid())
	if n := get[int](b.session, "SELECT count(*)::int - count(DISTINCT nonce)::int + count(*)::int - count(DISTINCT wrapped_dek)::int FROM vault.secret_versions"); n != 0 {
		t.Errorf("%d nonces or keys were used twice", n)
	}
}

// TestPlainValuesAreValues: what C takes for a value without asking Go is one by the rule of Go.
func TestPlainValuesAreValues(t *testing.T) {
	b := newBench(t, sharedCluster(t))
	parts := []string{"a", "\x00", "\x7f", "\x80", "\xc0\x80", "\xc2\x80", "ä", "\xe0\x80\x80", "\xe0\xa0\x80", "\xed\x9f\xbf",
		"\xed\xa0\x80", "\xef\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf8", "\xff", "\xc3"}
	b.exec("SELECT vault.create_secret('rule/text', 'first'::text)")
	for _, first := range parts {
		for _, second := range append(parts, "") {
			// Longer than what PostgreSQL checks at a time, so that both of its ways are taken.
			for _, value := range []string{first + second, strings.Repeat("x", 40) + first + second, first + strings.Repeat("x", 40) + second} {
				err := b.try("SELECT vault.update_secret('rule/text', $1::bytea, NULL)", []byte(value))
				switch want := utf8.ValidString(value) && !strings.Contains(value, "\x00"); {
				case want && err != nil:
					t.Errorf("%q was refused: %v", value, err)
				case !want:
					wantError(t, err, "22023", "value")
				}
			}
		}
	}
	wantError(t, b.try("SELECT vault.update_secret('rule/text', ''::bytea, NULL)"), "22023", "value is empty")
	b.exec("SELECT vault.update_secret('rule/text', 'last'::bytea, NULL)")
}
