package outagetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hyperiondb/hyperion-vault/api/kms/kmstest"
	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

const (
	// rotated is how many secrets become due in each kind of outage: more than the rotator works on at a time.
	rotated = 5
)

// TestRotationsWait has secrets become due in one outage of several kinds. The supervisor of a preloaded server queues
// them, the API's own rotator fails at those that it tries before it knows and then leaves them, nothing is stored and
// nothing is lost; once KMS is back each due time is rotated once, by itself.
func TestRotationsWait(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{Preload: true, Settings: []string{
		"hyperion_vault.database = 'hv_1'", "hyperion_vault.scan_interval_secs = 1",
	}})
	b := startOn(t, vaulttest.NewDBIn(t, c), "VAULT_ROTATION_POLL_SECS=1")
	r := &rotations{bench: b, conn: b.db.MustConnect(t, vaulttest.Superuser), old: map[string]string{}}
	ways := []string{"throttling", "hanging", "refused"}
	for _, way := range ways {
		r.create(way)
	}
	r.wantReady("ready")
	r.due = ask[time.Time](r, "SELECT clock_timestamp()")
	for i, way := range ways {
		outages[way](b.kms)
		r.exec("UPDATE vault.secrets SET next_rotation_at = $2 WHERE name LIKE $1 || '/%'", way, r.due)
		r.await("each rotation of "+way+" is queued", "SELECT count(*) = $2 AND bool_and(j.state IN ('queued', 'claimed'))"+jobs+" AND s.name LIKE $1 || '/%'", way, rotated)
		r.await("the status counts them", "SELECT (vault.status()->>'queued')::int + (vault.status()->>'claimed')::int = $1", (i+1)*rotated)
	}
	r.checkAway()
	b.end()
	r.await("all are rotated", "SELECT count(*) = $1 AND bool_and(j.state = 'done')"+jobs, rotated*len(ways))
	// A later pass of the supervisor finds nothing more to do.
	r.await("a later pass", "SELECT last_pass_at > $1 AND enqueued = 0 FROM vault.supervisor_passes", ask[time.Time](r, "SELECT clock_timestamp()"))
	r.checkBack()
	b.wantReady("ready")
}

// rotations are automatic secrets on a server with a supervisor.
type rotations struct {
	*bench
	conn *pgx.Conn         // superuser
	old  map[string]string // the first values
	due  time.Time
}

const jobs = " FROM vault.secrets s JOIN vault.rotation_jobs j ON j.secret_id = s.id WHERE true"

func (r *rotations) create(way string) {
	r.t.Helper()
	for i := range rotated {
		name := fmt.Sprintf("%s/%d", way, i)
		r.want("POST", "/v1/secrets", fmt.Sprintf(
			`{"name":%q,"kind":"automatic","rotation_interval_secs":3600,"grace_period_secs":600}`, name), 201)
		r.old[name], _ = r.want("GET", "/v1/secrets/"+name, "", 200).body["value"].(string)
	}
}

// checkAway checks what must hold while KMS is away: every job is open, nothing is stored, and what is kept is served.
func (r *rotations) checkAway() {
	r.t.Helper()
	if n := ask[int](r, "SELECT count(*)"+jobs+" AND j.state IN ('queued', 'claimed') AND j.due_at = $1", r.due); n != len(r.old) {
		r.t.Errorf("%d open jobs of %d secrets", n, len(r.old))
	}
	if n := ask[int](r, "SELECT count(*) FROM vault.secret_versions"); n != len(r.old) {
		r.t.Errorf("%d versions of %d secrets", n, len(r.old))
	}
	said := r.api.Log() + ask[string](r, "SELECT coalesce(string_agg(j.last_error, ' '), '')"+jobs)
	if strings.Contains(said, kmstest.SecretAccessKey) || strings.Contains(said, kmstest.SessionToken) {
		r.t.Error("the log or an error that is kept holds a credential")
	}
	r.wantReady("degraded")
	for name, value := range r.old {
		if a := r.want("GET", "/v1/secrets/"+name, "", 200); a.body["value"] != value || a.body["version"] != 1.0 {
			r.t.Errorf("meanwhile %s is %s", name, a.text)
		}
	}
}

// checkBack checks that each due time was rotated exactly once, and that the first values are in their grace.
func (r *rotations) checkBack() {
	r.t.Helper()
	r.db.AwaitAudit(r.t)
	for what, wrong := range map[string]string{
		"a due time was not rotated once":   "j.due_at <> $1 OR j.version <> 2 OR j.last_error IS NOT NULL OR j.attempts < 1",
		"the next due time is not the next": "s.next_rotation_at <> $1 + interval '1 h'",
		"versions have gaps": `s.current_version <> 2 OR ARRAY[1, 2]::bigint[] IS DISTINCT FROM
			(SELECT array_agg(v.version ORDER BY v.version) FROM vault.secret_versions v WHERE v.secret_id = s.id)`,
		"the audit does not count the attempts": `format('1 ok, %s failed', j.attempts - 1) <>
			(SELECT format('%s ok, %s failed', count(*) FILTER (WHERE a.outcome = 'ok'), count(*) FILTER (WHERE a.code = 'unavailable'))
			FROM vault.audit_log a WHERE a.action = 'rotate' AND a.secret_name = s.name)`,
	} {
		if n := ask[int](r, "SELECT count(*)"+jobs+" AND $1::timestamptz IS NOT NULL AND ("+wrong+")", r.due); n != 0 {
			r.t.Errorf("%s (%d times)", what, n)
		}
	}
	for name, old := range r.old {
		value, _ := r.want("GET", "/v1/secrets/"+name, "", 200).body["value"].(string)
		if value == "" || value == old {
			r.t.Errorf("%s has its old value", name)
		}
		for i, v := range []string{old, value} {
			a := r.want("POST", "/v1/secrets/"+name+"/verify", fmt.Sprintf(`{"value":%q}`, v), 200)
			if a.body["valid"] != true || a.body["version"] != float64(i+1) {
				r.t.Errorf("%s, version %d: %s", name, i+1, a.text)
			}
		}
	}
}

func (r *rotations) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.conn.Exec(context.Background(), sql, args...); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](r *rotations, sql string, args ...any) T {
	r.t.Helper()
	rows, _ := r.conn.Query(context.Background(), sql, args...)
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// await asks until the answer is true.
func (r *rotations) await(what, sql string, args ...any) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(pgtest.Patience); !ask[bool](r, sql, args...); <-tick.C {
		if time.Now().After(limit) {
			r.t.Fatalf("not within %s: %s; jobs: %s", pgtest.Patience, what, ask[string](r,
				"SELECT coalesce(string_agg(format('%s %s %s %s', s.name, j.state, j.attempts, j.last_error), '; '), 'none')"+jobs))
		}
	}
}
