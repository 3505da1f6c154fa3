package exttest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestLivesOfAName deletes a secret and creates another one of its name. What a client knows of the first never changes the
// second, by REST and by SQL.
func TestLivesOfAName(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	rest := clientOf(t, vaulttest.NewServer(t, db))
	s := c.connect(t, db.Name, vaulttest.Superuser)
	const a = "/v1/secrets/lives/a"
	create := map[string]any{"name": "lives/a", "kind": "automatic", "rotation_interval_secs": 3600, "grace_period_secs": 60, "value": "one"}

	rest.must(http.StatusCreated, "POST", "/v1/secrets", "", create)
	rest.must(http.StatusNoContent, "DELETE", a, `"1"`, nil)
	if answer := rest.must(http.StatusCreated, "POST", "/v1/secrets", "", create); !strings.Contains(answer, `"current_version":2`) {
		t.Fatalf("the second secret of a name begins where the first did: %s", answer)
	}
	for _, tag := range []string{`"1"`, `"1.1"`} {
		rest.must(http.StatusPreconditionFailed, "PUT", a, tag, map[string]any{"value": "unseen"})
		rest.must(http.StatusPreconditionFailed, "PATCH", "/v1/metadata/lives/a", tag, map[string]any{"description": "unseen"})
		rest.must(http.StatusPreconditionFailed, "POST", a+"/rotate", tag, nil)
		rest.must(http.StatusPreconditionFailed, "DELETE", a, tag, nil)
	}
	rest.must(http.StatusNotFound, "POST", a+"/expire", "", map[string]any{"version": 1})
	rest.must(http.StatusNotFound, "GET", a+"?version=1", "", nil)
	wantError(t, s.try("SELECT vault.update_secret('lives/a', 'unseen'::text, 1)"), "VT001", "is at version 2, not 1")
	wantError(t, s.try("SELECT vault.delete_secret('lives/a', 1)"), "VT001", "is at version 2, not 1")
	wantError(t, s.try("SELECT vault.expire_version('lives/a', 1)"), "42704", "has no version 1")
	wantError(t, s.try("SELECT vault.read_secret('lives/a', 1)"), "42704", "has no version 1")
	if got := rest.read("lives/a", ""); got != "one" {
		t.Errorf("read %q", got)
	}

	// The plain number of the present one works, and SQL and REST go on with the same numbers.
	rest.must(http.StatusOK, "PUT", a, `"2"`, map[string]any{"value": "two"})
	s.exec("SELECT vault.delete_secret('lives/a', 3)")
	if v := get[int](s, "SELECT vault.create_secret('lives/a', 'three'::text)::int"); v != 4 {
		t.Errorf("the third begins at version %d", v)
	}
	if got := rest.read("lives/a", "4"); got != "three" {
		t.Errorf("read %q", got)
	}
}

// TestLivesAndSnapshots has a transaction whose snapshot does not show the latest life of a name begin one.
func TestLivesAndSnapshots(t *testing.T) {
	c := sharedCluster(t)
	db := c.NewDB(t)
	vaulttest.NewServer(t, db)
	old, s := c.connect(t, db.Name, vaulttest.Superuser), c.connect(t, db.Name, vaulttest.Superuser)
	for _, level := range []string{"REPEATABLE READ", "SERIALIZABLE"} {
		s.exec("SELECT vault.create_secret('lives/b', 'x'::text)")
		first := get[int](s, "SELECT current_version::int FROM vault.list_secrets('lives/b')")
		s.exec("SELECT vault.delete_secret('lives/b', NULL)")
		old.exec("BEGIN ISOLATION LEVEL " + level)
		old.exec("SELECT 1")
		s.exec("SELECT vault.create_secret('lives/b', 'unseen'::text)")
		s.exec("SELECT vault.delete_secret('lives/b', NULL)")
		wantError(t, old.try("SELECT vault.create_secret('lives/b', 'late'::text)"), "40001", "could not serialize")
		old.exec("ROLLBACK")
		if v := get[int](old, "SELECT vault.create_secret('lives/b', 'retried'::text)::int"); v != first+2 {
			t.Errorf("%s: the retried one begins at version %d, not %d", level, v, first+2)
		}
		s.exec("SELECT vault.delete_secret('lives/b', NULL)")
	}
	if n := get[int](s, "SELECT count(DISTINCT first_version)::int FROM vault.secrets WHERE name = 'lives/b'"); n != 6 {
		t.Errorf("6 lives have %d first versions", n)
	}
}
