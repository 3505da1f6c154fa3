package httpapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hyperiondb/hyperion-vault/api/vault"
	"github.com/hyperiondb/hyperion-vault/core"
)

// batchBody is a request for names.
func batchBody(t *testing.T, names ...string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"names": names})
	must(t, err)
	return string(b)
}

type batchResult struct {
	Name    string
	Value   string
	Version uint64
	Problem *struct {
		Code      string
		Status    int
		RequestID string `json:"request_id"`
	}
}

// batch asks for names and returns the results; every position is the asked one.
func (a *api) batch(names ...string) []batchResult {
	a.t.Helper()
	got := a.want(call{method: "POST", path: "/v1/batch-read", body: batchBody(a.t, names...), noToken: true}, 200, "")
	var out struct{ Results []batchResult }
	must(a.t, json.Unmarshal(got.Body.Bytes(), &out))
	if len(out.Results) != len(names) {
		a.t.Fatalf("%d results for %d names", len(out.Results), len(names))
	}
	for i, r := range out.Results {
		if r.Name != names[i] {
			a.t.Errorf("position %d is %q, not %q", i, r.Name, names[i])
		}
	}
	return out.Results
}

func TestBatchRead(t *testing.T) {
	a := newAPI(t)
	a.create("a/b", marker+"1")
	a.create("c", marker+"\"2\n")
	body := `{"name":"bin","value_base64":"/wA=","content_type":"application/octet-stream"}`
	a.want(call{method: "POST", path: "/v1/secrets", body: body}, 201, "")
	a.recorder.Take()
	t.Run("OK", func(t *testing.T) {
		got := a.batch("c", "gone", "a/b", "c", "not a name", "bin")
		if got[0].Value != marker+"\"2\n" || got[2].Value != marker+"1" || got[3].Value != got[0].Value || got[0].Version != 1 || got[5].Problem != nil {
			t.Errorf("%+v", got)
		}
		for i, code := range map[int]string{1: "not_found", 4: "invalid"} {
			if p := got[i].Problem; p == nil || p.Code != code || p.Status < 400 || p.RequestID == "" || got[i].Value != "" {
				t.Errorf("position %d: %+v", i, got[i])
			}
		}
		var recorded []string
		for _, e := range a.recorder.Take() {
			recorded = append(recorded, e.Name+":"+string(e.Code))
		}
		if s := strings.Join(recorded, " "); s != "c: gone:not_found a/b: :invalid bin:" {
			t.Error(s)
		}
		if strings.Contains(a.logs.String(), marker) {
			t.Error("a value in the log")
		}
	})
	t.Run("OK of many pieces", func(t *testing.T) {
		var names []string
		for i := range vault.MaxBatch {
			names = append(names, fmt.Sprintf("big/%d", i%40))
		}
		for i := range 40 {
			a.create(names[i], strings.Repeat(string(rune('a'+i%26)), 1000*i+1))
		}
		a.create("huge", strings.Repeat("\x01", 20_000)) // six times as long as JSON
		names[100], names[200] = "huge", "huge"
		for i, r := range a.batch(names...) {
			want := 1000*(i%40) + 1
			if r.Name == "huge" {
				want = 20_000
			}
			if r.Problem != nil || len(r.Value) != want {
				t.Fatalf("%s: %d bytes, want %d, %+v", r.Name, len(r.Value), want, r.Problem)
			}
		}
		a.recorder.Take()
	})
	t.Run("OK corrupt is one's own", func(t *testing.T) {
		a.store.EditWith(func(v *vault.StoredValue) {
			if v.Name == "c" {
				v.Sealed.Ciphertext[0] ^= 1
			}
		})
		defer a.store.EditWith(nil)
		got := a.batch("a/b", "c")
		if got[0].Value != marker+"1" || got[1].Problem == nil || got[1].Problem.Code != "corrupt" {
			t.Errorf("%+v", got)
		}
		if !strings.Contains(a.logs.String(), `"code":"corrupt"`) {
			t.Error("the operator does not hear of it")
		}
		a.recorder.Take()
	})
	t.Run("ErrDenied", func(t *testing.T) {
		a.want(call{method: "POST", path: "/v1/batch-read", body: batchBody(t, "a/b", "c"), from: outside}, 403, "denied")
		// A mistake is not told to who may not read.
		a.want(call{method: "POST", path: "/v1/batch-read", body: "{", from: outside}, 403, "denied")
		if got := a.recorder.Take(); len(got) != 2 || got[0].Outcome != vault.OutcomeDenied {
			t.Errorf("%+v", got)
		}
	})
	for name, c := range map[string]struct {
		call   call
		status int
		code   string
	}{
		"ErrNone":    {call{body: `{"names":[]}`}, 400, "invalid"},
		"ErrAbsent":  {call{body: `{}`}, 400, "invalid"},
		"ErrTooMany": {call{body: batchBody(t, make([]string, vault.MaxBatch+1)...)}, 400, "invalid"},
		"ErrNoArray": {call{body: `{"names":"a"}`}, 400, "invalid"},
		"ErrNumber":  {call{body: `{"names":["a",1]}`}, 400, "invalid"},
		"ErrNull":    {call{body: `{"names":["a",null]}`}, 400, "invalid"},
		"ErrNested":  {call{body: `{"names":["a",["b"]]}`}, 400, "invalid"},
		"ErrUnknown": {call{body: `{"names":["a"],"version":1}`}, 400, "invalid"},
		"ErrTwice":   {call{body: `{"names":["a"],"names":["b"]}`}, 400, "invalid"},
		"ErrQuery":   {call{path: "/v1/batch-read?version=1", body: batchBody(t, "a")}, 400, "invalid"},
		"ErrType":    {call{body: batchBody(t, "a"), noType: true}, 415, "unsupported_media_type"},
		"ErrLong":    {call{body: batchBody(t, strings.Repeat("a", 128<<10))}, 413, "too_large"},
		"ErrLSN":     {call{body: batchBody(t, "a"), header: map[string]string{"Vault-Lsn": "x"}}, 400, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			c.call.method = "POST"
			if c.call.path == "" {
				c.call.path = "/v1/batch-read"
			}
			a.want(c.call, c.status, c.code)
			if got := a.recorder.Take(); len(got) != 1 || got[0].Action != vault.ActionRead || got[0].Name != "" || got[0].Outcome != vault.OutcomeFailed {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("OK the longest names fit", func(t *testing.T) {
		names := make([]string, vault.MaxBatch)
		for i := range names {
			names[i] = fmt.Sprintf("%0255d", i)
		}
		for _, r := range a.batch(names...) {
			if r.Problem == nil || r.Problem.Code != "not_found" {
				t.Fatalf("%+v", r)
			}
		}
		a.recorder.Take()
	})
	t.Run("ErrMethod", func(t *testing.T) {
		a.want(call{method: "GET", path: "/v1/batch-read"}, 405, "method_not_allowed")
	})
	t.Run("ErrStore", func(t *testing.T) {
		a.store.FailWith(func(string) error { return core.Errorf(core.Unavailable, "away") })
		defer a.store.FailWith(nil)
		a.want(call{method: "POST", path: "/v1/batch-read", body: batchBody(t, "a/b")}, 503, "unavailable")
	})
}
