package httpapi_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/hyperiondb/hyperion-vault/api/httpapi"
	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
	"github.com/hyperiondb/hyperion-vault/core/token"
)

// exported checks each line against the document and returns the ids.
func exported(t *testing.T, doc *openapi3.T, body string) (ids []string) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		var line map[string]any
		must(t, json.Unmarshal(lines.Bytes(), &line))
		must(t, doc.Components.Schemas["AuditRecord"].Value.VisitJSON(line))
		ids = append(ids, line["id"].(string))
	}
	return ids
}

func TestExportAudit(t *testing.T) {
	running := func(c *httpapi.Config) { c.Closing = nil }
	get := func(query string) call { return call{method: "GET", path: "/v1/audit" + query} }
	t.Run("OK", func(t *testing.T) {
		a := newAPI(t, running)
		a.store.AuditRecords = 2*vault.MaxExport + 1
		for query, want := range map[string]struct{ first, last, n int }{
			"":                       {1, 2001, 2001},
			"?after=0":               {1, 2001, 2001},
			"?after=999":             {1000, 2001, 1002},
			"?limit=3":               {1, 3, 3},
			"?after=5&limit=1500":    {6, 1505, 1500},
			"?after=1001&limit=1000": {1002, 2001, 1000},
		} {
			got := a.want(get(query), 200, "")
			ids := exported(t, a.doc, got.Body.String())
			if len(ids) != want.n || ids[0] != fmt.Sprint(want.first) || ids[len(ids)-1] != fmt.Sprint(want.last) {
				t.Errorf("%q: %d records", query, len(ids))
			}
		}
		if got := a.want(get("?after=2001"), 200, ""); got.Body.Len() != 0 {
			t.Errorf("%q", got.Body)
		}
		for _, e := range a.recorder.Take() {
			if e.Action != vault.ActionAudit || e.Outcome != vault.OutcomeOK || e.Origin.Actor != "token:ops" {
				t.Errorf("%+v", e)
			}
		}
	})
	t.Run("ErrWho", func(t *testing.T) {
		a := newAPI(t, running)
		denied := get("")
		denied.noToken = true
		a.want(denied, 401, "unauthenticated")
		if e := a.recorder.Take(); len(e) != 1 || e[0].Action != vault.ActionAudit || e[0].Outcome != vault.OutcomeDenied {
			t.Errorf("%+v", e)
		}
	})
	t.Run("ErrQuery", func(t *testing.T) {
		a := newAPI(t, running)
		for _, q := range []string{"?after=", "?after=-1", "?after=x", "?after=9223372036854775808", "?limit=0", "?limit=-1", "?limit=x", "?since=1"} {
			a.want(get(q), 400, "invalid")
		}
	})
	t.Run("ErrUnrecorded", func(t *testing.T) {
		a := newAPI(t, running)
		a.store.AuditRecords = 1
		a.recorder.FailWith(func(vault.Entry) error { return core.Errorf(core.Unavailable, "full") })
		if got := a.want(get(""), 503, "unavailable"); strings.Contains(got.Body.String(), `"actor"`) {
			t.Error("a record was sent that was not recorded")
		}
	})
	t.Run("ErrFirstPage", func(t *testing.T) {
		a := newAPI(t, running)
		a.store.FailWith(func(op string) error {
			if op == "AuditAfter" {
				return core.Errorf(core.Unavailable, "away")
			}
			return nil
		})
		a.want(get(""), 503, "unavailable")
	})
}

// TestExportIsCut: a client must not take for the whole what is a part.
func TestExportIsCut(t *testing.T) {
	a := newAPI(t, func(c *httpapi.Config) { c.Closing = nil })
	a.store.AuditRecords = 3 * vault.MaxExport
	pages := 0
	a.store.FailWith(func(op string) error {
		if op == "AuditAfter" {
			if pages++; pages == 3 {
				return core.Errorf(core.Unavailable, "away")
			}
		}
		return nil
	})
	s := httptest.NewServer(a.Handler)
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v1/audit", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+a.token)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	n := 0
	for lines.Scan() {
		n++
	}
	if lines.Err() == nil || n != 2*vault.MaxExport {
		t.Errorf("%d lines, then %v", n, lines.Err())
	}
}

// otherToken is one that no server knows.
func otherToken(t *testing.T) string {
	t.Helper()
	x, err := token.New(rand.Reader)
	must(t, err)
	return x.Reveal()
}

// TestExportsThatAreNotTaken: an export counts among those at a time until its client has taken it.
func TestExportsThatAreNotTaken(t *testing.T) {
	a := newAPI(t)
	a.store.AuditRecords = 1
	ask := func(from int, bearer string, w http.ResponseWriter) {
		r := httptest.NewRequest("GET", "/v1/audit", nil)
		r.Host = "localhost"
		r.RemoteAddr = fmt.Sprintf("10.1.2.%d:4711", from)
		r.Header.Set("Authorization", "Bearer "+bearer)
		a.ServeHTTP(w, r)
	}
	want := func(from int, bearer string, status int, text string) {
		t.Helper()
		a.recorder.Take()
		w := httptest.NewRecorder()
		ask(from, bearer, w)
		e := a.recorder.Take()
		if w.Code != status || !strings.Contains(w.Body.String(), text) || len(e) != 1 || (e[0].Outcome == vault.OutcomeOK) != (status == 200) {
			t.Errorf("%d %s, %+v", w.Code, w.Body, e)
		}
	}
	unknown := otherToken(t)
	startedAt, release := make(chan struct{}, 16), make(chan struct{})
	var all sync.WaitGroup
	for client := range 4 { // each has a share, and no more
		for range 2 {
			all.Go(func() { ask(client, a.token, stuck{httptest.NewRecorder(), startedAt, release}) })
		}
		for range 2 {
			<-startedAt
		}
		want(client, a.token, 503, "this client runs 2 exports of the audit already")
		want(client, unknown, 401, "unauthenticated")
		if client < 3 {
			want(99, a.token, 200, `"actor"`)
		}
	}
	want(99, a.token, 503, "8 exports of the audit are running already")
	close(release)
	all.Wait()
	want(0, a.token, 200, `"actor"`)
}

// TestExportsOfUnknownCallers: a caller that is not admitted takes no place, however long the check of its token takes.
func TestExportsOfUnknownCallers(t *testing.T) {
	a := newAPI(t)
	looks, release := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	held.Store(true)
	a.store.FailWith(func(op string) error {
		if op == "Decide" && held.Load() {
			looks <- struct{}{}
			<-release
		}
		return nil
	})
	var all sync.WaitGroup
	for range 8 {
		c := call{method: "GET", path: "/v1/audit", noToken: true, header: map[string]string{"Authorization": "Bearer " + otherToken(t)}}
		all.Go(func() { a.do(c) })
		<-looks
	}
	held.Store(false)
	a.want(call{method: "GET", path: "/v1/audit"}, 200, "")
	close(release)
	all.Wait()
}

// TestHeadOfAnExport reads no more than it takes to know that there is something to read.
func TestHeadOfAnExport(t *testing.T) {
	a := newAPI(t, func(c *httpapi.Config) { c.Closing = nil })
	a.store.AuditRecords = 3 * vault.MaxExport
	pages := 0
	a.store.FailWith(func(op string) error {
		if op == "AuditAfter" {
			pages++
		}
		return nil
	})
	a.want(call{method: "HEAD", path: "/v1/audit"}, 200, "")
	if pages != 1 {
		t.Errorf("%d pages were read", pages)
	}
}
