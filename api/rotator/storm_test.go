package rotator_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

var stormFor = flag.Duration("storm", 20*time.Second, "how long TestStorm kills processes")

const (
	stormSecrets  = 200
	stormNodes    = 3
	stormSamplers = 8
	stormGrace    = 4 // seconds, as the rest
	stormScan     = 1
	stormPoll     = 2
	stormLease    = stormPoll // the shortest
	stormSlack    = 10        // a busy machine's, under the race detector, for all that a rotation waits for
	// takeoverSlack is what the database and a batch take on a machine that does nothing else. The slowest start of a
	// process is added to it: it tells how busy the machine is.
	takeoverSlack = time.Second
)

// TestStorm rotates 200 secrets every 1 to 3 seconds with three API processes that are killed all the time. A secret waits no
// longer than its interval, a scan and, for each time that its worker was killed, two polls, which are a lease and a poll: what
// a killed process has claimed is claimed by another one within that time. No due time is rotated twice, versions have no
// gaps, and each old value is valid in its grace and refused after it, by REST and by SQL. That every due time comes is not
// promised: one that a killed worker made late stands for those that passed meanwhile.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("a storm takes its time")
	}
	c := vaulttest.NewCluster(t, vaulttest.Options{Preload: true, Settings: []string{
		"hyperion_vault.database = 'hv_1'", "hyperion_vault.scan_interval_secs = 1", "synchronous_commit = off",
	}})
	b := &bench{t: t, db: vaulttest.NewDBIn(t, c)}
	b.env = b.db.Environ(t, "VAULT_REQUEST_TIMEOUT_SECS=1", fmt.Sprint("VAULT_ROTATION_POLL_SECS=", stormPoll))
	b.conn = b.db.MustConnect(t, vaulttest.Superuser)
	b.wired = b.mustOpen()
	b.fillForStorm()
	s := &storm{bench: b, journals: t.TempDir(), sockets: filepath.Dir(b.setting("VAULT_AGENT_SOCKET"))}
	s.watchTakeovers()
	s.run()
	s.checkWaits("clock_timestamp()")
	b.exec("ALTER SYSTEM SET hyperion_vault.rotation_enabled = off")
	b.exec("SELECT pg_reload_conf()")
	b.await("the supervisor has seen the reload and nothing is left open", `SELECT
		(SELECT last_pass_at > clock_timestamp() - interval '5 s' AND enqueued = 0 FROM vault.supervisor_passes)
		AND NOT EXISTS (SELECT FROM vault.rotation_jobs WHERE state IN ('queued', 'claimed'))`)
	b.checkStorm()
	s.checkWaits("NULL")
	s.checkTakeovers()
	s.report()
}

func (b *bench) fillForStorm() {
	b.t.Helper()
	token := vault.Bearer(b.db.MustToken(b.t, "storm"))
	for i := range stormSecrets {
		r := vault.CreateRequest{Name: fmt.Sprintf("storm/%d", i), Kind: "automatic", RotationIntervalSecs: 1 + int64(i%3), GracePeriodSecs: stormGrace}
		if _, err := b.door.Create(context.Background(), vault.Caller{Bearer: token}, r); err != nil {
			b.t.Fatal(err)
		}
	}
}

// setting returns a variable of the processes' environment.
func (b *bench) setting(name string) string {
	for _, e := range b.env { // the first one counts
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// waits are the seconds that each version, and the next one if it is still waited for at a time, was waited for beyond
// what is promised: its interval, a scan, and a lease and a poll for each time that a worker was lost.
const waits = `SELECT extract(epoch FROM w.until - w.since) - s.rotation_interval_secs - $1::int - (w.attempts - 1) * $2::int AS late, w.until - w.since AS gap
	FROM (SELECT j.secret_id, j.attempts, j.finished_at AS until, coalesce(lag(j.finished_at) OVER (PARTITION BY j.secret_id ORDER BY j.version), x.created_at) AS since
		FROM vault.rotation_jobs j JOIN vault.secrets x ON x.id = j.secret_id WHERE j.state = 'done'
		UNION ALL SELECT x.id, greatest(1, (SELECT j.attempts FROM vault.rotation_jobs j WHERE j.secret_id = x.id AND j.state <> 'done')), %s::timestamptz, x.updated_at
		FROM vault.secrets x) w
	JOIN vault.secrets s ON s.id = w.secret_id WHERE w.until IS NOT NULL`

// checkWaits fails if a secret waited longer than is promised; at is the SQL of the time at which open ones still wait.
func (s *storm) checkWaits(at string) {
	s.t.Helper()
	got := one[string](s.bench, fmt.Sprintf(`SELECT format('%%s of %%s rotations were late, the worst by %%s s', count(*) FILTER (WHERE late > $3::int), count(*), round(max(late), 1))
		FROM (`+waits+`) x`, at), stormScan, stormLease+stormPoll, stormSlack)
	s.t.Log(got)
	if !strings.HasPrefix(got, "0 of ") {
		s.t.Error(got)
	}
}

// watchTakeovers keeps how long each claim that another worker took over had been over.
func (s *storm) watchTakeovers() {
	s.t.Helper()
	for _, sql := range []string{
		"CREATE TABLE public.takeovers (late float8 NOT NULL)",
		`CREATE FUNCTION public.keep_takeover() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
			BEGIN INSERT INTO public.takeovers VALUES (extract(epoch FROM clock_timestamp() - OLD.claimed_until)); RETURN NULL; END $$`,
		`CREATE TRIGGER keep_takeover AFTER UPDATE ON vault.rotation_jobs FOR EACH ROW
			WHEN (OLD.state = 'claimed' AND NEW.state = 'claimed' AND OLD.claimed_by <> NEW.claimed_by) EXECUTE FUNCTION public.keep_takeover()`,
	} {
		s.exec(sql)
	}
}

// checkTakeovers: a claim ends a lease after its process last renewed it, at the latest, and is taken over within a poll
// of that. So a process that has died is noticed within two polls.
func (s *storm) checkTakeovers() {
	s.t.Helper()
	bound := stormPoll*time.Second + takeoverSlack + s.slowest
	got := one[string](s.bench, `SELECT format('%s of %s claims of killed processes were taken over too late, the worst %s s after their end', count(*) FILTER (WHERE late > $1),
		count(*), round(max(late)::numeric, 1)) FROM public.takeovers`, bound.Seconds())
	s.t.Logf("%s (bound %s)", got, bound)
	if !strings.HasPrefix(got, "0 of ") || strings.HasPrefix(got, "0 of 0 ") {
		s.t.Error(got)
	}
}

// checkStorm compares jobs and versions. Jobs are kept, one for each due time, with the version they made.
func (b *bench) checkStorm() {
	b.t.Helper()
	for what, sql := range map[string]string{
		"a job is not done": "SELECT count(*) FROM vault.rotation_jobs WHERE state <> 'done'",
		"a secret's jobs did not make its versions, each one": `SELECT count(*) FROM vault.secrets s WHERE
			(SELECT array_agg(j.version ORDER BY j.version) FROM vault.rotation_jobs j WHERE j.secret_id = s.id)
			IS DISTINCT FROM (SELECT array_agg(n) FROM generate_series(2, s.current_version) n)`,
		"versions were not made in the order of their due times": `SELECT count(*) FROM (
			SELECT j.version, row_number() OVER (PARTITION BY j.secret_id ORDER BY j.due_at) AS nth FROM vault.rotation_jobs j) x
			WHERE x.version <> x.nth + 1`,
		"a stored version has no successor and is not current": `SELECT count(*) FROM vault.secret_versions v
			JOIN vault.secrets s ON s.id = v.secret_id WHERE (v.version = s.current_version) <> (v.expires_at IS NULL)`,
		"a due time is off its rhythm": `SELECT count(*) FROM vault.rotation_jobs j JOIN vault.secrets s ON s.id = j.secret_id
			WHERE extract(epoch FROM j.due_at - s.created_at) % s.rotation_interval_secs <> 0`,
		"a rotation is not audited once": `SELECT count(*) FROM (SELECT secret_name, version FROM vault.audit_log
			WHERE action = 'rotate' AND outcome = 'ok' GROUP BY 1, 2 HAVING count(*) <> 1) x`,
		"a secret was hardly rotated": "SELECT count(*) FROM vault.secrets WHERE current_version < 3",
	} {
		if n := one[int64](b, sql); n != 0 {
			b.t.Errorf("%s (%d times)", what, n)
		}
	}
}

type storm struct {
	*bench
	journals string // directory of each node's
	sockets  string // directory of the key agents'
	mu       sync.Mutex
	urls     []string
	kills    int
	slowest  time.Duration // start of a process
	checks   int
	bySQL    int // of these
	refusals int
}

// run kills until the time is over, with samplers beside.
func (s *storm) run() {
	s.t.Helper()
	pool, err := pgxpool.New(context.Background(), s.db.SuperuserDSN)
	if err != nil {
		s.t.Fatal(err)
	}
	defer pool.Close()
	nodes := make([]*process, stormNodes)
	s.urls = make([]string, stormNodes)
	for i := range nodes {
		nodes[i], s.urls[i] = s.startNode(i)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), *stormFor)
	defer cancel()
	var samplers sync.WaitGroup
	for range stormSamplers {
		samplers.Go(func() {
			for ctx.Err() == nil {
				s.sample(pool)
			}
		})
	}
	s.killUntil(ctx, nodes)
	samplers.Wait()
	// The nodes live on until the test ends, so that what the killed ones held is taken over.
}

func (s *storm) killUntil(ctx context.Context, nodes []*process) {
	for {
		timer := time.NewTimer(time.Duration(200+rand.IntN(1300)) * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		i := rand.IntN(len(nodes))
		nodes[i].kill()
		s.kills++
		node, url := s.startNode(i)
		nodes[i] = node
		s.mu.Lock()
		s.urls[i] = url
		s.mu.Unlock()
	}
}

func (s *storm) startNode(i int) (*process, string) {
	s.t.Helper()
	startedAt := time.Now()
	p := s.startChild("serve", fmt.Sprintf("VAULT_NODE_NAME=node%d", i+1),
		"VAULT_AUDIT_DIR="+filepath.Join(s.journals, fmt.Sprint(i+1)), "VAULT_AGENT_SOCKET="+s.socket(i))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(pgtest.Patience); time.Now().Before(deadline); <-tick.C {
		if addr, _, ok := strings.Cut(p.out.String(), "\n"); ok {
			s.slowest = max(s.slowest, time.Since(startedAt))
			return p, "http://" + addr
		}
	}
	s.t.Fatalf("no API process started:\n%s", p.log)
	return nil, ""
}

func (s *storm) socket(i int) string {
	return filepath.Join(s.sockets, fmt.Sprintf("node%d.sock", i+1))
}

var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// ask sends a request to one node after the other, until one answers it.
func (s *storm) ask(method, path, body string, out any) bool {
	for range 100 {
		s.mu.Lock()
		url := s.urls[rand.IntN(len(s.urls))]
		s.mu.Unlock()
		req, _ := http.NewRequest(method, url+path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err == nil {
			err = json.NewDecoder(resp.Body).Decode(out)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return true
			}
		}
		waitFor(20 * time.Millisecond)
	}
	return false
}

func waitFor(d time.Duration) { <-time.After(d) }

// sample takes a current value, waits until it is superseded, and verifies it before and after the end of its grace.
func (s *storm) sample(pool *pgxpool.Pool) {
	name := fmt.Sprintf("storm/%d", rand.IntN(stormSecrets))
	var read struct {
		Version uint64 `json:"version"`
		Value   string `json:"value"`
	}
	if !s.ask("GET", "/v1/secrets/"+name, "", &read) {
		s.t.Error("no process answers a read")
		return
	}
	end, ok := superseded(pool, name, read.Version)
	if !ok {
		s.t.Errorf("%s version %d was not superseded in time", name, read.Version)
		return
	}
	for inGrace := true; inGrace; {
		valid, version := s.verifyEither(pool, name, read.Value)
		inGrace = clock(pool).Before(end)
		if inGrace && (!valid || version != read.Version) {
			s.t.Errorf("%s version %d is refused before %s", name, read.Version, end)
		}
		s.count(&s.checks)
		waitFor(min(time.Second, max(10*time.Millisecond, time.Until(end))))
	}
	for !clock(pool).After(end) {
		waitFor(time.Millisecond)
	}
	for _, verify := range []func() (bool, uint64){
		func() (bool, uint64) { return s.verify(name, read.Value) },
		func() (bool, uint64) { return s.verifySQL(pool, name, read.Value) },
	} {
		if valid, _ := verify(); valid {
			s.t.Errorf("%s version %d is valid after %s", name, read.Version, end)
		}
	}
	s.count(&s.refusals)
}

func (s *storm) verifyEither(pool *pgxpool.Pool, name, value string) (valid bool, version uint64) {
	if rand.IntN(2) == 0 {
		return s.verify(name, value)
	}
	s.count(&s.bySQL)
	return s.verifySQL(pool, name, value)
}

// verifySQL asks in SQL, by the key agent of one node after the other, until one answers.
func (s *storm) verifySQL(pool *pgxpool.Pool, name, value string) (valid bool, version uint64) {
	var err error
	for range 100 {
		var found *int64
		err = pool.QueryRow(context.Background(), `SELECT vault.verify_version($1, $2::text)
			FROM set_config('hyperion_vault.agent_socket', $3, false) x WHERE x IS NOT NULL`,
			name, value, s.socket(rand.IntN(stormNodes))).Scan(&found)
		if err == nil && found == nil {
			return false, 0
		} else if err == nil {
			return true, uint64(*found)
		}
		waitFor(20 * time.Millisecond)
	}
	s.t.Errorf("no process answers a verify in SQL: %v", err)
	return false, 0
}

func (s *storm) verify(name, value string) (valid bool, version uint64) {
	var out struct {
		Valid   bool   `json:"valid"`
		Version uint64 `json:"version"`
	}
	if !s.ask("POST", "/v1/secrets/"+name+"/verify", fmt.Sprintf(`{"value":%q}`, value), &out) {
		s.t.Error("no process answers a verify")
	}
	return out.Valid, out.Version
}

// superseded waits until a version has a successor and returns when its grace ends.
func superseded(pool *pgxpool.Pool, name string, version uint64) (end time.Time, ok bool) {
	for deadline := time.Now().Add(pgtest.Patience); time.Now().Before(deadline); waitFor(20 * time.Millisecond) {
		var at *time.Time
		err := pool.QueryRow(context.Background(), `SELECT v.expires_at FROM vault.secret_versions v
			JOIN vault.secrets s ON s.id = v.secret_id WHERE s.name = $1 AND v.version = $2`, name, int64(version)).Scan(&at)
		if err == nil && at != nil {
			return *at, true
		}
		if err != nil && err != pgx.ErrNoRows {
			return end, false
		}
	}
	return end, false
}

func clock(pool *pgxpool.Pool) (now time.Time) {
	_ = pool.QueryRow(context.Background(), "SELECT clock_timestamp()").Scan(&now)
	return now
}

func (s *storm) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

func (s *storm) report() {
	rotated := one[int64](s.bench, "SELECT count(*) FROM vault.rotation_jobs")
	again := one[int64](s.bench, "SELECT count(*) FROM vault.rotation_jobs WHERE attempts > 1")
	kept := one[string](s.bench, `SELECT string_agg(format('%s %% of %s s', round(100.0 * made / due), secs), ', ' ORDER BY secs) FROM (
		SELECT s.rotation_interval_secs AS secs, count(*) AS made,
			sum(extract(epoch FROM j.due_at - coalesce(prev, s.created_at)) / s.rotation_interval_secs) AS due
		FROM (SELECT *, lag(due_at) OVER (PARTITION BY secret_id ORDER BY due_at) AS prev FROM vault.rotation_jobs) j
		JOIN vault.secrets s ON s.id = j.secret_id GROUP BY 1) x`)
	longest := one[string](s.bench, fmt.Sprintf("SELECT round(max(extract(epoch FROM gap)), 1)::text FROM ("+waits+") x", "NULL"), stormScan, stormLease+stormPoll)
	line := fmt.Sprintf("%s: %d rotations (due times kept: %s), %d of them taken over or retried, longest wait %s s, %d kills, %d verified in grace (%d in SQL), %d refused after it",
		*stormFor, rotated, kept, again, longest, s.kills, s.checks, s.bySQL, s.refusals)
	s.t.Log(line)
	if s.kills == 0 || again == 0 || s.refusals == 0 {
		s.t.Error("that was no storm: " + line)
	}
}
