package exttest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// restBench is a real API in front of a server that others log in to by TCP.
type restBench struct {
	*session
	*client
	login loginCluster
	api   *vaulttest.Server
	db    *vaulttest.DB
}

func newRESTBench(t *testing.T, settings ...string) restBench {
	t.Helper()
	c := startLoginCluster(t, settings...)
	db := c.NewDB(t)
	api := vaulttest.NewServer(t, db, "VAULT_ROTATION_POLL_SECS=1")
	return restBench{session: c.connect(t, db.Name, "postgres"), client: clientOf(t, api), login: c, api: api, db: db}
}

// credential is the user and the password that a secret of JSON has.
func (b restBench) credential(name string) (user, password string) {
	var v struct{ Username, Password string }
	if err := json.Unmarshal([]byte(b.client.read(name, "")), &v); err != nil {
		b.client.t.Error(err)
	}
	return v.Username, v.Password
}

func (b restBench) wantLogin(role, password, former string) {
	b.client.t.Helper()
	if err := b.login.login(role, password); err != nil {
		b.client.t.Errorf("%s does not log in: %v", role, err)
	}
	if former != "" && b.login.login(role, former) == nil {
		b.client.t.Errorf("%s logs in with its former password", role)
	}
}

// rotateBySchedule has a rotation that is due made by the API.
func (b restBench) rotateBySchedule(t *testing.T, name string) {
	t.Helper()
	before := get[int64](b.session, "SELECT current_version FROM vault.list_secrets($1)", name)
	b.exec("UPDATE vault.secrets SET next_rotation_at = clock_timestamp() WHERE name = $1", name)
	b.exec("SELECT vault.supervise(100, true)")
	pgtest.Eventually(t, "the rotation that is due is made", func() bool {
		return get[int64](b.session, "SELECT current_version FROM vault.list_secrets($1)", name) > before
	})
}

func TestBoundRoleByREST(t *testing.T) {
	b := newRESTBench(t)
	b.exec("CREATE ROLE app LOGIN PASSWORD 'before'")
	b.exec("CREATE ROLE supertarget LOGIN SUPERUSER")
	b.must(http.StatusCreated, "POST", "/v1/secrets", "", `{"name":"app/db","kind":"automatic","value":"first value","rotation_interval_secs":86400}`)
	// A token of vault_admin is no superuser: PostgreSQL does not let it.
	for _, role := range []string{"app", "supertarget"} {
		if answer := b.must(http.StatusBadRequest, "PUT", "/v1/roles/app/db", "", `{"role":"`+role+`"}`); !strings.Contains(answer, "PostgreSQL does not let role") {
			t.Error(answer)
		}
	}
	b.wantLogin("app", "before", "")
	b.exec("CREATE ROLE binder CREATEROLE")
	if get[bool](b.session, "SELECT current_setting('server_version_num')::int >= 160000") {
		b.exec("GRANT app TO binder WITH ADMIN OPTION")
	}
	b.exec("SELECT vault.grant_access('binder', '*', '{read,create,update,rotate,delete,manage}')")
	admin := b.client.token
	var made struct{ Token string }
	if err := json.Unmarshal([]byte(b.must(http.StatusCreated, "POST", "/v1/tokens", "", `{"name":"binder","role":"binder"}`)), &made); err != nil {
		t.Fatal(err)
	}
	b.client.token = made.Token
	b.must(http.StatusBadRequest, "PUT", "/v1/roles/app/db", "", `{"role":"supertarget"}`)
	b.must(http.StatusNoContent, "PUT", "/v1/roles/app/db", "", `{"role":"app"}`)
	b.wantLogin("app", "first value", "before")
	b.must(http.StatusOK, "PUT", "/v1/secrets/app/db", "*", `{"value":"second value"}`)
	b.wantLogin("app", "second value", "first value")
	b.must(http.StatusOK, "POST", "/v1/secrets/app/db/rotate", "", nil)
	third := b.client.read("app/db", "")
	b.wantLogin("app", third, "second value")
	b.rotateBySchedule(t, "app/db")
	fourth := b.client.read("app/db", "")
	b.wantLogin("app", fourth, third)
	b.exec("SELECT vault.rotate_secret('app/db')") // a version of SQL between two of REST
	fifth := b.client.read("app/db", "")
	b.wantLogin("app", fifth, fourth)

	b.exec("ALTER ROLE app PASSWORD 'by hand'")
	if list := b.must(http.StatusOK, "GET", "/v1/roles?prefix=app", "", nil); !strings.Contains(list, `"state":"changed"`) || !strings.Contains(list, `"bound_by":"token:binder"`) {
		t.Error(list)
	}
	b.exec("SELECT vault.supervise(100, true)")
	if status := b.must(http.StatusOK, "GET", "/v1/status", "", nil); !strings.Contains(status, `"roles_bound":1,"roles_differing":1,`) {
		t.Error(status)
	}
	b.must(http.StatusNoContent, "POST", "/v1/roles/app/db", "", nil)
	if status := b.must(http.StatusOK, "GET", "/v1/status", "", nil); !strings.Contains(status, `"roles_bound":1,"roles_differing":0,`) {
		t.Error(status)
	}
	b.wantLogin("app", fifth, "by hand")
	// The doors of Vault's protocol are the same: a new value sets the password, a deletion is refused.
	b.client.token = admin
	b.must(http.StatusOK, "POST", "/v1/secret/data/app/db", "", `{"data":{"value":"by the other door"}}`)
	b.wantLogin("app", "by the other door", fifth)
	for _, gone := range []string{"DELETE /v1/secret/data/app/db", "DELETE /v1/secret/metadata/app/db", "DELETE /v1/secrets/app/db"} {
		method, path, _ := strings.Cut(gone, " ")
		if answer := b.must(http.StatusBadRequest, method, path, "*", nil); !strings.Contains(answer, "is the password of a role") {
			t.Errorf("%s: %s", gone, answer)
		}
	}
	b.exec("ALTER ROLE app RENAME TO renamed")
	if answer := b.must(http.StatusBadRequest, "POST", "/v1/secrets/app/db/rotate", "", nil); !strings.Contains(answer, "was renamed") {
		t.Error(answer)
	}
	b.must(http.StatusNoContent, "DELETE", "/v1/roles/app/db", "", nil)
	b.must(http.StatusNotFound, "DELETE", "/v1/roles/app/db", "", nil)
	b.must(http.StatusNotFound, "POST", "/v1/roles/app/db", "", nil)
	for body, why := range map[string]string{`{"role":"missing"}`: `role \"missing\" does not exist`, `{"role":"pg_monitor"}`: "one of PostgreSQL's own"} {
		if answer := b.must(http.StatusBadRequest, "PUT", "/v1/roles/app/db", "", body); !strings.Contains(answer, why) {
			t.Errorf("%s: %s", body, answer)
		}
	}
	for _, malformed := range []string{`{}`, `{"role":"a","pair":["a","b"]}`, `{"pair":["a"]}`, `{"pair":["a","a"]}`, `{"role":"a","shared_role":"b"}`, `{"role":""}`, `{"roles":1}`} {
		b.must(http.StatusBadRequest, "PUT", "/v1/roles/app/db", "", malformed)
	}
}

// TestPairLosesNoLogin: an application that reads its credential and then logs in never fails, whatever is rotated meanwhile
// and by which way.
func TestPairLosesNoLogin(t *testing.T) {
	b := newRESTBench(t)
	b.exec("CREATE ROLE app_a LOGIN")
	b.exec("CREATE ROLE app_b LOGIN")
	b.exec("GRANT vault_admin TO postgres") // for the token, below
	b.exec("ALTER ROLE vault_admin CREATEROLE")
	if get[bool](b.session, "SELECT current_setting('server_version_num')::int >= 160000") {
		b.exec("GRANT app_a, app_b TO vault_admin WITH ADMIN OPTION")
	}
	b.must(http.StatusCreated, "POST", "/v1/secrets", "", `{"name":"app","kind":"automatic","content_type":"application/json","value":"{\"username\":\"app_a\",\"password\":\"one\"}",
		"generate_policy":{"json_field":"password"},"rotation_interval_secs":86400,"grace_period_secs":600}`)
	b.must(http.StatusNoContent, "PUT", "/v1/roles/app", "", `{"pair":["app_a","app_b"]}`)
	ctx, stop := context.WithCancel(t.Context())
	var logins, failed atomic.Int64
	var clients sync.WaitGroup
	var each [4]atomic.Int64
	for i := range each {
		clients.Go(func() {
			for ctx.Err() == nil {
				user, password := b.credential("app")
				if err := b.login.login(user, password); err != nil {
					t.Errorf("%s: %v", user, err)
					failed.Add(1)
				}
				logins.Add(1)
				each[i].Add(1)
			}
		})
	}
	// A client that two rotations overtake between its read and its login has a credential whose time is over.
	caughtUp := func() {
		for i := range each {
			n := each[i].Load()
			pgtest.Eventually(t, "each client logs in with what it has read since", func() bool { return each[i].Load() > n+1 })
		}
	}
	users := map[string]int{}
	for round := range 12 {
		user, password := b.credential("app")
		switch round % 3 {
		case 0:
			b.must(http.StatusOK, "POST", "/v1/secrets/app/rotate", "", nil)
		case 1:
			b.exec("SELECT vault.rotate_secret('app')")
		case 2:
			b.rotateBySchedule(t, "app")
		}
		next, _ := b.credential("app")
		if next == user {
			t.Errorf("round %d: the credential is still of %s", round, user)
		}
		users[next]++
		b.wantLogin(user, password, "") // in its grace
		caughtUp()
	}
	stop()
	clients.Wait()
	if users["app_a"] != 6 || users["app_b"] != 6 {
		t.Errorf("the turns were %v", users)
	}
	if logins.Load() < 50 {
		t.Errorf("only %d logins were tried", logins.Load())
	}
	t.Logf("%d logins, %d failed", logins.Load(), failed.Load())
}

// TestSingleRoleFailsOnlyBehindARead: with one role a login fails at most with a credential that is no longer current.
func TestSingleRoleFailsOnlyBehindARead(t *testing.T) {
	b := newRESTBench(t)
	b.exec("CREATE ROLE app LOGIN")
	b.exec("ALTER ROLE vault_admin CREATEROLE")
	if get[bool](b.session, "SELECT current_setting('server_version_num')::int >= 160000") {
		b.exec("GRANT app TO vault_admin WITH ADMIN OPTION")
	}
	b.must(http.StatusCreated, "POST", "/v1/secrets", "", `{"name":"app","kind":"automatic","value":"one","rotation_interval_secs":86400}`)
	b.must(http.StatusNoContent, "PUT", "/v1/roles/app", "", `{"role":"app"}`)
	ctx, stop := context.WithCancel(t.Context())
	var logins, retried atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				logins.Add(1)
				password := b.client.read("app", "")
				for b.login.login("app", password) != nil {
					retried.Add(1)
					again := b.client.read("app", "")
					if again == password {
						t.Error("the current credential does not log in")
						return
					}
					password = again
				}
			}
		})
	}
	for range 12 {
		b.must(http.StatusOK, "POST", "/v1/secrets/app/rotate", "", nil)
	}
	stop()
	clients.Wait()
	t.Logf("%d logins, %d read again", logins.Load(), retried.Load())
}

// TestVerifiersOfTheAPIAreNotLogged: what the API sends beside a sealed value does not reach the server's log, nor its own.
func TestVerifiersOfTheAPIAreNotLogged(t *testing.T) {
	b := newRESTBench(t, "log_statement = 'all'", "log_min_duration_statement = 0", "log_parameter_max_length = -1",
		"log_parameter_max_length_on_error = -1", "log_min_messages = debug2", "session_preload_libraries = 'auto_explain'",
		"auto_explain.log_min_duration = 0", "auto_explain.log_nested_statements = on")
	b.exec("CREATE ROLE app LOGIN")
	b.exec("ALTER ROLE vault_admin CREATEROLE")
	if get[bool](b.session, "SELECT current_setting('server_version_num')::int >= 160000") {
		b.exec("GRANT app TO vault_admin WITH ADMIN OPTION")
	}
	const marker = "marker-of-a-password"
	b.must(http.StatusCreated, "POST", "/v1/secrets", "", `{"name":"app","kind":"automatic","value":"`+marker+`-1","rotation_interval_secs":86400}`)
	var verifiers []string
	note := func() {
		v := get[string](b.session, "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
		verifiers = append(verifiers, v, v[strings.LastIndex(v, ":")+1:])
	}
	b.must(http.StatusNoContent, "PUT", "/v1/roles/app", "", `{"role":"app"}`)
	note()
	b.must(http.StatusOK, "PUT", "/v1/secrets/app", "*", `{"value":"`+marker+`-2"}`)
	note()
	b.must(http.StatusNoContent, "POST", "/v1/roles/app", "", nil)
	note()
	b.rotateBySchedule(t, "app")
	note()
	b.exec("ALTER ROLE app SUPERUSER")
	b.must(http.StatusBadRequest, "PUT", "/v1/secrets/app", "*", `{"value":"`+marker+`-3"}`)
	b.must(http.StatusBadRequest, "POST", "/v1/roles/app", "", nil)
	for what, log := range map[string]string{"server": b.login.logText(t), "API": b.api.Log()} {
		for _, secret := range append(verifiers, marker, "SCRAM-SHA-256$4096:") {
			if at := strings.Index(log, secret); at >= 0 {
				t.Errorf("the log of the %s has %q: %s", what, secret, log[max(0, at-300):at+60])
			}
		}
	}
}

// TestRoleSessionsByREST: who is logged in with a former password, and what becomes of that.
func TestRoleSessionsByREST(t *testing.T) {
	b := newRESTBench(t)
	b.exec("CREATE ROLE app LOGIN")
	b.must(http.StatusCreated, "POST", "/v1/secrets", "", `{"name":"app/db","kind":"manual","value":"first value","grace_period_secs":3600}`)
	b.must(http.StatusNotFound, "GET", "/v1/roles/app/db", "", nil)
	b.must(http.StatusNotFound, "PATCH", "/v1/roles/app/db", "", `{"session_policy":"ignore"}`)
	b.exec("SELECT vault.bind_role('app/db', 'app')")
	if list := b.must(http.StatusOK, "GET", "/v1/roles/app/db", "", nil); list != `{"sessions":[]}` {
		t.Error(list)
	}
	held, err := b.login.hold("app", "first value")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close(context.Background())
	b.must(http.StatusNoContent, "PATCH", "/v1/roles/app/db", "", `{"session_policy":"terminate","auto_repair":true}`)
	b.must(http.StatusOK, "PUT", "/v1/secrets/app/db", "*", `{"value":"second value"}`)
	list := b.must(http.StatusOK, "GET", "/v1/roles/app/db", "", nil)
	for _, part := range []string{`"role":"app","database":"postgres"`, `"client_addr":"127.`, `"credential":"former"`, `"fate":"ends"`, `"ends_at":"2`} {
		if !strings.Contains(list, part) {
			t.Errorf("%s is not in %s", part, list)
		}
	}
	if status := b.must(http.StatusOK, "GET", "/v1/status", "", nil); !strings.Contains(status, `"former_sessions":1,"leases":0,"leases_due":0,"leases_failing":0,"lease_failures":[]`) {
		t.Error(status)
	}
	if list := b.must(http.StatusOK, "GET", "/v1/roles?prefix=app", "", nil); !strings.Contains(list, `"auto_repair":true`) ||
		!strings.Contains(list, `"session_policy":"terminate","max_wait_secs":null`) {
		t.Error(list)
	}
	for _, wrong := range []string{`{}`, `{"session_policy":"kill"}`, `{"session_policy":"wait"}`, `{"max_wait_secs":0}`, `{"max_wait_secs":5}`, `{"session_policy":""}`} {
		b.must(http.StatusBadRequest, "PATCH", "/v1/roles/app/db", "", wrong)
	}
	b.must(http.StatusBadRequest, "PUT", "/v1/roles/app/db", "", `{"role":"app","session_policy":"kill"}`)
}

// TestChangesOfRolesAndLoginsAnswerTheirPosition: a read that sends it sees the change on any node.
func TestChangesOfRolesAndLoginsAnswerTheirPosition(t *testing.T) {
	b := newRESTBench(t)
	b.exec("CREATE ROLE app LOGIN")
	b.exec("ALTER ROLE vault_admin CREATEROLE")
	if get[bool](b.session, "SELECT current_setting('server_version_num')::int >= 160000") {
		b.exec("GRANT app TO vault_admin WITH ADMIN OPTION")
	}
	b.must(http.StatusCreated, "POST", "/v1/secrets", "", `{"name":"app/db","value":"first value"}`)
	accessor := ""
	last := get[string](b.session, "SELECT pg_current_wal_lsn()::text")
	for _, change := range []struct{ method, path, body string }{
		{"PUT", "/v1/roles/app/db", `{"role":"app"}`},
		{"PATCH", "/v1/roles/app/db", `{"auto_repair":true}`},
		{"POST", "/v1/roles/app/db", ""},
		{"DELETE", "/v1/roles/app/db", ""},
		{"PUT", "/v1/auth/approle", `{"kind":"approle"}`},
		{"PUT", "/v1/auth/approle/roles/ci", `{"role":"app","token_type":"batch"}`},
		{"POST", "/v1/auth/approle/roles/ci/secret-ids", ""},
		{"DELETE", "/v1/auth/approle/roles/ci/secret-ids/ACCESSOR", ""},
		{"POST", "/v1/auth/approle/roles/ci/revoke", ""},
		{"DELETE", "/v1/auth/approle/roles/ci", ""},
		{"DELETE", "/v1/auth/approle", ""},
		{"PUT", "/v1/auth/userpass", `{"kind":"userpass"}`},
		{"PUT", "/v1/auth/userpass/roles/alice", `{"role":"app"}`},
		{"PUT", "/v1/auth/userpass/roles/alice/password", `{"password":"correct horse"}`},
		{"POST", "/v1/admin/token-key", ""},
	} {
		status, at, answer := b.client.change(change.method, strings.Replace(change.path, "ACCESSOR", accessor, 1), change.body)
		lsn, ok := strings.CutPrefix(at, "1-")
		if status >= 300 || !ok {
			t.Fatalf("%s %s: %d %q %s", change.method, change.path, status, at, answer)
		}
		if !get[bool](b.session, "SELECT $1::text::pg_lsn > $2::text::pg_lsn AND $1::text::pg_lsn <= pg_current_wal_flush_lsn()", lsn, last) {
			t.Errorf("%s %s: %s is not after %s", change.method, change.path, lsn, last)
		}
		last = lsn
		var made struct {
			Accessor string `json:"secret_id_accessor"`
		}
		if json.Unmarshal([]byte(answer), &made) == nil && made.Accessor != "" {
			accessor = made.Accessor
		}
	}
}

// change sends a request, and returns the position that it is answered.
func (c *client) change(method, path, body string) (status int, at, answer string) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	pgtest.Must(c.t, err)
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	pgtest.Must(c.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	pgtest.Must(c.t, err)
	return resp.StatusCode, resp.Header.Get("Vault-Lsn"), string(text)
}
