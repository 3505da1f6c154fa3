package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// engine is a small KV engine of version 2. before may answer a request in its place, and says whether it has.
type engine struct {
	mu      sync.Mutex
	secrets map[string][]json.RawMessage
	before  func(w http.ResponseWriter, r *http.Request) bool
	asked   []string
}

func (e *engine) client(t *testing.T) *Client {
	t.Helper()
	e.secrets = map[string][]json.RawMessage{}
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	c, err := NewClient(ClientConfig{Address: srv.URL, Mount: "secret", Token: "s.TOKEN"})
	if err != nil {
		t.Fatal(err)
	}
	c.wait = func(context.Context, time.Duration) error { return nil }
	t.Cleanup(c.Close)
	return c
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, r.Method+" "+r.URL.Path)
	if e.before != nil && e.before(w, r) {
		return
	}
	e.serve(w, r)
}

func (e *engine) serve(w http.ResponseWriter, r *http.Request) {
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/secret/"), "/")
	versions, exists := e.secrets[name]
	switch {
	case kind == "config":
		_, _ = io.WriteString(w, "{}")
	case kind == "metadata" && r.Method == http.MethodPut:
		e.secrets[name] = versions
		w.WriteHeader(http.StatusNoContent)
	case kind == "metadata" && exists:
		all := map[string]any{}
		for i := range versions {
			all[fmt.Sprint(i+1)] = map[string]any{}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"current_version": len(versions), "versions": all}})
	case kind == "data" && r.Method == http.MethodPut:
		var in struct {
			Data    json.RawMessage
			Options struct{ CAS int }
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Options.CAS != len(versions) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		e.secrets[name] = append(versions, in.Data)
		_, _ = fmt.Fprintf(w, `{"data":{"version":%d}}`, len(versions)+1)
	case kind == "data" && exists:
		var n int
		_, _ = fmt.Sscan(r.URL.Query().Get("version"), &n)
		_, _ = fmt.Fprintf(w, `{"data":{"data":%s}}`, versions[n-1])
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func move(t *testing.T, s Source, target *Client) (Report, error) {
	t.Helper()
	im := Importer{Source: s, Target: target, Progress: io.Discard}
	return im.Run(t.Context())
}

// TestUnreliableTarget: a change whose answer was lost, or was an error after it was made, is neither lost nor made twice.
func TestUnreliableTarget(t *testing.T) {
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		e := &engine{}
		target, n := e.client(t), 0
		e.before = func(w http.ResponseWriter, r *http.Request) bool {
			if n++; r.Method != http.MethodPut || n%2 == 0 {
				return false
			}
			e.serve(httptest.NewRecorder(), r)
			w.WriteHeader(status)
			return true
		}
		file, err := JSON([]byte(`{"a":{"k":1},"b":{"k":2},"c/d":{"k":3}}`))
		if err != nil {
			t.Fatal(err)
		}
		report, err := move(t, file, target)
		if err != nil || !report.Complete() {
			t.Fatalf("%d: %+v, %v", status, report, err)
		}
		for _, name := range []string{"a", "b", "c/d"} {
			if len(e.secrets[name]) != 1 {
				t.Errorf("%d: %s has %d versions", status, name, len(e.secrets[name]))
			}
		}
	}
}

// TestPassing: a gateway's error is tried again for a read and not for a change.
func TestPassing(t *testing.T) {
	e := &engine{}
	c := e.client(t)
	e.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	if _, err := c.metadata(t.Context(), "a"); statusOf(err) != http.StatusBadGateway || len(e.asked) != maxTries {
		t.Errorf("%v after %d", err, len(e.asked))
	}
	e.asked = nil
	if _, err := c.write(t.Context(), "a", []byte("{}"), 0); statusOf(err) != http.StatusBadGateway || len(e.asked) != 1 {
		t.Errorf("%v after %d", err, len(e.asked))
	}
}

// TestRedirect: nothing is sent to a host that a server points to, least of all a token.
func TestRedirect(t *testing.T) {
	thief := &engine{}
	other := thief.client(t)
	e := &engine{before: func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.base+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}}
	c := e.client(t)
	_, err := c.write(t.Context(), "a", []byte(`{"k":"MARKER"}`), 0)
	if err == nil || !strings.Contains(err.Error(), "it redirects to another address") || len(thief.asked) != 0 {
		t.Errorf("%v, the other host got %v", err, thief.asked)
	}
}

// TestHostileSource: what a source does with one secret harms no other, and what it does as a whole ends.
func TestHostileSource(t *testing.T) {
	source, e := &engine{}, &engine{}
	from, target := source.client(t), e.client(t)
	for _, name := range []string{"a", "form", "half", "large", "z"} {
		source.secrets[name] = []json.RawMessage{[]byte(`{"k":"` + name + `"}`)}
	}
	source.before = func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/v1/secret/metadata/":
			_, _ = io.WriteString(w, `{"data":{"keys":["a","a","form","large","z"]}}`)
		case "/v1/secret/data/form":
			_, _ = io.WriteString(w, `{"data":{"data":"MARKER"}}`)
		case "/v1/secret/data/large":
			_, _ = io.WriteString(w, `{"data":{"data":{"k":"`)
			for range maxAnswer>>20 + 1 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
			}
		case "/v1/secret/data/half":
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"data":`)
		default:
			return false
		}
		return true
	}
	report, err := move(t, &KV{Client: from}, target)
	if err != nil || report.Written != 2 || len(report.Refused) != 2 || len(e.secrets) != 2 || len(e.secrets["z"]) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := from.read(t.Context(), "half", 1); err == nil || !strings.Contains(err.Error(), "the answer broke off") {
		t.Errorf("half an answer: %v", err)
	}
	bad := make([]string, pageSize-2)
	for i := range bad {
		bad[i] = fmt.Sprintf("bad name %d", i)
	}
	list := map[string]any{"data": map[string]any{"keys": append(bad, "deeper/", "other/")}}
	source.before = func(w http.ResponseWriter, _ *http.Request) bool { _ = json.NewEncoder(w).Encode(list); return true }
	_, err = move(t, &KV{Client: from}, target)
	if err == nil || !strings.Contains(err.Error(), "lists over") {
		t.Errorf("a source without an end: %v after %d requests", err, len(source.asked))
	}
}
