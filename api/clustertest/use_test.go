package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is what an API says to one request.
type answer struct {
	status int
	lsn    string
	body   map[string]any
}

// ask sends one request to a node. header is pairs of names and values.
func (n *node) ask(t *testing.T, method, path string, body any, header ...string) answer {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), answering)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, n.url()+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for k := 0; k < len(header); k += 2 {
		req.Header.Set(header[k], header[k+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, lsn: resp.Header.Get("Vault-Lsn")}
	if resp.StatusCode != http.StatusNoContent {
		if err := decode(resp, &a.body); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// admin is ask with the admin token.
func (n *node) admin(t *testing.T, method, path string, body any, header ...string) answer {
	t.Helper()
	return n.ask(t, method, path, body, append(header, "Authorization", "Bearer "+n.c.token)...)
}

func (a answer) want(t *testing.T, what string, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("%s: %d %v, want %d", what, a.status, a.body, status)
	}
}

// execute runs one statement as superuser, in a session that may write even on a fenced primary.
func (n *node) execute(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := n.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, s := range []string{"SET default_transaction_read_only = off", sql} {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// use creates, reads, updates and deletes one secret, each through another node, and reads it on every node.
func use(t *testing.T, c *cluster) {
	const name, path = "e2e/use", "/v1/secrets/e2e/use"
	everywhere := func(a answer, value string) {
		t.Helper()
		for _, n := range c.nodes {
			r := n.ask(t, http.MethodGet, path, nil, "Vault-Lsn", a.lsn)
			if r.want(t, "read on "+n.name, http.StatusOK); r.body["value"] != value {
				t.Fatalf("%s reads %v, want %q", n.name, r.body, value)
			}
		}
	}
	made := c.nodes[0].admin(t, http.MethodPost, "/v1/secrets", map[string]any{"name": name, "kind": "manual", "value": "one"})
	made.want(t, "create", http.StatusCreated)
	everywhere(made, "one")
	changed := c.nodes[1].admin(t, http.MethodPut, path, map[string]any{"value": "two"}, "If-Match", `"1"`)
	changed.want(t, "update", http.StatusOK)
	everywhere(changed, "two")
	c.nodes[2].admin(t, http.MethodPut, path, map[string]any{"value": "three"}, "If-Match", `"1"`).want(t, "stale update", http.StatusPreconditionFailed)
	gone := c.nodes[2].admin(t, http.MethodDelete, path, nil, "If-Match", `"2"`)
	gone.want(t, "delete", http.StatusNoContent)
	for _, n := range c.nodes {
		n.ask(t, http.MethodGet, path, nil, "Vault-Lsn", gone.lsn).want(t, "read of a deleted secret on "+n.name, http.StatusNotFound)
	}
}

// authentication: changes need a token, on every node; reads an address that is allowed, which that of the node itself is
// not in this cluster.
func authentication(t *testing.T, c *cluster) {
	body := map[string]any{"name": "e2e/none", "kind": "manual", "value": "x"}
	for _, n := range c.nodes {
		n.ask(t, http.MethodPost, "/v1/secrets", body).want(t, "without a token", http.StatusUnauthorized)
		other := "Bearer hvt_" + strings.Repeat("A", 43)
		n.ask(t, http.MethodPost, "/v1/secrets", body, "Authorization", other).want(t, "with another token", http.StatusUnauthorized)
		out, err := c.engine.run(n, "bash", "-c",
			`exec 3<>/dev/tcp/127.0.0.1/8200; printf 'GET /v1/secrets/e2e/none HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3; head -n1 <&3`)
		if err != nil || !strings.Contains(out, " 403 ") {
			t.Errorf("a read from an address that is not allowed on %s: %q, %v", n.name, out, err)
		}
	}
}

// rotationWithGrace: the old value verifies on every node until its grace is ended, the new one at once.
func rotationWithGrace(t *testing.T, c *cluster) {
	const name, path = "e2e/rotated", "/v1/secrets/e2e/rotated"
	made := c.nodes[0].admin(t, http.MethodPost, "/v1/secrets", map[string]any{
		"name": name, "kind": "automatic", "rotation_interval_secs": 86400, "grace_period_secs": 3600,
	})
	made.want(t, "create", http.StatusCreated)
	read := func(a answer) string {
		r := c.nodes[2].ask(t, http.MethodGet, path, nil, "Vault-Lsn", a.lsn)
		r.want(t, "read", http.StatusOK)
		return fmt.Sprint(r.body["value"])
	}
	verifies := func(a answer, value string, want bool) {
		t.Helper()
		for _, n := range c.nodes {
			r := n.ask(t, http.MethodPost, path+"/verify", map[string]any{"value": value}, "Vault-Lsn", a.lsn)
			if r.want(t, "verify", http.StatusOK); r.body["valid"] != want {
				t.Fatalf("%s: %v, want valid %t", n.name, r.body, want)
			}
		}
	}
	old := read(made)
	rotated := c.nodes[1].admin(t, http.MethodPost, path+"/rotate", nil)
	rotated.want(t, "rotate", http.StatusOK)
	fresh := read(rotated)
	if fresh == old {
		t.Fatal("the rotation left the value as it was")
	}
	verifies(rotated, old, true)
	verifies(rotated, fresh, true)
	ended := c.nodes[2].admin(t, http.MethodPost, path+"/expire", map[string]any{"version": 1})
	if ended.status != http.StatusOK && ended.status != http.StatusNoContent {
		t.Fatalf("expire: %d %v", ended.status, ended.body)
	}
	verifies(ended, old, false)
	verifies(ended, fresh, true)
	c.nodes[0].admin(t, http.MethodDelete, path, nil, "If-Match", "*").want(t, "delete", http.StatusNoContent)
}

// written is what may not change on a primary that is fenced.
const written = `SELECT (SELECT count(*) FROM vault.rotation_jobs) || ' jobs, ' || (SELECT count(*) FROM vault.secret_versions) ||
	' versions, ' || (SELECT count(*) FROM vault.changes) || ' changes, ' || (SELECT count(*) FROM vault.secrets) || ' secrets'`

// fenced has the primary take no changes without being in recovery, as another replication manager (pg_replica) does
// with one that it has deposed. Nothing is enqueued or written there; afterwards all goes on.
func fenced(t *testing.T, c *cluster) {
	const name, path = "e2e/fenced", "/v1/secrets/e2e/fenced"
	p := c.leader()
	if p == nil {
		t.Fatal("there is no primary")
	}
	p.admin(t, http.MethodPost, "/v1/secrets", map[string]any{"name": name, "kind": "automatic", "rotation_interval_secs": 1}).
		want(t, "create", http.StatusCreated)
	p.admin(t, http.MethodPost, "/v1/secrets", map[string]any{"name": "e2e/manual", "kind": "manual", "value": "x"}).
		want(t, "create", http.StatusCreated)
	due := func(seconds int) func() bool {
		return func() bool {
			past, err := query[bool](p, `SELECT clock_timestamp() > next_rotation_at + make_interval(secs => $2) FROM vault.secrets WHERE name = $1`,
				name, seconds)
			return err == nil && past
		}
	}
	fence := func(setting string) {
		t.Helper()
		if err := errors.Join(p.execute("ALTER SYSTEM "+setting), p.execute("SELECT pg_reload_conf()")); err != nil {
			t.Fatal(err)
		}
	}
	fence("SET default_transaction_read_only = on")
	defer fence("RESET default_transaction_read_only")
	isFenced := func() bool {
		on, err := query[bool](p, "SELECT current_setting('transaction_read_only')::boolean AND NOT pg_is_in_recovery()")
		return err == nil && on
	}
	// What had startedAt before may end: from the second observation that is alike on, nothing may change.
	last := ""
	if !await(settling, isFenced) || !await(settling, func() bool {
		before := last
		now, err := query[string](p, written)
		last = now
		return err == nil && now == before && due(2)()
	}) {
		t.Fatalf("the primary does not come to rest: %s", last)
	}
	// Three of the supervisor's passes at the least, and a change from each node that finds no primary.
	for _, n := range c.nodes {
		a := n.admin(t, http.MethodPut, "/v1/secrets/e2e/manual", map[string]any{"value": "y"}, "If-Match", "*")
		a.want(t, "change on "+n.name, http.StatusServiceUnavailable)
		n.ask(t, http.MethodGet, "/v1/secrets/e2e/manual", nil).want(t, "read on "+n.name, http.StatusOK)
	}
	if !await(settling, due(15)) {
		t.Fatal("the clock stands still")
	}
	if now, err := query[string](p, written); err != nil || now != last {
		t.Errorf("a fenced primary has %s, it had %s: %v", now, last, err)
	}
	if l := c.leader(); l != p || !isFenced() {
		t.Errorf("%v is the primary, and not fenced", l)
	}
	fence("RESET default_transaction_read_only")
	if !await(settling, func() bool {
		n, err := query[int](p, "SELECT count(*)::int FROM vault.rotation_jobs j JOIN vault.secrets s ON s.id = j.secret_id WHERE s.name = $1 AND j.state = 'done'", name)
		return err == nil && n >= 3
	}) {
		t.Error("rotations do not go on")
	}
	for _, s := range []string{path, "/v1/secrets/e2e/manual"} {
		p.admin(t, http.MethodDelete, s, nil, "If-Match", "*").want(t, "delete", http.StatusNoContent)
	}
}
