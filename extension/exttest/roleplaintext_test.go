package exttest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// auditEverything are the settings under which pgaudit, pg_stat_statements and auto_explain write most.
var auditEverything = []string{
	"pgaudit.log = 'all'", "pgaudit.log_parameter = on", "pgaudit.log_relation = on", "pgaudit.log_catalog = on", "pgaudit.log_rows = on",
	"pgaudit.log_level = log", "pg_stat_statements.track = all", "pg_stat_statements.track_planning = on", "pg_stat_statements.save = on",
	"session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0", "auto_explain.log_nested_statements = on",
	"auto_explain.log_verbose = on", "debug_print_rewritten = on", "log_parser_stats = on", "track_activity_query_size = 65536",
	"wal_level = logical", "full_page_writes = on", "log_temp_files = 0",
}

// hasLibrary reports whether the server that tests run on has a library.
func hasLibrary(t *testing.T, name string) bool {
	t.Helper()
	dir, err := exec.Command(pgtest.LoadEnv().PGConfig, "--pkglibdir").Output()
	pgtest.Must(t, err)
	_, err = os.Stat(filepath.Join(strings.TrimSpace(string(dir)), name+".so"))
	return err == nil
}

// TestPasswordsOfRolesOnDisk takes passwords and verifiers through every change under the harshest settings of the log, and then
// searches the server's directory, its log, its views, the API's log and its journal. No password is anywhere. A verifier is in the
// files of pg_authid and of vault.role_verifiers and in the write-ahead log, and nowhere else.
func TestPasswordsOfRolesOnDisk(t *testing.T) {
	t.Parallel()
	for _, libraries := range []string{"pg_stat_statements,hyperion_vault", "pgaudit,pg_stat_statements,hyperion_vault", "hyperion_vault,pg_stat_statements,pgaudit"} {
		t.Run(libraries, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(libraries, "pgaudit") && !hasLibrary(t, "pgaudit") {
				t.Skip("pgaudit is not installed") // as in the chroots of other versions; "make test" allows no skip
			}
			searchPasswords(t, libraries)
		})
	}
}

// passwordSearch is a vault whose passwords and verifiers are noted, to be searched for.
type passwordSearch struct {
	restBench
	passwords, verifiers []marker
	literals             map[marker]bool // passwords that were in the text of a statement
	seen                 []string        // texts in pg_stat_activity
}

func searchPasswords(t *testing.T, libraries string) {
	settings := slices.Concat(logEverything, auditEverything, []string{"shared_preload_libraries = '" + libraries + "'", "hyperion_vault.scan_interval_secs = 1",
		"hyperion_vault.database = 'app'", "work_mem = '64kB'", "restart_after_crash = on"})
	c := newLoginCluster(t, false, settings...)
	db := c.restoreInto(t, "app")
	admin := c.connect(t, "app", "postgres")
	admin.exec("CREATE EXTENSION hyperion_vault")
	admin.exec("CREATE EXTENSION pg_stat_statements")
	admin.exec("SELECT vault.grant_service_role('" + vaulttest.ServiceRole + "')")
	api := vaulttest.NewServer(t, db, "VAULT_ROTATION_POLL_SECS=1")
	p := &passwordSearch{restBench: restBench{session: c.connect(t, "app", "postgres"), client: clientOf(t, api), login: c, api: api, db: db}, literals: map[marker]bool{}}
	stop := p.watchActivity(t)
	p.changeBySQL(t)
	p.changeByREST(t)
	p.changeLeases(t)
	stop()
	texts := p.views(t)
	p.exec("CHECKPOINT")
	files := p.verifierFiles()
	p.abort(t)
	p.session = c.connect(t, "app", "postgres") // a failure is explained by its log
	texts["the API's log"] = api.Log()
	p.judge(t, files, texts)
}

// note has the password of a secret and the verifier of its role searched for.
func (p *passwordSearch) note(t *testing.T, role, password string) {
	t.Helper()
	p.passwords = append(p.passwords, marker(password))
	verifier := get[string](p.session, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)
	keys := strings.Split(verifier[strings.LastIndex(verifier, "$")+1:], ":") // each can be searched for on its own
	p.verifiers = append(p.verifiers, marker(keys[0]), marker(keys[1]))
	for _, k := range keys {
		raw, err := base64.StdEncoding.DecodeString(k)
		pgtest.Must(t, err)
		p.verifiers = append(p.verifiers, marker(raw))
	}
}

// noteCurrent is note of what the vault returns.
func (p *passwordSearch) noteCurrent(t *testing.T, secret, role string) {
	t.Helper()
	value := p.client.read(secret, "")
	var v struct{ Username, Password string }
	if json.Unmarshal([]byte(value), &v) == nil {
		role, value = v.Username, v.Password
	}
	pgtest.Must(t, p.login.login(role, value))
	p.note(t, role, value)
}

func (p *passwordSearch) newPassword() string {
	m := newMarker()
	p.passwords = append(p.passwords, m)
	return string(m)
}

// newLiteral is a password for the text of a statement.
func (p *passwordSearch) newLiteral() string {
	m := p.newPassword()
	p.literals[marker(m)] = true
	return m
}

func (p *passwordSearch) changeBySQL(t *testing.T) {
	t.Helper()
	p.exec("CREATE ROLE app LOGIN")
	p.exec("CREATE ROLE old LOGIN")
	p.exec("CREATE ROLE app_a LOGIN")
	p.exec("CREATE ROLE app_b LOGIN")
	p.exec("SELECT vault.create_secret('app', $1::text, 'automatic', rotation_interval_secs => 86400)", p.newPassword())
	p.exec("SELECT vault.bind_role('app', 'app')")
	p.noteCurrent(t, "app", "app")
	p.script("SELECT vault.update_secret('app', '" + p.newLiteral() + "', NULL)")
	p.noteCurrent(t, "app", "app")
	for range 7 { // also with the plan that is kept
		p.exec("SELECT vault.update_secret('app', $1::text, NULL)", p.newPassword())
		p.noteCurrent(t, "app", "app")
		p.exec("SELECT vault.rotate_secret('app')")
		p.noteCurrent(t, "app", "app")
	}
	p.exec("SELECT vault.repair_role('app')")
	p.noteCurrent(t, "app", "app")
	p.script("DO $do$ BEGIN PERFORM vault.update_secret('app', '" + p.newLiteral() + "', NULL); END $do$")
	p.noteCurrent(t, "app", "app")
	p.exec("SELECT vault.unbind_role('app')")
	imported := p.read("app", "")
	p.exec("SELECT vault.import_role('imported', 'app', $1)", imported)
	wantError(t, p.try("SELECT vault.import_role('old', 'old', '"+p.newLiteral()+"')"), "22023", "has another password")
	wantError(t, p.try("SELECT vault.import_role('old', 'old', $1)", p.newPassword()), "22023", "has another password")
	wantError(t, p.try("SELECT vault.import_role('old', 'old', $1, 'x')", p.newPassword()), "22P02", "")
	p.exec(`SELECT vault.create_secret('pair', $1::text, content_type => 'application/json', grace_period_secs => 600,
		generate_policy => '{"json_field":"password"}')`, `{"username":"app_a","password":"`+p.newPassword()+`"}`)
	p.exec("SELECT vault.bind_role_pair('pair', 'app_a', 'app_b')")
	p.noteCurrent(t, "pair", "")
	for range 2 {
		p.exec("SELECT vault.rotate_secret('pair')")
		p.noteCurrent(t, "pair", "")
	}
	p.exec("SELECT vault.expire_version('pair', 2)")
	p.exec("ALTER ROLE app SUPERUSER")
	wantError(t, p.try("SELECT vault.update_secret('imported', $1::text, NULL)", p.newPassword()), "VT006", "more attributes")
	wantError(t, p.try("SELECT vault.update_secret('imported', '"+p.newLiteral()+"', NULL)"), "VT006", "more attributes")
	p.exec("ALTER ROLE app NOSUPERUSER")
	wantError(t, p.try("SELECT vault.update_secret('imported', '"+p.newLiteral()+"', NULL), 1/0"), "22012", "")
}

func (p *passwordSearch) changeByREST(t *testing.T) {
	t.Helper()
	p.exec("CREATE ROLE web LOGIN")
	p.exec("ALTER ROLE vault_admin CREATEROLE")
	if serverVersion(p.session) >= 160000 {
		p.exec("GRANT web TO vault_admin WITH ADMIN OPTION")
	}
	p.must(http.StatusCreated, "POST", "/v1/secrets", "", `{"name":"web","kind":"automatic","value":"`+p.newPassword()+`","rotation_interval_secs":86400}`)
	p.must(http.StatusNoContent, "PUT", "/v1/roles/web", "", `{"role":"web","auto_repair":true}`)
	p.noteCurrent(t, "web", "web")
	for range 7 {
		p.must(http.StatusOK, "PUT", "/v1/secrets/web", "*", `{"value":"`+p.newPassword()+`"}`)
		p.noteCurrent(t, "web", "web")
	}
	p.must(http.StatusOK, "POST", "/v1/secrets/web/rotate", "", nil)
	p.noteCurrent(t, "web", "web")
	p.must(http.StatusNoContent, "POST", "/v1/roles/web", "", nil)
	p.noteCurrent(t, "web", "web")
	p.rotateBySchedule(t, "web")
	p.noteCurrent(t, "web", "web")
	p.exec("ALTER ROLE web PASSWORD 'by hand'")
	pgtest.Eventually(t, "the supervisor repairs the role", func() bool {
		return get[string](p.session, "SELECT state FROM vault.bound_roles('web')") == "ok"
	})
	p.noteCurrent(t, "web", "web")
	p.exec("ALTER ROLE web SUPERUSER")
	p.must(http.StatusBadRequest, "PUT", "/v1/secrets/web", "*", `{"value":"`+p.newPassword()+`"}`)
	p.must(http.StatusBadRequest, "POST", "/v1/roles/web", "", nil)
}

func (p *passwordSearch) changeLeases(t *testing.T) {
	t.Helper()
	p.exec("SELECT vault.create_role_template('lent', '{}', '1 hour')")
	for range 7 {
		var username, password string
		pgtest.Must(t, p.QueryRow(bounded(t), "SELECT username, password FROM vault.issue_role('lent')").Scan(&username, &password))
		p.note(t, username, password)
	}
	var made struct{ Username, Password string }
	pgtest.Must(t, json.Unmarshal([]byte(p.must(http.StatusCreated, "POST", "/v1/leases", "", `{"template":"lent"}`)), &made))
	p.note(t, made.Username, made.Password)
	p.exec("SELECT vault.revoke_lease(lease) FROM vault.leases()")
	pgtest.Eventually(t, "all leases end", func() bool { return get[int](p.session, "SELECT count(*)::int FROM vault.role_leases") == 0 })
}

// watchActivity notes what pg_stat_activity shows of the sessions, until stop.
func (p *passwordSearch) watchActivity(t *testing.T) (stop func()) {
	s := p.login.connect(t, "app", "postgres")
	ctx, cancel := context.WithCancel(context.Background())
	noted := map[string]bool{}
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for ; ctx.Err() == nil; <-tick.C {
			text, err := tryGet[string](s, "SELECT string_agg(query, E'\n') FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
			if err != nil {
				t.Error(err)
				return
			}
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); !noted[line] {
					noted[line] = true
					p.seen = append(p.seen, line)
				}
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// views are the rows of all views about statistics, sessions and statements.
func (p *passwordSearch) views(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, view := range column(p.session, `SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'v'
		AND (c.relname LIKE 'pg_stat%' OR c.relname IN ('pg_prepared_statements', 'pg_cursors', 'pg_settings', 'pg_prepared_xacts', 'pg_locks'))`) {
		texts[view] = get[string](p.session, "SELECT coalesce(string_agg(v::text, E'\n'), '') FROM "+view+" v")
	}
	if !strings.Contains(texts["pg_stat_statements"], "CREATE ROLE app LOGIN") || len(texts) < 30 {
		t.Errorf("%d views, in which the statements are not: the search is blind", len(texts))
	}
	return texts
}

// verifierFiles are the files in which a verifier may be, besides the write-ahead log.
func (p *passwordSearch) verifierFiles() (files []string) {
	for _, table := range []string{"pg_authid", "vault.role_verifiers"} {
		files = append(files, filepath.Join(p.login.Data(), get[string](p.session, "SELECT pg_relation_filepath($1::text::regclass)", table)))
	}
	return files
}

// abort has a backend die by SIGABRT in the middle of a rotation, which leaves a core file where there are any.
func (p *passwordSearch) abort(t *testing.T) {
	t.Helper()
	victim := p.login.connect(t, "app", "postgres")
	victim.exec("BEGIN")
	victim.exec("SELECT vault.rotate_secret('pair')")
	crashes := strings.Count(p.login.logText(t), "was terminated by signal 6")
	pgtest.Must(t, syscall.Kill(victim.pid(), syscall.SIGABRT))
	pgtest.Eventually(t, "the server noticed the crash", func() bool {
		return strings.Count(p.login.logText(t), "was terminated by signal 6") > crashes
	})
	pgtest.Eventually(t, "the server is back", func() bool {
		conn, err := p.login.dial(t.Context(), "app", "postgres")
		return err == nil && conn.Close(t.Context()) == nil
	})
}

func (p *passwordSearch) judge(t *testing.T, allowed []string, texts map[string]string) {
	t.Helper()
	log := p.login.logText(t)
	texts["the server's log in one line"] = strings.Join(strings.Fields(log), " ") // a plan is broken into lines where it has a space
	directories := append([]string{p.login.Dir(), filepath.Dir(p.api.AgentSocket)}, journalsOf(p.api)...)
	hits, files := search(t, p.passwords, directories, texts)
	for _, h := range hits {
		t.Errorf("a password is in %s, %s: %q", h.file, h.form, h.around)
	}
	// A text is there until the function is entered (docs/SECURITY.md). So what was no part of one is not there.
	bound := slices.DeleteFunc(slices.Clone(p.passwords), func(m marker) bool { return p.literals[m] })
	hits, _ = search(t, append(bound, p.verifiers...), nil, map[string]string{"pg_stat_activity": strings.Join(p.seen, "\n")})
	for _, h := range hits {
		t.Errorf("%s shows a password or a verifier, %s: %q", h.file, h.form, h.around)
	}
	hits, _ = search(t, p.verifiers, directories, texts)
	found := map[string]bool{}
	for _, h := range hits {
		place := h.file
		if strings.HasPrefix(place, filepath.Join(p.login.Data(), "pg_wal")+"/") {
			place = "pg_wal"
		}
		if found[place] = true; place != "pg_wal" && !slices.Contains(allowed, place) {
			t.Errorf("a verifier is in %s, %s: %q", h.file, h.form, h.around)
		}
	}
	for _, place := range append(allowed, "pg_wal") {
		if !found[place] {
			t.Errorf("no verifier was found in %s: the search is blind", place)
		}
	}
	if files < 500 || len(p.passwords) < 40 || len(p.verifiers) < 100 {
		t.Errorf("searched %d files for %d passwords and %d verifiers only", files, len(p.passwords), len(p.verifiers))
	}
	if strings.Contains(get[string](p.session, "SHOW shared_preload_libraries"), "pgaudit") && !strings.Contains(log, "AUDIT: SESSION,") {
		t.Error("pgaudit has logged nothing")
	}
	if n := strings.Count(log, "<withheld by hyperion_vault>"); n < 10 {
		t.Errorf("%d statements of the vault are in the log: it does not log them all", n)
	}
}
