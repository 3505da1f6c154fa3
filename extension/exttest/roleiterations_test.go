package exttest

import (
	cryptorand "crypto/rand"
	"fmt"
	"strconv"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/scram"
)

// TestIterationsOfVerifiers: an imported verifier stays what it is, and so does that of a bound role when scram_iterations changes.
// The next password that the vault makes a verifier of has the number of that moment.
func TestIterationsOfVerifiers(t *testing.T) {
	b := newBoundBench(t)
	verifier, err := scram.Verifier([]byte("of old"), 10000, cryptorand.Reader)
	pgtest.Must(t, err)
	b.exec("CREATE ROLE app LOGIN PASSWORD '" + verifier + "'")
	set := func(iterations int) (want int) {
		t.Helper()
		if serverVersion(b.session) < 160000 {
			return scram.DefaultIterations // there is no such setting
		}
		b.exec("SET scram_iterations = " + strconv.Itoa(iterations))
		return iterations
	}
	check := func(what string, want int, password string) {
		t.Helper()
		got := get[string](b.session, "SELECT split_part(split_part(rolpassword, '$', 2), ':', 1) FROM pg_authid WHERE rolname = 'app'")
		if state := b.state("app"); got != fmt.Sprint(want) || state != "ok" {
			t.Errorf("%s: %s iterations, want %d, and the state is %q", what, got, want, state)
		}
		b.wantLogin("app", password)
	}
	b.exec("SELECT vault.import_role('app', 'app', 'of old', auto_repair => true)")
	check("imported", 10000, "of old")
	want := set(20000)
	check("the setting has changed", 10000, "of old")
	b.exec("ALTER ROLE app PASSWORD 'by hand'")
	b.exec("SELECT vault.check_drift(clock_timestamp(), 10)")
	check("repaired by a pass", 10000, "of old")
	b.exec("SELECT vault.repair_role('app')")
	check("repaired by a person", want, "of old")
	want = set(30000)
	b.exec("SELECT vault.update_secret('app', 'new', 1)")
	check("updated", want, "new")
}
