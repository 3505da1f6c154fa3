package logintest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/password"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// passwordLogin logs in as a client of Vault does.
func passwordLogin(t *testing.T, url, user, text string) (int, string, auth) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"password": text})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := do(t, http.MethodPut, url+"/v1/auth/userpass/login/"+user, string(body), nil)
	var envelope struct{ Auth auth }
	if err := json.Unmarshal([]byte(answer), &envelope); err != nil {
		t.Fatalf("%d %s: %v", status, answer, err)
	}
	return status, answer, envelope.Auth
}

func (r *rig) user(name, text string) {
	r.t.Helper()
	r.admin("PUT", "/v1/auth/userpass", `{"kind":"userpass"}`, 200)
	r.admin("PUT", "/v1/auth/userpass/roles/"+name, `{"role":"hv_login_web","token_ttl_secs":600}`, 200)
	r.admin("PUT", "/v1/auth/userpass/roles/"+name+"/password", `{"password":`+strconv.Quote(text)+`}`, 204)
}

func TestPasswordLogin(t *testing.T) {
	r := newRig(t)
	r.user("alice", "correct horse")
	t.Run("OK", func(t *testing.T) {
		status, answer, a := passwordLogin(t, r.s.URL, "Alice", "correct horse")
		if status != 200 || a.TokenType != "service" || !a.Renewable || a.LeaseDuration != 600 || a.Metadata["username"] != "alice" || !a.Orphan ||
			len(a.Policies) != 1 || a.Policies[0] != "hv_login_web" {
			t.Fatalf("%d %s", status, answer)
		}
		wantRead(t, r.s.URL, "web/a", a.ClientToken, 200)
		wantRead(t, r.s.URL, "other", a.ClientToken, 403)
	})
	const mistyped = "hunter2hunter2"
	for name, c := range map[string][2]string{"ErrPassword": {"alice", "wrong"}, "ErrUser": {"bob", "correct horse"}, "ErrMistyped": {mistyped, "alice"}} {
		t.Run(name, func(t *testing.T) {
			if status, answer, _ := passwordLogin(t, r.s.URL, c[0], c[1]); status != 400 || answer != `{"errors":["invalid username or password"]}` {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	t.Run("Audit", func(t *testing.T) {
		r.db.AwaitAudit(t)
		r.db.Await(t, "the records of the logins", `SELECT array_agg(secret_name || ' ' || outcome ORDER BY secret_name, outcome)
			= '{alice ok,userpass denied,userpass denied,userpass/alice denied}' FROM vault.audit_log WHERE action = 'login'`)
		r.db.Await(t, "no trace of a mistyped password", `SELECT NOT EXISTS (SELECT FROM vault.audit_log a WHERE a::text ILIKE '%`+mistyped+`%')`)
	})
	if strings.Contains(r.s.Log(), mistyped) || strings.Contains(r.s.Log(), "correct horse") || strings.Contains(r.s.Log(), "argon2") {
		t.Error("the log holds a password or a verifier")
	}
	if !strings.Contains(r.s.Log(), `"cause":"login_password"`) {
		t.Error("the log does not say why a login was refused")
	}
	t.Run("ErrLockedOut", func(t *testing.T) {
		for range 5 {
			_, _, _ = passwordLogin(t, r.s.URL, "alice", "wrong")
		}
		res, err := http.Post(r.s.URL+"/v1/auth/userpass/login/alice", "", strings.NewReader(`{"password":"correct horse"}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if after, _ := strconv.Atoi(res.Header.Get("Retry-After")); res.StatusCode != 429 || after < 100 || after > 180 {
			t.Errorf("%d, Retry-After %s", res.StatusCode, res.Header.Get("Retry-After"))
		}
	})
	t.Run("Administration", func(t *testing.T) {
		r.admin("PUT", "/v1/auth/userpass/roles/Bob", `{"role":"hv_login_web"}`, 400)
		r.admin("PUT", "/v1/auth/userpass/roles/stranger/password", `{"password":"correct horse"}`, 404)
		r.admin("PUT", "/v1/auth/userpass/roles/alice/password", `{"password":"short"}`, 400)
		r.admin("PUT", "/v1/auth/approle", `{"kind":"approle"}`, 200)
		r.admin("PUT", "/v1/auth/approle/roles/m", `{"role":"hv_login_web"}`, 200)
		r.admin("PUT", "/v1/auth/approle/roles/m/password", `{"password":"correct horse"}`, 400)
		r.admin("DELETE", "/v1/auth/userpass/roles/alice", "", 204)
		r.db.Await(t, "the password is gone with its user", "SELECT NOT EXISTS (SELECT FROM vault.login_passwords)")
	})
}

// A crowd that logs in at once never has more than the bounded number of hashes, and those beyond are told to come again.
func TestPasswordCrowd(t *testing.T) {
	r := newRig(t)
	r.user("alice", "correct horse")
	var all sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for range 3 * (password.AtOnce + password.MaxWaiting) {
		all.Go(func() {
			res, err := http.Post(r.s.URL+"/v1/auth/userpass/login/alice", "", strings.NewReader(`{"password":"correct horse"}`))
			if err != nil {
				t.Error(err)
				return
			}
			_ = res.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			got[fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("Retry-After"))]++
		})
	}
	all.Wait()
	if got["200 "] < password.AtOnce+password.MaxWaiting || len(got) > 2 || len(got) == 2 && got["503 1"] == 0 {
		t.Errorf("answered %v", got)
	}
	t.Logf("answered %v", got)
}

// No password is in what PostgreSQL keeps or logs, however much it logs; no verifier is in its log.
func TestPasswordsStayOutside(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{Preload: true})
	for _, set := range []string{"log_statement = 'all'", "log_min_duration_statement = 0", "log_parameter_max_length = -1", "log_parameter_max_length_on_error = -1"} {
		c.MustSet(t, set)
	}
	db := vaulttest.NewDBIn(t, c)
	r := &rig{t: t, db: db, s: vaulttest.NewServer(t, db)}
	r.prepare()
	const marker, wrong = "Marker-of-a-pass-word", "Marker-of-a-wrong-one"
	r.user("alice", marker)
	if status, answer, _ := passwordLogin(t, r.s.URL, "alice", marker); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	if status, _, _ := passwordLogin(t, r.s.URL, "alice", wrong); status != 400 {
		t.Fatal(status)
	}
	db.AwaitAudit(t)
	db.MustExec(t, "CHECKPOINT")
	var verifier string
	if err := db.MustConnect(t, "postgres").QueryRow(t.Context(), "SELECT verifier FROM vault.login_passwords").Scan(&verifier); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(c.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "find_login") {
		t.Fatal("the log of the server has no statements, so this test shows nothing")
	}
	if strings.Contains(string(log), verifier) || strings.Contains(string(log), verifier[len(verifier)-20:]) {
		t.Error("the log of the server holds a verifier")
	}
	c.MustStop(t, syscall.SIGINT)
	searched := 0
	err = filepath.WalkDir(c.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		searched += len(text)
		for _, secret := range []string{marker, wrong} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s holds a password", path)
			}
		}
		return err
	})
	if err != nil || searched < 10<<20 {
		t.Fatalf("searched %d bytes: %v", searched, err)
	}
	if strings.Contains(r.s.Log(), marker) || strings.Contains(r.s.Log(), wrong) {
		t.Error("the log of the API holds a password")
	}
}

// While the primary is away, users whose tokens are batch tokens log in by a standby.
func TestPasswordLoginOnStandby(t *testing.T) {
	c := vaulttest.NewCluster(t, vaulttest.Options{Preload: true})
	db := vaulttest.NewDBIn(t, c)
	standby := c.NewStandby(t)
	first := &rig{t: t, db: db, s: vaulttest.NewServer(t, db)}
	first.prepare()
	first.user("alice", "correct horse")
	first.admin("PUT", "/v1/auth/userpass/roles/alice", `{"role":"hv_login_web","token_type":"batch","token_ttl_secs":600}`, 200)
	if status, answer, a := passwordLogin(t, first.s.URL, "alice", "correct horse"); status != 200 || a.TokenType != "batch" {
		t.Fatalf("%d %s", status, answer)
	}
	standby.MustCatchUp(t)
	second := vaulttest.NewServer(t, db.On(standby), "VAULT_REQUEST_TIMEOUT_SECS=5", "VAULT_WRITE_TIMEOUT_SECS=5")
	// A password that the standby does not have yet is found on the primary.
	db.On(standby).MustExec(t, "SELECT pg_wal_replay_pause()")
	first.admin("PUT", "/v1/auth/userpass/roles/alice/password", `{"password":"another horse"}`, 204)
	if status, answer, _ := passwordLogin(t, second.URL, "alice", "another horse"); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	db.On(standby).MustExec(t, "SELECT pg_wal_replay_resume()")
	standby.MustCatchUp(t)
	first.s.MustStop(t)
	c.MustStop(t, syscall.SIGQUIT)
	status, answer, a := passwordLogin(t, second.URL, "alice", "another horse")
	if status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	wantRead(t, second.URL, "web/a", a.ClientToken, 200)
	if status, _, _ := passwordLogin(t, second.URL, "alice", "wrong"); status != 400 {
		t.Errorf("a wrong password: %d", status)
	}
}
