package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vaulttest"
)

// bin is a vault that keeps deleted secrets for a week.
type bin struct {
	*vaulttest.Server
	db *vaulttest.DB
}

type deletedPage struct {
	Secrets []struct {
		ID, Name       string
		CurrentVersion int `json:"current_version"`
	}
	Next string
}

func (b *bin) ask(t *testing.T, status int, method, path, body string, out any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.AdminToken)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("If-Match", "*")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d", method, path, res.StatusCode, status)
	}
	if out != nil {
		if err := json.NewDecoder(res.Body).Decode(out); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bin) list(t *testing.T, query string) (p deletedPage) {
	t.Helper()
	b.ask(t, 200, "GET", "/v1/deleted"+query, "", &p)
	return p
}

// remove deletes a secret and returns the id under which it can be restored.
func (b *bin) remove(t *testing.T, name string) string {
	t.Helper()
	b.ask(t, 204, "DELETE", "/v1/secrets/"+name, "", nil)
	return b.list(t, "?prefix="+name).Secrets[0].ID
}

// TestDeletedSecrets is the life of deleted secrets where they are kept: listed, restored, replaced and ended.
func TestDeletedSecrets(t *testing.T) {
	db := vaulttest.NewDB(t)
	db.MustExec(t, "ALTER DATABASE "+db.Name+" SET hyperion_vault.deleted_retention_days = 7")
	b := &bin{vaulttest.NewServer(t, db), db}
	b.ask(t, 201, "POST", "/v1/secrets", `{"name":"app/a","value":"one","keep_versions":2,"tags":{"k":"v"}}`, nil)
	b.ask(t, 200, "PUT", "/v1/secrets/app/a", `{"value":"two"}`, nil)
	id := b.remove(t, "app/a")
	for _, path := range []string{"secrets/app/a", "metadata/app/a", "versions/app/a", "secret/data/app/a", "secret/metadata/app/a"} {
		b.ask(t, 404, "GET", "/v1/"+path, "", nil)
	}
	if p := b.list(t, ""); len(p.Secrets) != 1 || p.Secrets[0].Name != "app/a" || p.Secrets[0].CurrentVersion != 2 || p.Next != "" {
		t.Errorf("%+v", p)
	}
	b.ask(t, 200, "POST", "/v1/deleted/"+id+"/restore", "", nil)
	b.reads(t, "app/a", "", "two")
	b.reads(t, "app/a", "?version=1", "one")
	b.ask(t, 404, "POST", "/v1/deleted/"+id+"/restore", "", nil)

	// The name is used again meanwhile: the old secret stays in the list, and its numbers are not free.
	id = b.remove(t, "app/a")
	b.ask(t, 201, "POST", "/v1/secrets", `{"name":"app/a","value":"three"}`, nil)
	b.ask(t, 409, "POST", "/v1/deleted/"+id+"/restore", "", nil)
	b.reads(t, "app/a", "", "three")
	later := b.remove(t, "app/a")
	b.ask(t, 409, "POST", "/v1/deleted/"+id+"/restore", "", nil)
	b.ask(t, 200, "POST", "/v1/deleted/"+later+"/restore", "", nil)
	b.reads(t, "app/a", "", "three")
	b.ask(t, 204, "DELETE", "/v1/deleted/"+id, "", nil)
	b.ask(t, 404, "DELETE", "/v1/deleted/"+id, "", nil)

	b.ends(t)
	b.pages(t)
}

func (b *bin) reads(t *testing.T, name, query, want string) {
	t.Helper()
	var v struct{ Value string }
	if b.ask(t, 200, "GET", "/v1/secrets/"+name+query, "", &v); v.Value != want {
		t.Errorf("%s%s is %q, want %q", name, query, v.Value, want)
	}
}

// ends moves the end of a retention to now: from then on the secret cannot be restored, and a pass drops what is left.
func (b *bin) ends(t *testing.T) {
	t.Helper()
	b.ask(t, 201, "POST", "/v1/secrets", `{"name":"app/ends","value":"x"}`, nil)
	id := b.remove(t, "app/ends")
	b.db.MustExec(t, "UPDATE vault.secrets SET restorable_until = clock_timestamp() WHERE id = '"+id+"'")
	b.ask(t, 404, "POST", "/v1/deleted/"+id+"/restore", "", nil)
	b.ask(t, 404, "DELETE", "/v1/deleted/"+id, "", nil)
	if p := b.list(t, "?prefix=app/ends"); len(p.Secrets) != 0 {
		t.Errorf("%+v", p)
	}
	b.db.MustExec(t, "SELECT vault.supervise(100, false)")
	var left int
	err := b.db.MustConnect(t, vaulttest.Superuser).QueryRow(t.Context(),
		"SELECT (SELECT count(*) FROM vault.deleted_versions d WHERE d.secret_id = $1) + (SELECT count(*) FROM vault.secret_versions v WHERE v.secret_id = $1)", id).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("%d sealed values are left, %v", left, err)
	}
}

// pages lists many, of which several were deleted at the same time, and some go away between two pages.
func (b *bin) pages(t *testing.T) {
	t.Helper()
	const n = 10
	var ids []string
	for i := range n {
		b.ask(t, 201, "POST", "/v1/secrets", fmt.Sprintf(`{"name":"page/%d","value":"x"}`, i), nil)
		ids = append(ids, b.remove(t, fmt.Sprintf("page/%d", i)))
	}
	b.db.MustExec(t, "UPDATE vault.secrets SET restorable_until = date_trunc('day', restorable_until) WHERE name LIKE 'page/%'")
	seen := map[string]int{}
	after, pages := "", 0
	for {
		p := b.list(t, "?prefix=page&limit=3"+after)
		for _, s := range p.Secrets {
			seen[s.ID]++
		}
		if pages++; p.Next == "" {
			break
		}
		if pages == 1 { // the position is not that of a secret that has to be there
			b.ask(t, 204, "DELETE", "/v1/deleted/"+p.Secrets[2].ID, "", nil)
		}
		after = "&after=" + p.Next
	}
	for _, id := range ids {
		if seen[id] != 1 {
			t.Errorf("%s came %d times", id, seen[id])
		}
	}
	if pages != 4 {
		t.Errorf("%d pages", pages)
	}
	b.ask(t, 400, "GET", "/v1/deleted?after=page/1", "", nil)
}
