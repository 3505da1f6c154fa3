package exttest

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

const (
	timingRounds = 300
	// alike is how far the medians of two classes may be apart. A comparison that stops early is apart by much more, as the
	// control shows.
	alike = 1.1
	// longLen is long enough that an early exit outweighs everything else.
	longLen = 128 << 10
	// candidate is the second argument, written so that the server compares it again in each row.
	candidate = "(CASE WHEN g > 0 THEN $1 END)"
)

// timed returns by how much the statement is slower with the slower one of two arguments. A busy machine makes a difference
// that another series does not have, so the least one of a few series counts: an early exit is in all of them.
func (s *session) timed(work string, classes [2][]byte, repeats int) float64 {
	s.t.Helper()
	least := s.ratio(work, classes, repeats)
	for range 4 {
		if least <= alike {
			break
		}
		least = min(least, s.ratio(work, classes, repeats))
	}
	return least
}

// ratio is that of the medians of many rounds in random order. The statement repeats its work for its second parameter, and
// is timed in the server.
func (s *session) ratio(work string, classes [2][]byte, repeats int) float64 {
	s.t.Helper()
	var took [2][]float64
	for range timingRounds {
		for _, i := range rand.Perm(2) {
			took[i] = append(took[i], get[float64](s, "SELECT pg_temp.timed($1, $2, $3, $4)", work, classes[i], repeats, make([]byte, len(classes[i]))))
		}
	}
	var medians [2]float64
	for i := range took {
		slices.Sort(took[i])
		medians[i] = took[i][len(took[i])/2]
	}
	return max(medians[0], medians[1]) / min(medians[0], medians[1])
}

// TestTiming compares how long fingerprints are compared that differ in their first byte and in their last one.
func TestTiming(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	s := c.connect(t, db.Name, vaulttest.Superuser)
	s.exec(`CREATE FUNCTION pg_temp.timed(work text, candidate bytea, repeats int, zeros bytea) RETURNS float8 LANGUAGE plpgsql AS $$
		DECLARE began timestamptz; n bigint;
		BEGIN
			began := clock_timestamp();
			EXECUTE work USING candidate, repeats, zeros INTO n;
			RETURN extract(epoch FROM clock_timestamp() - began);
		END $$`)
	first, last := make([]byte, longLen), make([]byte, longLen)
	first[0], last[longLen-1] = 1, 1
	long := [2][]byte{first, last}

	t.Run("Control", func(t *testing.T) {
		// PostgreSQL's own comparison stops at the first difference.
		if r := s.timed("SELECT count(*) FROM generate_series(1, $2) g WHERE "+candidate+" = $3", long, 100); r < alike {
			t.Skipf("the clock of this machine does not tell a comparison that stops early (ratio %.3f)", r)
		}
	})
	t.Run("SameBytes", func(t *testing.T) {
		r := s.timed("SELECT count(*) FROM generate_series(1, $2) g WHERE vault.same_bytes("+candidate+", $3)", long, 20)
		t.Logf("ratio %.3f", r)
		if r > alike {
			t.Errorf("vault.same_bytes takes %.2f times as long for one place of the difference as for another", r)
		}
	})
	stored := make([]byte, 32)
	for i := range stored {
		stored[i] = byte(i)
	}
	// The index finds rows by the first eight bytes, so both candidates meet the row.
	early, late := slices.Clone(stored), slices.Clone(stored)
	early[8]++
	late[31]++
	s.script(`CREATE ROLE timing; SELECT vault.set_login_method('approle', 'approle'); SELECT vault.set_login_role('approle', 'timing', 'timing');`)
	t.Cleanup(func() { s.script("SELECT vault.drop_login_method('approle'); DROP ROLE timing") })
	s.exec(`SELECT vault.put_secret_id(gen_random_uuid(), 'approle', 'timing', $1, NULL, NULL, NULL, ROW('n', 'a', NULL, NULL, NULL)::vault.audit_origin)`, stored)
	s.exec(`INSERT INTO vault.tokens (id, name, fingerprint, holder, method, renewable, created_at)
		SELECT gen_random_uuid(), 'timing', $1, x.holder, 'token', false, now() FROM vault.login_roles x WHERE x.name = 'timing'`, stored)
	for _, what := range []string{"secret_id", "token"} {
		t.Run(what, func(t *testing.T) {
			work := fmt.Sprintf("SELECT count((vault.found_%s($1)).id) FROM generate_series(1, $2) g WHERE g > 0", what)
			if n := get[int64](s, work[:len(work)-len(" FROM generate_series(1, $2) g WHERE g > 0")], stored); n != 1 {
				t.Fatalf("the stored one is found %d times", n)
			}
			r := s.timed(work, [2][]byte{early, late}, 50)
			t.Logf("ratio %.3f", r)
			if r > alike {
				t.Errorf("vault.found_%s takes %.2f times as long for one place of the difference as for another", what, r)
			}
		})
	}
}

// TestFingerprintsAreComparedInConstantTime reads the sources: 32 bytes are too few for a clock to tell how they are compared.
// A function that finds a row by a fingerprint compares the whole of it by vault.same_bytes(), and by nothing else.
func TestFingerprintsAreComparedInConstantTime(t *testing.T) {
	c := sharedCluster(t)
	s := c.connect(t, c.NewDB(t).Name, vaulttest.Superuser)
	compared := regexp.MustCompile(`\.fingerprint\s*(?:=|<|>|!=|IN\b|IS (?:NOT )?DISTINCT|LIKE\b|BETWEEN\b)|(?:=|<|>|\bFROM)\s*\w+\.fingerprint\b`)
	found := 0
	for _, source := range column(s, "SELECT proname || ': ' || prosrc FROM pg_proc WHERE pronamespace = 'vault'::regnamespace AND prosrc ~ 'fingerprint' ORDER BY 1") {
		for _, line := range strings.Split(source, "\n") {
			if compared.MatchString(line) && !strings.Contains(line, "octet_length(") {
				t.Errorf("a fingerprint is compared otherwise: %s: %s", strings.SplitN(source, ":", 2)[0], line)
			}
		}
		if strings.Contains(source, "substring(x.fingerprint, 1, 8)") {
			found++
			if !strings.Contains(source, "AND vault.same_bytes(x.fingerprint, ") {
				t.Errorf("the whole fingerprint is not compared: %s", source)
			}
		}
	}
	if found != 4 {
		t.Errorf("%d functions find rows by fingerprints", found)
	}
}
