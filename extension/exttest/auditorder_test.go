package exttest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// archive follows the audit, as a copy elsewhere would.
type archive struct {
	s    *session
	last int64
	have map[int64]int // how often each id came
}

func follow(s *session) *archive { return &archive{s: s, have: map[int64]int{}} }

// take copies what there is now, in small pages.
func (a *archive) take(t testing.TB) {
	t.Helper()
	for {
		page := get[[]int64](a.s, "SELECT coalesce(array_agg(p.id ORDER BY p.n), '{}') FROM vault.audit_after($1, 7) WITH ORDINALITY p (id, at, node, actor, session_role, client_ip, action, secret_name, version, outcome, code, request_id, details, accessor, method, n)", a.last)
		for _, id := range page {
			if id <= a.last {
				t.Fatalf("id %d came after %d", id, a.last)
			}
			a.last = id
			a.have[id]++
		}
		if len(page) < 7 {
			return
		}
	}
}

// wantAll checks that every record of the log came once, but for those of the last look.
func (a *archive) wantAll(t testing.TB, where string) {
	t.Helper()
	ids := get[[]int64](a.s, "SELECT coalesce(array_agg(id), '{}') FROM vault.audit_log WHERE action <> 'audit' "+where)
	if len(ids) == 0 {
		t.Error("there is no record")
	}
	for _, id := range ids {
		if a.have[id] != 1 {
			t.Errorf("record %d came %d times", id, a.have[id])
		}
	}
}

// takeAll takes until nothing is missing: records arrive from journals meanwhile, and those above a running transaction wait
// for its end.
func (a *archive) takeAll(t testing.TB, where string) {
	t.Helper()
	pgtest.Eventually(t, "every record came", func() bool {
		a.take(t)
		ids := get[[]int64](a.s, "SELECT coalesce(array_agg(id), '{}') FROM vault.audit_log WHERE action <> 'audit' "+where)
		return len(ids) > 0 && !slices.ContainsFunc(ids, func(id int64) bool { return a.have[id] == 0 })
	})
}

// TestAuditAfterLateCommits has transactions commit in another order than they began and took ids.
func TestAuditAfterLateCommits(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	here, there := follow(p.here), follow(p.there)
	late := p.primary.connect(t, p.db.Name, vaulttest.Superuser)
	p.here.exec("SELECT vault.create_secret('db/first', 'x')")
	late.exec("BEGIN")
	late.exec("SELECT vault.create_secret('db/late', 'x')")
	p.here.exec("SELECT vault.create_secret('db/early', 'x')")
	here.take(t)
	late.exec("SELECT vault.update_secret('db/late', 'y', 1)")
	late.exec("COMMIT")
	here.take(t)
	p.standby.MustCatchUp(t)
	there.take(t)
	here.wantAll(t, "")
	there.wantAll(t, "AND secret_name LIKE 'db/%'")

	var workers sync.WaitGroup
	var running atomic.Int32
	for w := range 6 {
		s := p.primary.connect(t, p.db.Name, vaulttest.Superuser)
		running.Add(1)
		workers.Go(func() {
			defer running.Add(-1)
			for i := range 15 {
				s.exec("BEGIN")
				for j := range 1 + rand.IntN(3) {
					s.exec(fmt.Sprintf("SELECT vault.create_secret('db/w%d/%d/%d', 'x')", w, i, j))
					s.exec("SELECT vault.read_secret('db/first')") // reaches the log in a shipped batch
				}
				s.exec([]string{"COMMIT", "COMMIT", "ROLLBACK"}[rand.IntN(3)])
			}
		})
	}
	for running.Load() > 0 {
		here.take(t)
		there.take(t)
	}
	workers.Wait()
	p.db.AwaitAudit(t)
	p.standby.MustCatchUp(t)
	here.take(t)
	there.take(t)
	here.wantAll(t, "")
	there.wantAll(t, "")

	// The same by REST, from the standby, in two parts.
	for _, s := range []*vaulttest.Server{p.atHere, p.atStandby} {
		rest := archive{s: p.here, have: map[int64]int{}}
		for _, query := range []string{"?limit=40", ""} {
			if query == "" {
				query = fmt.Sprintf("?after=%d", rest.last)
			}
			status, answer := s.Do(t, "GET", "/v1/audit"+query, nil)
			if status != http.StatusOK {
				t.Fatalf("%d %s", status, answer)
			}
			for line := range strings.Lines(answer) {
				var r struct {
					ID int64 `json:",string"`
				}
				if err := json.Unmarshal([]byte(line), &r); err != nil || r.ID <= rest.last {
					t.Fatalf("%s: %v", line, err)
				}
				rest.last = r.ID
				rest.have[r.ID]++
			}
		}
		rest.wantAll(t, "")
	}
}

// TestAuditAfterLostPrimary follows a primary that is lost with records that its successor never had: none of the
// successor's own may hide behind the ids of those.
func TestAuditAfterLostPrimary(t *testing.T) {
	t.Parallel()
	p := startPair(t, nil)
	p.here.exec("SELECT vault.create_secret('db/both', 'x')")
	p.db.AwaitAudit(t)
	p.standby.MustCatchUp(t)
	p.standby.MustStop(t, syscall.SIGINT)
	for i := range 50 {
		p.here.exec(fmt.Sprintf("SELECT vault.create_secret('db/lost%d', 'x')", i))
	}
	a := follow(p.here)
	a.take(t)
	if len(a.have) < 51 {
		t.Fatalf("%d records", len(a.have))
	}
	p.atHere.MustStop(t)
	p.primary.MustStop(t, syscall.SIGQUIT)
	p.standby.MustStart(t)
	p.standby.MustPromote(t)
	a.s = p.standby.connect(t, p.db.Name, vaulttest.Superuser)
	if n := get[int](a.s, "SELECT count(*)::int FROM vault.secrets WHERE name LIKE 'db/lost%'"); n != 0 {
		t.Fatalf("%d of the changes are not lost", n)
	}
	a.s.exec("SELECT vault.create_secret('db/new1', 'x')")
	a.s.exec("BEGIN")
	a.s.exec("SELECT vault.create_secret('db/new2', 'x')")
	a.s.exec("ROLLBACK")
	a.s.exec("SELECT vault.create_secret('db/new3', 'x')")
	a.have = map[int64]int{} // the lost ones are none of the new ones
	a.take(t)
	a.wantAll(t, "AND secret_name LIKE 'db/new%'")
	if n := get[int](a.s, "SELECT count(*)::int FROM vault.audit_numbering WHERE timeline = 2"); n != 1 {
		t.Error("the numbering is not that of the new timeline")
	}
}
