package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/pgtest"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// answered are the request ids of reads that were answered with a value.
type answered struct {
	mu  sync.Mutex
	ids []string
}

// read asks for "app/a" until stop ends, and keeps the ids of what was answered.
func (a *answered) read(stop context.Context, url, worker string) {
	for n := 0; stop.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d", worker, n)
		req, err := http.NewRequest("GET", url+"/v1/secrets/app/a", nil)
		if err != nil {
			panic(err)
		}
		req.Header.Set("X-Request-Id", id)
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			a.mu.Lock()
			a.ids = append(a.ids, id)
			a.mu.Unlock()
		}
	}
}

func (a *answered) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.ids...)
}

// wantOnce waits for a record of every answered read, and wants no record of any request twice.
func (a *answered) wantOnce(t *testing.T, db *vaulttest.DB) {
	t.Helper()
	ids := a.all()
	db.Await(t, fmt.Sprintf("the records of %d reads arrive", len(ids)), `SELECT count(*) = $2 FROM unnest($1::text[]) AS i (id)
		WHERE EXISTS (SELECT FROM vault.audit_log l WHERE l.request_id = i.id AND l.outcome = 'ok' AND l.action = 'read')`, ids, len(ids))
	conn := db.MustConnect(t, vaulttest.Superuser)
	var twice, missing int
	err := conn.QueryRow(context.Background(), `SELECT
		(SELECT count(*) FROM (SELECT FROM vault.audit_log WHERE request_id IS NOT NULL AND journal IS NOT NULL GROUP BY request_id, action HAVING count(*) > 1) x),
		(SELECT count(*) FROM vault.audit_journals j WHERE j.last_sequence <> (SELECT count(*) FROM vault.audit_log l WHERE l.journal = j.journal))`).Scan(&twice, &missing)
	if err != nil || twice != 0 || missing != 0 {
		t.Errorf("%d requests are on record twice, %d journals have holes, %v", twice, missing, err)
	}
	t.Logf("%d answered reads, each on record once", len(ids))
}

// prepare makes a database with the secret "app/a".
func prepare(t *testing.T, db *vaulttest.DB, env []string) {
	t.Helper()
	token := db.MustToken(t, "test")
	p := launch(t, env)
	url := "http://" + p.wait(t, 1, "ready")["listen"].(string)
	if status, body := do(t, "POST", url+"/v1/secrets", token, `{"name":"app/a","kind":"manual","value":"CANARY-VALUE"}`); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t)
}

// TestKilledAtLoad kills the process again and again while clients read: what was answered is on record, once.
func TestKilledAtLoad(t *testing.T) {
	for _, mode := range []string{"interval", "always"} {
		t.Run(mode, func(t *testing.T) {
			db := vaulttest.NewDB(t)
			env := db.Environ(t, "VAULT_AUDIT_SYNC="+mode)
			prepare(t, db, env)
			var seen answered
			for round := range 5 {
				p := launch(t, env)
				url := "http://" + p.wait(t, 1, "ready")["listen"].(string)
				stop, end := context.WithCancel(context.Background())
				var clients sync.WaitGroup
				before := len(seen.all())
				for w := range 8 {
					clients.Go(func() { seen.read(stop, url, fmt.Sprintf("%s-%d-%d", mode, round, w)) })
				}
				pgtest.Eventually(t, "reads are answered", func() bool { return len(seen.all()) > before+20+rand.IntN(200) })
				p.signal(t, syscall.SIGKILL)
				end()
				clients.Wait()
				p.exit(t)
			}
			p := launch(t, env)
			p.wait(t, 1, "ready")
			seen.wantOnce(t, db)
			noCanary(t, journalText(t, env))
			p.signal(t, syscall.SIGTERM)
			p.exit(t)
		})
	}
}

func setting(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// journalText is all that the files of a journal hold.
func journalText(t *testing.T, env []string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(setting(env, "VAULT_AUDIT_DIR"), "*"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	if !strings.Contains(all.String(), `"name":"app/a"`) {
		t.Error("these are not the files of the journal")
	}
	return all.String()
}

// TestStopShips: a process that is stopped leaves nothing behind for the next one.
func TestStopShips(t *testing.T) {
	db := vaulttest.NewDB(t)
	env := db.Environ(t)
	prepare(t, db, env)
	p := launch(t, env)
	url := "http://" + p.wait(t, 1, "ready")["listen"].(string)
	if status, _ := do(t, "GET", url+"/v1/secrets/app/a", "", ""); status != 200 {
		t.Fatal(status)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	var n int
	err := db.MustConnect(t, vaulttest.Superuser).QueryRow(context.Background(),
		"SELECT count(*) FROM vault.audit_log WHERE action = 'read' AND secret_name = 'app/a' AND outcome = 'ok'").Scan(&n)
	if err != nil || n != 1 {
		t.Errorf("%d records, %v", n, err)
	}
}

// TestReadsWithoutPrimary: a node whose primary is gone reads, refuses and verifies as before, says that it is degraded,
// and its records arrive once there is a primary again.
func TestReadsWithoutPrimary(t *testing.T) {
	primary := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, primary)
	standby := primary.NewStandby(t)
	prepare(t, db, db.Environ(t))
	standby.MustCatchUp(t)
	env := db.On(standby).Environ(t, "VAULT_REQUEST_TIMEOUT_SECS=5")
	p := launch(t, env)
	url := "http://" + p.wait(t, 1, "ready")["listen"].(string)
	primary.MustStop(t, syscall.SIGQUIT)

	var seen answered
	stop, end := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for w := range 4 {
		clients.Go(func() { seen.read(stop, url, fmt.Sprintf("away-%d", w)) })
	}
	pgtest.Eventually(t, "reads are answered", func() bool { return len(seen.all()) > 200 })
	if status, body := do(t, "POST", url+"/v1/secrets/app/a/verify", "", `{"value":"CANARY-VALUE"}`); status != 200 || !strings.Contains(body, `"valid":true`) {
		t.Errorf("verify: %d %s", status, body)
	}
	if status, _ := do(t, "GET", url+"/v1/secrets/absent", "", ""); status != 404 {
		t.Errorf("a missing secret: %d", status)
	}
	if status, _ := do(t, "DELETE", url+"/v1/secrets/app/a", "", ""); status == 200 || status == 204 {
		t.Errorf("a change without a token: %d", status)
	}
	if status, body := do(t, "GET", url+"/readyz", "", ""); status != 200 || !strings.Contains(body, `"degraded"`) || !strings.Contains(body, `"journal":"ok"`) {
		t.Errorf("readyz: %d %s", status, body)
	}
	if status, body := do(t, "GET", url+"/v1/status", "", ""); status != 200 || !strings.Contains(body, `"last_ship_error":"unavailable"`) || !strings.Contains(body, `"oldest_pending_at"`) {
		t.Errorf("status: %d %s", status, body)
	}
	// Its records outlive the process.
	p.signal(t, syscall.SIGKILL)
	end()
	clients.Wait()
	p.exit(t)
	primary.MustStart(t)
	p = launch(t, env)
	p.wait(t, 1, "ready")
	seen.wantOnce(t, db)
	db.Await(t, "the other records arrive", `SELECT count(*) FILTER (WHERE action = 'verify' AND outcome = 'ok') = 1
		AND count(*) FILTER (WHERE secret_name = 'absent' AND code = 'not_found') = 1
		AND count(*) FILTER (WHERE action = 'delete' AND outcome <> 'ok') = 1 FROM vault.audit_log`)
}

// TestPrimaryRestartsWhileShipping ends the sessions of shippers all the time, some of them after their commit: no
// record arrives twice, and none is lost.
func TestPrimaryRestartsWhileShipping(t *testing.T) {
	primary := vaulttest.NewCluster(t, vaulttest.Options{})
	db := vaulttest.NewDBIn(t, primary)
	standby := primary.NewStandby(t)
	prepare(t, db, db.Environ(t))
	standby.MustCatchUp(t)
	p := launch(t, db.On(standby).Environ(t))
	url := "http://" + p.wait(t, 1, "ready")["listen"].(string)
	var seen answered
	stop, end := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for w := range 4 {
		clients.Go(func() { seen.read(stop, url, fmt.Sprintf("restart-%d", w)) })
	}
	for round := range 3 {
		was := len(seen.all())
		pgtest.Eventually(t, "reads are answered", func() bool { return len(seen.all()) > was+100 })
		primary.MustStop(t, []syscall.Signal{syscall.SIGQUIT, syscall.SIGINT, syscall.SIGQUIT}[round])
		primary.MustStart(t)
		db.Await(t, "records arrive between two restarts", `SELECT count(*) > 0 FROM vault.audit_log WHERE at > clock_timestamp() - interval '3 s' AND journal IS NOT NULL`)
		for range 20 {
			db.MustExec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%ship_audit%' AND pid <> pg_backend_pid()`)
		}
	}
	end()
	clients.Wait()
	seen.wantOnce(t, db)
}

// TestFullDisk fills the journal's disk: nothing is answered without a record, and it goes on when there is space.
func TestFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k,mode=0700"); err != nil {
		t.Skipf("needs a small file system of its own, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	db := vaulttest.NewDB(t)
	env := db.Environ(t, "VAULT_AUDIT_DIR="+filepath.Join(dir, "audit"), "VAULT_AUDIT_MAX_BYTES=1048576")
	prepare(t, db, env)
	p := launch(t, env)
	url := "http://" + p.wait(t, 1, "ready")["listen"].(string)

	// Another program fills the disk.
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	var body string
	pgtest.Eventually(t, "reads are refused", func() bool {
		status, answer := do(t, "GET", url+"/v1/secrets/app/a", "", "")
		if status == 503 && strings.Contains(answer, "CANARY") {
			t.Fatal("a refusal with the value")
		}
		body = answer
		return status == 503
	})
	if !strings.Contains(body, "the audit record could not be written") {
		t.Errorf("refused with %s", body)
	}
	if status, answer := do(t, "GET", url+"/readyz", "", ""); status != 503 || !strings.Contains(answer, `"journal":"unavailable"`) {
		t.Errorf("readyz: %d %s", status, answer)
	}
	if line := p.wait(t, 1, "the audit journal cannot be written: every operation is refused until it can"); line["directory"] != filepath.Join(dir, "audit") {
		t.Errorf("%v", line)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.wait(t, 1, "the audit journal can be written again") // no client has sent a request
	var seen answered
	stop, end := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for w := range 4 {
		clients.Go(func() { seen.read(stop, url, fmt.Sprintf("full-%d", w)) })
	}
	// More than fits: what has arrived must not take the space of what is to come.
	pgtest.Eventually(t, "thousands of reads are answered", func() bool { return len(seen.all()) >= 3500 })
	end()
	clients.Wait()
	seen.wantOnce(t, db)
	if strings.Contains(p.log(), "CANARY") {
		t.Error("the log holds the value")
	}
}
