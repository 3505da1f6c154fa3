package rotator_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// TestEventsOfARotation follows a secret through a real server: made by REST, rotated by the server itself.
func TestEventsOfARotation(t *testing.T) {
	b := newBench(t)
	s := vaulttest.NewServer(t, b.db)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	follow := func(lastID string) (next func() (id string, change map[string]any)) {
		t.Helper()
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/v1/events?prefix=ev/", nil)
		if lastID != "" {
			req.Header.Set("Last-Event-ID", lastID)
		}
		resp, err := client0.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		in := bufio.NewScanner(resp.Body)
		return func() (id string, change map[string]any) {
			t.Helper()
			for in.Scan() {
				if v, ok := strings.CutPrefix(in.Text(), "id: "); ok {
					id = v
				} else if v, ok := strings.CutPrefix(in.Text(), "data: "); ok {
					if err := json.Unmarshal([]byte(v), &change); err != nil {
						t.Fatal(err)
					}
					return id, change
				}
			}
			t.Fatalf("the stream ended: %v", in.Err())
			return "", nil
		}
	}
	next := follow("")
	s.MustCreate(t, "other", "x")
	b.due("ev/1")
	created, change := next()
	if change["action"] != "create" || change["name"] != "ev/1" || change["version"] != 1.0 || len(change) != 4 {
		t.Fatalf("got %v", change)
	}
	if _, change = next(); change["action"] != "rotate" || change["version"] != 2.0 {
		t.Fatalf("got %v", change)
	}
	if _, change = follow(created)(); change["action"] != "rotate" || change["version"] != 2.0 {
		t.Fatalf("resumed with %v", change)
	}
	status, answer := s.Do(t, "GET", "/v1/status", nil)
	if status != 200 || !strings.Contains(answer, `"automatic":1`) {
		t.Errorf("status: %d %s", status, answer)
	}
	cancel() // or the server would wait for its streams
}

// client0 has no limit of its own: a stream does not end.
var client0 = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// TestNoChangeIsSkipped lets a transaction that began first commit last.
func TestNoChangeIsSkipped(t *testing.T) {
	b := newBench(t)
	const insert = `INSERT INTO vault.changes (at, action, name, version) VALUES (clock_timestamp(), 'update', $1, 2)`
	early := b.db.MustConnect(t, vaulttest.Superuser)
	for _, sql := range []string{"BEGIN", strings.Replace(insert, "$1", "'early'", 1)} {
		if _, err := early.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	b.exec(insert, "late")
	names := func(after vault.Place) (names []string, last vault.Place) {
		t.Helper()
		changes, err := b.wired.db.ChangesSince(t.Context(), after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			names, last = append(names, string(c.Name)), c.Place
		}
		return names, last
	}
	if got, _ := names(vault.Place{}); len(got) != 0 {
		t.Fatalf("shown before the first transaction ended: %v", got)
	}
	if place, err := b.wired.db.LastChange(t.Context()); err != nil || place != (vault.Place{}) {
		t.Fatalf("the last change is %v, %v", place, err)
	}
	if _, err := early.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	got, last := names(vault.Place{})
	if strings.Join(got, " ") != "early late" {
		t.Fatalf("got %v", got)
	}
	if got, _ := names(last); len(got) != 0 {
		t.Errorf("shown twice: %v", got)
	}
}
