package exttest

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/scram"
)

// verifierBench has a function that makes a verifier as a rotation does.
func verifierBench(t *testing.T) *session {
	t.Helper()
	s := startLoginCluster(t).connect(t, "postgres", "postgres")
	s.exec("CREATE FUNCTION verifier(bytea) RETURNS text AS '$libdir/hyperion_vault', 'hv_test_verifier' LANGUAGE C")
	return s
}

// TestVerifiersOfTheExtension compares verifiers of the extension with those that the API makes of the same salt. Passwords are of
// all lengths around that of a block, in which HMAC pads a key, and beyond which it hashes one.
func TestVerifiersOfTheExtension(t *testing.T) {
	s := verifierBench(t)
	check := func(password string, iterations int) {
		t.Helper()
		got := get[string](s, "SELECT verifier($1)", []byte(password))
		_, rest, _ := strings.Cut(got, "$")
		head, _, _ := strings.Cut(rest, "$")
		count, salt64, _ := strings.Cut(head, ":")
		salt, err := base64.StdEncoding.DecodeString(salt64)
		pgtest.Must(t, err)
		if count != strconv.Itoa(iterations) || len(salt) != 16 {
			t.Fatalf("%q has %s iterations and a salt of %d bytes", password, count, len(salt))
		}
		want, err := scram.Verifier([]byte(password), iterations, bytes.NewReader(salt))
		pgtest.Must(t, err)
		if got != want {
			t.Errorf("of %q with %d iterations:\n%s, and the API makes\n%s", password, iterations, got, want)
		}
	}
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	for n := 1; n <= 2*len(letters)+1; n++ {
		check(strings.Repeat(letters, 3)[:n], scram.DefaultIterations)
	}
	for _, password := range []string{"pässword", "Ⅸ", "a\u00a0b", "a\xffb", strings.Repeat("ü", 400), strings.Repeat("x", scram.MaxPasswordLen)} {
		check(password, scram.DefaultIterations)
	}
	if serverVersion(s) < 160000 {
		return
	}
	for _, n := range []int{1, 2, 4095, 4097, 10000, 150000} {
		s.exec("SET scram_iterations = " + strconv.Itoa(n))
		check("password", n)
	}
}

// TestIterationsCanBeInterrupted has more of them than can be waited for, where a server has that setting.
func TestIterationsCanBeInterrupted(t *testing.T) {
	s := verifierBench(t)
	if serverVersion(s) < 160000 {
		return // there is no scram_iterations
	}
	s.exec("SET scram_iterations = 2000000000")
	s.exec("SET statement_timeout = '50ms'")
	wantError(t, s.try("SELECT verifier('password')"), "57014", "statement timeout")
}
